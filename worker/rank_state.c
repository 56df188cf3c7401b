/* SPDX-License-Identifier: MIT
 *
 * One mapping, cut by the plan's regions. With fp32 compute the weights themselves are the master copy and a
 * piece points into them; with bf16 a piece points into the compact master region.
 */
#include "worker/rank_state.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/tree.h"
#include "coordinator/ckpt/ckpt_plan.h"
#include "worker/exchange/param_windows.h"

enum { RANK_STATE_RNG_INIT = 0x696e6974 };

static void *rank_state_region(const struct rank_state *state, enum plan_region region)
{
    return state->memory.region[region].bytes ? state->block + state->memory.region[region].offset : NULL;
}

static bool rank_state_has_master(const struct rank_state *state)
{
    return state->plan->graph->compute_dtype != DTYPE_F32 || state->plan->offload;
}

void *rank_state_param(const struct rank_state *state, int bucket, int64_t element)
{
    const struct plan *plan = state->plan;
    if (plan->zero_stage == 3)
        element += state->owned_first[bucket] - plan_owned_range(plan, bucket, state->rank).begin;
    return (char *)state->params + element * (int64_t)dtype_size(plan->graph->compute_dtype);
}

static void rank_state_cut_pieces(struct rank_state *state)
{
    const struct plan *plan = state->plan;
    int64_t held_count = plan_held_count(plan, state->rank);
    float *offloaded = plan->offload ? (float *)state->host_block : NULL;
    float *master = offloaded ? offloaded : rank_state_region(state, PLAN_REGION_MASTER);
    float *first = offloaded ? offloaded + held_count : rank_state_region(state, PLAN_REGION_STATE_FIRST);
    float *second = offloaded ? first + held_count : rank_state_region(state, PLAN_REGION_STATE_SECOND);
    int64_t held_at = 0, owned_at = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range held = plan_held_range(plan, bucket, state->rank);
        struct plan_range owned = plan_owned_range(plan, bucket, state->rank);
        struct ckpt_piece *piece = &state->held[bucket];
        state->owned_first[bucket] = owned_at;
        piece->begin = held.begin;
        piece->end = held.end;
        piece->data[0] =
            rank_state_has_master(state) ? master + held_at : rank_state_param(state, bucket, held.begin);
        piece->data[1] = first + held_at;
        piece->data[2] = plan->state_count > 1 ? second + held_at : NULL;
        state->pieces[bucket] = (struct ckpt_piece){.begin = owned.begin, .end = owned.end};
        for (int kind = 0; kind <= plan->state_count; kind++)
            state->pieces[bucket].data[kind] = piece->data[kind] + (owned.begin - held.begin);
        held_at += held.end - held.begin;
        owned_at += owned.end - owned.begin;
    }
}

/* The ranges of `pieces` in another block: kind by kind, pieces in order. NULL when memory is short. */
static struct ckpt_piece *rank_state_cut_copy(const struct rank_state *state, float *block)
{
    const struct plan *plan = state->plan;
    struct ckpt_piece *copies = alloc_zeroed((size_t)plan->bucket_count, sizeof *copies);
    for (int kind = 0; copies && kind <= plan->state_count; kind++)
        for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
            struct ckpt_piece *piece = &copies[bucket];
            piece->begin = state->pieces[bucket].begin;
            piece->end = state->pieces[bucket].end;
            piece->data[kind] = block;
            block += piece->end - piece->begin;
        }
    return copies;
}

/* What a save beside training reads: the copy from the GPU, or the region for it. The offloaded state has
 * none. */
static enum muster_status rank_state_cut_snapshot(struct rank_state *state, struct muster_error *err)
{
    state->snapshot_pieces = NULL;
    if (!state->plan->saves_async || (state->plan->on_device && state->plan->offload))
        return MUSTER_OK;
    state->snapshot_pieces = state->host_pieces != state->pieces
                                 ? state->host_pieces
                                 : rank_state_cut_copy(state, rank_state_region(state, PLAN_REGION_SNAPSHOT));
    return state->snapshot_pieces
               ? MUSTER_OK
               : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the rank's state");
}

/* Host memory that a GPU reaches: the offloaded state, or a copy of the owned ranges for checkpoints. */
static enum muster_status rank_state_allocate_host(struct rank_state *state, struct muster_error *err)
{
    void *block = NULL;
    if (state->memory.host_bytes == 0)
        return MUSTER_OK;
    enum muster_status status =
        kernels_memory_allocate_host(state->kernels, state->memory.host_bytes, &block, err);
    if (status)
        return status;
    state->host_block = block;
    memset(block, 0,
           (size_t)state->memory.host_bytes); /* parameters that begin at zero, and what pads them */
    return MUSTER_OK;
}

/* The offloaded state is followed by what is on its way to or from the update. */
static enum muster_status rank_state_start_update(struct rank_state *state, const char *instruction_set,
                                                  struct muster_error *err)
{
    const struct plan *plan = state->plan;
    state->update_kernels = state->kernels;
    if (!plan->offload)
        return MUSTER_OK;
    int64_t largest = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        const struct ckpt_piece *piece = &state->held[bucket];
        largest = piece->end - piece->begin > largest ? piece->end - piece->begin : largest;
    }
    state->host_gradient =
        (float *)state->host_block + (1 + plan->state_count) * plan_held_count(plan, state->rank);
    if (plan->graph->compute_dtype != DTYPE_F32)
        state->host_rounded = (uint16_t *)(state->host_gradient + largest);
    state->update_kernels = NULL;
    return kernels_cpu_create(plan->threads, instruction_set, NULL, 0, &state->update_kernels, err);
}

static void rank_state_name_numerics(struct rank_state *state)
{
    const bool two = state->update_kernels != state->kernels;
    snprintf(state->numerics, sizeof state->numerics, "%s%s%s", state->kernels->numerics,
             two ? ", updates by " : "", two ? state->update_kernels->numerics : "");
}

/* The copy in host memory. */
static enum muster_status rank_state_cut_host(struct rank_state *state, struct muster_error *err)
{
    const struct plan *plan = state->plan;
    if (state->memory.host_bytes == 0 || plan->offload) {
        state->host_pieces = state->pieces;
        return MUSTER_OK;
    }
    state->host_pieces = rank_state_cut_copy(state, (float *)state->host_block);
    return state->host_pieces ? MUSTER_OK
                              : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the rank's state");
}

/* The back end, its memory, and everything that points into it. */
static enum muster_status rank_state_allocate(struct rank_state *state, const struct device *device,
                                              const char *instruction_set, struct muster_error *err)
{
    static const struct device cpu = {0};
    void *block = NULL;
    enum muster_status status = device_kernels_create(
        device ? device : &cpu, state->job, state->plan->threads, instruction_set, &state->kernels, err);
    if (!status)
        status = kernels_memory_allocate(state->kernels, state->memory.total_bytes, &block, err);
    if (status)
        return status;
    state->block = block;
    if (state->plan->on_device)
        status = kernels_fill_zero(state->kernels, block, state->memory.total_bytes, err);
    state->kernels->scratch = rank_state_region(state, PLAN_REGION_SCRATCH);
    state->kernels->scratch_bytes = state->memory.region[PLAN_REGION_SCRATCH].bytes;
    state->params = rank_state_region(state, PLAN_REGION_PARAMS);
    state->param_windows = rank_state_region(state, PLAN_REGION_PARAM_WINDOWS);
    state->gradients = rank_state_region(state, PLAN_REGION_GRADIENTS);
    state->gradient_windows = rank_state_region(state, PLAN_REGION_GRADIENT_WINDOWS);
    state->gradient_sum = rank_state_region(state, PLAN_REGION_GRADIENT_SUM);
    state->receive = rank_state_region(state, PLAN_REGION_RECEIVE);
    if (!status)
        status = rank_state_allocate_host(state, err);
    if (status)
        return status;
    rank_state_cut_pieces(state);
    status = rank_state_start_update(state, instruction_set, err);
    if (status)
        return status;
    rank_state_name_numerics(state);
    status = rank_state_cut_host(state, err);
    return status ? status : rank_state_cut_snapshot(state, err);
}

static enum muster_status rank_state_start_executor(struct rank_state *state, struct muster_error *err)
{
    struct executor_memory memory = {
        .params = state->param_windows ? state->param_windows : state->params,
        .param_place = state->param_windows ? state->plan->units.param_place : NULL,
        .activations = rank_state_region(state, PLAN_REGION_ACTIVATIONS),
        .inputs = rank_state_region(state, PLAN_REGION_INPUTS),
    };
    return executor_create(state->plan->graph, state->kernels, &memory, &state->executor, err);
}

enum muster_status rank_state_create(const struct job *job, const struct plan *plan, int rank,
                                     const struct device *device, const char *instruction_set,
                                     struct rank_state **out, struct muster_error *err)
{
    *out = NULL;
    struct rank_state *state = alloc_zeroed(1, sizeof *state);
    enum muster_status status = MUSTER_OK;
    if (!state)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the rank's state");
    state->job = job;
    state->plan = plan;
    state->rank = rank;
    status = plan_rank_memory(plan, rank, &state->memory, err);
    if (status)
        goto out;
    state->held = alloc_zeroed((size_t)plan->bucket_count, sizeof *state->held);
    state->pieces = alloc_zeroed((size_t)plan->bucket_count, sizeof *state->pieces);
    state->owned_first = alloc_zeroed((size_t)plan->bucket_count, sizeof *state->owned_first);
    state->tensors = alloc_zeroed((size_t)plan->graph->param_count, sizeof *state->tensors);
    bool rounds = plan->graph->pixels != GRAPH_NONE && plan->graph->compute_dtype != DTYPE_F32;
    if (rounds)
        state->pixels =
            alloc_zeroed((size_t)plan->graph->tensors[plan->graph->pixels].count, sizeof *state->pixels);
    if (!state->held || !state->pieces || !state->owned_first || !state->tensors ||
        (rounds && !state->pixels)) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the rank's state");
        goto out;
    }
    status = rank_state_allocate(state, device, instruction_set, err);
    if (status == MUSTER_ERR_NO_MEMORY) {
        struct muster_error cause = err ? *err : (struct muster_error){0};
        char bytes[32];
        text_format_bytes(bytes, sizeof bytes, state->memory.total_bytes);
        muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                         "rank %d: the planned %s cannot be allocated: %s. What helps: %s", rank, bytes,
                         cause.text, plan_memory_advice(plan));
    }
    if (status)
        goto out;
    state->layout = ckpt_layout_of_plan(plan, state->tensors);
    status = rank_state_start_executor(state, err);
    if (status)
        goto out;
    *out = state;
    state = NULL;
out:
    rank_state_destroy(state);
    return status;
}

void rank_state_destroy(struct rank_state *state)
{
    if (!state)
        return;
    executor_destroy(state->executor);
    if (state->update_kernels != state->kernels)
        kernels_destroy(state->update_kernels);
    if (state->kernels) {
        kernels_memory_free_host(state->kernels, state->host_block, state->memory.host_bytes);
        kernels_memory_free(state->kernels, state->block, state->memory.total_bytes);
    }
    kernels_destroy(state->kernels);
    if (state->snapshot_pieces != state->host_pieces)
        alloc_free(state->snapshot_pieces);
    if (state->host_pieces != state->pieces)
        alloc_free(state->host_pieces);
    alloc_free(state->held);
    alloc_free(state->pieces);
    alloc_free(state->owned_first);
    alloc_free(state->tensors);
    alloc_free(state->pixels);
    alloc_free(state);
}

/* Elements [begin, end) of one parameter, counted from its own start. */
static void rank_state_fill(const struct rank_state *state, const struct graph_param *param, int64_t begin,
                            int64_t end, float *values)
{
    struct hash128 name = hash_xxh3(param->name, strlen(param->name));
    struct rng_key key = rng_key_make((uint64_t)state->job->seed, RANK_STATE_RNG_INIT, name.low, 0);
    switch (param->init) {
    case GRAPH_INIT_NORMAL:
        rng_normal_fill(key, (uint64_t)begin, 0.0f, (float)param->init_stddev, values,
                        (uint64_t)(end - begin));
        break;
    case GRAPH_INIT_ONE:
        for (int64_t i = 0; i < end - begin; i++)
            values[i] = 1.0f;
        break;
    case GRAPH_INIT_ZERO:
        break;
    }
}

/* Copies the first `kind_count` kinds of every piece. */
static enum muster_status rank_state_move(struct rank_state *state, bool to_host, int kind_count,
                                          struct muster_error *err)
{
    if (state->host_pieces == state->pieces)
        return MUSTER_OK;
    for (int bucket = 0; bucket < state->plan->bucket_count; bucket++) {
        const struct ckpt_piece *device = &state->pieces[bucket], *host = &state->host_pieces[bucket];
        int64_t bytes = (device->end - device->begin) * 4;
        for (int kind = 0; kind < kind_count; kind++) {
            enum muster_status status = to_host ? kernels_copy_to_host_later(state->kernels, host->data[kind],
                                                                             device->data[kind], bytes, err)
                                                : kernels_copy_to_device(state->kernels, device->data[kind],
                                                                         host->data[kind], bytes, err);
            if (status)
                return status;
        }
    }
    return kernels_synchronise(state->kernels, err);
}

enum muster_status rank_state_pull(struct rank_state *state, struct muster_error *err)
{
    return rank_state_move(state, true, 1 + state->plan->state_count, err);
}

enum muster_status rank_state_push(struct rank_state *state, struct muster_error *err)
{
    return rank_state_move(state, false, 1 + state->plan->state_count, err);
}

enum muster_status rank_state_clear(struct rank_state *state, struct muster_error *err)
{
    for (int bucket = 0; bucket < state->plan->bucket_count; bucket++) {
        const struct ckpt_piece *piece = &state->host_pieces[bucket];
        for (int kind = 0; kind < state->layout.kind_count && piece->end > piece->begin; kind++)
            memset(piece->data[kind], 0, (size_t)(piece->end - piece->begin) * sizeof(float));
    }
    return rank_state_push(state, err);
}

enum muster_status rank_state_initialise(struct rank_state *state, struct comm *comm,
                                         struct muster_error *err)
{
    const struct graph *graph = state->plan->graph;
    for (int bucket = 0; bucket < state->plan->bucket_count; bucket++) {
        const struct ckpt_piece *piece = &state->host_pieces[bucket];
        for (int i = 0; i < graph->param_count; i++) {
            const struct graph_param *param = &graph->params[i];
            int64_t begin = piece->begin > param->offset ? piece->begin : param->offset;
            int64_t param_end = param->offset + param->count;
            int64_t end = piece->end < param_end ? piece->end : param_end;
            if (begin < end)
                rank_state_fill(state, param, begin - param->offset, end - param->offset,
                                piece->data[0] + (begin - piece->begin));
        }
    }
    enum muster_status status = rank_state_move(state, false, 1, err);
    return status ? status : rank_state_publish_params(state, comm, err);
}

const void *rank_state_pixels(struct rank_state *state, const float *pixels)
{
    const struct graph *graph = state->plan->graph;
    if (!state->pixels)
        return pixels;
    bool bf16 = graph->compute_dtype == DTYPE_BF16;
    for (int64_t i = 0; i < graph->tensors[graph->pixels].count; i++)
        state->pixels[i] = bf16 ? dtype_bf16_from_f32(pixels[i]) : dtype_f16_from_f32(pixels[i]);
    return state->pixels;
}

/* all[bucket] = every rank's owned range of it, `size` bytes an element; `bucket_begin` is in back-end
 * memory. */
static enum muster_status rank_state_gather(const struct rank_state *state, struct comm *comm, int bucket,
                                            void *bucket_begin, int64_t size, struct muster_error *err)
{
    int64_t counts[TREE_LEAVES_MAX]; /* ranks never exceed logical workers */
    for (int rank = 0; rank < comm->size; rank++) {
        struct plan_range owned = plan_owned_range(state->plan, bucket, rank);
        counts[rank] = (owned.end - owned.begin) * size;
    }
    enum muster_status status = comm_begin_after(comm, kernels_stream(state->kernels), err);
    return status ? status : comm_all_gather(comm, bucket_begin, counts, err);
}

enum muster_status rank_state_gather_bucket(struct rank_state *state, struct comm *comm, int bucket,
                                            struct muster_error *err)
{
    return rank_state_gather(state, comm, bucket,
                             rank_state_param(state, bucket, state->plan->buckets[bucket].begin),
                             (int64_t)dtype_size(state->plan->graph->compute_dtype), err);
}

enum muster_status rank_state_store_params(struct rank_state *state, int bucket, struct muster_error *err)
{
    const struct ckpt_piece *piece = &state->held[bucket];
    enum dtype dtype = state->plan->graph->compute_dtype;
    int64_t count = piece->end - piece->begin;
    if (!rank_state_has_master(state) || count == 0)
        return MUSTER_OK;
    void *params = rank_state_param(state, bucket, piece->begin);
    if (!state->plan->offload)
        return kernels_round_to(state->kernels, dtype, params, piece->data[0], count, err);
    if (dtype == DTYPE_F32)
        return kernels_copy_to_device(state->kernels, params, piece->data[0], count * 4, err);
    enum muster_status status =
        kernels_round_to(state->update_kernels, dtype, state->host_rounded, piece->data[0], count, err);
    return status ? status
                  : kernels_copy_to_device(state->kernels, params, state->host_rounded,
                                           count * (int64_t)sizeof *state->host_rounded, err);
}

/* Stage 0: all weights and state to all, then everybody rounds for himself. */
static enum muster_status rank_state_replicate(struct rank_state *state, struct comm *comm,
                                               struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int bucket = 0; bucket < state->plan->bucket_count && !status; bucket++)
        for (int kind = 0; kind <= state->plan->state_count && !status; kind++)
            status = rank_state_gather(state, comm, bucket, state->held[bucket].data[kind],
                                       (int64_t)sizeof(float), err);
    if (!status)
        status = comm_end_before(comm, kernels_stream(state->kernels), err);
    for (int bucket = 0; bucket < state->plan->bucket_count && !status; bucket++)
        status = rank_state_store_params(state, bucket, err);
    return status;
}

enum muster_status rank_state_publish_params(struct rank_state *state, struct comm *comm,
                                             struct muster_error *err)
{
    if (state->windows)
        param_windows_forget(state->windows);
    if (state->plan->zero_stage == 0)
        return rank_state_replicate(state, comm, err);
    for (int bucket = 0; bucket < state->plan->bucket_count; bucket++) {
        enum muster_status status = rank_state_store_params(state, bucket, err);
        if (!status && state->plan->zero_stage < 3)
            status = rank_state_gather_bucket(state, comm, bucket, err);
        if (status)
            return status;
    }
    return comm_end_before(comm, kernels_stream(state->kernels), err);
}
