/* SPDX-License-Identifier: MIT
 *
 * The summation tree. Everything here follows from one recursion, "a node of two or more leaves splits at
 * tree_split", walked in post-order; no formula about powers of two appears twice. Depth is at most
 * 1 + log2(TREE_LEAVES_MAX), so recursion is cheap. Nothing here touches gradients: callers run the lists.
 */
#include "base/tree.h"

#include <stdbool.h>

#include "base/alloc.h"

int tree_split(struct tree_node node)
{
    int length = node.end - node.begin, half = 1;
    while (half * 2 < length)
        half *= 2;
    return node.begin + half;
}

static int block_nodes_collect(struct tree_node at, struct tree_node block,
                               struct tree_node nodes[TREE_BLOCK_NODES_MAX], int count)
{
    if (at.end <= block.begin || block.end <= at.begin)
        return count;
    if (block.begin <= at.begin && at.end <= block.end) {
        nodes[count] = at;
        return count + 1;
    }
    int split = tree_split(at);
    count = block_nodes_collect((struct tree_node){at.begin, split}, block, nodes, count);
    return block_nodes_collect((struct tree_node){split, at.end}, block, nodes, count);
}

static bool block_is_valid(int leaves, int begin, int end)
{
    return leaves >= 1 && leaves <= TREE_LEAVES_MAX && begin >= 0 && begin <= end && end <= leaves;
}

int tree_block_nodes(int leaves, int begin, int end, struct tree_node nodes[TREE_BLOCK_NODES_MAX])
{
    if (!block_is_valid(leaves, begin, end) || begin == end)
        return 0;
    return block_nodes_collect((struct tree_node){0, leaves}, (struct tree_node){begin, end}, nodes, 0);
}

enum { FOLD_BUFFERS_MAX = TREE_BLOCK_NODES_MAX + 16 };

/* Buffers in use while the fold is written down; a buffer given back is the next one taken. */
struct fold_writer {
    struct tree_fold *fold;
    int begin;       /* first leaf of the block */
    int merge_count; /* merges written so far */
    int free_count;
    int free_buffer[FOLD_BUFFERS_MAX];
};

/* Writes the steps of one node and returns the buffer its sum ends in. */
static int fold_node_write(struct fold_writer *writer, struct tree_node node)
{
    struct tree_fold *fold = writer->fold;
    if (node.end - node.begin == 1) {
        int step = node.begin - writer->begin;
        int buffer =
            writer->free_count > 0 ? writer->free_buffer[--writer->free_count] : fold->buffer_count++;
        fold->leaf_buffer[step] = buffer;
        fold->merge_first[step] = writer->merge_count; /* the merges written from here on follow this leaf */
        return buffer;
    }
    int split = tree_split(node);
    int left = fold_node_write(writer, (struct tree_node){node.begin, split});
    int right = fold_node_write(writer, (struct tree_node){split, node.end});
    fold->merge_into[writer->merge_count] = left;
    fold->merge_from[writer->merge_count] = right;
    writer->merge_count++;
    writer->free_buffer[writer->free_count++] = right;
    return left;
}

enum muster_status tree_fold_init(struct tree_fold *fold, int leaves, int begin, int end,
                                  struct muster_error *err)
{
    *fold = (struct tree_fold){0};
    if (!block_is_valid(leaves, begin, end))
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "tree: block [%d, %d) of %d leaves", begin, end,
                                leaves);
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    fold->leaf_count = end - begin;
    fold->node_count = tree_block_nodes(leaves, begin, end, nodes);
    size_t leaf_count = (size_t)fold->leaf_count;
    fold->leaf_buffer = alloc_zeroed(4 * leaf_count + 1, sizeof(int)); /* one block holds all four lists */
    if (!fold->leaf_buffer) {
        tree_fold_release(fold);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "tree: no memory to fold %d leaves", end - begin);
    }
    fold->merge_first = fold->leaf_buffer + leaf_count;
    fold->merge_into = fold->merge_first + leaf_count + 1;
    fold->merge_from = fold->merge_into + leaf_count;

    struct fold_writer writer = {.fold = fold, .begin = begin};
    for (int k = 0; k < fold->node_count; k++)
        fold->node_buffer[k] = fold_node_write(&writer, nodes[k]);
    fold->merge_first[fold->leaf_count] = writer.merge_count;
    return MUSTER_OK;
}

static bool fold_leaf_merges(const struct tree_fold *fold, int leaf)
{
    return fold->merge_first[leaf + 1] > fold->merge_first[leaf];
}

void tree_fold_window(struct tree_fold *fold)
{
    int renumbered[FOLD_BUFFERS_MAX], kept = 0, last = fold->leaf_count - 1;
    if (last < 0)
        return;
    for (int i = 0; i < FOLD_BUFFERS_MAX; i++)
        renumbered[i] = TREE_BUFFER_WINDOW;
    for (int leaf = 0; leaf < last; leaf++) {
        int *number = &renumbered[fold->leaf_buffer[leaf]];
        if (!fold_leaf_merges(fold, leaf) && *number == TREE_BUFFER_WINDOW)
            *number = kept++;
    }
    for (int i = 0; i < fold->merge_first[fold->leaf_count]; i++) {
        fold->merge_into[i] = renumbered[fold->merge_into[i]];
        fold->merge_from[i] = renumbered[fold->merge_from[i]];
    }
    for (int k = 0; k < fold->node_count; k++)
        fold->node_buffer[k] = renumbered[fold->node_buffer[k]];
    if (!fold_leaf_merges(fold, last))
        fold->node_buffer[fold->node_count - 1] = TREE_BUFFER_WINDOW;
    for (int leaf = 0; leaf <= last; leaf++) {
        bool window = leaf == last || fold_leaf_merges(fold, leaf);
        fold->leaf_buffer[leaf] = window ? TREE_BUFFER_WINDOW : renumbered[fold->leaf_buffer[leaf]];
        if (fold_leaf_merges(fold, leaf)) /* the first merge takes the leaf itself */
            fold->merge_from[fold->merge_first[leaf]] = TREE_BUFFER_WINDOW;
    }
    fold->buffer_count = kept;
}

void tree_fold_release(struct tree_fold *fold)
{
    alloc_free(fold->leaf_buffer);
    *fold = (struct tree_fold){0};
}

struct combine_writer {
    const struct tree_node *nodes;
    int node_count;
    int taken; /* nodes pushed so far */
    int *program;
    int length;
};

/* Writes the program of the tree node `at`; false when the given nodes do not tile it. */
static bool combine_write(struct combine_writer *writer, struct tree_node at)
{
    if (writer->taken == writer->node_count)
        return false;
    const struct tree_node *next = &writer->nodes[writer->taken];
    if (next->begin == at.begin && next->end == at.end) {
        writer->program[writer->length++] = writer->taken++;
        return true;
    }
    if (at.end - at.begin == 1)
        return false;
    int split = tree_split(at);
    if (!combine_write(writer, (struct tree_node){at.begin, split}) ||
        !combine_write(writer, (struct tree_node){split, at.end}))
        return false;
    writer->program[writer->length++] = -1;
    return true;
}

int tree_node_program(struct tree_node at, const struct tree_node *nodes, int node_count, int *program)
{
    struct combine_writer writer = {.nodes = nodes, .node_count = node_count, .program = program};
    return combine_write(&writer, at) ? writer.length : 0;
}

int tree_combine_program(int leaves, const struct tree_node *nodes, int node_count, int *program)
{
    if (leaves < 1 || leaves > TREE_LEAVES_MAX)
        return 0;
    int length = tree_node_program((struct tree_node){0, leaves}, nodes, node_count, program);
    return (length + 1) / 2 == node_count ? length : 0;
}

static double node_sum(const double *values, struct tree_node node)
{
    if (node.end - node.begin == 1)
        return values[node.begin];
    int split = tree_split(node);
    double left = node_sum(values, (struct tree_node){node.begin, split});
    return left + node_sum(values, (struct tree_node){split, node.end});
}

double tree_sum(const double *values, int leaves)
{
    return leaves > 0 ? node_sum(values, (struct tree_node){0, leaves}) : 0.0;
}
