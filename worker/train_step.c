/* SPDX-License-Identifier: MIT
 *
 * What the ranks exchange once a step is a block of doubles each: flags, then loss and hits of every logical
 * worker, then the sum of squares of every owned chunk. Everybody adds them in the same order: losses in tree
 * order, chunks by index.
 */
#include "worker/train_step.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/tree.h"
#include "worker/schedule.h"

struct train_step {
    struct rank_state *state;
    struct comm *comm;
    struct reducer *reducer;
    struct optimizer *optimizer;
    float *host;                      /* [tokens] losses or hits of a micro-batch */
    double *exchange;                 /* all ranks' blocks */
    int64_t *block_bytes;             /* [ranks] */
    int64_t *block_first;             /* [ranks] index of a rank's block in exchange */
    double *leaf_loss, *leaf_correct; /* [logical_workers] */
    double *chunk_squares;            /* [chunk_count] */
    float **mine;                     /* [bucket_count] reduced gradients of the owned ranges */
};

static int train_step_leaves(const struct plan *plan, int rank)
{
    return plan->block_begin[rank + 1] - plan->block_begin[rank];
}

enum muster_status train_step_create(struct rank_state *state, struct comm *comm, struct reducer *reducer,
                                     struct optimizer *optimizer, struct train_step **out,
                                     struct muster_error *err)
{
    *out = NULL;
    const struct plan *plan = state->plan;
    struct train_step *step = alloc_zeroed(1, sizeof *step);
    if (!step)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the training step");
    *step = (struct train_step){.state = state, .comm = comm, .reducer = reducer, .optimizer = optimizer};
    size_t ranks = (size_t)plan->ranks, leaves = (size_t)plan->logical_workers;
    int64_t total = plan->ranks + 2 * plan->logical_workers + plan->chunk_count;
    step->host = alloc_zeroed((size_t)plan->graph->tokens, sizeof *step->host);
    step->exchange = alloc_zeroed((size_t)total, sizeof *step->exchange);
    step->block_bytes = alloc_zeroed(ranks, sizeof *step->block_bytes);
    step->block_first = alloc_zeroed(ranks, sizeof *step->block_first);
    step->leaf_loss = alloc_zeroed(leaves, sizeof *step->leaf_loss);
    step->leaf_correct = alloc_zeroed(leaves, sizeof *step->leaf_correct);
    step->chunk_squares = alloc_zeroed((size_t)plan->chunk_count, sizeof *step->chunk_squares);
    step->mine = alloc_zeroed((size_t)plan->bucket_count, sizeof *step->mine);
    if (!step->host || !step->exchange || !step->block_bytes || !step->block_first || !step->leaf_loss ||
        !step->leaf_correct || !step->chunk_squares || !step->mine) {
        train_step_destroy(step);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the training step");
    }
    int64_t first = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        int64_t count =
            1 + 2 * train_step_leaves(plan, rank) + plan_owned_count(plan, rank) / plan->chunk_elements;
        step->block_first[rank] = first;
        step->block_bytes[rank] = count * (int64_t)sizeof(double);
        first += count;
    }
    *out = step;
    return MUSTER_OK;
}

void train_step_destroy(struct train_step *step)
{
    if (!step)
        return;
    alloc_free(step->host);
    alloc_free(step->exchange);
    alloc_free(step->block_bytes);
    alloc_free(step->block_first);
    alloc_free(step->leaf_loss);
    alloc_free(step->leaf_correct);
    alloc_free(step->chunk_squares);
    alloc_free(step->mine);
    alloc_free(step);
}

enum muster_status train_step_feed(struct rank_state *state, const struct loader_batch *batch,
                                   struct muster_error *err)
{
    const struct graph *graph = state->plan->graph;
    struct kernels *kernels = state->kernels;
    enum muster_status status =
        kernels_copy_to_device(kernels, executor_tensor(state->executor, graph->targets), batch->targets,
                               graph->tensors[graph->targets].bytes, err);
    if (status)
        return status;
    if (graph->ids != GRAPH_NONE)
        return kernels_copy_to_device(kernels, executor_tensor(state->executor, graph->ids), batch->ids,
                                      graph->tensors[graph->ids].bytes, err);
    void *pixels = executor_tensor(state->executor, graph->pixels);
    if (graph->compute_dtype == DTYPE_BF16)
        return kernels_round_to(kernels, graph->compute_dtype, pixels, batch->pixels,
                                graph->tensors[graph->pixels].count, err);
    return kernels_copy_to_device(kernels, pixels, batch->pixels, graph->tensors[graph->pixels].bytes, err);
}

static double train_step_sum(const float *values, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i];
    return sum;
}

enum muster_status train_step_results(struct rank_state *state, float *host, double *loss, double *correct,
                                      struct muster_error *err)
{
    const struct graph *graph = state->plan->graph;
    const struct graph_tensor *tensor = &graph->tensors[graph->loss];
    enum muster_status status = kernels_synchronise(state->kernels, err);
    if (!status)
        status = kernels_copy_to_host(state->kernels, host, executor_tensor(state->executor, graph->loss),
                                      tensor->bytes, err);
    if (status)
        return status;
    *loss = train_step_sum(host, tensor->count);
    status = kernels_copy_to_host(state->kernels, host, executor_tensor(state->executor, graph->correct),
                                  tensor->bytes, err);
    *correct = train_step_sum(host, tensor->count);
    return status;
}

/* One logical worker: its slots in order, gradients accumulated in place. */
static enum muster_status train_step_leaf(struct train_step *step, struct loader *loader, int64_t number,
                                          int leaf, double *loss, double *correct, struct muster_error *err)
{
    struct rank_state *state = step->state;
    const struct plan *plan = state->plan;
    struct executor_step micro = {.seed = (uint64_t)state->job->seed,
                                  .step = number,
                                  .gradient_scale = (float)(1.0 / (double)plan->step_tokens)};
    enum muster_status status = reducer_leaf_begin(step->reducer, leaf, &micro.gradients, err);
    *loss = *correct = 0.0;
    for (int i = 0; i < plan->slots_per_worker && !status; i++) {
        struct loader_batch batch;
        double slot_loss = 0.0, slot_correct = 0.0;
        status = loader_next(loader, &batch, err);
        if (!status)
            status = train_step_feed(state, &batch, err);
        micro.slot = batch.slot;
        if (!status)
            status = executor_run(state->executor, &micro, err);
        if (!status)
            status = train_step_results(state, step->host, &slot_loss, &slot_correct, err);
        *loss += slot_loss;
        *correct += slot_correct;
    }
    return status ? status : reducer_leaf_end(step->reducer, leaf, err);
}

static enum muster_status train_step_reduce(struct train_step *step, double *squares,
                                            struct muster_error *err)
{
    const struct plan *plan = step->state->plan;
    int64_t chunk = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        enum muster_status status = reducer_reduce_bucket(step->reducer, bucket, &step->mine[bucket], err);
        if (status)
            return status;
        struct plan_range owned = plan_owned_range(plan, bucket, step->state->rank);
        for (int64_t at = owned.begin; at < owned.end; at += plan->chunk_elements) {
            status = kernels_sum_squares(step->state->kernels, step->mine[bucket] + (at - owned.begin),
                                         plan->chunk_elements, &squares[chunk++], err);
            if (status)
                return status;
        }
    }
    return MUSTER_OK;
}

/* Puts what the ranks sent where it belongs: leaves by index, chunks by index. */
static void train_step_unpack(struct train_step *step, uint64_t *flags)
{
    const struct plan *plan = step->state->plan;
    *flags = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        const double *block = step->exchange + step->block_first[rank];
        int leaves = train_step_leaves(plan, rank);
        *flags |= (uint64_t)block[0];
        memcpy(step->leaf_loss + plan->block_begin[rank], block + 1, (size_t)leaves * sizeof *block);
        memcpy(step->leaf_correct + plan->block_begin[rank], block + 1 + leaves,
               (size_t)leaves * sizeof *block);
        const double *squares = block + 1 + 2 * leaves;
        for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
            struct plan_range owned = plan_owned_range(plan, bucket, rank);
            for (int64_t at = owned.begin; at < owned.end; at += plan->chunk_elements)
                step->chunk_squares[at / plan->chunk_elements] = *squares++;
        }
    }
}

static enum muster_status train_step_agree(struct train_step *step, struct train_step_result *result,
                                           struct muster_error *err)
{
    const struct plan *plan = step->state->plan;
    enum muster_status status = comm_all_gather(step->comm, step->exchange, step->block_bytes, err);
    if (status)
        return status;
    train_step_unpack(step, &result->flags);
    double tokens = (double)plan->step_tokens, squares = 0.0;
    for (int64_t i = 0; i < plan->chunk_count; i++)
        squares += step->chunk_squares[i];
    result->loss = tree_sum(step->leaf_loss, plan->logical_workers) / tokens;
    result->accuracy = tree_sum(step->leaf_correct, plan->logical_workers) / tokens;
    result->grad_norm = sqrt(squares);
    return MUSTER_OK;
}

static enum muster_status train_step_update(struct train_step *step, int64_t number,
                                            const struct train_step_result *result, struct muster_error *err)
{
    double clip = step->state->job->train.grad_clip;
    float scale = clip > 0.0 && result->grad_norm > clip ? (float)(clip / (result->grad_norm + 1e-6)) : 1.0f;
    for (int bucket = 0; bucket < step->state->plan->bucket_count; bucket++) {
        enum muster_status status = optimizer_update_bucket(step->optimizer, bucket, step->mine[bucket],
                                                            number, result->lr, scale, err);
        if (!status)
            status = rank_state_gather_bucket(step->state, step->comm, bucket, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

enum muster_status train_step_run(struct train_step *step, struct loader *loader, int64_t number,
                                  uint64_t flags, struct train_step_result *result, struct muster_error *err)
{
    const struct plan *plan = step->state->plan;
    int leaves = train_step_leaves(plan, step->state->rank);
    double *block = step->exchange + step->block_first[step->state->rank];
    double started = clock_seconds();
    *result = (struct train_step_result){.lr = schedule_lr(step->state->job, number)};
    block[0] = (double)flags;
    for (int leaf = 0; leaf < leaves; leaf++) {
        enum muster_status status =
            train_step_leaf(step, loader, number, leaf, &block[1 + leaf], &block[1 + leaves + leaf], err);
        if (status)
            return status;
    }
    double computed = clock_seconds();
    enum muster_status status = train_step_reduce(step, block + 1 + 2 * leaves, err);
    if (!status)
        status = train_step_agree(step, result, err);
    if (status)
        return status;
    double reduced = clock_seconds();
    if (!isfinite(result->loss) || !isfinite(result->grad_norm))
        return muster_error_set(err, MUSTER_ERR_NUMERIC,
                                "step %lld: loss %g and gradient norm %g must be finite",
                                (long long)number + 1, result->loss, result->grad_norm);
    status = train_step_update(step, number, result, err);
    result->compute_s = computed - started;
    result->reduce_s = reduced - computed;
    result->update_s = clock_seconds() - reduced;
    return status;
}
