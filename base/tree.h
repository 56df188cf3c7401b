/* SPDX-License-Identifier: MIT
 *
 * The fixed binary tree over logical workers, in which every sum of the job is taken: [0, n) splits at the
 * largest power of two below its length. Pure functions; the whole of "the same bits on any number of ranks"
 * rests on them. A rank hosts the block [begin, end) of leaves; the block is covered by the largest tree
 * nodes inside it, in order.
 */
#ifndef MUSTER_BASE_TREE_H
#define MUSTER_BASE_TREE_H

#include <stdint.h>

#include "base/error.h"

enum { TREE_LEAVES_MAX = 4096, TREE_BLOCK_NODES_MAX = 32 };

struct tree_node {
    int begin, end; /* leaves [begin, end) */
};

/** Where a node of two or more leaves splits: begin + the largest power of two below (end - begin). */
int tree_split(struct tree_node node);

/**
 * The nodes of the tree over [0, leaves) that cover [begin, end), left to right.
 * \return how many (at most TREE_BLOCK_NODES_MAX); 0 for an empty block.
 */
int tree_block_nodes(int leaves, int begin, int end, struct tree_node nodes[TREE_BLOCK_NODES_MAX]);

/**
 * How a rank folds its leaves, produced one by one in order, into its block's nodes with few buffers, like a
 * binary counter. Step i (leaf begin+i was just accumulated into buffer `leaf_buffer[i]`) is followed by
 * `merge_count[i]` merges: each adds buffer `merge_from` into buffer `merge_into` (left node += right node).
 * At the end node k of tree_block_nodes lies in node_buffer[k].
 */
struct tree_fold {
    int leaf_count, node_count, buffer_count;
    int *leaf_buffer; /* [leaf_count] */
    int *merge_first; /* [leaf_count + 1]: merges of step i are merge_first[i] … merge_first[i+1]-1 */
    int *merge_into, *merge_from;
    int node_buffer[TREE_BLOCK_NODES_MAX];
};
enum muster_status tree_fold_init(struct tree_fold *fold, int leaves, int begin, int end,
                                  struct muster_error *err);
/**
 * The same fold for leaves that are produced piece by piece, each piece merged or taken away as soon as it is
 * complete: a leaf that a merge follows, and the last one, need no buffer. Their buffer becomes
 * TREE_BUFFER_WINDOW in all lists, the remaining buffers are numbered anew. With one leaf none remains.
 */
enum { TREE_BUFFER_WINDOW = -1 };
void tree_fold_window(struct tree_fold *fold);
void tree_fold_release(struct tree_fold *fold);

/**
 * The adds above the ranks' nodes as a postfix program over `node_count` nodes (all ranks' nodes in order,
 * which tile [0, leaves)): entry >= 0 pushes that node, -1 adds the two on top (left + right). `program` has
 * room for 2·node_count - 1 entries. \return the length, 0 if the nodes do not tile the tree.
 */
int tree_combine_program(int leaves, const struct tree_node *nodes, int node_count, int *program);

/**
 * The same for the one tree node `at`, from nodes[0] on: so many of them are used as tile it, (length + 1) / 2.
 * \return the length, 0 if they do not.
 */
int tree_node_program(struct tree_node at, const struct tree_node *nodes, int node_count, int *program);

/** Arrays that are added in one go, as many as a launch on a device takes by value. */
enum { TREE_TERMS_MAX = 64 };
struct tree_terms {
    const float *source[TREE_TERMS_MAX];
    int length;                             /* of the program: 2 · arrays - 1 */
    int8_t program[2 * TREE_TERMS_MAX - 1]; /* as above, entries name sources */
};

/** Sum of values[0 … leaves) in tree order. */
double tree_sum(const double *values, int leaves);

#endif
