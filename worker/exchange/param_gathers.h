/* SPDX-License-Identifier: MIT
 *
 * ZeRO stages 1 and 2: after the update every rank has new weights of what it owns, and the rest is gathered
 * bucket by bucket while the next step already computes: the forward pass waits for a bucket just before the
 * first operation that reads it. Buckets are gathered from the last to the first, which is the order they are
 * read in.
 *
 * Until everything is there the communicator belongs to the queue (comm_queue.h), and nobody else may look at
 * the weights of others: param_gathers_finish comes before both.
 */
#ifndef MUSTER_WORKER_PARAM_GATHERS_H
#define MUSTER_WORKER_PARAM_GATHERS_H

#include "worker/exchange/comm_queue.h"
#include "worker/rank_state.h"

struct param_gathers;

/** All by reference. \param comm  that of `queue` */
enum muster_status param_gathers_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                        struct param_gathers **out, struct muster_error *err);
/** Takes NULL. */
void param_gathers_destroy(struct param_gathers *gathers);

/** The rank's own part of `bucket` is new: starts to gather it. Buckets come in falling order, all of them
 * after every update. Collective. */
enum muster_status param_gathers_start(struct param_gathers *gathers, int bucket, struct muster_error *err);

/** Sets `bit` in stops[op] ([op_count]) of every operation of the pass after an update that may have to wait:
 * param_gathers_ensure has nothing to do before the others. */
void param_gathers_mark(const struct param_gathers *gathers, unsigned char bit, unsigned char *stops);

/** Waits until the weights of operation `op`, which is next, are there (on a GPU: orders the stream after
 * them). */
enum muster_status param_gathers_ensure(struct param_gathers *gathers, int op, struct muster_error *err);

/** Waits for all of them. Takes NULL. */
enum muster_status param_gathers_finish(struct param_gathers *gathers, struct muster_error *err);

#endif
