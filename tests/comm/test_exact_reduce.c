/* SPDX-License-Identifier: MIT
 *
 * The promise of the exact reduce: whatever the number of ranks, their blocks and the ranges they own, the
 * sum has the bits of one rank that adds all leaves in tree order. Values spread over many magnitudes, so
 * that any other order of adds shows.
 */
#include "tests/comm/exact_case.h"

#include "base/alloc.h"
#include "tests/comm/mpi_check.h"

static struct comm *comm_open(void)
{
    struct comm *c;
    struct muster_error err = {0};
    mpi_check_ok(comm_mpi_create(&c, &err), err);
    mpi_check(c->size <= RANKS_MAX);
    return c;
}

START_TEST(the_sum_has_the_bits_of_one_rank_for_any_blocks_and_any_owners)
{
    static const int leaves[] = {1, 2, 3, 5, 8, 13, 16, 24, 32, 61, 64};
    static const int64_t floats[] = {0, 1, 37, 6001};
    struct comm *c = comm_open();
    for (size_t l = 0; l < sizeof(leaves) / sizeof(leaves[0]); l++)
        for (size_t f = 0; f < sizeof(floats) / sizeof(floats[0]); f++)
            for (int kind = 0; kind < 16; kind++) {
                if (floats[f] > 1000 && leaves[l] > 16 && kind % 5 != 0)
                    continue; /* the same again, only slower */
                struct layout layout = layout_make(c->size, leaves[l], floats[f], kind);
                reduce_check(c, &layout, kind % 2 == 0, 0);
            }
    comm_destroy(c);
}
END_TEST

START_TEST(the_sum_of_ranges_longer_than_a_piece_has_the_same_bits)
{
    struct comm *c = comm_open();
    int64_t floats = (int64_t)c->size * 280000 + 11; /* a piece is 262144 */
    for (int in_place = 0; in_place < 2; in_place++) {
        struct layout layout = layout_make(c->size, c->size + 1, floats, in_place ? 0 : 5);
        reduce_check(c, &layout, in_place, 0);
    }
    comm_destroy(c);
}
END_TEST

START_TEST(an_order_of_adds_other_than_the_trees_would_show)
{
    int differ = 0;
    for (int64_t i = 0; i < 1000; i++) {
        float chain = 0;
        for (int leaf = 0; leaf < 8; leaf++)
            chain += leaf_value(leaf, i);
        differ += chain != tree_value(0, 8, i);
    }
    mpi_check(differ > 300);
}
END_TEST

START_TEST(blocks_that_do_not_cover_the_leaves_are_refused)
{
    struct comm *c = comm_open();
    struct muster_error err = {0};
    struct exact_reduce *reduce;
    int block_begin[RANKS_MAX + 1] = {0};
    for (int r = 1; r <= c->size; r++)
        block_begin[r] = 7;
    mpi_check(exact_reduce_create(c, 8, block_begin, &reduce, &err) == MUSTER_ERR_INTERNAL && !reduce);
    mpi_check(exact_reduce_create(c, 6, block_begin, &reduce, &err) == MUSTER_ERR_INTERNAL && !reduce);
    mpi_check_ok(exact_reduce_create(c, 7, block_begin, &reduce, &err), err);
    int64_t backwards[RANKS_MAX + 1] = {0};
    backwards[c->size] = -4;
    float *node[TREE_BLOCK_NODES_MAX] = {NULL}, mine;
    mpi_check(exact_reduce_run(reduce, node, backwards, &mine, &mine, &err) == MUSTER_ERR_INTERNAL);
    exact_reduce_destroy(reduce);
    comm_destroy(c);
}
END_TEST

START_TEST(a_full_heap_is_reported_and_nothing_leaks)
{
    struct comm *c = comm_open();
    struct layout layout = layout_make(c->size, LEAVES_MAX, 100, 0);
    int64_t live = alloc_live_count();
    struct exact_reduce *reduce = NULL;
    int n = 0;
    while (!reduce) {
        struct muster_error err = {0};
        alloc_fail_nth(++n);
        enum muster_status status = exact_reduce_create(c, layout.leaves, layout.block_begin, &reduce, &err);
        alloc_fail_nth(0);
        mpi_check(status == (reduce ? MUSTER_OK : MUSTER_ERR_NO_MEMORY));
        mpi_check(reduce || alloc_live_count() == live);
    }
    mpi_check(n > 9);
    exact_reduce_destroy(reduce);
    exact_reduce_destroy(NULL);
    mpi_check(alloc_live_count() == live);
    comm_destroy(c);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("exact_reduce");
    TCase *tc = tcase_create("exact_reduce");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, the_sum_has_the_bits_of_one_rank_for_any_blocks_and_any_owners);
    tcase_add_test(tc, the_sum_of_ranges_longer_than_a_piece_has_the_same_bits);
    tcase_add_test(tc, an_order_of_adds_other_than_the_trees_would_show);
    tcase_add_test(tc, blocks_that_do_not_cover_the_leaves_are_refused);
    tcase_add_test(tc, a_full_heap_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
