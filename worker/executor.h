/* SPDX-License-Identifier: MIT
 *
 * Runs a graph on a back end: every operation's arguments are resolved to pointers once, and a micro-step is
 * a walk over that list. Nothing is allocated and nothing is decided while it runs.
 *
 * Where others have to act between two operations (weights arrive, gradients leave) the micro-step stops. The
 * operations from one stop to the next are a segment: a back end that can record runs each as one piece of
 * work, and what is done at a stop is in no recording.
 */
#ifndef MUSTER_WORKER_EXECUTOR_H
#define MUSTER_WORKER_EXECUTOR_H

#include "base/error.h"
#include "kernels/kernels.h"
#include "model/graph.h"
#include "worker/watch/rank_progress.h"

struct executor;

enum { EXECUTOR_RECORDINGS_MAX = 16 };

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
    /* who brings weights and takes gradients away, or NULL: called before each operation that has one of the
     * bits `stop_for` in `stops`, and before no other */
    enum muster_status (*before)(void *context, int op, struct muster_error *err);
    void *before_context;
    const unsigned char *stops; /* [op_count] never changes in the executor's life; NULL: every operation */
    unsigned char stop_for;
    struct rank_progress *progress; /* told of every operation; or NULL */
};

/** Takes graph and kernels by reference. */
enum muster_status executor_create(const struct graph *graph, struct kernels *kernels,
                                   const struct executor_memory *memory, struct executor **out,
                                   struct muster_error *err);
void executor_destroy(struct executor *executor);

/**
 * One micro-batch: forward and backward, or forward alone. Inputs were copied before (train_step_feed).
 * Asynchronous where the back end is.
 *
 * Where the back end can record, the segments of a training micro-step without dropout are recorded the
 * second time that it comes, and run as recorded from then on. It is the same micro-step when `gradients`,
 * `gradient_place`, `gradient_scale`, `before`, `stops` and `stop_for` are: nothing else in it reaches an
 * operation's arguments, because weights, activations and inputs have one address each for the executor's
 * life. Of the micro-steps that differ in more than the scale the first EXECUTOR_RECORDINGS_MAX are recorded;
 * a scale that moved replaces its predecessor. A segment of one operation is recorded too: the operation is
 * one launch or several, its recording one. `progress` is told of the operations of a recording before it is
 * started. A recording that fails is reported once, and nothing is recorded after it.
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
