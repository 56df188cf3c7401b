/* SPDX-License-Identifier: MIT
 *
 * The exact reduction's adds on a device, through the plug-in named by MUSTER_CUDA_PLUGIN: as many ranks as a
 * case wants, all but one of them invented by a communicator that makes up what they would send. Judged by
 * the recipe and the adds that host memory gets, bit for bit; launches are counted.
 */
#include <string.h>

#include "base/alloc.h"
#include "comm/combine.h"
#include "comm/reduce_recipe.h"
#include "kernels/cuda/cuda_plugin.h"
#include "tests/comm/exact_case.h"
#include "tests/kernels/compare.h"
#include "tests/suite.h"

enum { COUNT_MAX = 1004, SUM_RANKS_MAX = 300 };

/* One rank's view; its nodes and what the others would send come from the leaves. */
struct group {
    struct comm base;
    const struct cuda_plugin *plugin;
    int leaves, block_begin[SUM_RANKS_MAX + 1];
    struct reduce_recipe recipe; /* every rank a host of its own, as on devices */
    int64_t count;
    int exchange_count, sum_count;
};

static void ok(enum muster_status status, const struct muster_error *err)
{
    if (status != MUSTER_OK)
        ck_abort_msg("%s", err->text);
}

/* The k-th node of a rank. */
static void node_fill(const struct group *group, int rank, int k, float *values)
{
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    int count =
        tree_block_nodes(group->leaves, group->block_begin[rank], group->block_begin[rank + 1], nodes);
    ck_assert_int_lt(k, count);
    for (int64_t i = 0; i < group->count; i++)
        values[i] = tree_value(nodes[k].begin, nodes[k].end, i);
}

static enum muster_status group_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                         void *const *receive, const int64_t *receive_bytes,
                                         struct muster_error *err)
{
    struct group *group = (struct group *)c;
    float values[COUNT_MAX];
    enum muster_status status = MUSTER_OK;
    (void)send, (void)send_bytes;
    for (int r = 0; r < c->size && status == MUSTER_OK; r++) {
        if (r == c->rank || receive_bytes[r] == 0)
            continue;
        node_fill(group, r, group->exchange_count, values);
        status = kernels_copy_to_device(compare_subject(), receive[r], values, receive_bytes[r], err);
    }
    group->exchange_count++;
    return status;
}

static enum muster_status group_sum(struct comm *c, float *out, const struct tree_terms *terms, int64_t count,
                                    struct muster_error *err)
{
    struct group *group = (struct group *)c;
    group->sum_count++;
    return group->plugin->sum_on_stream(kernels_stream(compare_subject()), out, terms, count, err);
}

static const struct comm_ops group_ops = {.name = "group", .exchange = group_exchange, .sum_f32 = group_sum};

static void group_init(struct group *group, int size, int leaves, int rank, int64_t count)
{
    struct muster_error err = {0};
    int host_of[SUM_RANKS_MAX];
    *group = (struct group){.base = {.ops = &group_ops, .rank = rank, .size = size, .node_count = size},
                            .leaves = leaves,
                            .count = count};
    for (int r = 0; r <= size; r++)
        group->block_begin[r] = leaves * r / size;
    for (int r = 0; r < size; r++)
        host_of[r] = r;
    const struct reduce_hosts hosts = {size, size, host_of};
    ok(cuda_plugin_open(&group->plugin, &err), &err);
    ok(reduce_recipe_tree(&group->recipe, &hosts, leaves, group->block_begin, &err), &err);
}

/* As on host memory. */
static void group_expect(const struct group *group, float *want)
{
    const struct reduce_recipe *recipe = &group->recipe;
    const size_t nodes = (size_t)recipe->input_count;
    struct muster_error err = {0};
    struct combine combine;
    float *values = alloc_zeroed(nodes * (size_t)group->count, sizeof(float));
    const float **operands = alloc_zeroed(nodes, sizeof(*operands));
    ck_assert(values != NULL && operands != NULL);
    for (int r = 0; r < group->base.size; r++)
        for (int n = recipe->input_first[r]; n < recipe->input_first[r + 1]; n++) {
            node_fill(group, r, n - recipe->input_first[r], values + n * group->count);
            operands[n] = values + n * group->count;
        }
    ok(combine_init(&combine, recipe->final, 2 * recipe->output_count - 1, recipe->output_count, &err), &err);
    combine_run(&combine, operands, want, group->count);
    combine_release(&combine);
    alloc_free(operands);
    alloc_free(values);
}

static void *device_block(int64_t bytes)
{
    struct muster_error err = {0};
    void *block = NULL;
    ok(kernels_memory_allocate(compare_subject(), bytes, &block, &err), &err);
    return block;
}

/* The rank owns everything; with `in_place` the sum takes the place of its first node. */
static void group_reduce(struct group *group, bool in_place, float *got)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    struct exact_reduce *reduce = NULL;
    float values[COUNT_MAX], *node[TREE_BLOCK_NODES_MAX];
    int64_t owned_begin[SUM_RANKS_MAX + 1];
    ok(exact_reduce_create(&group->base, group->leaves, group->block_begin, &reduce, &err), &err);
    const int node_count = exact_reduce_node_count(reduce);
    const int64_t bytes = group->count * (int64_t)sizeof(float);
    const int64_t receive_bytes = exact_reduce_receive_bytes(reduce, group->count);
    float *own = device_block((node_count + 1) * bytes), *mine = own + node_count * group->count;
    void *receive = device_block(receive_bytes);
    for (int n = 0; n < node_count; n++) {
        node[n] = own + n * group->count;
        node_fill(group, group->base.rank, n, values);
        ok(kernels_copy_to_device(k, node[n], values, bytes, &err), &err);
    }
    for (int r = 0; r <= group->base.size; r++)
        owned_begin[r] = r <= group->base.rank ? 0 : group->count;
    if (in_place && node_count > 0)
        mine = node[0];
    ok(exact_reduce_run(reduce, node, owned_begin, mine, receive, &err), &err);
    ok(kernels_copy_to_host(k, got, mine, bytes, &err), &err);
    kernels_memory_free(k, receive, receive_bytes);
    kernels_memory_free(k, own, (node_count + 1) * bytes);
    exact_reduce_destroy(reduce);
}

/* A sum of `size` ranks as the first, a middle and the last of them see it; returns the launches it took. */
static int sum_check(int size, int leaves, int64_t count)
{
    struct group group;
    float want[COUNT_MAX], got[COUNT_MAX];
    int launches = 0;
    for (int place = 0; place < 3; place++) {
        group_init(&group, size, leaves, (size - 1) * place / 2, count);
        group_expect(&group, want);
        group_reduce(&group, place == 1, got);
        for (int64_t i = 0; i < count; i++)
            ck_assert_msg(memcmp(&want[i], &got[i], sizeof *want) == 0,
                          "%d ranks, %d leaves, rank %d: element %lld is %a, not %a", size, leaves,
                          group.base.rank, (long long)i, (double)got[i], (double)want[i]);
        launches = group.sum_count;
        reduce_recipe_release(&group.recipe);
    }
    return launches;
}

START_TEST(up_to_sixty_four_pieces_are_one_launch_with_the_bits_of_the_host)
{
    for (int size = 1; size <= 17; size++) {
        ck_assert_int_eq(sum_check(size, size, COUNT_MAX), 1);
        ck_assert_int_eq(sum_check(size, size, COUNT_MAX - 1), 1); /* no longer aligned */
    }
    ck_assert_int_eq(sum_check(64, 64, COUNT_MAX), 1);
    ck_assert_int_eq(sum_check(5, 1000, COUNT_MAX), 1); /* blocks of many nodes */
}
END_TEST

START_TEST(more_pieces_take_as_few_launches_as_they_must)
{
    ck_assert_int_eq(sum_check(65, 65, COUNT_MAX), 2);
    ck_assert_int_eq(sum_check(128, 128, COUNT_MAX), 3);
    ck_assert_int_eq(sum_check(SUM_RANKS_MAX, SUM_RANKS_MAX, 101), 5);
    ck_assert_int_gt(sum_check(37, TREE_LEAVES_MAX, 101), 2);
}
END_TEST

START_TEST(a_sum_of_one_piece_in_its_own_place_is_no_launch)
{
    struct group group;
    float got[COUNT_MAX];
    group_init(&group, 1, 8, 0, COUNT_MAX);
    group_reduce(&group, true, got);
    ck_assert_int_eq(group.sum_count, 0);
    ck_assert(got[7] == tree_value(0, 8, 7));
    reduce_recipe_release(&group.recipe);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_sum");
    TCase *tc = tcase_create("sum");
    tcase_add_unchecked_fixture(tc, compare_open, compare_close);
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, up_to_sixty_four_pieces_are_one_launch_with_the_bits_of_the_host);
    tcase_add_test(tc, more_pieces_take_as_few_launches_as_they_must);
    tcase_add_test(tc, a_sum_of_one_piece_in_its_own_place_is_no_launch);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
