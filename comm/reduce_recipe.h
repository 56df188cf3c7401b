/* SPDX-License-Identifier: MIT
 *
 * Who adds what when hosts add first: every rank brings inputs (its tree nodes), each host makes outputs of
 * its ranks' inputs, and an owner adds the outputs of all hosts. For the exact sum the adds are those of the
 * tree: what a host can add is what the tree adds among its ranks, which is one output where its ranks are
 * numbered in a row and their block is a node of the tree, and the inputs as they are in the worst case.
 */
#ifndef MUSTER_COMM_REDUCE_RECIPE_H
#define MUSTER_COMM_REDUCE_RECIPE_H

#include "base/error.h"

struct reduce_recipe {
    int rank_count, host_count, input_count, output_count;
    int *input_first;       /* [rank_count + 1] a rank's first input */
    int *output_host;       /* [output_count] */
    int *output_place;      /* [output_count] its number among its host's */
    int *host_output_count; /* [host_count] */
    int *program;           /* postfix (base/tree.h) over inputs; output o's is program_first[o] … */
    int *program_first;     /* [output_count + 1] */
    int *final;             /* postfix over outputs, 2 · output_count - 1 entries */
};

/** Whose host is which; a rank's host is a number below host_count. */
struct reduce_hosts {
    int rank_count, host_count;
    const int *host_of; /* [rank_count] */
};

/**
 * The tree over `leaves`, of which rank r has [block_begin[r], block_begin[r + 1]).
 * \return INTERNAL when the blocks do not cover the leaves.
 */
enum muster_status reduce_recipe_tree(struct reduce_recipe *recipe, const struct reduce_hosts *hosts,
                                      int leaves, const int *block_begin, struct muster_error *err);

/** One input a rank, one output a host; added by rank, then by host. */
enum muster_status reduce_recipe_plain(struct reduce_recipe *recipe, const struct reduce_hosts *hosts,
                                       struct muster_error *err);

/** Takes a zeroed struct. */
void reduce_recipe_release(struct reduce_recipe *recipe);

/**
 * The final sum as a rank of `host` computes it, whose own host's outputs need not be made first: postfix
 * over inputs (below input_count) and outputs (input_count + o). \param program  room for 2 · (input_count +
 * output_count) entries \return the length
 */
int reduce_recipe_expand(const struct reduce_recipe *recipe, int host, int *program);

#endif
