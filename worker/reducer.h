/* SPDX-License-Identifier: MIT
 *
 * From the gradients of a rank's logical workers to the reduced gradient of what it owns. Two halves: folding
 * the rank's own leaves into its tree nodes while they are produced, and the reduction across ranks, bucket
 * by bucket, exact (the tree) or fast (the library's order).
 */
#ifndef MUSTER_WORKER_REDUCER_H
#define MUSTER_WORKER_REDUCER_H

#include "comm/comm.h"
#include "worker/rank_state.h"

struct reducer;

enum muster_status reducer_create(struct rank_state *state, struct comm *comm, struct reducer **out,
                                  struct muster_error *err);
/** Takes NULL. */
void reducer_destroy(struct reducer *reducer);

/** A zeroed gradient buffer for the rank's leaf `leaf` (0 … block length - 1), to be called in order. */
enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, float **gradients,
                                      struct muster_error *err);

/** The leaf is complete: merges what the tree says can be merged. */
enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err);

/**
 * Reduces one bucket over all ranks; *mine points at the owned range's sum (overwritten by the next step
 * only). Collective.
 */
enum muster_status reducer_reduce_bucket(struct reducer *reducer, int bucket, float **mine,
                                         struct muster_error *err);

#endif
