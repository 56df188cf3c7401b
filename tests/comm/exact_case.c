/* SPDX-License-Identifier: MIT
 *
 * What every test of the exact reduce shares: jobs of any layout, leaves whose sum shows the order of the
 * adds, and the comparison with the sum that each rank works out for its own range by itself.
 */
#include "tests/comm/exact_case.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/comm/mpi_check.h"

static uint32_t mix32(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ (h >> 16);
}

float leaf_value(int leaf, int64_t i)
{
    uint32_t h = mix32((uint32_t)leaf * 0x9E3779B9u + (uint32_t)i);
    float fraction = 1.0f + (float)(h >> 9) * 0x1p-23f;
    int exponent = (int)(h & 15) - 8;
    float scale = exponent < 0 ? 1.0f / (float)(1 << -exponent) : (float)(1 << exponent);
    return h & 16 ? -fraction * scale : fraction * scale;
}

float tree_value(int begin, int end, int64_t i)
{
    if (end - begin == 1)
        return leaf_value(begin, i);
    int split = tree_split((struct tree_node){begin, end});
    float left = tree_value(begin, split, i), right = tree_value(split, end, i);
    return left + right;
}

float terms_value(const struct tree_terms *terms, int64_t i, uintptr_t device_bias)
{
    float stack[TREE_TERMS_MAX];
    int depth = 0;
    for (int at = 0; at < terms->length; at++) {
        if (terms->program[at] < 0) {
            depth--;
            stack[depth - 1] += stack[depth];
            continue;
        }
        uintptr_t source = (uintptr_t)terms->source[terms->program[at]];
        mpi_check(source >= device_bias);
        stack[depth++] = ((const float *)(source - device_bias))[i];
    }
    mpi_check(depth == 1);
    return stack[0];
}

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

struct layout layout_make(int size, int leaves, int64_t floats, int kind)
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

/* My nodes are as they were, but for the range that the sum took. */
static void nodes_check(const struct layout *layout, int rank, int64_t floats, float *const *node,
                        const float *mine, int64_t owned)
{
    float *before[TREE_BLOCK_NODES_MAX], *memory;
    int node_count = block_fold(layout, rank, floats, &memory, before);
    for (int k = 0; k < node_count; k++)
        for (int64_t i = 0; i < floats; i++)
            if (&node[k][i] < mine || &node[k][i] >= mine + owned)
                mpi_check(memcmp(&node[k][i], &before[k][i], sizeof(float)) == 0);
    free(memory);
}

static void *biased(void *pointer, uintptr_t bias)
{
    return pointer ? (void *)((uintptr_t)pointer + bias) : NULL;
}

void reduce_check(struct comm *c, const struct layout *layout, bool in_place, uintptr_t device_bias)
{
    struct muster_error err = {0};
    int64_t floats = layout->owned_begin[c->size], first = layout->owned_begin[c->rank];
    int64_t owned = layout->owned_begin[c->rank + 1] - first;
    float *node[TREE_BLOCK_NODES_MAX] = {NULL}, *on_device[TREE_BLOCK_NODES_MAX], *memory;
    float *apart = calloc((size_t)owned + 1, sizeof(float));
    int node_count = block_fold(layout, c->rank, floats, &memory, node);
    struct exact_reduce *reduce;
    mpi_check_ok(exact_reduce_create(c, layout->leaves, layout->block_begin, &reduce, &err), err);
    mpi_check(exact_reduce_node_count(reduce) == node_count);
    void *receive = malloc((size_t)exact_reduce_receive_bytes(reduce, owned) + 1);
    float *mine = in_place && node_count > 0 ? node[0] + first : apart;
    int64_t calls = alloc_call_count(), sent = c->bytes_sent;
    for (int k = 0; k < TREE_BLOCK_NODES_MAX; k++)
        on_device[k] = biased(node[k], device_bias);
    mpi_check_ok(comm_begin_after(c, NULL, &err), err);
    mpi_check_ok(exact_reduce_run(reduce, on_device, layout->owned_begin, biased(mine, device_bias),
                                  biased(receive, device_bias), &err),
                 err);
    mpi_check_ok(comm_end_before(c, NULL, &err), err);
    mpi_check(alloc_call_count() == calls);
    if (!c->local || c->node_count == 1)
        mpi_check(c->bytes_sent - sent == node_count * (floats - owned) * (int64_t)sizeof(float));
    for (int64_t i = 0; i < owned; i++) {
        float want = tree_value(0, layout->leaves, first + i);
        mpi_check(memcmp(&mine[i], &want, sizeof(want)) == 0);
    }
    nodes_check(layout, c->rank, floats, node, mine, owned);
    exact_reduce_destroy(reduce);
    free(receive);
    free(memory);
    free(apart);
}
