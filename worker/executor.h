/* SPDX-License-Identifier: MIT
 *
 * Runs a graph on a back end: every operation's arguments are resolved to pointers once, and a micro-step is
 * a walk over that list. Nothing is allocated and nothing is decided while it runs.
 */
#ifndef MUSTER_WORKER_EXECUTOR_H
#define MUSTER_WORKER_EXECUTOR_H

#include "base/error.h"
#include "kernels/kernels.h"
#include "model/graph.h"
#include "worker/rank_progress.h"

struct executor;

/** Where the graph's tensors live, in the back end's memory. All outlive the executor. */
struct executor_memory {
    void *params;               /* in the compute dtype */
    const int64_t *param_place; /* [param_count] first element of each parameter in `params`; NULL: its place
                                   in the flat space */
    void *activations;          /* graph->arena_bytes */
    void *inputs;               /* graph->input_bytes */
};

/** What one micro-step depends on besides data and weights. */
struct executor_step {
    uint64_t seed;
    int64_t step;
    int slot;
    float gradient_scale;          /* of the loss: 1 / tokens of the global batch */
    float *gradients;              /* fp32, added to; NULL: evaluation (forward only, no dropout) */
    const int64_t *gradient_place; /* as param_place, in `gradients` */
    /* called before each operation, for who brings weights and takes gradients away; or NULL */
    enum muster_status (*before)(void *context, int op, struct muster_error *err);
    void *before_context;
    struct rank_progress *progress; /* told of every operation; or NULL */
};

/** Takes graph and kernels by reference. */
enum muster_status executor_create(const struct graph *graph, struct kernels *kernels,
                                   const struct executor_memory *memory, struct executor **out,
                                   struct muster_error *err);
void executor_destroy(struct executor *executor);

/**
 * One micro-batch: forward and backward, or forward alone. Inputs were copied before (train_step_feed).
 * Asynchronous where the back end is. Where the back end can record, a micro-step without dropout and without
 * `before` is recorded the second time it comes and run as a whole from then on.
 */
enum muster_status executor_run(struct executor *executor, const struct executor_step *step,
                                struct muster_error *err);

/** Address of an input or result tensor (graph->ids, targets, pixels, loss, correct …). */
void *executor_tensor(const struct executor *executor, int tensor);

/**
 * Logits of one row of the last micro-batch whose head input is still in place: run with gradients NULL
 * first. \param logits  [vocab_size] in the compute dtype, back-end memory
 */
enum muster_status executor_logits(struct executor *executor, int64_t row, void *logits,
                                   struct muster_error *err);

#endif
