/* SPDX-License-Identifier: MIT
 *
 * The time of an operation: arithmetic at the rate of its kind, and the bytes it moves besides. A product is
 * bound by one or the other; what is done to its tiles afterwards (activation, its derivative, the loss)
 * comes on top. Bytes are counted once a tensor: what a kernel keeps in its caches is not modelled.
 */
#include "coordinator/cost/cost_terms.h"

enum { COST_HEAD_PASSES = 3, COST_HEAD_CALLS = 4 };

enum muster_status cost_rates_find(const struct plan *plan, const struct machine_profile *profile,
                                   const struct cost_cluster *cluster, struct cost_rates *out,
                                   struct muster_error *err)
{
    enum dtype dtype = plan->graph->compute_dtype;
    const struct machine_load load = {.ranks = cluster->ranks_per_host, .threads = plan->threads};
    *out = (struct cost_rates){
        .matrix = machine_rate(profile, MACHINE_MATRIX, dtype, &load),
        .attention_forward = machine_rate(profile, MACHINE_ATTENTION_FORWARD, dtype, &load),
        .attention_backward = machine_rate(profile, MACHINE_ATTENTION_BACKWARD, dtype, &load),
        .rows = machine_rate(profile, MACHINE_ROWS, dtype, &load),
        .activation = machine_rate(profile, MACHINE_ACTIVATION, dtype, &load),
        .stream = machine_rate(profile, MACHINE_STREAM, dtype, &load),
        .operation_s = profile->rates.operation_s,
        .attention_block = profile->attention_block,
    };
    if (plan->threads > 1 && profile->threads.operation_s > 0.0)
        out->operation_s = profile->threads.operation_s;
    if (out->matrix <= 0.0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "machine profile %s knows no rate of matrix products in %s (rates.matrix_%s)",
                                profile->name, dtype_name(dtype), dtype_name(dtype));
    return MUSTER_OK;
}

double cost_stream_seconds(const struct cost_rates *rates, double bytes)
{
    return bytes / rates->stream;
}

static double slot_bytes(const struct graph *graph, const struct graph_op *op, enum graph_slot slot)
{
    int tensor = op->tensor[slot];
    return tensor == GRAPH_NONE ? 0.0 : (double)graph->tensors[tensor].bytes;
}

/* Elements of the weight that the operation has. */
static double weight_count(const struct graph *graph, const struct graph_op *op)
{
    return (double)graph->tensors[op->tensor[SLOT_WEIGHT]].count;
}

/* Operands and result of the product itself; a weight's gradient is fp32, read and written. */
static double product_bytes(const struct graph *graph, const struct graph_op *op)
{
    double in = slot_bytes(graph, op, SLOT_X), weight = slot_bytes(graph, op, SLOT_WEIGHT);
    switch (op->kind) {
    case GRAPH_LINEAR:
        return in + weight + slot_bytes(graph, op, SLOT_Y);
    case GRAPH_LINEAR_BACKWARD_WEIGHT:
        return in + slot_bytes(graph, op, SLOT_DY) + 8.0 * weight_count(graph, op);
    default:
        return weight + slot_bytes(graph, op, SLOT_DY) + slot_bytes(graph, op, SLOT_DX);
    }
}

/* What is done to the result: activation of `pre` into y, or the derivative taken at input_pre. */
static double finish_bytes(const struct graph *graph, const struct graph_op *op)
{
    if (op->kind == GRAPH_LINEAR && op->activation != ACTIVATION_NONE)
        return slot_bytes(graph, op, SLOT_Y) + slot_bytes(graph, op, SLOT_PRE);
    if (op->kind == GRAPH_LINEAR_BACKWARD_INPUT && op->tensor[SLOT_INPUT_PRE] != GRAPH_NONE)
        return slot_bytes(graph, op, SLOT_INPUT_PRE) + slot_bytes(graph, op, SLOT_DX);
    return 0.0;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double linear_seconds(const struct cost_rates *rates, const struct graph *graph,
                             const struct graph_op *op)
{
    double arithmetic = graph_op_flops(graph, op) / rates->matrix;
    return larger(arithmetic, product_bytes(graph, op) / rates->stream) +
           finish_bytes(graph, op) / rates->activation + rates->operation_s;
}

/* Three products a chunk of rows, and logits that are looked through for the loss and rewritten as gradients;
 * in 16 bits they are stored a second time, rounded. */
static double head_seconds(const struct cost_rates *rates, const struct graph *graph,
                           const struct graph_op *op)
{
    double logits = (double)graph->tokens * (double)graph->tensors[op->tensor[SLOT_WEIGHT]].shape[0];
    double chunks = (double)((graph->tokens + graph->chunk_rows - 1) / graph->chunk_rows);
    double bytes = logits * (4.0 * COST_HEAD_PASSES + (graph->compute_dtype == DTYPE_F32 ? 0.0 : 2.0));
    double dw = chunks * 8.0 * weight_count(graph, op);
    double arithmetic = graph_op_flops(graph, op) / rates->matrix;
    return larger(arithmetic, dw / rates->stream) + bytes / rates->rows +
           chunks * COST_HEAD_CALLS * rates->operation_s;
}

/* graph_op_flops counts half of sequence x sequence; a block of queries also computes the masked half of
 * itself. */
static double attention_seconds(const struct cost_rates *rates, const struct graph *graph,
                                const struct graph_op *op)
{
    double sequence = (double)graph->config.seq_len, block = (double)rates->attention_block;
    double masked = 1.0 + (block < sequence ? block / sequence : 1.0);
    double rate = op->kind == GRAPH_ATTENTION ? rates->attention_forward : rates->attention_backward;
    return graph_op_flops(graph, op) * masked / rate + rates->operation_s;
}

/* Rows of the table that the ids name, and the positions'. */
static double embedding_bytes(const struct graph *graph, const struct graph_op *op)
{
    double tables = op->tensor[SLOT_BIAS] == GRAPH_NONE ? 1.0 : 2.0;
    double width = (double)graph->config.hidden_size, rows = (double)graph->tokens;
    if (op->kind == GRAPH_EMBEDDING)
        return slot_bytes(graph, op, SLOT_Y) * (1.0 + tables);
    return slot_bytes(graph, op, SLOT_DY) + 8.0 * rows * width * tables;
}

/* Everything else goes through its tensors once. */
static double rows_bytes(const struct graph *graph, const struct graph_op *op)
{
    double bytes = 0.0;
    if (op->kind == GRAPH_EMBEDDING || op->kind == GRAPH_EMBEDDING_BACKWARD)
        return embedding_bytes(graph, op);
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        bytes += slot_bytes(graph, op, (enum graph_slot)slot);
    if (op->kind == GRAPH_ROPE || op->kind == GRAPH_ROPE_BACKWARD)
        bytes += slot_bytes(graph, op, SLOT_X); /* in place: read and written */
    if (op->accumulate)
        bytes += slot_bytes(graph, op, SLOT_DX);
    return bytes;
}

double cost_operation_seconds(const struct cost_rates *rates, const struct graph *graph,
                              const struct graph_op *op)
{
    switch (op->kind) {
    case GRAPH_LINEAR:
    case GRAPH_LINEAR_BACKWARD_INPUT:
    case GRAPH_LINEAR_BACKWARD_WEIGHT:
        return linear_seconds(rates, graph, op);
    case GRAPH_HEAD_LOSS:
        return head_seconds(rates, graph, op);
    case GRAPH_ATTENTION:
    case GRAPH_ATTENTION_BACKWARD:
        return attention_seconds(rates, graph, op);
    default:
        return rows_bytes(graph, op) / rates->rows + rates->operation_s;
    }
}
