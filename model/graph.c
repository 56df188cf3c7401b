/* SPDX-License-Identifier: MIT
 *
 * The containers of a graph: tensors, parameters and operations as growing arrays, and what each kind of
 * operation writes and costs. Building errors are sticky (`failed`), so that the model files read as a list
 * of layers.
 */
#include "model/graph.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { GRAPH_CAPACITY_FIRST = 64 };

static const struct {
    const char *name;
    uint32_t outputs; /* bit per slot */
} graph_kinds[GRAPH_KIND_COUNT] = {
    [GRAPH_EMBEDDING] = {"embedding", 1u << SLOT_Y},
    [GRAPH_LINEAR] = {"linear", 1u << SLOT_Y | 1u << SLOT_PRE},
    [GRAPH_ACTIVATION] = {"activation", 1u << SLOT_Y},
    [GRAPH_NORM] = {"norm", 1u << SLOT_Y | 1u << SLOT_RESIDUAL | 1u << SLOT_MEAN | 1u << SLOT_RSTD},
    [GRAPH_ROPE] = {"rope", 1u << SLOT_X},
    [GRAPH_ATTENTION] = {"attention", 1u << SLOT_Y | 1u << SLOT_LSE},
    [GRAPH_SWIGLU] = {"swiglu", 1u << SLOT_Y},
    [GRAPH_DROPOUT] = {"dropout", 1u << SLOT_Y},
    [GRAPH_HEAD_LOSS] = {"head loss", 1u << SLOT_LOSS | 1u << SLOT_CORRECT | 1u << SLOT_DX | 1u << SLOT_WORK},
    [GRAPH_EMBEDDING_BACKWARD] = {"embedding backward", 0},
    [GRAPH_LINEAR_BACKWARD_WEIGHT] = {"linear backward weight", 0},
    [GRAPH_LINEAR_BACKWARD_INPUT] = {"linear backward input", 1u << SLOT_DX},
    [GRAPH_ACTIVATION_BACKWARD] = {"activation backward", 1u << SLOT_DX},
    [GRAPH_NORM_BACKWARD] = {"norm backward", 1u << SLOT_DX},
    [GRAPH_ROPE_BACKWARD] = {"rope backward", 1u << SLOT_X},
    [GRAPH_ATTENTION_BACKWARD] = {"attention backward", 1u << SLOT_DX},
    [GRAPH_SWIGLU_BACKWARD] = {"swiglu backward", 1u << SLOT_DX},
    [GRAPH_DROPOUT_BACKWARD] = {"dropout backward", 1u << SLOT_DX},
};

const char *graph_kind_name(enum graph_kind kind)
{
    return graph_kinds[kind].name;
}

bool graph_slot_is_output(enum graph_kind kind, enum graph_slot slot)
{
    return (graph_kinds[kind].outputs >> slot) & 1u;
}

struct graph *graph_create(const struct model_config *config, int64_t micro_batch_size,
                           enum dtype compute_dtype, enum recompute recompute, bool on_device)
{
    struct graph *graph = alloc_zeroed(1, sizeof *graph);
    if (!graph)
        return NULL;
    /* tensor 0 stands in for one that could not be added: it must be there even when nothing else is */
    graph->tensors = alloc_zeroed(GRAPH_CAPACITY_FIRST, sizeof *graph->tensors);
    if (!graph->tensors) {
        alloc_free(graph);
        return NULL;
    }
    graph->tensor_capacity = GRAPH_CAPACITY_FIRST;
    graph->config = *config;
    graph->micro_batch_size = micro_batch_size;
    graph->tokens = micro_batch_size * config->seq_len;
    graph->compute_dtype = compute_dtype;
    graph->recompute = recompute;
    graph->on_device = on_device;
    graph->ids = graph->targets = graph->pixels = graph->loss = graph->correct = GRAPH_NONE;
    graph->head_x = graph->head_weight = graph->head_bias = GRAPH_NONE;
    return graph;
}

void graph_destroy(struct graph *graph)
{
    if (!graph)
        return;
    alloc_free(graph->tensors);
    alloc_free(graph->params);
    alloc_free(graph->ops);
    alloc_free(graph);
}

/* Makes room for one more element; returns false (and marks the graph failed) when memory is short. */
static bool graph_grow(struct graph *graph, void *array_pointer, int count, int *capacity, size_t size)
{
    void **array = array_pointer;
    if (count < *capacity)
        return true;
    int wanted = *capacity ? *capacity * 2 : GRAPH_CAPACITY_FIRST;
    void *grown = alloc_resize(*array, (size_t)wanted, size);
    if (!grown) {
        graph->failed = true;
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

int graph_add_tensor(struct graph *graph, const char *name, enum graph_role role, enum dtype dtype,
                     int64_t rows, int64_t columns)
{
    if (!graph_grow(graph, &graph->tensors, graph->tensor_count, &graph->tensor_capacity,
                    sizeof *graph->tensors))
        return 0;
    struct graph_tensor *tensor = &graph->tensors[graph->tensor_count];
    memset(tensor, 0, sizeof *tensor);
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->role = role;
    tensor->dtype = dtype;
    tensor->dim_count = columns ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    tensor->count = rows * (columns ? columns : 1);
    tensor->bytes = tensor->count * (int64_t)dtype_size(dtype);
    tensor->param = GRAPH_NONE;
    tensor->first_op = tensor->last_op = -1;
    return graph->tensor_count++;
}

int graph_add_param(struct graph *graph, const char *name, int64_t rows, int64_t columns,
                    enum graph_init init, double stddev)
{
    int tensor = graph_add_tensor(graph, name, GRAPH_ROLE_PARAM, graph->compute_dtype, rows, columns);
    if (graph->failed ||
        !graph_grow(graph, &graph->params, graph->param_count, &graph->param_capacity, sizeof *graph->params))
        return 0;
    struct graph_param *param = &graph->params[graph->param_count];
    memset(param, 0, sizeof *param);
    snprintf(param->name, sizeof param->name, "%s", name);
    param->dim_count = columns ? 2 : 1;
    param->shape[0] = rows;
    param->shape[1] = columns;
    param->count = graph->tensors[tensor].count;
    param->offset = (graph->param_elements + GRAPH_PARAM_ALIGN - 1) / GRAPH_PARAM_ALIGN * GRAPH_PARAM_ALIGN;
    param->init = init;
    param->init_stddev = stddev;
    param->decay = columns != 0;
    param->tensor = tensor;
    graph->tensors[tensor].param = graph->param_count++;
    graph->param_elements = param->offset + param->count;
    graph->param_count_total += param->count;
    return tensor;
}

struct graph_op *graph_add_op(struct graph *graph, enum graph_kind kind, int block)
{
    struct graph_op *op = &graph->discarded;
    if (!graph->failed &&
        graph_grow(graph, &graph->ops, graph->op_count, &graph->op_capacity, sizeof *graph->ops))
        op = &graph->ops[graph->op_count++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->block = block;
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        op->tensor[slot] = GRAPH_NONE;
    return op;
}

static double graph_linear_flops(const struct graph *graph, const struct graph_op *op)
{
    const struct graph_tensor *weight = &graph->tensors[op->tensor[SLOT_WEIGHT]];
    return 2.0 * (double)graph->tokens * (double)weight->shape[0] * (double)weight->shape[1];
}

/* Causal scores: half of sequence × sequence, two matrix products forward and five backward. */
static double graph_attention_flops(const struct graph *graph, double products)
{
    const struct model_config *config = &graph->config;
    return products * 2.0 * (double)graph->tokens * (double)config->seq_len / 2.0 *
           (double)config->hidden_size;
}

double graph_op_flops(const struct graph *graph, const struct graph_op *op)
{
    switch (op->kind) {
    case GRAPH_LINEAR:
    case GRAPH_LINEAR_BACKWARD_WEIGHT:
    case GRAPH_LINEAR_BACKWARD_INPUT:
        return graph_linear_flops(graph, op);
    case GRAPH_HEAD_LOSS:
        return 3.0 * graph_linear_flops(graph, op);
    case GRAPH_ATTENTION:
        return graph_attention_flops(graph, 2.0);
    case GRAPH_ATTENTION_BACKWARD:
        return graph_attention_flops(graph, 5.0);
    default:
        return 0.0; /* bound by memory, not by arithmetic */
    }
}

int64_t graph_device_scratch_bytes(const struct graph *graph)
{
    const struct model_config *config = &graph->config;
    struct ops_device_limits limits = {
        .tokens = graph->tokens,
        .row_width_max = graph->row_width_max,
        .vocabulary = config->vocab_size,
        .heads = config->num_heads,
    };
    if (config->num_heads > 0 && config->dropout == 0.0 && graph->compute_dtype != DTYPE_F32)
        limits.attention =
            (struct ops_attention_shape){graph->micro_batch_size, config->seq_len, config->num_heads,
                                         config->num_kv_heads, config->hidden_size / config->num_heads};
    return ops_device_scratch_bytes(&limits);
}

int64_t graph_scratch_bytes(const struct graph *graph, int threads)
{
    const struct model_config *config = &graph->config;
    struct ops_limits limits = {
        .threads = threads,
        .row_width_max = graph->row_width_max,
        .sequence = config->seq_len,
        .head_width = config->num_heads ? config->hidden_size / config->num_heads : 0,
    };
    return ops_scratch_bytes(&limits);
}
