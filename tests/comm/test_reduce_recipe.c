/* SPDX-License-Identifier: MIT
 *
 * The tables of a reduction over hosts, worked through by one process for ranks and hosts that are invented:
 * outputs and final sums have the bits of the tree whatever the hosts, and neighbours that fill a node of the
 * tree become one output.
 */
#include "comm/reduce_recipe.h"

#include <string.h>

#include "base/alloc.h"
#include "base/tree.h"
#include "comm/combine.h"
#include "tests/suite.h"

enum { RANKS_MAX = 16, OPERANDS_MAX = 1024, ROWS = 5000 };

/* Spread over magnitudes, so that another order of adds shows. */
static float leaf_value(int leaf)
{
    uint32_t h = (uint32_t)(leaf + 1) * 2654435761u;
    return (float)(h >> 8) * (h & 1 ? 0x1p-20f : -0x1p-12f) / (float)(1 + leaf % 7);
}

static float node_value(struct tree_node node)
{
    if (node.end - node.begin == 1)
        return leaf_value(node.begin);
    int split = tree_split(node);
    float left = node_value((struct tree_node){node.begin, split});
    return left + node_value((struct tree_node){split, node.end});
}

static float program_run(const int *program, int length, const float *operands)
{
    float stack[OPERANDS_MAX];
    int depth = 0;
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            stack[depth++] = operands[program[i]];
        } else {
            depth--;
            stack[depth - 1] += stack[depth];
        }
    }
    ck_assert_int_eq(depth, 1);
    return stack[0];
}

/* Every rank's inputs, then every host's outputs from its own inputs only (the others' are poison). */
static void operands_fill(const struct reduce_recipe *recipe, const struct reduce_hosts *hosts, int leaves,
                          const int *block_begin, float *operands)
{
    for (int r = 0; r < hosts->rank_count; r++) {
        struct tree_node nodes[TREE_BLOCK_NODES_MAX];
        int count = tree_block_nodes(leaves, block_begin[r], block_begin[r + 1], nodes);
        ck_assert_int_eq(recipe->input_first[r + 1] - recipe->input_first[r], count);
        for (int k = 0; k < count; k++)
            operands[recipe->input_first[r] + k] = node_value(nodes[k]);
    }
    for (int o = 0; o < recipe->output_count; o++) {
        float mine[OPERANDS_MAX];
        for (int r = 0; r < hosts->rank_count; r++)
            for (int i = recipe->input_first[r]; i < recipe->input_first[r + 1]; i++)
                mine[i] = hosts->host_of[r] == recipe->output_host[o] ? operands[i] : 1e30f;
        operands[recipe->input_count + o] =
            program_run(recipe->program + recipe->program_first[o],
                        recipe->program_first[o + 1] - recipe->program_first[o], mine);
    }
}

static void recipe_check(const struct reduce_hosts *hosts, int leaves, const int *block_begin)
{
    struct reduce_recipe recipe;
    struct muster_error err = {0};
    float operands[OPERANDS_MAX], want = node_value((struct tree_node){0, leaves});
    int program[2 * OPERANDS_MAX];
    ck_assert_msg(reduce_recipe_tree(&recipe, hosts, leaves, block_begin, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_le(recipe.output_count, recipe.input_count);
    operands_fill(&recipe, hosts, leaves, block_begin, operands);
    for (int host = 0; host < hosts->host_count; host++) {
        float got = program_run(program, reduce_recipe_expand(&recipe, host, program), operands);
        ck_assert_mem_eq(&got, &want, sizeof(got));
    }
    reduce_recipe_release(&recipe);
}

/* kind 0: neighbours; 1: in turn; 2: by a hash */
static int host_choose(int kind, int r, int ranks, int hosts)
{
    return kind == 0   ? r * hosts / ranks
           : kind == 1 ? r % hosts
                       : (int)((unsigned)(r * 2654435761u) >> 7) % hosts;
}

START_TEST(every_host_comes_to_the_trees_sum_whatever_the_hosts)
{
    static const int leaf_counts[] = {16, 17, 24, 40, 64};
    for (int ranks = 1; ranks <= RANKS_MAX; ranks++)
        for (int hosts = 1; hosts <= ranks; hosts++)
            for (int trial = 0; trial < 15; trial++) {
                int leaves = leaf_counts[trial % 5], host_of[RANKS_MAX], block_begin[RANKS_MAX + 1];
                for (int r = 0; r < ranks; r++)
                    host_of[r] = host_choose(trial / 5, r, ranks, hosts);
                for (int r = 0; r <= ranks; r++)
                    block_begin[r] = leaves * r / ranks;
                recipe_check(&(struct reduce_hosts){ranks, hosts, host_of}, leaves, block_begin);
            }
}
END_TEST

static const struct {
    const char *what;
    int ranks, hosts, leaves, outputs;
    int host_of[8];
} shapes[] = {
    {"2 hosts of 2 ranks", 4, 2, 8, 2, {0, 0, 1, 1}},
    {"2 hosts of 3 ranks: 6 leaves split after the fourth", 6, 2, 6, 4, {0, 0, 0, 1, 1, 1}},
    {"4 hosts of 2 ranks", 8, 4, 8, 4, {0, 0, 1, 1, 2, 2, 3, 3}},
    {"in turn: nothing can be added", 4, 2, 4, 4, {0, 1, 0, 1}},
    {"one host", 4, 1, 4, 1, {0, 0, 0, 0}},
    {"every rank its own", 4, 4, 4, 4, {0, 1, 2, 3}},
};

START_TEST(neighbours_that_fill_a_node_of_the_tree_become_one_output)
{
    int block_begin[9];
    struct reduce_recipe recipe;
    struct muster_error err = {0};
    for (int r = 0; r <= shapes[_i].ranks; r++)
        block_begin[r] = shapes[_i].leaves * r / shapes[_i].ranks;
    struct reduce_hosts hosts = {shapes[_i].ranks, shapes[_i].hosts, shapes[_i].host_of};
    ck_assert_int_eq(reduce_recipe_tree(&recipe, &hosts, shapes[_i].leaves, block_begin, &err), MUSTER_OK);
    ck_assert_msg(recipe.output_count == shapes[_i].outputs, "%s: %d outputs", shapes[_i].what,
                  recipe.output_count);
    reduce_recipe_release(&recipe);
}
END_TEST

START_TEST(the_plain_sum_has_one_output_a_host_and_every_rank_once)
{
    static const int host_of[] = {1, 0, 1, 2, 0};
    float operands[8] = {1, 2, 4, 8, 16};
    int program[16];
    struct reduce_recipe recipe;
    struct muster_error err = {0};
    ck_assert_int_eq(reduce_recipe_plain(&recipe, &(struct reduce_hosts){5, 3, host_of}, &err), MUSTER_OK);
    ck_assert_int_eq(recipe.output_count, 3);
    for (int o = 0; o < 3; o++)
        operands[5 + o] = program_run(recipe.program + recipe.program_first[o],
                                      recipe.program_first[o + 1] - recipe.program_first[o], operands);
    ck_assert(operands[5] == 18 && operands[6] == 5 && operands[7] == 8);
    for (int host = 0; host < 3; host++)
        ck_assert(program_run(program, reduce_recipe_expand(&recipe, host, program), operands) == 31);
    reduce_recipe_release(&recipe);
}
END_TEST

START_TEST(sums_in_rows_are_those_of_the_program_also_in_place)
{
    static float arrays[4][ROWS], out[ROWS];
    const float *operands[4] = {arrays[0], arrays[1], arrays[2], arrays[3]};
    static const int programs[][7] = {{2}, {0, 1, -1}, {0, 1, -1, 2, 3, -1, -1}, {0, 1, 2, 3, -1, -1, -1}};
    static const int lengths[] = {1, 3, 7, 7};
    struct muster_error err = {0};
    for (int in_place = 0; in_place < 2; in_place++) {
        struct combine combine;
        float want[ROWS];
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < ROWS; i++)
                arrays[k][i] = leaf_value(k * ROWS + i);
        ck_assert_int_eq(combine_init(&combine, programs[_i], lengths[_i], 4, &err), MUSTER_OK);
        for (int i = 0; i < ROWS; i++) {
            float at[4] = {arrays[0][i], arrays[1][i], arrays[2][i], arrays[3][i]};
            want[i] = program_run(programs[_i], lengths[_i], at);
        }
        combine_run(&combine, operands, in_place ? arrays[1] : out, ROWS);
        ck_assert_mem_eq(in_place ? arrays[1] : out, want, sizeof(want));
        combine_release(&combine);
    }
}
END_TEST

START_TEST(a_full_heap_is_reported_and_nothing_leaks)
{
    static const int host_of[] = {0, 0, 1}, block_begin[] = {0, 1, 2, 3};
    struct reduce_hosts hosts = {3, 2, host_of};
    struct reduce_recipe recipe;
    struct muster_error err = {0};
    int64_t live = alloc_live_count();
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    int n = 0;
    while (status != MUSTER_OK) {
        alloc_fail_nth(++n);
        status = _i ? reduce_recipe_plain(&recipe, &hosts, &err)
                    : reduce_recipe_tree(&recipe, &hosts, 3, block_begin, &err);
        alloc_fail_nth(0);
        ck_assert(status == MUSTER_OK || (status == MUSTER_ERR_NO_MEMORY && alloc_live_count() == live));
    }
    ck_assert_int_gt(n, 6);
    reduce_recipe_release(&recipe);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reduce_recipe");
    TCase *tc = tcase_create("recipe");
    tcase_add_test(tc, every_host_comes_to_the_trees_sum_whatever_the_hosts);
    tcase_add_loop_test(tc, neighbours_that_fill_a_node_of_the_tree_become_one_output, 0,
                        (int)(sizeof(shapes) / sizeof(shapes[0])));
    tcase_add_test(tc, the_plain_sum_has_one_output_a_host_and_every_rank_once);
    tcase_add_loop_test(tc, sums_in_rows_are_those_of_the_program_also_in_place, 0, 4);
    tcase_add_loop_test(tc, a_full_heap_is_reported_and_nothing_leaks, 0, 2);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
