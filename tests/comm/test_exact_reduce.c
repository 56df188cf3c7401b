/* SPDX-License-Identifier: MIT
 *
 * The promise of the exact reduce: whatever the number of ranks, their blocks and the ranges they own, the
 * sum has the bits of one rank that adds all leaves in tree order. Values spread over many magnitudes, so
 * that any other order of adds shows. Each rank works out the expected sum of its own range by itself.
 */
#include "comm/exact_reduce.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/comm/mpi_check.h"

enum { RANKS_MAX = 64, LEAVES_MAX = 64 };

static uint32_t mix32(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ (h >> 16);
}

/* Leaf's value at element i: either sign, 2^-8 to 2^8. */
static float leaf_value(int leaf, int64_t i)
{
    uint32_t h = mix32((uint32_t)leaf * 0x9E3779B9u + (uint32_t)i);
    float fraction = 1.0f + (float)(h >> 9) * 0x1p-23f;
    int exponent = (int)(h & 15) - 8;
    float scale = exponent < 0 ? 1.0f / (float)(1 << -exponent) : (float)(1 << exponent);
    return h & 16 ? -fraction * scale : fraction * scale;
}

static float tree_value(int begin, int end, int64_t i)
{
    if (end - begin == 1)
        return leaf_value(begin, i);
    int split = tree_split((struct tree_node){begin, end});
    float left = tree_value(begin, split, i), right = tree_value(split, end, i);
    return left + right;
}

/* One job as all ranks see it. */
struct layout {
    int leaves;
    int block_begin[RANKS_MAX + 1];
    int64_t owned_begin[RANKS_MAX + 1];
};

/* Cuts [0, total) for `size` ranks: 0 even; 1 random; 2 the first ranks have nothing; 3 all at the last. */
static void cut(int64_t total, int size, int kind, uint32_t seed, int64_t *begin)
{
    begin[0] = 0;
    begin[size] = total;
    for (int r = 1; r < size; r++) {
        begin[r] = total * r / size;
        if (kind == 1)
            begin[r] = begin[r - 1] + (int64_t)(mix32(seed + (uint32_t)r) % (uint64_t)(2 * total / size + 1));
        if (kind == 2)
            begin[r] = r < (size + 1) / 2 ? 0 : begin[r];
        if (kind == 3)
            begin[r] = 0;
        if (begin[r] > total)
            begin[r] = total;
    }
}

static struct layout layout_make(int size, int leaves, int64_t floats, int kind)
{
    struct layout layout = {.leaves = leaves};
    int64_t blocks[RANKS_MAX + 1];
    cut(leaves, size, kind % 4, (uint32_t)(leaves * 31 + kind), blocks);
    for (int r = 0; r <= size; r++)
        layout.block_begin[r] = (int)blocks[r];
    cut(floats, size, kind / 4, (uint32_t)(floats * 17 + kind), layout.owned_begin);
    return layout;
}

/* My leaves folded to the nodes of my block, as the step loop does; node k in node[k], memory in *memory. */
static int block_fold(const struct layout *layout, int rank, int64_t floats, float **memory, float **node)
{
    struct muster_error err = {0};
    struct tree_fold fold;
    int begin = layout->block_begin[rank];
    mpi_check_ok(tree_fold_init(&fold, layout->leaves, begin, layout->block_begin[rank + 1], &err), err);
    float *buffer = calloc((size_t)(fold.buffer_count * floats + 1), sizeof(float));
    mpi_check(buffer != NULL);
    for (int i = 0; i < fold.leaf_count; i++) {
        float *leaf = buffer + fold.leaf_buffer[i] * floats;
        for (int64_t j = 0; j < floats; j++)
            leaf[j] = leaf_value(begin + i, j);
        for (int m = fold.merge_first[i]; m < fold.merge_first[i + 1]; m++) {
            float *into = buffer + fold.merge_into[m] * floats, *from = buffer + fold.merge_from[m] * floats;
            for (int64_t j = 0; j < floats; j++)
                into[j] += from[j];
        }
    }
    int node_count = fold.node_count;
    for (int k = 0; k < node_count; k++)
        node[k] = buffer + fold.node_buffer[k] * floats;
    *memory = buffer;
    tree_fold_release(&fold);
    return node_count;
}

/* One bucket through the exact reduce, compared bit for bit. */
static void reduce_check(struct comm *c, const struct layout *layout, bool in_place)
{
    struct muster_error err = {0};
    int64_t floats = layout->owned_begin[c->size], first = layout->owned_begin[c->rank];
    int64_t owned = layout->owned_begin[c->rank + 1] - first;
    float *node[TREE_BLOCK_NODES_MAX] = {NULL}, *memory, *apart = calloc((size_t)owned + 1, sizeof(float));
    int node_count = block_fold(layout, c->rank, floats, &memory, node);
    struct exact_reduce *reduce;
    mpi_check_ok(exact_reduce_create(c, layout->leaves, layout->block_begin, &reduce, &err), err);
    mpi_check(exact_reduce_node_count(reduce) == node_count);
    void *receive = malloc((size_t)exact_reduce_receive_bytes(reduce, owned) + 1);
    float *mine = in_place && node_count > 0 ? node[0] + first : apart;
    int64_t calls = alloc_call_count(), sent = c->bytes_sent;
    mpi_check_ok(exact_reduce_run(reduce, node, layout->owned_begin, mine, receive, &err), err);
    mpi_check(alloc_call_count() == calls);
    mpi_check(c->bytes_sent - sent == node_count * (floats - owned) * (int64_t)sizeof(float));
    for (int64_t i = 0; i < owned; i++) {
        float want = tree_value(0, layout->leaves, first + i);
        mpi_check(memcmp(&mine[i], &want, sizeof(want)) == 0);
    }
    exact_reduce_destroy(reduce);
    free(receive);
    free(memory);
    free(apart);
}

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
                reduce_check(c, &layout, kind % 2 == 0);
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
        reduce_check(c, &layout, in_place);
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
