/* SPDX-License-Identifier: MIT
 *
 * A loader is made for every evaluation: evaluations are rare, and the training step is the part that must
 * not allocate.
 */
#include "worker/evaluate.h"

#include "base/alloc.h"
#include "worker/exchange/param_windows.h"
#include "worker/train_step.h"

struct evaluator {
    struct rank_state *state;
    struct comm *comm;
    const struct dataset *dataset;
    struct sampler *sampler;
    int batches;
    float *host;
    double *sums;         /* [2 · batches]: loss and hits of each */
    int64_t *block_bytes; /* [ranks] */
};

static int evaluator_first(const struct evaluator *evaluator, int rank)
{
    return (int)((int64_t)evaluator->batches * rank / evaluator->comm->size);
}

enum muster_status evaluator_create(struct rank_state *state, struct comm *comm,
                                    const struct dataset *dataset, int64_t iters, struct evaluator **out,
                                    struct muster_error *err)
{
    *out = NULL;
    struct evaluator *evaluator = alloc_zeroed(1, sizeof *evaluator);
    if (!evaluator)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for evaluation");
    *evaluator = (struct evaluator){.state = state, .comm = comm, .dataset = dataset};
    int64_t held = dataset_info(dataset)->sample_count / state->plan->graph->micro_batch_size;
    evaluator->batches = (int)(iters < held ? iters : held);
    void *host = NULL;
    enum muster_status status = kernels_memory_allocate_host(
        state->kernels, train_step_result_floats(state->plan) * (int64_t)sizeof *evaluator->host, &host, err);
    evaluator->host = host;
    evaluator->sums = alloc_zeroed(2 * (size_t)evaluator->batches, sizeof *evaluator->sums);
    evaluator->block_bytes = alloc_zeroed((size_t)comm->size, sizeof *evaluator->block_bytes);
    if (!status && (!evaluator->sums || !evaluator->block_bytes))
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for evaluation");
    if (!status)
        status = sampler_create(dataset, 0, false, &evaluator->sampler, err);
    if (status) {
        evaluator_destroy(evaluator);
        return status;
    }
    for (int rank = 0; rank < comm->size; rank++)
        evaluator->block_bytes[rank] =
            (evaluator_first(evaluator, rank + 1) - evaluator_first(evaluator, rank)) * 2 *
            (int64_t)sizeof(double);
    *out = evaluator;
    return MUSTER_OK;
}

void evaluator_destroy(struct evaluator *evaluator)
{
    if (!evaluator)
        return;
    sampler_destroy(evaluator->sampler);
    kernels_memory_free_host(evaluator->state->kernels, evaluator->host,
                             train_step_result_floats(evaluator->state->plan) *
                                 (int64_t)sizeof *evaluator->host);
    alloc_free(evaluator->sums);
    alloc_free(evaluator->block_bytes);
    alloc_free(evaluator);
}

/* Stage 3: a batch fewer than others is a pass of gathering with them. */
static enum muster_status evaluator_idle(struct evaluator *evaluator, int batches, struct muster_error *err)
{
    struct param_windows *windows = evaluator->state->windows;
    int most = (evaluator->batches + evaluator->comm->size - 1) / evaluator->comm->size;
    return windows && batches < most ? param_windows_idle(windows, false, err) : MUSTER_OK;
}

static enum muster_status evaluator_own_batches(struct evaluator *evaluator, int first, int last,
                                                struct muster_error *err)
{
    struct rank_state *state = evaluator->state;
    const struct graph *graph = state->plan->graph;
    struct loader_options options = {
        .micro_batch_size = graph->micro_batch_size,
        .slots_per_step = evaluator->batches,
        .slot_begin = first,
        .slot_end = last,
        .first_step = 0,
        .last_step = 1,
        .seq_len = graph->config.seq_len,
        .vocab_size = graph->config.vocab_size,
        .input_size = graph->config.input_size,
        .depth = 2,
    };
    struct loader *loader = NULL;
    enum muster_status status = loader_create(evaluator->dataset, evaluator->sampler, &options, &loader, err);
    struct executor_step forward = {.gradients = NULL,
                                    .before = state->windows ? param_windows_before : NULL,
                                    .before_context = state->windows};
    for (int batch = first; batch < last && !status; batch++) {
        struct loader_batch data;
        status = loader_next(loader, &data, err);
        if (!status)
            status = train_step_feed(state, &data, err);
        if (state->windows)
            param_windows_begin(state->windows, false);
        if (!status)
            status = executor_run(state->executor, &forward, err);
        if (!status)
            status = train_step_fetch(state, evaluator->host, err);
        if (!status && state->windows)
            status = param_windows_finish(state->windows, err);
        if (!status)
            status = kernels_synchronise(state->kernels, err);
        if (!status)
            train_step_sum(state->plan, evaluator->host, &evaluator->sums[2 * batch],
                           &evaluator->sums[2 * batch + 1]);
    }
    loader_destroy(loader);
    return status;
}

enum muster_status evaluator_run(struct evaluator *evaluator, double *loss, double *accuracy,
                                 struct muster_error *err)
{
    int rank = evaluator->comm->rank;
    int first = evaluator_first(evaluator, rank), last = evaluator_first(evaluator, rank + 1);
    enum muster_status status = evaluator_idle(evaluator, last - first, err);
    if (!status && first < last)
        status = evaluator_own_batches(evaluator, first, last, err);
    if (!status)
        status = comm_all_gather(evaluator->comm, evaluator->sums, evaluator->block_bytes, err);
    if (status)
        return status;
    double loss_sum = 0.0, correct_sum = 0.0;
    for (int batch = 0; batch < evaluator->batches; batch++) {
        loss_sum += evaluator->sums[2 * batch];
        correct_sum += evaluator->sums[2 * batch + 1];
    }
    double tokens = (double)evaluator->batches * (double)evaluator->state->plan->graph->tokens;
    *loss = loss_sum / tokens;
    *accuracy = correct_sum / tokens;
    return MUSTER_OK;
}
