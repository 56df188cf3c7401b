/* SPDX-License-Identifier: MIT
 *
 * From the gradients of a rank's logical workers to the reduced gradient of what it owns (with ZeRO stage 0:
 * of everything). Two halves: folding the rank's own leaves into its tree nodes while they are produced, and
 * the reduction across ranks, piece by piece, exact (the tree) or fast (the library's order). A piece can be
 * started while the backward pass still computes the next ones (comm_queue.h).
 *
 * A leaf's gradient is in a whole buffer, and its pieces are the buckets; or, from ZeRO stage 2 on, in the
 * windows of coordinator/plan/plan_units.h, and its pieces are what units and buckets have in common. A
 * window is cleared before the first operation that adds to its unit, and its unit is merged or sent away
 * after the last; an operation that needs a window whose last unit is still being sent waits.
 */
#ifndef MUSTER_WORKER_REDUCER_H
#define MUSTER_WORKER_REDUCER_H

#include "comm/comm.h"
#include "worker/exchange/comm_queue.h"
#include "worker/rank_state.h"

struct reducer;

/** \param comm, queue  for the memory that the gradients are in; taken by reference, as is the state */
enum muster_status reducer_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                  struct reducer **out, struct muster_error *err);
/** Takes NULL. */
void reducer_destroy(struct reducer *reducer);

/** Where the rank's leaf `leaf` (0 … block length - 1) adds its gradients: sets `gradients` and
 * `gradient_place` of `micro`. To be called in order. */
enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, struct executor_step *micro,
                                      struct muster_error *err);

/** True when reducer_before must be called in the leaf's last micro-step. */
bool reducer_wants_operations(const struct reducer *reducer, int leaf);

/** Sets `bit` in stops[op] ([op_count]) of every operation before which reducer_before may have something to
 * do. */
void reducer_mark(const struct reducer *reducer, unsigned char bit, unsigned char *stops);

/** Operation `op` of the last micro-step of the leaf in hand is next: prepares what it adds to, and merges or
 * starts what is complete. Collective when the leaf is the rank's last. */
enum muster_status reducer_before(struct reducer *reducer, int op, struct muster_error *err);

/** The leaf is complete: merges what the tree says can be merged. The last leaf is merged piece by piece, as
 * the pieces are started. */
enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err);

/** Starts what is left and waits until everything is reduced (on a GPU: orders the stream after it).
 * Collective. */
enum muster_status reducer_finish(struct reducer *reducer, struct muster_error *err);

/** The sum at a flat element of the range of `bucket` that the rank owns (stage 0: of all of the bucket), and
 * what follows it there; after reducer_finish, overwritten by the next step only. */
float *reducer_sum(const struct reducer *reducer, int bucket, int64_t element);

#endif
