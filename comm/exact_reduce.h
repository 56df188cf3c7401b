/* SPDX-License-Identifier: MIT
 *
 * The exact reduce-scatter: every owner receives the other ranks' tree nodes for the range it owns and adds
 * them in tree order in fp32. The same bytes on the wire as a ring reduce-scatter when each rank holds one
 * node; the bits depend on the tree only.
 */
#ifndef MUSTER_COMM_EXACT_REDUCE_H
#define MUSTER_COMM_EXACT_REDUCE_H

#include "comm/comm.h"
#include "base/tree.h"

/** Set up once, used every step; owns small tables only. */
struct exact_reduce;

/**
 * \param leaves  logical workers of the job
 * \param block_begin  [size + 1] first leaf of each rank's block; block_begin[size] == leaves
 */
enum muster_status exact_reduce_create(struct comm *comm, int leaves, const int *block_begin,
                                       struct exact_reduce **out, struct muster_error *err);
void exact_reduce_destroy(struct exact_reduce *reduce);

/** Nodes of this rank's block. */
int exact_reduce_node_count(const struct exact_reduce *reduce);

/** Bytes of receive memory for owned ranges of at most `owned_count_max` floats (base/ops.h:
 * ops_receive_bytes). */
int64_t exact_reduce_receive_bytes(const struct exact_reduce *reduce, int64_t owned_count_max);

/**
 * Reduce one bucket. `nodes[k]` points at the bucket's first float in this rank's k-th node buffer; rank r
 * owns the floats [owned_begin[r], owned_begin[r+1]) of the bucket (owned_begin has size + 1 entries,
 * relative to the bucket). The sum of my range is written to `mine` (owned_begin[rank+1] - owned_begin[rank]
 * floats; may be the same memory as that range of nodes[0]). `receive` is exact_reduce_receive_bytes() big.
 * Collective. With a communicator on device memory all of these are device pointers, and the sum is there
 * after comm_end_before.
 */
enum muster_status exact_reduce_run(struct exact_reduce *reduce, float *const *nodes,
                                    const int64_t *owned_begin, float *mine, void *receive,
                                    struct muster_error *err);

#endif
