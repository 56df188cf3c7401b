/* SPDX-License-Identifier: MIT
 *
 * The tree against an oracle that knows only its definition. Leaves carry hashes and an add is a mixing
 * function that neither commutes nor associates, so one exchanged or regrouped add changes the result.
 */
#include "base/tree.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tests/suite.h"

enum { LEAVES_TESTED = 64, NODES_TESTED = 2 * TREE_LEAVES_MAX };

static uint64_t leaf_hash(int leaf)
{
    return ((uint64_t)leaf + 1) * 0x9E3779B97F4A7C15u;
}

static uint64_t mix(uint64_t left, uint64_t right)
{
    uint64_t h = left * 0xD6E8FEB86659FD93u + (right ^ (right >> 29)) * 0xA0761D6478BD642Fu + 1;
    return h ^ (h >> 31);
}

/* The definition: the largest power of two below the length. */
static int oracle_split(int begin, int end)
{
    int half = 1 << 30;
    while (half >= end - begin)
        half >>= 1;
    return begin + half;
}

static uint64_t oracle_hash(int begin, int end)
{
    if (end - begin == 1)
        return leaf_hash(begin);
    int split = oracle_split(begin, end);
    return mix(oracle_hash(begin, split), oracle_hash(split, end));
}

/* All nodes inside the block whose parent is not. */
static int oracle_block(struct tree_node at, bool parent_inside, int begin, int end, struct tree_node *out)
{
    bool inside = begin <= at.begin && at.end <= end;
    int count = 0;
    if (inside && !parent_inside)
        out[count++] = at;
    if (at.end - at.begin > 1) {
        int split = oracle_split(at.begin, at.end);
        count += oracle_block((struct tree_node){at.begin, split}, inside, begin, end, out + count);
        count += oracle_block((struct tree_node){split, at.end}, inside, begin, end, out + count);
    }
    return count;
}

START_TEST(a_node_splits_at_the_largest_power_of_two_below_its_length)
{
    static const int want[][2] = {{2, 1}, {3, 2}, {4, 2}, {5, 4}, {6, 4}, {8, 4}, {9, 8}, {4096, 2048}};
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        ck_assert_int_eq(tree_split((struct tree_node){8, 8 + want[i][0]}), 8 + want[i][1]);
    for (int n = 2; n <= TREE_LEAVES_MAX; n++)
        ck_assert_int_eq(tree_split((struct tree_node){0, n}), oracle_split(0, n));
}
END_TEST

START_TEST(a_block_is_covered_by_the_largest_nodes_inside_it_in_order)
{
    struct tree_node want[NODES_TESTED], nodes[TREE_BLOCK_NODES_MAX];
    for (int leaves = 1; leaves <= LEAVES_TESTED; leaves++)
        for (int begin = 0; begin <= leaves; begin++)
            for (int end = begin; end <= leaves; end++) {
                int want_count = oracle_block((struct tree_node){0, leaves}, false, begin, end, want);
                int count = tree_block_nodes(leaves, begin, end, nodes);
                ck_assert_int_eq(count, begin == end ? 0 : want_count);
                for (int k = 0; k < count; k++)
                    ck_assert(nodes[k].begin == want[k].begin && nodes[k].end == want[k].end);
            }
}
END_TEST

START_TEST(no_block_has_more_nodes_than_its_table_holds)
{
    int worst = 0;
    for (int leaves = 3; leaves <= TREE_LEAVES_MAX; leaves++) {
        struct tree_node nodes[TREE_BLOCK_NODES_MAX];
        int count = tree_block_nodes(leaves, 1, leaves - 1, nodes);
        worst = count > worst ? count : worst;
    }
    ck_assert_int_eq(worst, 22);
    ck_assert_int_le(worst, TREE_BLOCK_NODES_MAX);
}
END_TEST

/* Runs the fold on hashes as a rank does on gradients. */
static void fold_check(int leaves, int begin, int end)
{
    struct muster_error err = {0};
    struct tree_fold fold;
    ck_assert_int_eq(tree_fold_init(&fold, leaves, begin, end, &err), MUSTER_OK);
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    ck_assert_int_eq(fold.node_count, tree_block_nodes(leaves, begin, end, nodes));
    ck_assert_int_eq(fold.leaf_count, end - begin);
    uint64_t buffer[64] = {0};
    int needed = 0;
    for (int i = 0; i < fold.leaf_count; i++) {
        ck_assert(fold.leaf_buffer[i] >= 0 && fold.leaf_buffer[i] < fold.buffer_count);
        ck_assert_uint_eq(buffer[fold.leaf_buffer[i]], 0); /* no sum is overwritten */
        buffer[fold.leaf_buffer[i]] = leaf_hash(begin + i);
        for (int m = fold.merge_first[i]; m < fold.merge_first[i + 1]; m++) {
            buffer[fold.merge_into[m]] = mix(buffer[fold.merge_into[m]], buffer[fold.merge_from[m]]);
            buffer[fold.merge_from[m]] = 0;
        }
        /* finished sums and the new leaf must lie somewhere: fewer buffers cannot do */
        struct tree_node done[TREE_BLOCK_NODES_MAX];
        int live = tree_block_nodes(leaves, begin, begin + i, done) + 1;
        needed = live > needed ? live : needed;
    }
    ck_assert_int_eq(fold.buffer_count, needed);
    for (int k = 0; k < fold.node_count; k++)
        ck_assert_uint_eq(buffer[fold.node_buffer[k]], oracle_hash(nodes[k].begin, nodes[k].end));
    tree_fold_release(&fold);
}

START_TEST(a_fold_adds_exactly_as_the_tree_does_with_as_few_buffers_as_can_be)
{
    for (int leaves = 1; leaves <= LEAVES_TESTED; leaves++)
        for (int begin = 0; begin <= leaves; begin++)
            for (int end = begin; end <= leaves; end++)
                fold_check(leaves, begin, end);
    fold_check(TREE_LEAVES_MAX, 0, TREE_LEAVES_MAX);
    fold_check(TREE_LEAVES_MAX, 1, TREE_LEAVES_MAX - 1);
    fold_check(TREE_LEAVES_MAX - 1, 1, TREE_LEAVES_MAX - 2);
}
END_TEST

/* The same fold with windows: a leaf in the window is merged before the next one comes, or is the last. */
static void window_check(int leaves, int begin, int end)
{
    struct muster_error err = {0};
    struct tree_fold fold;
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    ck_assert_int_eq(tree_fold_init(&fold, leaves, begin, end, &err), MUSTER_OK);
    int node_count = tree_block_nodes(leaves, begin, end, nodes), whole = fold.buffer_count, needed = 0;
    tree_fold_window(&fold);
    uint64_t place[64] = {0}, *buffer = place + 1; /* the window is buffer -1 */
    for (int i = 0; i < fold.leaf_count; i++) {
        struct tree_node waiting[TREE_BLOCK_NODES_MAX];
        int live = tree_block_nodes(leaves, begin, begin + i, waiting);
        needed = live > needed ? live : needed;
        ck_assert(fold.leaf_buffer[i] >= TREE_BUFFER_WINDOW && fold.leaf_buffer[i] < fold.buffer_count);
        ck_assert_uint_eq(buffer[fold.leaf_buffer[i]], 0);
        buffer[fold.leaf_buffer[i]] = leaf_hash(begin + i);
        for (int m = fold.merge_first[i]; m < fold.merge_first[i + 1]; m++) {
            buffer[fold.merge_into[m]] = mix(buffer[fold.merge_into[m]], buffer[fold.merge_from[m]]);
            buffer[fold.merge_from[m]] = 0;
        }
    }
    ck_assert_int_eq(fold.buffer_count, needed);
    ck_assert_int_eq(fold.buffer_count, whole - 1);
    for (int k = 0; k < node_count; k++)
        ck_assert_uint_eq(buffer[fold.node_buffer[k]], oracle_hash(nodes[k].begin, nodes[k].end));
    tree_fold_release(&fold);
}

START_TEST(a_fold_with_a_window_adds_the_same_with_a_buffer_less)
{
    for (int leaves = 1; leaves <= LEAVES_TESTED; leaves++)
        for (int begin = 0; begin < leaves; begin++)
            for (int end = begin + 1; end <= leaves; end++)
                window_check(leaves, begin, end);
    window_check(TREE_LEAVES_MAX, 0, TREE_LEAVES_MAX);
    window_check(TREE_LEAVES_MAX, 1, TREE_LEAVES_MAX - 1);
    struct tree_fold empty;
    struct muster_error err = {0};
    ck_assert_int_eq(tree_fold_init(&empty, 8, 3, 3, &err), MUSTER_OK);
    tree_fold_window(&empty);
    ck_assert_int_eq(empty.buffer_count, 0);
    tree_fold_release(&empty);
}
END_TEST

START_TEST(a_fold_refuses_blocks_outside_the_tree_and_survives_a_full_heap)
{
    static const int bad[][3] = {{0, 0, 0}, {TREE_LEAVES_MAX + 1, 0, 1}, {8, -1, 2}, {8, 3, 2}, {8, 0, 9}};
    struct muster_error err = {0};
    struct tree_fold fold;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(tree_fold_init(&fold, bad[i][0], bad[i][1], bad[i][2], &err), MUSTER_ERR_INTERNAL);
    int64_t live = alloc_live_count();
    alloc_fail_nth(1);
    ck_assert_int_eq(tree_fold_init(&fold, 8, 0, 8, &err), MUSTER_ERR_NO_MEMORY);
    alloc_fail_nth(0);
    tree_fold_release(&fold);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

static uint64_t program_run(int leaves, const struct tree_node *nodes, int node_count)
{
    int program[2 * LEAVES_TESTED];
    uint64_t stack[LEAVES_TESTED + 1];
    int depth = 0, length = tree_combine_program(leaves, nodes, node_count, program);
    ck_assert_int_eq(length, 2 * node_count - 1);
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            const struct tree_node *node = &nodes[program[i]];
            stack[depth++] = oracle_hash(node->begin, node->end);
        } else {
            depth--;
            stack[depth - 1] = mix(stack[depth - 1], stack[depth]);
        }
    }
    ck_assert_int_eq(depth, 1);
    return stack[0];
}

START_TEST(any_ranks_with_any_blocks_combine_to_the_root_of_the_tree)
{
    uint32_t seed = 1;
    for (int leaves = 1; leaves <= LEAVES_TESTED; leaves++)
        for (int trial = 0; trial < 40; trial++) {
            struct tree_node nodes[LEAVES_TESTED];
            int count = 0, begin = 0;
            while (begin < leaves) {
                seed = seed * 1664525u + 1013904223u;
                int end = begin + 1 + (int)(seed >> 8) % (leaves - begin);
                if (trial == 0)
                    end = begin + 1;
                count += tree_block_nodes(leaves, begin, end, nodes + count);
                begin = end;
            }
            ck_assert_uint_eq(program_run(leaves, nodes, count), oracle_hash(0, leaves));
        }
}
END_TEST

START_TEST(nodes_that_do_not_tile_the_tree_have_no_program)
{
    int program[16];
    ck_assert_int_eq(tree_combine_program(8, (struct tree_node[]){{0, 4}}, 1, program), 0);
    ck_assert_int_eq(tree_combine_program(8, (struct tree_node[]){{4, 8}, {0, 4}}, 2, program), 0);
    ck_assert_int_eq(tree_combine_program(8, (struct tree_node[]){{0, 3}, {3, 8}}, 2, program), 0);
    ck_assert_int_eq(tree_combine_program(8, (struct tree_node[]){{0, 8}, {0, 8}}, 2, program), 0);
    ck_assert_int_eq(tree_combine_program(8, NULL, 0, program), 0);
    ck_assert_int_eq(tree_combine_program(0, NULL, 0, program), 0);
}
END_TEST

START_TEST(a_sum_is_taken_in_tree_order)
{
    const double big = 0x1p53;
    const double five[] = {big, 1, 1, 1, 1};
    ck_assert(tree_sum(five, 0) == 0);
    ck_assert(tree_sum(five, 1) == big);
    ck_assert(tree_sum(five, 3) == (big + 1) + 1);
    ck_assert(tree_sum(five, 4) == (big + 1) + 2);
    ck_assert(tree_sum(five, 5) == ((big + 1) + 2) + 1);
    ck_assert((big + 1) + 2 != ((big + 1) + 1) + 1); /* the order is visible in these numbers */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tree");
    TCase *tc = tcase_create("tree");
    tcase_add_test(tc, a_node_splits_at_the_largest_power_of_two_below_its_length);
    tcase_add_test(tc, a_block_is_covered_by_the_largest_nodes_inside_it_in_order);
    tcase_add_test(tc, no_block_has_more_nodes_than_its_table_holds);
    tcase_add_test(tc, a_fold_adds_exactly_as_the_tree_does_with_as_few_buffers_as_can_be);
    tcase_add_test(tc, a_fold_with_a_window_adds_the_same_with_a_buffer_less);
    tcase_add_test(tc, a_fold_refuses_blocks_outside_the_tree_and_survives_a_full_heap);
    tcase_add_test(tc, any_ranks_with_any_blocks_combine_to_the_root_of_the_tree);
    tcase_add_test(tc, nodes_that_do_not_tile_the_tree_have_no_program);
    tcase_add_test(tc, a_sum_is_taken_in_tree_order);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
