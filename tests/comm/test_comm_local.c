/* SPDX-License-Identifier: MIT
 *
 * The parts of comm/ that need no second process: the loopback communicator, what the launcher's environment
 * says, and the numbering of hosts, with environments and hosts that are invented.
 */
#include "comm/comm.h"

#include <string.h>

#include "base/alloc.h"
#include "comm/mpi_launch.h"
#include "tests/suite.h"

START_TEST(a_job_of_one_rank_passes_through_every_collective)
{
    int64_t live = alloc_live_count();
    struct comm *c;
    struct muster_error err = {0};
    ck_assert_int_eq(comm_loopback_create(&c, &err), MUSTER_OK);
    ck_assert(c->rank == 0 && c->size == 1 && c->node_count == 1 && c->local_size == 1);
    float data[4] = {1, 2, 3, 4}, mine[4] = {0};
    const void *send[1] = {NULL};
    void *receive[1] = {NULL};
    ck_assert_int_eq(comm_barrier(c, &err), MUSTER_OK);
    ck_assert_int_eq(comm_broadcast(c, data, 16, 0, &err), MUSTER_OK);
    ck_assert_int_eq(comm_all_gather(c, data, (int64_t[]){16}, &err), MUSTER_OK);
    ck_assert_int_eq(comm_exchange(c, send, (int64_t[]){9}, receive, (int64_t[]){9}, &err), MUSTER_OK);
    ck_assert_int_eq(comm_all_reduce_f32(c, data, 4, &err), MUSTER_OK);
    ck_assert_int_eq(comm_reduce_scatter_f32(c, data, (int64_t[]){4}, mine, &err), MUSTER_OK);
    ck_assert_mem_eq(mine, ((float[]){1, 2, 3, 4}), sizeof(mine));
    ck_assert(c->sequence == 6 && c->bytes_sent == 0);
    ck_assert_int_eq(comm_begin_after(c, NULL, &err), MUSTER_OK);
    ck_assert_int_eq(comm_end_before(c, NULL, &err), MUSTER_OK);
    ck_assert_str_eq(comm_transport(c), "none");
    comm_abort(c, 3); /* nobody else to end: returns */
    comm_destroy(c);
    comm_destroy(NULL);
    ck_assert_int_eq(alloc_live_count(), live);
    alloc_fail_nth(1);
    ck_assert_int_eq(comm_loopback_create(&c, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(c);
}
END_TEST

/* One environment: names and values in turn, up to a NULL. */
static const char *const *environment;

static char *lookup(const char *name)
{
    for (int i = 0; environment[i]; i += 2)
        if (strcmp(environment[i], name) == 0)
            return (char *)environment[i + 1];
    return NULL;
}

static const struct {
    const char *what;
    const char *pairs[9];
    int size;
    const char *variable;
} launches[] = {
    {"started by hand", {NULL}, 1, ""},
    {"mpirun", {"OMPI_COMM_WORLD_SIZE", "4", NULL}, 4, "OMPI_COMM_WORLD_SIZE"},
    {"another MPI's mpirun", {"PMI_SIZE", "8", "PMI_RANK", "3", NULL}, 8, "PMI_SIZE"},
    {"batch script or salloc shell", {"SLURM_JOB_ID", "7", "SLURM_NTASKS", "16", NULL}, 1, ""},
    {"interactive step", {"SLURM_STEP_ID", "4294967290", "SLURM_NTASKS", "16", NULL}, 1, ""},
    {"mpirun of one rank inside an srun step",
     {"OMPI_COMM_WORLD_SIZE", "1", "SLURM_STEP_ID", "0", "SLURM_STEP_NUM_TASKS", "2", NULL},
     1,
     "OMPI_COMM_WORLD_SIZE"},
    {"srun", {"SLURM_STEP_ID", "0", "SLURM_NTASKS", "16", NULL}, 16, "SLURM_NTASKS"},
    {"srun of part of an allocation",
     {"SLURM_STEP_ID", "2", "SLURM_STEP_NUM_TASKS", "1", "SLURM_NTASKS", "16", NULL},
     1,
     "SLURM_STEP_NUM_TASKS"},
    {"values that are no numbers", {"OMPI_COMM_WORLD_SIZE", "4x", "PMI_SIZE", "", NULL}, 1, ""},
};

START_TEST(the_launchers_word_is_read_from_its_own_variables_only)
{
    const char *variable;
    environment = launches[_i].pairs;
    ck_assert_msg(mpi_launch_size(lookup, &variable) == launches[_i].size, "%s", launches[_i].what);
    ck_assert_str_eq(variable, launches[_i].variable);
}
END_TEST

START_TEST(hosts_are_numbered_in_the_order_of_their_first_ranks)
{
    static const int node_first[] = {0, 1, 0, 1, 4, 1};
    static const int want[][3] = {{0, 0, 2}, {1, 0, 3}, {0, 1, 2}, {1, 1, 3}, {2, 0, 1}, {1, 2, 3}};
    for (int r = 0; r < 6; r++) {
        struct comm c = {.rank = r, .size = 6};
        int node_of[6];
        mpi_launch_nodes(&c, node_first, node_of);
        ck_assert_mem_eq(node_of, ((int[]){0, 1, 0, 1, 2, 1}), sizeof(node_of));
        ck_assert_int_eq(c.node_count, 3);
        ck_assert(c.node == want[r][0] && c.local_rank == want[r][1] && c.local_size == want[r][2]);
    }
}
END_TEST

START_TEST(hosts_can_be_pretended_and_a_wrong_list_is_refused)
{
    static const char *const wrong[] = {"", "0", "0,1,x,1", "0,1,2,1,", "0,1,2", "0,-1,2,1", "0,1,2,1,5"};
    int node_first[4] = {0, 0, 0, 0};
    struct muster_error err = {0};
    environment = (const char *const[]){"OTHER", "1", NULL};
    ck_assert_int_eq(mpi_launch_pretend(lookup, 4, node_first, &err), MUSTER_OK);
    ck_assert_mem_eq(node_first, ((int[]){0, 0, 0, 0}), sizeof(node_first));
    environment = (const char *const[]){"MUSTER_PRETEND_HOSTS", "7,2,7,0", NULL};
    ck_assert_int_eq(mpi_launch_pretend(lookup, 4, node_first, &err), MUSTER_OK);
    ck_assert_mem_eq(node_first, ((int[]){0, 1, 0, 3}), sizeof(node_first));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        environment = (const char *const[]){"MUSTER_PRETEND_HOSTS", wrong[i], NULL};
        ck_assert_int_eq(mpi_launch_pretend(lookup, 4, node_first, &err), MUSTER_ERR_BAD_INPUT);
    }
}
END_TEST

static const struct {
    int node_count;
    const char *pairs[5];
    const char *text;
} transports[] = {
    {1, {NULL}, "shared memory"},
    {3, {NULL}, "MPI"},
    {1, {"OMPI_MCA_btl", "self,vader", "OMPI_MCA_pml", "ob1", NULL}, "shared memory"},
    {1, {"OMPI_MCA_btl", "self,tcp", NULL}, "MPI (btl self,tcp)"},
    {2, {"OMPI_MCA_btl", "self,vader,tcp", NULL}, "MPI (btl self,vader,tcp)"},
    {1, {"OMPI_MCA_btl", "^openib", NULL}, "shared memory"},
    {2, {"OMPI_MCA_btl", "^openib", "OMPI_MCA_pml", "ucx", NULL}, "MPI (pml ucx)"},
};

START_TEST(the_way_mpi_talks_is_told_as_far_as_it_is_known)
{
    char text[64];
    environment = transports[_i].pairs;
    mpi_launch_transport(transports[_i].node_count, lookup, text, sizeof(text));
    ck_assert_str_eq(text, transports[_i].text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("comm_local");
    TCase *tc = tcase_create("local");
    tcase_add_test(tc, a_job_of_one_rank_passes_through_every_collective);
    tcase_add_loop_test(tc, the_launchers_word_is_read_from_its_own_variables_only, 0,
                        (int)(sizeof(launches) / sizeof(launches[0])));
    tcase_add_loop_test(tc, the_way_mpi_talks_is_told_as_far_as_it_is_known, 0,
                        (int)(sizeof(transports) / sizeof(transports[0])));
    tcase_add_test(tc, hosts_are_numbered_in_the_order_of_their_first_ranks);
    tcase_add_test(tc, hosts_can_be_pretended_and_a_wrong_list_is_refused);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
