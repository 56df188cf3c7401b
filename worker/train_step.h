/* SPDX-License-Identifier: MIT
 *
 * One training step as a transaction: every rank's slots, the reduction, one exchange of what everybody must
 * agree on (loss, gradient norm, flags), the update, the new weights. Every number in the result is the same
 * on every rank, to the last bit.
 */
#ifndef MUSTER_WORKER_TRAIN_STEP_H
#define MUSTER_WORKER_TRAIN_STEP_H

#include "worker/data/loader.h"
#include "worker/guard/health.h"
#include "worker/guard/injection.h"
#include "worker/loss_scaler.h"
#include "worker/optimizer.h"
#include "worker/guard/param_check.h"
#include "worker/exchange/param_gathers.h"
#include "worker/exchange/reducer.h"

/** Decisions that ride on the step's exchange: a flag raised on any rank is seen by all at the same step. */
enum train_flag {
    TRAIN_FLAG_STOP = 1,
    TRAIN_FLAG_TIME = 2,
    TRAIN_FLAG_SAVING = 4, /* a checkpoint is being written */
};

struct train_step;

struct train_step_result {
    double loss;      /* sum over tokens / tokens, of the global batch */
    double accuracy;  /* share of targets that had the largest logit */
    double grad_norm; /* before clipping */
    double lr;
    double loss_scale; /* of this step; 1 unless fp16 */
    bool skipped;      /* no weight was touched: the fp16 gradient overflowed, or `finding` says so */
    struct health_finding finding;
    int odd_rank;                         /* as param_check_run says */
    uint64_t flags;                       /* OR over ranks */
    double compute_s, reduce_s, update_s; /* of this rank */
};

/** What a step is made of; all outlive it. */
struct train_step_parts {
    struct rank_state *state;
    struct comm *host; /* for what the ranks agree on, in host memory */
    struct comm *data; /* for gradients and weights, in the back end's memory; may be `host` */
    struct reducer *reducer;
    struct param_gathers *gathers; /* stages 1 and 2, where communication overlaps; or NULL */
    struct optimizer *optimizer;
    struct loss_scaler *scaler;
    struct injection *injection;          /* what a test makes go wrong; or NULL */
    struct rank_progress *progress;       /* told of every phase; or NULL */
    void (*before_update)(void *context); /* called when weights are about to change; NULL: nobody asks */
    void *before_update_context;
    struct health *health;     /* judges the numbers */
    struct param_check *check; /* compares the weights where the job says so; or NULL */
};

enum muster_status train_step_create(const struct train_step_parts *parts, struct train_step **out,
                                     struct muster_error *err);
/** Takes NULL. */
void train_step_destroy(struct train_step *step);

/**
 * Runs step number `number` (0 for the first). No heap allocation. Collective. The new weights of other ranks
 * may still be on their way when it returns: train_step_settle. \param flags  this rank's train_flag bits
 * \return NUMERIC, on all ranks alike and before any weight was touched, when the numbers go wrong and the
 * job wants to stop then, or has tried everything else often enough; PEER, on all ranks alike, when their
 * weights differ.
 */
enum muster_status train_step_run(struct train_step *step, struct loader *loader, int64_t number,
                                  uint64_t flags, struct train_step_result *result, struct muster_error *err);

/** After a step and before anything but a step: new weights that are still on their way arrive. Collective.
 */
enum muster_status train_step_settle(struct train_step *step, struct muster_error *err);

/** [ranks] Seconds that each rank computed for a slot in the last step: forward, backward and waiting for
 * data. With a back end that runs asynchronously it is the time to hand the work over. */
const double *train_step_rank_seconds(const struct train_step *step);

/** Copies a micro-batch to the back end's input tensors (also used by evaluation). */
enum muster_status train_step_feed(struct rank_state *state, const struct loader_batch *batch,
                                   struct muster_error *err);

/** Floats of a micro-batch's losses and hits. */
int64_t train_step_result_floats(const struct plan *plan);

/** Fetches the last micro-batch's losses and hits, which are in `host` (kernels_memory_allocate_host,
 * train_step_result_floats) after the back end's next synchronise. */
enum muster_status train_step_fetch(struct rank_state *state, float *host, struct muster_error *err);

/** Their sums, in token order, in double. */
void train_step_sum(const struct plan *plan, const float *host, double *loss, double *correct);

#endif
