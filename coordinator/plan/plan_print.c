/* SPDX-License-Identifier: MIT
 *
 * The plan as a person reads it and as a program reads it. The JSON is also what the plan's hash is taken
 * over, so it holds everything that two ranks must agree on.
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "coordinator/plan/plan.h"

enum { PRINT_RANKS = 16 }; /* more are not listed one by one */

static void print_work(const struct plan *plan, const struct job *job, struct text *out)
{
    const struct graph *graph = plan->graph;
    char count[32], tokens[32];
    text_format_count(count, sizeof count, (double)graph->param_count_total);
    text_format_count(tokens, sizeof tokens, (double)plan->step_tokens);
    bool tera = plan->step_flops >= 1e12;
    text_print(out, "job        %s (%s), %s parameters, %s compute\n", job->name,
               model_type_name(graph->config.type), count, dtype_name(graph->compute_dtype));
    text_print(out, "step       %lld samples = %lld slots of %lld, %s %s, %.3g %s\n",
               (long long)job->train.global_batch_size, (long long)plan->slots,
               (long long)graph->micro_batch_size, tokens,
               graph->config.type == MODEL_MLP ? "images" : "tokens", plan->step_flops / (tera ? 1e12 : 1e9),
               tera ? "TFLOP" : "GFLOP");
    text_print(
        out, "workers    %d logical, %d slots each, on %d rank%s of %d thread%s; reduce %s, zero stage %d\n",
        plan->logical_workers, plan->slots_per_worker, plan->ranks, plan->ranks == 1 ? "" : "s",
        plan->threads, plan->threads == 1 ? "" : "s", job_reduce_name(job->parallel.reduce),
        plan->zero_stage);
    text_print(out, "parameters %lld elements in %lld chunks of %lld, %d bucket%s\n",
               (long long)plan->flat_count, (long long)plan->chunk_count, (long long)plan->chunk_elements,
               plan->bucket_count, plan->bucket_count == 1 ? "" : "s");
}

static void print_tensors(const struct graph *graph, struct text *out)
{
    text_print(out, "\n%-34s %-6s %14s %14s  %s\n", "tensor", "type", "offset", "bytes",
               "lives (operations)");
    for (int i = 0; i < graph->tensor_count; i++) {
        const struct graph_tensor *tensor = &graph->tensors[i];
        if (tensor->role == GRAPH_ROLE_PARAM || tensor->first_op < 0)
            continue;
        text_print(out, "%-34s %-6s %14lld %14lld  %d-%d%s\n", tensor->name, dtype_name(tensor->dtype),
                   (long long)tensor->offset, (long long)tensor->bytes, tensor->first_op, tensor->last_op,
                   tensor->role == GRAPH_ROLE_INPUT ? " (input area)" : "");
    }
    text_print(out, "\n%-34s %14s %14s\n", "parameter", "first element", "elements");
    for (int i = 0; i < graph->param_count; i++)
        text_print(out, "%-34s %14lld %14lld\n", graph->params[i].name, (long long)graph->params[i].offset,
                   (long long)graph->params[i].count);
}

enum muster_status plan_print(const struct plan *plan, const struct job *job, bool tensors, struct text *out,
                              struct muster_error *err)
{
    print_work(plan, job, out);
    struct plan_memory memory;
    int largest = 0;
    int64_t largest_bytes = -1;
    text_print(out, "\nrank  logical workers  slots        memory  sent a step\n");
    for (int rank = 0; rank < plan->ranks; rank++) {
        enum muster_status status = plan_rank_memory(plan, rank, &memory, err);
        if (status)
            return status;
        int first, last;
        plan_slots_of_rank(plan, rank, &first, &last);
        char bytes[32], sent[32];
        text_format_bytes(bytes, sizeof bytes, memory.total_bytes);
        text_format_bytes(sent, sizeof sent, plan_step_bytes_sent(plan, rank));
        if (plan->ranks <= PRINT_RANKS || rank < PRINT_RANKS / 2 || rank == plan->ranks - 1)
            text_print(out, "%4d  %5d to %-6d %5d to %-4d %11s  %11s\n", rank, plan->block_begin[rank],
                       plan->block_begin[rank + 1] - 1, first, last - 1, bytes, sent);
        else if (rank == PRINT_RANKS / 2)
            text_print(out, "   …  (all of them with --json)\n");
        if (memory.total_bytes > largest_bytes) {
            largest_bytes = memory.total_bytes;
            largest = rank;
        }
    }
    enum muster_status status = plan_rank_memory(plan, largest, &memory, err);
    if (status)
        return status;
    text_print(out, "\nmemory of rank %d, allocated once before step 0\n", largest);
    for (int region = 0; region < PLAN_REGION_COUNT; region++) {
        char bytes[32];
        text_format_bytes(bytes, sizeof bytes, memory.region[region].bytes);
        if (memory.region[region].bytes)
            text_print(out, "  %-18s %12s\n", plan_region_name(region), bytes);
    }
    if (plan->spare_bytes > 0) {
        char bytes[32];
        text_format_bytes(bytes, sizeof bytes, plan->spare_bytes);
        text_print(out, "  %-18s %12s  (beside them: CUDA, libraries%s; a reserve, not measured)\n", "spare",
                   bytes, plan->ranks > 1 ? ", NCCL" : "");
    }
    if (memory.host_bytes > 0) {
        char bytes[32];
        text_format_bytes(bytes, sizeof bytes, memory.host_bytes);
        text_print(out, "  %-18s %12s  (pinned host memory)\n",
                   plan->offload ? "optimizer, offload" : "copy of the state", bytes);
    }
    if (tensors)
        print_tensors(plan->graph, out);
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to print the plan")
                       : MUSTER_OK;
}

static json_t *plan_json_ranks(const struct plan *plan, struct muster_error *err)
{
    json_t *ranks = json_array();
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_memory memory;
        if (plan_rank_memory(plan, rank, &memory, err)) {
            json_decref(ranks);
            return NULL;
        }
        json_t *regions = json_object();
        for (int region = 0; region < PLAN_REGION_COUNT; region++)
            json_object_set_new(regions, plan_region_name(region),
                                json_pack("{s:I,s:I}", "offset", (json_int_t)memory.region[region].offset,
                                          "bytes", (json_int_t)memory.region[region].bytes));
        json_array_append_new(ranks,
                              json_pack("{s:i,s:[i,i],s:I,s:I,s:I,s:I,s:o}", "rank", rank, "logical_workers",
                                        plan->block_begin[rank], plan->block_begin[rank + 1],
                                        "owned_elements", (json_int_t)plan_owned_count(plan, rank),
                                        "memory_bytes", (json_int_t)memory.total_bytes, "host_bytes",
                                        (json_int_t)memory.host_bytes, "step_bytes_sent",
                                        (json_int_t)plan_step_bytes_sent(plan, rank), "regions", regions));
    }
    return ranks;
}

static json_t *plan_json_tensors(const struct graph *graph)
{
    json_t *tensors = json_array();
    for (int i = 0; i < graph->tensor_count; i++) {
        const struct graph_tensor *tensor = &graph->tensors[i];
        if (tensor->role == GRAPH_ROLE_PARAM || tensor->first_op < 0)
            continue;
        json_array_append_new(
            tensors, json_pack("{s:s,s:s,s:I,s:I,s:[i,i]}", "name", tensor->name, "dtype",
                               dtype_name(tensor->dtype), "offset", (json_int_t)tensor->offset, "bytes",
                               (json_int_t)tensor->bytes, "lives", tensor->first_op, tensor->last_op));
    }
    return tensors;
}

static json_t *plan_json_params(const struct graph *graph)
{
    json_t *params = json_array();
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        json_array_append_new(params, json_pack("{s:s,s:I,s:I,s:b}", "name", param->name, "offset",
                                                (json_int_t)param->offset, "elements",
                                                (json_int_t)param->count, "weight_decay", (int)param->decay));
    }
    return params;
}

enum muster_status plan_write_json(const struct plan *plan, const struct job *job, struct text *out,
                                   struct muster_error *err)
{
    json_t *ranks = plan_json_ranks(plan, err);
    if (!ranks)
        return err ? err->status : MUSTER_ERR_NO_MEMORY;
    char job_hash_text[HASH_TEXT_SIZE];
    hash_format(job_hash(job), job_hash_text);
    json_t *buckets = json_array();
    for (int i = 0; i < plan->bucket_count; i++)
        json_array_append_new(buckets, json_pack("[I,I]", (json_int_t)plan->buckets[i].begin,
                                                 (json_int_t)plan->buckets[i].end));
    json_t *root = json_pack(
        "{s:s,s:s,s:s,s:b,s:I,s:I,s:i,s:i,s:i,s:i,s:I,s:I,s:I,s:f,s:I,s:s,s:i,s:o,s:o,s:o,s:o}", "name",
        job->name, "job_hash", job_hash_text, "model", model_type_name(plan->graph->config.type), "on_device",
        (int)plan->on_device, "parameters", (json_int_t)plan->graph->param_count_total, "slots",
        (json_int_t)plan->slots, "logical_workers", plan->logical_workers, "slots_per_worker",
        plan->slots_per_worker, "ranks", plan->ranks, "threads", plan->threads, "flat_elements",
        (json_int_t)plan->flat_count, "chunk_elements", (json_int_t)plan->chunk_elements, "step_tokens",
        (json_int_t)plan->step_tokens, "step_flops", plan->step_flops, "head_chunk_rows",
        (json_int_t)plan->graph->chunk_rows, "reduce", job_reduce_name(job->parallel.reduce), "zero_stage",
        plan->zero_stage, "buckets", buckets, "memory", ranks, "tensors", plan_json_tensors(plan->graph),
        "params", plan_json_params(plan->graph));
    char *dump = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    if (!dump)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write the plan");
    text_print(out, "%s\n", dump);
    free(dump);
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write the plan")
                       : MUSTER_OK;
}
