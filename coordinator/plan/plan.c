/* SPDX-License-Identifier: MIT
 *
 * The mapping itself; see plan.h for the words. Everything that decides bits (chunks, buckets' chunk borders,
 * the tree) is derived from the job alone; the topology only says which rank holds which range.
 */
#include "coordinator/plan/plan.h"

#include <string.h>

#include "base/alloc.h"
#include "base/ops.h"
#include "base/tree.h"
#include "coordinator/plan/plan_buckets.h"

enum { PLAN_CHUNK_MIN = 1024, PLAN_CHUNKS_MAX = 16384, PLAN_REGION_ALIGN = 4096 };

static int64_t plan_round_up(int64_t value, int64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* The smallest power of two that cuts the flat space into at most PLAN_CHUNKS_MAX chunks. */
static int64_t plan_chunk_elements(int64_t elements)
{
    int64_t chunk = PLAN_CHUNK_MIN;
    while ((elements + chunk - 1) / chunk > PLAN_CHUNKS_MAX)
        chunk *= 2;
    return chunk;
}

/* What a GPU holds beside the plan, as a reserve: nobody measured it for this program. CUDA's context and the
 * code that libraries load as they are first called: 1 GiB (contexts of 256 MiB on an RTX 3090 and 426 on an
 * RTX 6000 Ada were reported: invoke-ai/InvokeAI issue 9413, unslothai/unsloth-zoo pull request 1053). NCCL
 * between GPUs: 1 GiB, and half a GiB for each rank that this one talks to directly (on 8 H100 1.06 GB before
 * an all-to-all and 4.34 GB after: NVIDIA/nccl issue 1685), of seven at most: it grows with the channels, not
 * beyond two hosts (issue 986). */
static int64_t plan_spare_bytes(const struct job *job, const struct plan_topology *topology)
{
    const int64_t gib = (int64_t)1 << 30, peers = topology->ranks > 8 ? 7 : topology->ranks - 1;
    if (!topology->on_device)
        return 0;
    return topology->ranks == 1 || job->comm.backend == JOB_COMM_MPI ? gib : 2 * gib + peers * gib / 2;
}

static enum muster_status plan_check(const struct job *job, const struct plan_topology *topology,
                                     struct muster_error *err)
{
    if (topology->ranks < 1 || topology->threads < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "a run needs at least one rank and one thread");
    if (topology->ranks > job->parallel.logical_workers)
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%d ranks but parallel.logical_workers is %lld: start at most %lld ranks, or set a larger "
            "logical_workers that divides the %lld micro-batches of a step",
            topology->ranks, (long long)job->parallel.logical_workers,
            (long long)job->parallel.logical_workers,
            (long long)(job->train.global_batch_size / job->train.micro_batch_size));
    if (topology->on_device && topology->ranks > 1 && job->parallel.zero_stage == 0 &&
        job->parallel.offload == JOB_OFFLOAD_OPTIMIZER)
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "parallel.offload: optimizer with parallel.zero_stage: 0 would keep and update "
            "the whole state on every rank: use zero_stage 1, 2 or 3");
    return MUSTER_OK;
}

static enum muster_status plan_fill(struct plan *plan, const struct job *job,
                                    const struct model_config *config, const struct plan_topology *topology,
                                    struct muster_error *err)
{
    static const enum dtype dtypes[] = {[JOB_PRECISION_FP32] = DTYPE_F32,
                                        [JOB_PRECISION_BF16] = DTYPE_BF16,
                                        [JOB_PRECISION_FP16] = DTYPE_F16};
    enum dtype dtype = dtypes[job->train.precision];
    enum muster_status status = model_build(config, job->train.micro_batch_size, dtype, job->train.recompute,
                                            topology->on_device, &plan->graph, err);
    if (status)
        return status;
    plan->ranks = topology->ranks;
    plan->threads = topology->threads;
    plan->on_device = topology->on_device;
    plan->saves_async = job->checkpoint.async;
    plan->reduce = job->parallel.reduce;
    plan->offload = topology->on_device && job->parallel.offload == JOB_OFFLOAD_OPTIMIZER;
    plan->zero_stage = topology->ranks == 1 ? 1 : (int)job->parallel.zero_stage;
    plan->slots = job->train.global_batch_size / job->train.micro_batch_size;
    plan->logical_workers = (int)job->parallel.logical_workers;
    plan->slots_per_worker = (int)(plan->slots / plan->logical_workers);
    plan->chunk_elements = plan_chunk_elements(plan->graph->param_elements);
    plan->flat_count = plan_round_up(plan->graph->param_elements, plan->chunk_elements);
    plan->chunk_count = plan->flat_count / plan->chunk_elements;
    plan->spare_bytes = plan_spare_bytes(job, topology);
    plan->state_count = job->optimizer.type == JOB_OPTIMIZER_ADAMW ? 2 : 1;
    plan->step_tokens = job->train.global_batch_size * config->seq_len;
    plan->step_flops = model_flops_per_sample(plan->graph) * (double)job->train.global_batch_size;
    plan->block_begin = alloc_zeroed((size_t)plan->ranks + 1, sizeof *plan->block_begin);
    if (!plan->block_begin)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d ranks", plan->ranks);
    for (int rank = 0; rank <= plan->ranks; rank++)
        plan->block_begin[rank] = (int)((int64_t)rank * plan->logical_workers / plan->ranks);
    status = plan_buckets_cut(plan, job->parallel.bucket_mb, err);
    return status ? status : plan_units_init(&plan->units, plan->graph, plan->flat_count, err);
}

enum muster_status plan_create(const struct job *job, const struct model_config *config,
                               const struct plan_topology *topology, struct plan **out,
                               struct muster_error *err)
{
    *out = NULL;
    enum muster_status status = plan_check(job, topology, err);
    if (status)
        return status;
    struct plan *plan = alloc_zeroed(1, sizeof *plan);
    struct text json;
    text_init(&json);
    if (!plan) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the plan");
        goto out;
    }
    status = plan_fill(plan, job, config, topology, err);
    if (!status)
        status = plan_write_json(plan, job, &json, err);
    if (status)
        goto out;
    plan->hash = hash_xxh3(json.data, json.length);
    *out = plan;
    plan = NULL;
out:
    text_release(&json);
    plan_destroy(plan);
    return status;
}

void plan_destroy(struct plan *plan)
{
    if (!plan)
        return;
    graph_destroy(plan->graph);
    plan_units_release(&plan->units);
    alloc_free(plan->block_begin);
    alloc_free(plan->buckets);
    alloc_free(plan);
}

struct plan_range plan_owned_range(const struct plan *plan, int bucket, int rank)
{
    struct plan_range whole = plan->buckets[bucket];
    int64_t chunks = (whole.end - whole.begin) / plan->chunk_elements;
    struct plan_range owned = {
        whole.begin + chunks * rank / plan->ranks * plan->chunk_elements,
        whole.begin + chunks * (rank + 1) / plan->ranks * plan->chunk_elements,
    };
    return owned;
}

int64_t plan_owned_count(const struct plan *plan, int rank)
{
    int64_t count = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        count += owned.end - owned.begin;
    }
    return count;
}

struct plan_range plan_held_range(const struct plan *plan, int bucket, int rank)
{
    return plan->zero_stage == 0 ? plan->buckets[bucket] : plan_owned_range(plan, bucket, rank);
}

int64_t plan_held_count(const struct plan *plan, int rank)
{
    return plan->zero_stage == 0 ? plan->flat_count : plan_owned_count(plan, rank);
}

void plan_slots_of_rank(const struct plan *plan, int rank, int *first, int *last)
{
    *first = plan->block_begin[rank] * plan->slots_per_worker;
    *last = plan->block_begin[rank + 1] * plan->slots_per_worker;
}

int plan_step_passes(const struct plan *plan)
{
    int passes = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        int first, last;
        plan_slots_of_rank(plan, rank, &first, &last);
        passes = last - first > passes ? last - first : passes;
    }
    return passes;
}

enum muster_status plan_rank_fold(const struct plan *plan, int rank, struct tree_fold *fold,
                                  struct muster_error *err)
{
    enum muster_status status = tree_fold_init(fold, plan->logical_workers, plan->block_begin[rank],
                                               plan->block_begin[rank + 1], err);
    if (!status && plan->zero_stage >= 2 && plan->slots_per_worker == 1)
        tree_fold_window(fold);
    return status;
}

static int plan_nodes_of_rank(const struct plan *plan, int rank)
{
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    return tree_block_nodes(plan->logical_workers, plan->block_begin[rank], plan->block_begin[rank + 1],
                            nodes);
}

static int64_t plan_largest_owned(const struct plan *plan, int rank)
{
    int64_t largest = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        if (owned.end - owned.begin > largest)
            largest = owned.end - owned.begin;
    }
    return largest;
}

/* `exact` receives a piece of every other rank's nodes at a time, `fast` the whole largest range this rank
 * owns. */
static int64_t plan_receive_bytes(const struct plan *plan, int rank)
{
    if (plan->ranks == 1)
        return 0;
    int64_t largest = plan_largest_owned(plan, rank);
    if (plan->reduce == JOB_REDUCE_FAST)
        return largest * 4;
    int foreign = 0;
    for (int other = 0; other < plan->ranks; other++)
        if (other != rank)
            foreign += plan_nodes_of_rank(plan, other);
    return ops_receive_bytes(foreign, largest, plan->on_device);
}

/* Gradients while they are computed, and their sum; a fold with windows has one leaf there in the end. */
static void plan_gradient_bytes(const struct plan *plan, int rank, const struct tree_fold *fold,
                                int64_t bytes[PLAN_REGION_COUNT])
{
    bool windows = fold->leaf_buffer[fold->leaf_count - 1] == TREE_BUFFER_WINDOW;
    bytes[PLAN_REGION_GRADIENTS] = fold->buffer_count * plan->flat_count * 4;
    bytes[PLAN_REGION_GRADIENT_WINDOWS] = windows ? plan->units.window_begin[PLAN_WINDOW_COUNT] * 4 : 0;
    bytes[PLAN_REGION_GRADIENT_SUM] = fold->buffer_count ? 0 : plan_owned_count(plan, rank) * 4;
}

static int64_t plan_host_bytes(const struct plan *plan, int rank)
{
    int64_t kinds = 1 + plan->state_count, size = (int64_t)dtype_size(plan->graph->compute_dtype);
    if (!plan->on_device)
        return 0;
    if (!plan->offload)
        return kinds * plan_owned_count(plan, rank) * 4;
    return kinds * plan_held_count(plan, rank) * 4 +
           plan_largest_owned(plan, rank) * (4 + (size == 2 ? size : 0));
}

enum muster_status plan_rank_memory(const struct plan *plan, int rank, struct plan_memory *memory,
                                    struct muster_error *err)
{
    memset(memory, 0, sizeof *memory);
    struct tree_fold fold = {0};
    enum muster_status status = plan_rank_fold(plan, rank, &fold, err);
    if (status)
        return status;
    const struct graph *graph = plan->graph;
    bool gathers = plan->zero_stage == 3;
    int64_t size = (int64_t)dtype_size(graph->compute_dtype), held_bytes = plan_held_count(plan, rank) * 4;
    int64_t bytes[PLAN_REGION_COUNT] = {
        [PLAN_REGION_PARAMS] = (gathers ? plan_owned_count(plan, rank) : plan->flat_count) * size,
        [PLAN_REGION_PARAM_WINDOWS] = gathers ? plan->units.window_begin[PLAN_WINDOW_COUNT] * size : 0,
        [PLAN_REGION_MASTER] = graph->compute_dtype == DTYPE_F32 || plan->offload ? 0 : held_bytes,
        [PLAN_REGION_STATE_FIRST] = plan->offload ? 0 : held_bytes,
        [PLAN_REGION_STATE_SECOND] = plan->offload || plan->state_count == 1 ? 0 : held_bytes,
        [PLAN_REGION_ACTIVATIONS] = graph->arena_bytes,
        [PLAN_REGION_INPUTS] = graph->input_bytes,
        [PLAN_REGION_SCRATCH] =
            plan->on_device ? graph_device_scratch_bytes(graph) : graph_scratch_bytes(graph, plan->threads),
        [PLAN_REGION_RECEIVE] = plan_receive_bytes(plan, rank),
        [PLAN_REGION_SNAPSHOT] = plan->saves_async && !plan->on_device
                                     ? (1 + plan->state_count) * plan_owned_count(plan, rank) * 4
                                     : 0,
    };
    plan_gradient_bytes(plan, rank, &fold, bytes);
    tree_fold_release(&fold);
    memory->host_bytes = plan_host_bytes(plan, rank);
    for (int region = 0; region < PLAN_REGION_COUNT; region++) {
        memory->region[region].offset = memory->total_bytes;
        memory->region[region].bytes = bytes[region];
        memory->total_bytes += plan_round_up(bytes[region], PLAN_REGION_ALIGN);
    }
    return MUSTER_OK;
}

/* Elements of a unit that a rank owns. */
static int64_t plan_unit_owned(const struct plan *plan, struct plan_range unit, int rank)
{
    int64_t count = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_range_common(unit, plan_owned_range(plan, bucket, rank));
        count += owned.end - owned.begin;
    }
    return count;
}

/* Elements of its own that a rank hands out in all gathers of a step. */
static int64_t plan_gathered_count(const struct plan *plan, int rank)
{
    struct plan_residents residents;
    int64_t first = 0, later = 0;
    plan_residents_clear(&residents);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < plan->units.visit_count; i++) {
            int unit = plan->units.visits[i].unit;
            if (plan_residents_enter(&plan->units, &residents, unit))
                *(pass ? &later : &first) += plan_unit_owned(plan, plan->units.units[unit].range, rank);
        }
    return first + (plan_step_passes(plan) - 1) * later;
}

int64_t plan_step_bytes_sent(const struct plan *plan, int rank)
{
    int64_t owned = plan_owned_count(plan, rank), size = (int64_t)dtype_size(plan->graph->compute_dtype);
    int nodes = plan->reduce == JOB_REDUCE_FAST ? 1 : plan_nodes_of_rank(plan, rank);
    int64_t gradients = (plan->flat_count - owned) * 4 * nodes, shared = owned * size;
    if (plan->zero_stage == 0)
        shared = owned * 4;
    if (plan->zero_stage == 3)
        shared = plan_gathered_count(plan, rank) * size;
    return gradients + shared * (plan->ranks - 1);
}

const char *plan_region_name(enum plan_region region)
{
    static const char *const names[PLAN_REGION_COUNT] = {
        [PLAN_REGION_PARAMS] = "weights",
        [PLAN_REGION_PARAM_WINDOWS] = "weights, gathered",
        [PLAN_REGION_MASTER] = "master weights",
        [PLAN_REGION_STATE_FIRST] = "optimizer, first",
        [PLAN_REGION_STATE_SECOND] = "optimizer, second",
        [PLAN_REGION_GRADIENTS] = "gradients",
        [PLAN_REGION_GRADIENT_WINDOWS] = "gradients, windows",
        [PLAN_REGION_GRADIENT_SUM] = "gradients, summed",
        [PLAN_REGION_ACTIVATIONS] = "activations",
        [PLAN_REGION_INPUTS] = "inputs",
        [PLAN_REGION_SCRATCH] = "scratch",
        [PLAN_REGION_RECEIVE] = "receive",
        [PLAN_REGION_SNAPSHOT] = "checkpoint copy",
    };
    return names[region];
}

const char *plan_memory_advice(const struct plan *plan)
{
    if (!plan->on_device)
        return "a smaller train.micro_batch_size, train.recompute: full, or fewer ranks on a host";
    return plan->offload
               ? "a smaller train.micro_batch_size, train.recompute: full, parallel.zero_stage 3, or "
                 "more ranks"
               : "a smaller train.micro_batch_size, train.recompute: full, parallel.zero_stage 2 or "
                 "3, more ranks, or parallel.offload: optimizer";
}
