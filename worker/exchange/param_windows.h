/* SPDX-License-Identifier: MIT
 *
 * ZeRO stage 3: a rank keeps the compute weights of what it owns, and a unit's weights (a transformer block)
 * are gathered into a window just before its operations run, in the forward pass and again in the backward
 * pass. While a unit computes, the next one is on its way into the other window. Nothing is given back: a
 * window is overwritten by the unit after next, and a unit that is still there when it is wanted again (the
 * last two blocks when the pass turns round) is not gathered a second time.
 *
 * A gather takes all ranks, so all of them make the same passes: a rank with fewer micro-batches than the
 * busiest one only gathers in the others (param_windows_idle).
 */
#ifndef MUSTER_WORKER_PARAM_WINDOWS_H
#define MUSTER_WORKER_PARAM_WINDOWS_H

#include "worker/exchange/comm_queue.h"
#include "worker/rank_state.h"

struct param_windows;

/** Sets state->windows; all by reference. \param comm  that of `queue` */
enum muster_status param_windows_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                        struct param_windows **out, struct muster_error *err);
/** Takes NULL. */
void param_windows_destroy(struct param_windows *windows);

/** The weights have changed: what the windows hold is of no use any more. */
void param_windows_forget(struct param_windows *windows);

/** A pass over the graph begins. \param training  forward and backward; otherwise forward alone */
void param_windows_begin(struct param_windows *windows, bool training);

/** Sets `bit` in stops[op] ([op_count]) of the operations with which a unit begins: param_windows_ensure and
 * param_windows_prefetch have nothing to do before the others. */
void param_windows_mark(const struct param_windows *windows, unsigned char bit, unsigned char *stops);

/** Waits until the weights of operation `op`, which is next, are there (on a GPU: orders the stream after
 * them). Collective, as is param_windows_prefetch, which is called after it and starts to gather the next
 * unit. */
enum muster_status param_windows_ensure(struct param_windows *windows, int op, struct muster_error *err);
enum muster_status param_windows_prefetch(struct param_windows *windows, struct muster_error *err);

/** Waits for all that was started, on a GPU too: before somebody waits for its stream. Collective. */
enum muster_status param_windows_finish(struct param_windows *windows, struct muster_error *err);

/** Ensure and prefetch, as the `before` of an executor_step whose pass is nothing but that; `context` is the
 * windows. */
enum muster_status param_windows_before(void *context, int op, struct muster_error *err);

/** A pass with the others, of a rank that has nothing to compute. Collective. */
enum muster_status param_windows_idle(struct param_windows *windows, bool training, struct muster_error *err);

#endif
