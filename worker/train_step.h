/* SPDX-License-Identifier: MIT
 *
 * One training step as a transaction: every rank's slots, the reduction, one exchange of what everybody must
 * agree on (loss, gradient norm, flags), the update, the new weights. Every number in the result is the same
 * on every rank, to the last bit.
 */
#ifndef MUSTER_WORKER_TRAIN_STEP_H
#define MUSTER_WORKER_TRAIN_STEP_H

#include "worker/data/loader.h"
#include "worker/optimizer.h"
#include "worker/reducer.h"

/** Decisions that ride on the step's exchange: a flag raised on any rank is seen by all at the same step. */
enum train_flag { TRAIN_FLAG_STOP = 1 };

struct train_step;

struct train_step_result {
    double loss;      /* sum over tokens / tokens, of the global batch */
    double accuracy;  /* share of targets that had the largest logit */
    double grad_norm; /* before clipping */
    double lr;
    uint64_t flags;                       /* OR over ranks */
    double compute_s, reduce_s, update_s; /* of this rank */
};

/** Takes all parts by reference. */
enum muster_status train_step_create(struct rank_state *state, struct comm *comm, struct reducer *reducer,
                                     struct optimizer *optimizer, struct train_step **out,
                                     struct muster_error *err);
/** Takes NULL. */
void train_step_destroy(struct train_step *step);

/**
 * Runs step number `number` (0 for the first). No heap allocation. Collective.
 * \param flags  this rank's train_flag bits
 * \return NUMERIC, on all ranks alike and before any weight was touched, when loss or gradient norm is not
 * finite.
 */
enum muster_status train_step_run(struct train_step *step, struct loader *loader, int64_t number,
                                  uint64_t flags, struct train_step_result *result, struct muster_error *err);

/** Copies a micro-batch to the back end's input tensors (also used by evaluation). */
enum muster_status train_step_feed(struct rank_state *state, const struct loader_batch *batch,
                                   struct muster_error *err);

/** Sums of the last micro-batch's losses and hits, in token order, in double. */
enum muster_status train_step_results(struct rank_state *state, float *host, double *loss, double *correct,
                                      struct muster_error *err);

#endif
