/* SPDX-License-Identifier: MIT
 *
 * From the gradients of a rank's logical workers to the reduced gradient of what it owns. Two halves: folding
 * the rank's own leaves into its tree nodes while they are produced, and the reduction across ranks, bucket
 * by bucket, exact (the tree) or fast (the library's order). A bucket can be started while the backward pass
 * still computes the next ones: on the CPU a thread of its own talks to the other ranks, on a GPU the
 * communicator's stream does.
 */
#ifndef MUSTER_WORKER_REDUCER_H
#define MUSTER_WORKER_REDUCER_H

#include "comm/comm.h"
#include "worker/rank_state.h"

struct reducer;

/**
 * \param comm     for the memory that the gradients are in; between reducer_start_bucket and reducer_finish
 * nobody else may call it \param overlap  start a communication thread where the communicator needs one for
 * overlap
 */
enum muster_status reducer_create(struct rank_state *state, struct comm *comm, bool overlap,
                                  struct reducer **out, struct muster_error *err);
/** Takes NULL. */
void reducer_destroy(struct reducer *reducer);

/** True when a started bucket proceeds while its rank computes. */
bool reducer_overlaps(const struct reducer *reducer);

/** A zeroed gradient buffer for the rank's leaf `leaf` (0 … block length - 1), to be called in order. */
enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, float **gradients,
                                      struct muster_error *err);

/** The leaf is complete: merges what the tree says can be merged. The last leaf is merged bucket by bucket
 * instead, as the buckets are started. */
enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err);

/**
 * Starts the reduction of one bucket, of which the last leaf's gradients are complete (or enqueued on the
 * back end's stream). Buckets are started in order, each once a step. Collective.
 */
enum muster_status reducer_start_bucket(struct reducer *reducer, int bucket, struct muster_error *err);

/** Waits until all started buckets are reduced (on a GPU: orders the stream after them). */
enum muster_status reducer_finish(struct reducer *reducer, struct muster_error *err);

/** The sum of the owned range of a bucket, after reducer_finish; overwritten by the next step only. */
float *reducer_mine(const struct reducer *reducer, int bucket);

#endif
