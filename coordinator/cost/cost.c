/* SPDX-License-Identifier: MIT
 *
 * The step added up: the rank that computes most sets the pace, and the reduction of a bucket begins when the
 * last micro-step has completed its gradients (coordinator/plan/bucket_order.h, which the training step
 * uses). What is not modelled: reading data, checkpoints, evaluation, and noise.
 */
#include "coordinator/cost/cost.h"

#include <string.h>

#include "base/alloc.h"
#include "base/tree.h"
#include "coordinator/cost/cost_terms.h"
#include "coordinator/plan/bucket_order.h"

enum { COST_ROUND_FLOATS = 65536 }; /* of an owner's range, through the shared memory of a host at a time */

/* What the parts are computed from. */
struct cost_work {
    const struct plan *plan;
    const struct machine_profile *profile;
    const struct cost_cluster *cluster;
    struct cost_rates rates;
    struct cost_route route;
    int leaves, nodes;         /* of the rank that computes most */
    int nodes_all, nodes_most; /* of all ranks together, of one rank */
    int nodes_host;            /* of all ranks of one host together, once they are added up */
};

static int nodes_of_rank(const struct plan *plan, int rank)
{
    struct tree_node nodes[TREE_BLOCK_NODES_MAX];
    return tree_block_nodes(plan->logical_workers, plan->block_begin[rank], plan->block_begin[rank + 1],
                            nodes);
}

static void work_find_hosts(struct cost_work *work)
{
    const struct plan *plan = work->plan;
    for (int rank = 0; rank < plan->ranks; rank += work->cluster->ranks_per_host) {
        struct tree_node found[TREE_BLOCK_NODES_MAX];
        int end = plan->block_begin[rank + work->cluster->ranks_per_host];
        int nodes = tree_block_nodes(plan->logical_workers, plan->block_begin[rank], end, found);
        work->nodes_host = nodes > work->nodes_host ? nodes : work->nodes_host;
    }
}

static void work_find_ranks(struct cost_work *work)
{
    const struct plan *plan = work->plan;
    for (int rank = 0; rank < plan->ranks; rank++) {
        int leaves = plan->block_begin[rank + 1] - plan->block_begin[rank];
        int nodes = nodes_of_rank(plan, rank);
        work->nodes_all += nodes;
        work->nodes_most = nodes > work->nodes_most ? nodes : work->nodes_most;
        if (leaves > work->leaves) {
            work->leaves = leaves;
            work->nodes = nodes;
        }
    }
}

/* Forward and backward of one micro-step. A third of the head's work is the forward pass. */
static void micro_step_seconds(const struct cost_work *work, double *forward, double *backward)
{
    const struct graph *graph = work->plan->graph;
    *forward = *backward = 0.0;
    for (int i = 0; i < graph->op_count; i++) {
        double seconds = cost_operation_seconds(&work->rates, graph, &graph->ops[i]);
        double ahead = i >= graph->forward_count ? 0.0 : seconds;
        if (graph->ops[i].kind == GRAPH_HEAD_LOSS)
            ahead = seconds / 3.0;
        *forward += ahead;
        *backward += seconds - ahead;
    }
}

static double fold_seconds(const struct cost_work *work)
{
    int kept = work->plan->reduce == JOB_REDUCE_FAST ? 1 : work->nodes;
    double bytes = 4.0 * (double)work->plan->flat_count;
    return cost_stream_seconds(&work->rates, bytes * work->leaves + 3.0 * bytes * (work->leaves - kept));
}

static int64_t owned_most(const struct plan *plan, int bucket)
{
    int64_t most = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        most = owned.end - owned.begin > most ? owned.end - owned.begin : most;
    }
    return most;
}

/* On GPUs every node's share of the owned range travels to its owner, who adds them up. */
static double device_exact_seconds(const struct cost_work *work, int bucket)
{
    int64_t owned = owned_most(work->plan, bucket);
    double pieces = (double)((owned + OPS_REDUCE_DEVICE_PIECE - 1) / OPS_REDUCE_DEVICE_PIECE);
    return cost_exchange_seconds(&work->route, 4.0 * (double)owned * work->nodes_most,
                                 pieces * work->nodes_most) +
           cost_stream_seconds(&work->rates, 12.0 * (work->nodes_all - 1) * (double)owned);
}

/* The library's reduce-scatter over a ring, with the adds on the way. */
static double device_fast_seconds(const struct cost_work *work, int bucket)
{
    struct plan_range range = work->plan->buckets[bucket];
    double bytes = 4.0 * (double)(range.end - range.begin), ranks = (double)work->plan->ranks;
    return cost_ring_seconds(&work->route, bytes) +
           cost_stream_seconds(&work->rates, 3.0 * bytes * (ranks - 1.0) / ranks);
}

/* On host memory the ranks of a host add first. A fast sum has one node a rank and a host. */
static double host_seconds(const struct cost_work *work, int bucket)
{
    bool fast = work->plan->reduce == JOB_REDUCE_FAST;
    double nodes = fast ? 1.0 : work->nodes_most, hosts = fast ? 1.0 : work->nodes_host;
    double owned = (double)owned_most(work->plan, bucket), all = fast ? work->plan->ranks : work->nodes_all;
    double rounds = (double)((owned_most(work->plan, bucket) + COST_ROUND_FLOATS - 1) / COST_ROUND_FLOATS);
    return cost_combine_seconds(&work->route, 4.0 * owned * nodes, 4.0 * owned * hosts, rounds) +
           cost_stream_seconds(&work->rates, 4.0 * (all + 1.0) * owned);
}

static double bucket_seconds(const struct cost_work *work, int bucket)
{
    const struct plan *plan = work->plan;
    double whole = 4.0 * (double)(plan->buckets[bucket].end - plan->buckets[bucket].begin);
    if (plan->ranks == 1)
        return 0.0;
    double shared = plan->zero_stage == 0 ? cost_ring_seconds(&work->route, whole) : 0.0;
    if (!plan->on_device)
        return shared + host_seconds(work, bucket);
    return shared + (plan->reduce == JOB_REDUCE_FAST ? device_fast_seconds(work, bucket)
                                                     : device_exact_seconds(work, bucket));
}

/* The share of communication that takes nothing from computing: all of it on GPUs; on CPUs as far as there
 * are cores that no rank computes on, because there a core copies. */
static double overlap_share(const struct cost_work *work)
{
    if (!work->cluster->overlap)
        return 0.0;
    if (work->profile->device == MACHINE_CUDA)
        return 1.0;
    double ranks = (double)work->cluster->ranks_per_host;
    double spare = ((double)work->profile->cores - ranks * (double)work->plan->threads) / ranks;
    return spare < 0.0 ? 0.0 : spare > 1.0 ? 1.0 : spare;
}

/* Buckets go one after the other, each when its gradients are complete; what is left when the last micro-step
 * ends is waited for. \param reduce_s  all of it \return what is not hidden */
static double reduce_seconds(const struct cost_work *work, const int *last_op, double *reduce_s)
{
    const struct graph *graph = work->plan->graph;
    double computed = 0.0, finished = 0.0, total = 0.0;
    int bucket = 0;
    for (int i = 0; i < graph->op_count; i++) {
        computed += cost_operation_seconds(&work->rates, graph, &graph->ops[i]);
        for (; bucket < work->plan->bucket_count && last_op[bucket] <= i; bucket++) {
            double seconds = bucket_seconds(work, bucket);
            finished = (finished > computed ? finished : computed) + seconds;
            total += seconds;
        }
    }
    double left = finished > computed ? finished - computed : 0.0;
    *reduce_s = total;
    return total - overlap_share(work) * (total - left);
}

static double optimizer_seconds(const struct cost_work *work)
{
    const struct plan *plan = work->plan;
    double rounded = plan->graph->compute_dtype == DTYPE_F32 ? 0.0 : 2.0;
    double element = 12.0 + 8.0 * plan->state_count + rounded, owned = 0.0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++)
        owned += (double)owned_most(plan, bucket);
    double held = plan->zero_stage == 0 ? (double)plan->flat_count : owned;
    double calls = (double)plan->bucket_count; /* of the norm */
    return cost_stream_seconds(&work->rates, 4.0 * owned + element * held) + calls * work->rates.operation_s;
}

/* Stage 3: each unit before it is used, unless it is still there; the next one while this one computes. */
static double gather_units_seconds(const struct cost_work *work, double computing_s)
{
    const struct plan_units *units = &work->plan->units;
    struct plan_residents residents;
    double first = 0.0, later = 0.0, size = (double)dtype_size(work->plan->graph->compute_dtype);
    plan_residents_clear(&residents);
    for (int i = 0; i < 2 * units->visit_count; i++) {
        int unit = units->visits[i % units->visit_count].unit;
        struct plan_range range = units->units[unit].range;
        if (plan_residents_enter(units, &residents, unit))
            *(i < units->visit_count ? &first : &later) +=
                cost_ring_seconds(&work->route, size * (double)(range.end - range.begin));
    }
    double total = first + (plan_step_passes(work->plan) - 1) * later;
    double hidden = total < computing_s ? total : computing_s;
    return total - overlap_share(work) * hidden;
}

/* Stages 1 and 2: the buckets arrive while the next step's first forward pass, which reads them in order,
 * runs. */
static double gather_seconds(const struct cost_work *work, double forward_s, double computing_s)
{
    const struct plan *plan = work->plan;
    double seconds = 0.0, size = (double)dtype_size(plan->graph->compute_dtype);
    if (plan->zero_stage == 3)
        return gather_units_seconds(work, computing_s);
    for (int bucket = 0; bucket < plan->bucket_count && plan->zero_stage != 0; bucket++)
        seconds += cost_ring_seconds(
            &work->route, size * (double)(plan->buckets[bucket].end - plan->buckets[bucket].begin));
    double hidden = seconds < forward_s ? seconds : forward_s;
    return seconds - overlap_share(work) * hidden;
}

static double exchange_seconds(const struct cost_work *work)
{
    const struct plan *plan = work->plan;
    double numbers = (double)plan->ranks + 2.0 * plan->logical_workers + (double)plan->chunk_count;
    return cost_small_gather_seconds(&work->route, 8.0 * numbers);
}

static enum muster_status parts_fill(const struct cost_work *work, struct cost_prediction *out,
                                     struct muster_error *err)
{
    const struct plan *plan = work->plan;
    int *last_op = alloc_zeroed((size_t)plan->bucket_count, sizeof *last_op);
    if (last_op == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to predict a step");
    double forward, backward, slots = (double)work->leaves * plan->slots_per_worker;
    bucket_order_fill(plan, last_op);
    micro_step_seconds(work, &forward, &backward);
    out->part_s[COST_FORWARD] = slots * forward;
    out->part_s[COST_BACKWARD] = slots * backward;
    out->part_s[COST_FOLD] = fold_seconds(work);
    out->part_s[COST_REDUCE] = reduce_seconds(work, last_op, &out->reduce_s);
    out->part_s[COST_OPTIMIZER] = optimizer_seconds(work);
    out->part_s[COST_GATHER] = gather_seconds(work, forward, slots * (forward + backward));
    out->part_s[COST_EXCHANGE] = exchange_seconds(work);
    alloc_free(last_op);
    for (int part = 0; part < COST_PART_COUNT; part++)
        out->step_s += out->part_s[part];
    return MUSTER_OK;
}

static void rates_fill(const struct cost_work *work, struct cost_prediction *out)
{
    const struct plan *plan = work->plan;
    const struct machine_load load = {.ranks = work->cluster->ranks_per_host, .threads = plan->threads};
    double peak = machine_rate(work->profile, MACHINE_PEAK, plan->graph->compute_dtype, &load) * plan->ranks;
    out->tokens_per_s = (double)plan->step_tokens / out->step_s;
    out->mfu = peak > 0.0 ? plan->step_flops / out->step_s / peak : 0.0;
}

static enum muster_status memory_fill(const struct plan *plan, struct cost_prediction *out,
                                      struct muster_error *err)
{
    out->spare_bytes = plan->spare_bytes;
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_memory memory;
        enum muster_status status = plan_rank_memory(plan, rank, &memory, err);
        if (status)
            return status;
        if (memory.total_bytes > out->memory_bytes) {
            out->memory_bytes = memory.total_bytes;
            out->host_bytes = memory.host_bytes;
        }
    }
    return MUSTER_OK;
}

static enum muster_status cost_check(const struct cost_work *work, struct muster_error *err)
{
    const struct cost_cluster *cluster = work->cluster;
    if (cluster->hosts < 1 || cluster->ranks_per_host < 1 ||
        (int64_t)cluster->hosts * cluster->ranks_per_host != work->plan->ranks)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "the plan is for %d ranks, the cluster has %d hosts of %d", work->plan->ranks,
                                cluster->hosts, cluster->ranks_per_host);
    if (work->plan->on_device != (work->profile->device == MACHINE_CUDA))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "the plan computes on %s, machine profile %s describes %s",
                                work->plan->on_device ? "GPUs" : "CPUs", work->profile->name,
                                work->plan->on_device ? "CPUs" : "GPUs");
    return MUSTER_OK;
}

enum muster_status cost_predict(const struct plan *plan, const struct machine_profile *profile,
                                const struct cost_cluster *cluster, struct cost_prediction *out,
                                struct muster_error *err)
{
    struct cost_work work = {.plan = plan, .profile = profile, .cluster = cluster};
    memset(out, 0, sizeof *out);
    enum muster_status status = cost_check(&work, err);
    if (!status)
        status = cost_rates_find(plan, profile, cluster, &work.rates, err);
    if (!status)
        status = cost_route_find(profile, cluster, &work.route, err);
    if (status)
        return status;
    work_find_ranks(&work);
    work_find_hosts(&work);
    status = parts_fill(&work, out, err);
    if (status)
        return status;
    rates_fill(&work, out);
    return memory_fill(plan, out, err);
}
