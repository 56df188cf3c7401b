/* SPDX-License-Identifier: MIT
 *
 * What the ranks exchange once a step is a block of doubles each: flags, computing time, then loss and hits
 * of every logical worker, then the sum of squares of every owned chunk. Everybody adds them in the same
 * order: losses in tree order, chunks by index.
 */
#include "worker/train_step.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/tree.h"
#include "worker/fault_point.h"
#include "worker/exchange/param_windows.h"
#include "worker/schedule.h"

struct train_step {
    struct train_step_parts parts;
    float
        *results; /* [slots of this rank][train_step_result_floats], host memory that the back end reaches */
    int64_t results_bytes;
    double *squares; /* of the owned chunks, likewise */
    int64_t squares_bytes;
    double *exchange;                 /* all ranks' blocks */
    double *rank_seconds;             /* [ranks] of computing a slot */
    int64_t *block_bytes;             /* [ranks] */
    int64_t *block_first;             /* [ranks] index of a rank's block in exchange */
    double *leaf_loss, *leaf_correct; /* [logical_workers] */
    double *chunk_squares;            /* [chunk_count] */
    unsigned char *stops;             /* [op_count] STEP_… : who acts before an operation */
    unsigned char acting;             /* STEP_… : who acts in the micro-step in hand */
};

/* Who acts between the operations of a micro-step: weights of a unit come, weights of a bucket come,
 * gradients go. */
enum { STEP_WINDOWS = 1, STEP_GATHERS = 2, STEP_REDUCES = 4 };

/* Doubles of a block before what its logical workers and chunks have. */
enum { STEP_HEAD = 2 };

static int train_step_leaves(const struct plan *plan, int rank)
{
    return plan->block_begin[rank + 1] - plan->block_begin[rank];
}

static int64_t train_step_owned_chunks(const struct plan *plan, int rank)
{
    return plan_owned_count(plan, rank) / plan->chunk_elements;
}

/* Where each rank's doubles lie in the exchange. */
static void train_step_cut_blocks(struct train_step *step, const struct plan *plan)
{
    int64_t first = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        int64_t count = STEP_HEAD + 2 * train_step_leaves(plan, rank) + train_step_owned_chunks(plan, rank);
        step->block_first[rank] = first;
        step->block_bytes[rank] = count * (int64_t)sizeof(double);
        first += count;
    }
}

static enum muster_status train_step_allocate(struct train_step *step, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    const struct plan *plan = state->plan;
    size_t ranks = (size_t)plan->ranks, leaves = (size_t)plan->logical_workers;
    int64_t total = STEP_HEAD * plan->ranks + 2 * plan->logical_workers + plan->chunk_count;
    step->exchange = alloc_zeroed((size_t)total, sizeof *step->exchange);
    step->rank_seconds = alloc_zeroed(ranks, sizeof *step->rank_seconds);
    step->block_bytes = alloc_zeroed(ranks, sizeof *step->block_bytes);
    step->block_first = alloc_zeroed(ranks, sizeof *step->block_first);
    step->leaf_loss = alloc_zeroed(leaves, sizeof *step->leaf_loss);
    step->leaf_correct = alloc_zeroed(leaves, sizeof *step->leaf_correct);
    step->chunk_squares = alloc_zeroed((size_t)plan->chunk_count, sizeof *step->chunk_squares);
    step->stops = alloc_zeroed((size_t)plan->graph->op_count, sizeof *step->stops);
    if (!step->exchange || !step->rank_seconds || !step->block_bytes || !step->block_first ||
        !step->leaf_loss || !step->leaf_correct || !step->chunk_squares || !step->stops)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the training step");
    int slots = train_step_leaves(plan, state->rank) * plan->slots_per_worker;
    step->results_bytes = slots * train_step_result_floats(plan) * (int64_t)sizeof(float);
    step->squares_bytes = train_step_owned_chunks(plan, state->rank) * (int64_t)sizeof(double);
    void *results = NULL, *squares = NULL;
    enum muster_status status =
        kernels_memory_allocate_host(state->kernels, step->results_bytes, &results, err);
    if (!status)
        status = kernels_memory_allocate_host(state->kernels, step->squares_bytes, &squares, err);
    step->results = results;
    step->squares = squares;
    return status;
}

static void train_step_mark_stops(struct train_step *step)
{
    struct train_step_parts *parts = &step->parts;
    if (parts->state->windows)
        param_windows_mark(parts->state->windows, STEP_WINDOWS, step->stops);
    if (parts->gathers)
        param_gathers_mark(parts->gathers, STEP_GATHERS, step->stops);
    reducer_mark(parts->reducer, STEP_REDUCES, step->stops);
}

enum muster_status train_step_create(const struct train_step_parts *parts, struct train_step **out,
                                     struct muster_error *err)
{
    *out = NULL;
    struct train_step *step = alloc_zeroed(1, sizeof *step);
    if (!step)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the training step");
    step->parts = *parts;
    enum muster_status status = train_step_allocate(step, err);
    if (status) {
        train_step_destroy(step);
        return status;
    }
    train_step_cut_blocks(step, parts->state->plan);
    train_step_mark_stops(step);
    *out = step;
    return MUSTER_OK;
}

void train_step_destroy(struct train_step *step)
{
    if (!step)
        return;
    kernels_memory_free_host(step->parts.state->kernels, step->results, step->results_bytes);
    kernels_memory_free_host(step->parts.state->kernels, step->squares, step->squares_bytes);
    alloc_free(step->exchange);
    alloc_free(step->rank_seconds);
    alloc_free(step->block_bytes);
    alloc_free(step->block_first);
    alloc_free(step->leaf_loss);
    alloc_free(step->leaf_correct);
    alloc_free(step->chunk_squares);
    alloc_free(step->stops);
    alloc_free(step);
}

const double *train_step_rank_seconds(const struct train_step *step)
{
    return step->rank_seconds;
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
    return kernels_copy_to_device(kernels, executor_tensor(state->executor, graph->pixels),
                                  rank_state_pixels(state, batch->pixels),
                                  graph->tensors[graph->pixels].bytes, err);
}

int64_t train_step_result_floats(const struct plan *plan)
{
    const struct graph *graph = plan->graph;
    return graph->tensors[graph->loss].count + graph->tensors[graph->correct].count;
}

enum muster_status train_step_fetch(struct rank_state *state, float *host, struct muster_error *err)
{
    const struct graph *graph = state->plan->graph;
    const struct graph_tensor *loss = &graph->tensors[graph->loss];
    enum muster_status status = kernels_copy_to_host_later(
        state->kernels, host, executor_tensor(state->executor, graph->loss), loss->bytes, err);
    if (status)
        return status;
    return kernels_copy_to_host_later(state->kernels, host + loss->count,
                                      executor_tensor(state->executor, graph->correct),
                                      graph->tensors[graph->correct].bytes, err);
}

/* Both at once, because each waits for its last add. */
void train_step_sum(const struct plan *plan, const float *host, double *loss, double *correct)
{
    int64_t count = plan->graph->tensors[plan->graph->loss].count;
    double losses = 0.0, hits = 0.0;
    for (int64_t i = 0; i < count; i++) {
        losses += (double)host[i];
        hits += (double)host[count + i];
    }
    *loss = losses;
    *correct = hits;
}

/* A stop before operation `op`. Waiting for weights comes before sending gradients, so that on a GPU what is
 * sent travels while the operations run; the next weights come last. */
static enum muster_status train_step_before(void *context, int op, struct muster_error *err)
{
    struct train_step *step = context;
    struct param_windows *windows = step->parts.state->windows;
    enum muster_status status = windows ? param_windows_ensure(windows, op, err) : MUSTER_OK;
    if (!status && step->acting & STEP_GATHERS)
        status = param_gathers_ensure(step->parts.gathers, op, err);
    if (!status && step->acting & STEP_REDUCES)
        status = reducer_before(step->parts.reducer, op, err);
    if (!status && windows)
        status = param_windows_prefetch(windows, err);
    return status;
}

/* Who acts in micro-step `slot` of `leaf`: from leaf and slot alone, so that the micro-step stops where it
 * did in the step before, whether weights are still on their way or have been waited for. */
static unsigned char train_step_acting(const struct train_step *step, int leaf, int slot)
{
    const struct rank_state *state = step->parts.state;
    bool first = leaf == 0 && slot == 0, last = slot == state->plan->slots_per_worker - 1;
    int acting = state->windows ? STEP_WINDOWS : 0;
    if (first && step->parts.gathers)
        acting |= STEP_GATHERS;
    if (last && reducer_wants_operations(step->parts.reducer, leaf))
        acting |= STEP_REDUCES;
    return (unsigned char)acting;
}

/* One logical worker: its slots in order, gradients accumulated in place. */
static enum muster_status train_step_leaf(struct train_step *step, struct loader *loader, int64_t number,
                                          int leaf, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    const struct plan *plan = state->plan;
    struct executor_step micro = {.seed = (uint64_t)state->job->seed,
                                  .step = number,
                                  .progress = step->parts.progress,
                                  .gradient_scale =
                                      (float)(step->parts.scaler->scale / (double)plan->step_tokens),
                                  .before_context = step,
                                  .stops = step->stops};
    injection_delay(step->parts.injection, number);
    enum muster_status status = reducer_leaf_begin(step->parts.reducer, leaf, &micro, err);
    for (int i = 0; i < plan->slots_per_worker && !status; i++) {
        float *results = step->results + (leaf * plan->slots_per_worker + i) * train_step_result_floats(plan);
        struct loader_batch batch;
        rank_progress_enter(step->parts.progress, RANK_PHASE_DATA);
        status = loader_next(loader, &batch, err);
        if (!status)
            status = train_step_feed(state, &batch, err);
        micro.slot = batch.slot;
        micro.stop_for = step->acting = train_step_acting(step, leaf, i);
        micro.before = micro.stop_for ? train_step_before : NULL;
        if (state->windows)
            param_windows_begin(state->windows, true);
        if (!status)
            status = executor_run(state->executor, &micro, err);
        if (!status)
            status = train_step_fetch(state, results, err);
    }
    return status ? status : reducer_leaf_end(step->parts.reducer, leaf, err);
}

/* Stage 3: the passes that others make and this rank has no slot for come first, so that all ranks reduce in
 * the same pass, the last one. */
static enum muster_status train_step_idle(struct train_step *step, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    int first, last;
    plan_slots_of_rank(state->plan, state->rank, &first, &last);
    enum muster_status status = MUSTER_OK;
    for (int pass = last - first; state->windows && pass < plan_step_passes(state->plan) && !status; pass++)
        status = param_windows_idle(state->windows, true, err);
    return status;
}

/* Sums of squares of the owned chunks, where the reduced gradients are. */
static enum muster_status train_step_squares(struct train_step *step, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    const struct plan *plan = state->plan;
    int64_t chunk = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, state->rank);
        const float *mine = reducer_sum(step->parts.reducer, bucket, owned.begin);
        enum muster_status status = kernels_sum_squares(state->kernels, mine, owned.end - owned.begin,
                                                        plan->chunk_elements, step->squares + chunk, err);
        if (status)
            return status;
        chunk += (owned.end - owned.begin) / plan->chunk_elements;
    }
    return MUSTER_OK;
}

static enum muster_status train_step_reduce(struct train_step *step, struct muster_error *err)
{
    enum muster_status status = reducer_finish(step->parts.reducer, err);
    if (!status)
        status = train_step_settle(step, err);
    if (!status)
        status = train_step_squares(step, err);
    return status ? status : kernels_synchronise(step->parts.state->kernels, err);
}

/* This rank's doubles: flags, seconds of computing a slot, losses and hits of its logical workers (slots in
 * order), squares of its chunks.
 */
static void train_step_pack(struct train_step *step, int64_t number, uint64_t flags, double compute_s)
{
    const struct plan *plan = step->parts.state->plan;
    int rank = step->parts.state->rank, leaves = train_step_leaves(plan, rank);
    double *block = step->exchange + step->block_first[rank];
    const float *results = step->results;
    int64_t data_number = number + step->parts.health->state.data_offset;
    block[0] = (double)flags;
    block[1] = compute_s / (leaves * plan->slots_per_worker);
    block += STEP_HEAD;
    for (int leaf = 0; leaf < leaves; leaf++) {
        block[leaf] = block[leaves + leaf] = 0.0;
        for (int i = 0; i < plan->slots_per_worker; i++) {
            double loss, correct;
            train_step_sum(plan, results, &loss, &correct);
            block[leaf] += injection_loss(step->parts.injection, data_number, loss);
            block[leaves + leaf] += correct;
            results += train_step_result_floats(plan);
        }
    }
    memcpy(block + 2 * leaves, step->squares, (size_t)step->squares_bytes);
}

/* Puts what the ranks sent where it belongs: leaves by index, chunks by index. */
static void train_step_unpack(struct train_step *step, uint64_t *flags)
{
    const struct plan *plan = step->parts.state->plan;
    *flags = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        const double *block = step->exchange + step->block_first[rank];
        int leaves = train_step_leaves(plan, rank);
        *flags |= (uint64_t)block[0];
        step->rank_seconds[rank] = block[1];
        block += STEP_HEAD;
        memcpy(step->leaf_loss + plan->block_begin[rank], block, (size_t)leaves * sizeof *block);
        memcpy(step->leaf_correct + plan->block_begin[rank], block + leaves, (size_t)leaves * sizeof *block);
        const double *squares = block + 2 * leaves;
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
    const struct plan *plan = step->parts.state->plan;
    enum muster_status status = comm_all_gather(step->parts.host, step->exchange, step->block_bytes, err);
    if (status)
        return status;
    train_step_unpack(step, &result->flags);
    double tokens = (double)plan->step_tokens, squares = 0.0;
    for (int64_t i = 0; i < plan->chunk_count; i++)
        squares += step->chunk_squares[i];
    result->loss = tree_sum(step->leaf_loss, plan->logical_workers) / tokens;
    result->accuracy = tree_sum(step->leaf_correct, plan->logical_workers) / tokens;
    result->grad_norm = sqrt(squares) / result->loss_scale;
    return MUSTER_OK;
}

/* Whether the step counts: everybody decides from the same numbers. An fp16 gradient that overflowed is the
 * loss scaler's. */
static enum muster_status train_step_judge(struct train_step *step, int64_t number,
                                           struct train_step_result *result, struct muster_error *err)
{
    bool scales = step->parts.state->job->train.precision == JOB_PRECISION_FP16;
    if (scales && isfinite(result->loss) && !isfinite(result->grad_norm)) {
        result->skipped = true;
        return loss_scaler_update(step->parts.scaler, true, err);
    }
    health_judge(step->parts.health, number, result->loss, result->grad_norm, &result->finding);
    result->skipped = result->finding.action != HEALTH_GO;
    if (result->finding.action == HEALTH_STOP)
        return muster_error_set(err, MUSTER_ERR_NUMERIC, "step %lld: %s", (long long)number + 1,
                                result->finding.text);
    return result->skipped ? MUSTER_OK : loss_scaler_update(step->parts.scaler, false, err);
}

/* The weights that this step was computed with, once they have done their work. */
static enum muster_status train_step_compare(struct train_step *step, int64_t number,
                                             struct train_step_result *result, struct muster_error *err)
{
    struct param_check *check = step->parts.check;
    if (check == NULL || !param_check_due(check, number))
        return MUSTER_OK;
    return param_check_run(check, number, &result->odd_rank, err);
}

enum muster_status train_step_settle(struct train_step *step, struct muster_error *err)
{
    return param_gathers_finish(step->parts.gathers, err);
}

static enum muster_status train_step_spoil(struct train_step *step, int64_t number, struct muster_error *err)
{
    void *weight = step->parts.check != NULL ? param_check_foreign(step->parts.check) : NULL;
    if (weight == NULL || !injection_flips(step->parts.injection, number))
        return MUSTER_OK;
    enum muster_status status = train_step_settle(step, err);
    if (!status)
        injection_flip(weight);
    return status;
}

/* The weights of a rank are whole again when its own parts of all buckets are new. */
static enum muster_status train_step_share(struct train_step *step, int bucket, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    if (state->plan->zero_stage == 0 || state->plan->zero_stage == 3)
        return MUSTER_OK;
    return step->parts.gathers ? param_gathers_start(step->parts.gathers, bucket, err)
                               : rank_state_gather_bucket(state, step->parts.data, bucket, err);
}

static enum muster_status train_step_update(struct train_step *step, int64_t number,
                                            const struct train_step_result *result, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    double clip = state->job->train.grad_clip;
    double scale = clip > 0.0 && result->grad_norm > clip ? clip / (result->grad_norm + 1e-6) : 1.0;
    for (int bucket = state->plan->bucket_count - 1; bucket >= 0; bucket--) {
        fault_point("optimizer");
        const float *gradient =
            reducer_sum(step->parts.reducer, bucket, plan_held_range(state->plan, bucket, state->rank).begin);
        enum muster_status status =
            optimizer_update_bucket(step->parts.optimizer, bucket, gradient, number, result->lr,
                                    (float)(scale / result->loss_scale), err);
        if (!status)
            status = train_step_share(step, bucket, err);
        if (status)
            return status;
    }
    if (state->windows)
        param_windows_forget(state->windows);
    return step->parts.gathers ? MUSTER_OK
                               : comm_end_before(step->parts.data, kernels_stream(state->kernels), err);
}

enum muster_status train_step_run(struct train_step *step, struct loader *loader, int64_t number,
                                  uint64_t flags, struct train_step_result *result, struct muster_error *err)
{
    struct rank_state *state = step->parts.state;
    int leaves = train_step_leaves(state->plan, state->rank);
    rank_progress_step(step->parts.progress, number + 1);
    double started = clock_seconds(), compute_s = 0.0;
    *result = (struct train_step_result){.lr = schedule_lr(state->job, number),
                                         .loss_scale = step->parts.scaler->scale,
                                         .odd_rank = PARAM_CHECK_EQUAL};
    enum muster_status status = kernels_timer_begin(state->kernels, err);
    if (!status)
        status = train_step_spoil(step, number, err);
    if (!status)
        status = train_step_idle(step, err);
    for (int leaf = 0; leaf < leaves && !status; leaf++)
        status = train_step_leaf(step, loader, number, leaf, err);
    if (!status)
        status = kernels_timer_end(state->kernels, err);
    rank_progress_enter(step->parts.progress, RANK_PHASE_REDUCE);
    if (!status)
        status = train_step_reduce(step, err);
    if (!status)
        status = kernels_timer_seconds(state->kernels, &compute_s, err);
    if (status)
        return status;
    train_step_pack(step, number, flags, compute_s);
    status = train_step_agree(step, result, err);
    double reduced = clock_seconds();
    if (!status)
        status = train_step_compare(step, number, result, err);
    if (!status)
        status = train_step_judge(step, number, result, err);
    rank_progress_enter(step->parts.progress, RANK_PHASE_UPDATE);
    if (!status && !result->skipped && step->parts.before_update)
        step->parts.before_update(step->parts.before_update_context);
    if (!status && !result->skipped)
        status = train_step_update(step, number, result, err);
    result->compute_s = compute_s;
    result->reduce_s = reduced - started - compute_s;
    result->update_s = clock_seconds() - reduced;
    return status;
}
