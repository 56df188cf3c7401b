/* SPDX-License-Identifier: MIT
 *
 * Every collective on however many ranks mpirun started, with small integers whose result is known in closed
 * form. Each runs twice: as one message, and cut into messages of 8 bytes as data above 1 GiB would be.
 */
#include "tests/comm/comm_case.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/mpi_test.h"
#include "tests/comm/mpi_check.h"

enum { RANKS_MAX = COMM_CASE_RANKS_MAX };

static const int64_t message_bytes[] = {(int64_t)1 << 30, 8};

static struct comm *comm_open(int variant)
{
    struct comm *c;
    struct muster_error err = {0};
    mpi_check_ok(comm_mpi_create(&c, &err), err);
    mpi_check(c->size <= RANKS_MAX);
    comm_mpi_message_max_set(c, message_bytes[variant]);
    return c;
}

START_TEST(a_broadcast_gives_every_rank_the_bytes_of_the_root)
{
    struct comm *c = comm_open(_i);
    broadcast_check(c, 0);
    comm_destroy(c);
}
END_TEST

START_TEST(an_all_gather_puts_uneven_and_empty_blocks_in_rank_order)
{
    struct comm *c = comm_open(_i);
    all_gather_check(c, 0);
    comm_destroy(c);
}
END_TEST

START_TEST(an_exchange_delivers_each_pair_its_own_block)
{
    struct comm *c = comm_open(_i);
    exchange_check(c, 0);
    comm_destroy(c);
}
END_TEST

START_TEST(a_reduce_scatter_sums_each_ranks_block_also_in_place)
{
    struct comm *c = comm_open(_i);
    reduce_scatter_check(c, 0);
    comm_destroy(c);
}
END_TEST

START_TEST(an_all_reduce_sums_on_every_rank)
{
    struct comm *c = comm_open(_i);
    all_reduce_check(c, 0);
    comm_destroy(c);
}
END_TEST

START_TEST(calls_are_numbered_and_bytes_to_others_are_counted)
{
    struct comm *c = comm_open(0);
    struct muster_error err = {0};
    unsigned char all[RANKS_MAX * 4] = {0};
    int64_t counts[RANKS_MAX];
    for (int r = 0; r < c->size; r++)
        counts[r] = 4;
    mpi_check(c->sequence == 0 && c->bytes_sent == 0);
    mpi_check_ok(comm_barrier(c, &err), err);
    mpi_check_ok(comm_all_gather(c, all, counts, &err), err);
    mpi_check(c->sequence == 2 && c->bytes_sent == 4 * (c->size - 1));
    comm_destroy(c);
}
END_TEST

START_TEST(ranks_of_one_host_know_their_places)
{
    struct comm *c = comm_open(0);
    mpi_check(strcmp(c->ops->name, "mpi") == 0);
    mpi_check(strcmp(comm_transport(c), "shared memory") == 0);
    mpi_check(c->node == 0 && c->node_count == 1);
    mpi_check(c->local_rank == c->rank && c->local_size == c->size);
    comm_destroy(c);
}
END_TEST

/* Rank 0 sends 8 bytes where the last rank expects `due`. */
static enum muster_status lengths_disagree(struct comm *c, int64_t due, struct muster_error *err)
{
    char out[8] = {0}, in[16];
    const void *send[RANKS_MAX] = {NULL};
    void *receive[RANKS_MAX] = {NULL};
    int64_t send_bytes[RANKS_MAX] = {0}, receive_bytes[RANKS_MAX] = {0};
    int last = c->size - 1;
    if (c->rank == 0) {
        send[last] = out;
        send_bytes[last] = 8;
    } else if (c->rank == last) {
        receive[0] = in;
        receive_bytes[0] = due;
    }
    return comm_exchange(c, send, send_bytes, receive, receive_bytes, err);
}

START_TEST(a_block_of_the_wrong_length_is_a_peer_error_with_name_and_number)
{
    static const int64_t due[] = {4, 16};
    struct comm *c = comm_open(0);
    for (int i = 0; i < 2 && c->size > 1; i++) {
        struct muster_error err = {0};
        mpi_check_ok(comm_barrier(c, &err), err);
        enum muster_status status = lengths_disagree(c, due[i], &err);
        char name[32];
        snprintf(name, sizeof(name), "exchange #%d on rank %d", 2 * i + 2, c->rank);
        if (c->rank == c->size - 1)
            mpi_check(status == MUSTER_ERR_PEER && strstr(err.text, name));
        else
            mpi_check_ok(status, err);
    }
    comm_destroy(c);
}
END_TEST

START_TEST(wrong_arguments_are_refused_before_they_reach_mpi)
{
    struct comm *c = comm_open(0);
    struct muster_error err = {0};
    int64_t negative[RANKS_MAX], none[RANKS_MAX] = {0};
    const void *nothing[RANKS_MAX] = {NULL};
    void *nowhere[RANKS_MAX] = {NULL};
    for (int r = 0; r < c->size; r++)
        negative[r] = -1;
    mpi_check(comm_broadcast(c, &err, 1, c->size, &err) == MUSTER_ERR_INTERNAL);
    mpi_check(comm_broadcast(c, NULL, 1, 0, &err) == MUSTER_ERR_INTERNAL);
    mpi_check(comm_all_gather(c, &err, negative, &err) == MUSTER_ERR_INTERNAL);
    mpi_check(comm_all_reduce_f32(c, NULL, 1, &err) == MUSTER_ERR_INTERNAL);
    mpi_check(comm_reduce_scatter_f32(c, NULL, negative, NULL, &err) == MUSTER_ERR_INTERNAL);
    enum muster_status want = c->size > 1 ? MUSTER_ERR_INTERNAL : MUSTER_OK;
    mpi_check(comm_exchange(c, nothing, none, nowhere, negative, &err) == want);
    mpi_check(c->bytes_sent == 0);
    comm_destroy(c);
}
END_TEST

START_TEST(a_full_heap_is_reported_and_nothing_leaks)
{
    int64_t live = alloc_live_count();
    for (int n = 1;; n++) {
        struct comm *c;
        struct muster_error err = {0};
        alloc_fail_nth(n);
        enum muster_status status = comm_mpi_create(&c, &err);
        alloc_fail_nth(0);
        if (status == MUSTER_OK) {
            comm_destroy(c);
            mpi_check(n > 3);
            break;
        }
        mpi_check(status == MUSTER_ERR_NO_MEMORY && !c && alloc_live_count() == live);
    }
    mpi_check(alloc_live_count() == live);
}
END_TEST

START_TEST(processes_launched_as_many_that_see_only_themselves_are_refused)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const char *before = getenv("OMPI_COMM_WORLD_SIZE");
    char *saved = before ? strdup(before) : NULL;
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    struct comm *c;
    struct muster_error err = {0};
    enum muster_status status = comm_mpi_create(&c, &err);
    mpi_check(status == (size == 1 ? MUSTER_ERR_BAD_INPUT : MUSTER_OK));
    if (size == 1)
        mpi_check(!c && strstr(err.text, "OMPI_COMM_WORLD_SIZE=4") && strstr(err.text, "srun --mpi=pmix"));
    comm_destroy(c);
    if (saved)
        setenv("OMPI_COMM_WORLD_SIZE", saved, 1);
    else
        unsetenv("OMPI_COMM_WORLD_SIZE");
    free(saved);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("comm");
    TCase *tc = tcase_create("mpi");
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, a_broadcast_gives_every_rank_the_bytes_of_the_root, 0, 2);
    tcase_add_loop_test(tc, an_all_gather_puts_uneven_and_empty_blocks_in_rank_order, 0, 2);
    tcase_add_loop_test(tc, an_exchange_delivers_each_pair_its_own_block, 0, 2);
    tcase_add_loop_test(tc, a_reduce_scatter_sums_each_ranks_block_also_in_place, 0, 2);
    tcase_add_loop_test(tc, an_all_reduce_sums_on_every_rank, 0, 2);
    tcase_add_test(tc, calls_are_numbered_and_bytes_to_others_are_counted);
    tcase_add_test(tc, ranks_of_one_host_know_their_places);
    tcase_add_test(tc, a_block_of_the_wrong_length_is_a_peer_error_with_name_and_number);
    tcase_add_test(tc, wrong_arguments_are_refused_before_they_reach_mpi);
    tcase_add_test(tc, a_full_heap_is_reported_and_nothing_leaks);
    tcase_add_test(tc, processes_launched_as_many_that_see_only_themselves_are_refused);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
