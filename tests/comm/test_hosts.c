/* SPDX-License-Identifier: MIT
 *
 * Several hosts pretended on one (MUSTER_PRETEND_HOSTS): the exact sum keeps its bits with hierarchy and
 * without, every collective keeps its result, and what goes to other hosts is counted and as small as the
 * tree allows.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/comm/comm_case.h"
#include "tests/comm/exact_case.h"
#include "tests/comm/mpi_check.h"

/* One host a rank; run by as many ranks as the list is long, skipped by others. */
static const char *const hosts[] = {
    "0,0",     "0,1",         "0,0,1,1",     "0,1,0,1",         "0,0,0,1",         "0,0,0,0",
    "0,1,2,2", "0,0,0,1,1,1", "1,0,0,1,2,2", "0,0,1,1,2,2,3,3", "0,0,0,0,1,1,1,1", "0,0,0,1,1,1,1,2",
};
enum { HOSTS = sizeof(hosts) / sizeof(hosts[0]) };

/* NULL when the list is for another number of ranks. */
static struct comm *comm_open(const char *list, bool hierarchy)
{
    int size;
    struct comm *c;
    struct muster_error err = {0};
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if ((int)strlen(list) != 2 * size - 1)
        return NULL;
    setenv("MUSTER_PRETEND_HOSTS", list, 1);
    mpi_check_ok(comm_mpi_create(&c, &err), err);
    unsetenv("MUSTER_PRETEND_HOSTS");
    mpi_check_ok(comm_mpi_hierarchy_set(c, hierarchy, &err), err);
    mpi_check((c->local != NULL) == (hierarchy && c->node_count < c->size));
    mpi_check(c->node_of[c->rank] == list[2 * c->rank] - '0' || strcmp(list, "1,0,0,1,2,2") == 0);
    return c;
}

START_TEST(the_sum_has_the_same_bits_on_any_hosts)
{
    static const int leaves[] = {8, 13, 64}, kinds[] = {0, 1, 5, 6, 10, 15};
    for (int hierarchy = 0; hierarchy < 2; hierarchy++) {
        struct comm *c = comm_open(hosts[_i], hierarchy);
        if (!c)
            return;
        for (int l = 0; l < 3; l++)
            for (int k = 0; k < 6; k++) {
                struct layout layout = layout_make(c->size, leaves[l], k % 2 ? 601 : 37, kinds[k]);
                reduce_check(c, &layout, k < 3, 0);
            }
        struct layout large =
            layout_make(c->size, c->size + 1, (int64_t)c->size * 70000 + 11, 0); /* a round has 65536 */
        reduce_check(c, &large, true, 0);
        comm_destroy(c);
    }
}
END_TEST

START_TEST(every_collective_keeps_its_result)
{
    for (int hierarchy = 0; hierarchy < 2; hierarchy++) {
        struct comm *c = comm_open(hosts[_i], hierarchy);
        if (!c)
            return;
        collectives_check(c, 0);
        long_sums_check(c);
        comm_destroy(c);
    }
}
END_TEST

/* Bytes to other hosts, of all ranks, for one bucket of so many floats. */
static int64_t bytes_across(const char *list, bool hierarchy, int64_t floats)
{
    struct comm *c = comm_open(list, hierarchy);
    if (!c)
        return -1;
    struct layout layout = layout_make(c->size, c->size, floats, 0);
    reduce_check(c, &layout, true, 0);
    int64_t bytes = c->bytes_across;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    comm_destroy(c);
    return bytes;
}

/* In buckets: flat, every rank sends what other hosts own; with hierarchy every host does, once for each node
 * of the tree that its ranks fill. */
static const struct {
    const char *list;
    double flat, hierarchy;
} traffic[] = {
    {"0,0,1,1", 2, 1},     {"0,1,0,1", 2, 2},         {"0,0,0,0", 0, 0},
    {"0,0,0,1,1,1", 3, 2}, {"0,0,1,1,2,2,3,3", 6, 3}, {"0,0,0,0,1,1,1,1", 4, 1},
};

START_TEST(hosts_send_what_their_ranks_add_up_to_and_no_more)
{
    int64_t floats = 24 * 1000, bucket = floats * (int64_t)sizeof(float);
    int64_t flat = bytes_across(traffic[_i].list, false, floats);
    int64_t hierarchy = bytes_across(traffic[_i].list, true, floats);
    mpi_check(flat < 0 || flat == (int64_t)(traffic[_i].flat * (double)bucket));
    mpi_check(flat < 0 || hierarchy == (int64_t)(traffic[_i].hierarchy * (double)bucket));
}
END_TEST

/* A fast sum needs no tree: one bucket from each host to the others, less what it owns. */
START_TEST(a_fast_sum_leaves_each_host_once_wherever_its_ranks_are)
{
    struct comm *c = comm_open("0,1,0,1", true);
    struct muster_error err = {0};
    static float data[4000], mine[1000];
    int64_t counts[] = {1000, 1000, 1000, 1000};
    if (!c)
        return;
    mpi_check_ok(comm_reduce_scatter_f32(c, data, counts, mine, &err), err);
    mpi_check(c->bytes_across == 1000 * 4);
    comm_destroy(c);
}
END_TEST

START_TEST(a_full_heap_is_reported_and_nothing_leaks)
{
    struct comm *c = comm_open(hosts[_i], true);
    if (!c)
        return;
    struct layout layout = layout_make(c->size, LEAVES_MAX, 100, 0);
    int64_t live = alloc_live_count();
    struct exact_reduce *reduce = NULL;
    for (int n = 1; !reduce; n++) {
        struct muster_error err = {0};
        alloc_fail_nth(n);
        enum muster_status status = exact_reduce_create(c, layout.leaves, layout.block_begin, &reduce, &err);
        alloc_fail_nth(0);
        mpi_check(status == (reduce ? MUSTER_OK : MUSTER_ERR_NO_MEMORY));
        mpi_check(reduce || alloc_live_count() == live);
    }
    exact_reduce_destroy(reduce);
    mpi_check(alloc_live_count() == live);
    comm_destroy(c);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("hosts");
    TCase *tc = tcase_create("hosts");
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, the_sum_has_the_same_bits_on_any_hosts, 0, HOSTS);
    tcase_add_loop_test(tc, every_collective_keeps_its_result, 0, HOSTS);
    tcase_add_loop_test(tc, hosts_send_what_their_ranks_add_up_to_and_no_more, 0,
                        (int)(sizeof(traffic) / sizeof(traffic[0])));
    tcase_add_test(tc, a_fast_sum_leaves_each_host_once_wherever_its_ranks_are);
    tcase_add_loop_test(tc, a_full_heap_is_reported_and_nothing_leaks, 0, HOSTS);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
