/* SPDX-License-Identifier: MIT
 *
 * A model, a back end and its memory, without job, plan or ranks: what the tests of the whole engine run.
 * Memory is poisoned before every run and guarded at its ends, so that reading what nobody wrote, or writing
 * beyond a region, shows.
 */
#ifndef MUSTER_TESTS_WORKER_ENGINE_FIXTURE_H
#define MUSTER_TESTS_WORKER_ENGINE_FIXTURE_H

#include "kernels/kernels.h"
#include "model/graph.h"
#include "worker/executor.h"

/* The plug-in named by MUSTER_CUDA_PLUGIN is not among the back ends that every test loops over. */
enum engine_backend { ENGINE_REF = 0, ENGINE_CPU, ENGINE_BACKEND_COUNT, ENGINE_PLUGIN };

struct engine_region {
    char *block;
    int64_t bytes;
};

struct engine {
    struct graph *graph;
    struct kernels *kernels;
    struct executor *executor;
    void *scratch; /* memory of the back end */
    int64_t scratch_bytes;
    int64_t flat_count;
    float *master; /* host: fp32 weights of the flat space, with record.py's start values */
    struct engine_region params, activations, inputs, gradients; /* memory of the back end */
};

struct engine_options {
    enum engine_backend backend;
    int threads; /* 0 means 1 */
    struct model_config config;
    enum dtype dtype;
    enum recompute recompute;
};

/** Fails the test when something cannot be made. Inputs and weights are record.py's. */
void engine_init(struct engine *engine, const struct engine_options *options);
/** Also checks that nothing wrote beyond a region. */
void engine_release(struct engine *engine);

/** Copies `master`, rounded to the compute dtype, to where the operations read it. */
void engine_publish(struct engine *engine);
/** Puts ids of a micro-batch in place. */
void engine_feed_ids(struct engine *engine, const int32_t *ids);

/** Poisons the activations and runs one micro-step; gradients are added to what is there. */
void engine_step(struct engine *engine, const struct executor_step *step);
/** `slot` of step 7 with gradient_scale = 1 / tokens. */
struct executor_step engine_training_step(const struct engine *engine, int slot);
/** Zeroes the gradients and runs `slot` of step 7 with gradient_scale = 1 / tokens. */
void engine_train(struct engine *engine, int slot);
/** Forward only. */
void engine_evaluate(struct engine *engine);

void engine_gradients_zero(struct engine *engine);
/** Fresh arrays (free): gradients of the flat space, losses and logits of every row. */
float *engine_gradients_copy(const struct engine *engine);
float *engine_losses_copy(const struct engine *engine);
float *engine_logits_copy(const struct engine *engine);
/** Sum of the losses / rows. */
double engine_mean_loss(const struct engine *engine);

#endif
