/* SPDX-License-Identifier: MIT
 *
 * Layers as the models write them down: each call appends one operation with its parameters and output
 * tensors.
 */
#include <stdio.h>

#include "model/graph.h"

enum { LAYER_HEAD_CHUNK_BYTES = 128 << 20, LAYER_HEAD_DEVICE_BYTES = 512 << 20 };

static int layer_activation_tensor(struct graph *graph, const char *name, const char *part, int64_t columns)
{
    char full[2 * GRAPH_NAME_MAX];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return graph_add_tensor(graph, full, GRAPH_ROLE_ACTIVATION, graph->compute_dtype, graph->tokens, columns);
}

static int layer_statistic_tensor(struct graph *graph, const char *name, const char *part, int64_t rows)
{
    char full[2 * GRAPH_NAME_MAX];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return graph_add_tensor(graph, full, GRAPH_ROLE_ACTIVATION, DTYPE_F32, rows, 0);
}

static int layer_param(struct graph *graph, const char *name, const char *part, int64_t rows, int64_t columns,
                       enum graph_init init, double stddev)
{
    char full[2 * GRAPH_NAME_MAX];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return graph_add_param(graph, full, rows, columns, init, stddev);
}

int layer_linear(struct graph *graph, const char *name, int block, const struct layer_linear_options *options,
                 int *pre)
{
    int weight = layer_param(graph, name, "weight", options->out_width, options->in_width, GRAPH_INIT_NORMAL,
                             options->init_stddev);
    int bias = GRAPH_NONE;
    if (options->bias)
        bias = layer_param(graph, name, "bias", options->out_width, 0, GRAPH_INIT_ZERO, 0.0);
    int y = layer_activation_tensor(graph, name, "y", options->out_width);
    int before = GRAPH_NONE;
    if (options->activation != ACTIVATION_NONE)
        before = layer_activation_tensor(graph, name, "pre", options->out_width);
    struct graph_op *op = graph_add_op(graph, GRAPH_LINEAR, block);
    op->tensor[SLOT_X] = options->x;
    op->tensor[SLOT_WEIGHT] = weight;
    op->tensor[SLOT_BIAS] = bias;
    op->tensor[SLOT_Y] = y;
    op->tensor[SLOT_PRE] = before;
    op->tensor[SLOT_INPUT_PRE] =
        options->input_activation == ACTIVATION_NONE ? GRAPH_NONE : options->input_pre;
    op->activation = options->activation;
    op->input_activation = options->input_activation;
    if (pre)
        *pre = before;
    return y;
}

int layer_norm(struct graph *graph, const char *name, int block, enum norm_kind kind, int x, int delta,
               int *residual)
{
    int64_t width = graph->config.hidden_size;
    int gain = layer_param(graph, name, "weight", width, 0, GRAPH_INIT_ONE, 0.0);
    int bias =
        kind == NORM_LAYER ? layer_param(graph, name, "bias", width, 0, GRAPH_INIT_ZERO, 0.0) : GRAPH_NONE;
    int sum = delta == GRAPH_NONE ? GRAPH_NONE : layer_activation_tensor(graph, name, "residual", width);
    int y = layer_activation_tensor(graph, name, "y", width);
    int mean = kind == NORM_LAYER ? layer_statistic_tensor(graph, name, "mean", graph->tokens) : GRAPH_NONE;
    int rstd = layer_statistic_tensor(graph, name, "rstd", graph->tokens);
    struct graph_op *op = graph_add_op(graph, GRAPH_NORM, block);
    op->tensor[SLOT_X] = x;
    op->tensor[SLOT_DELTA] = delta;
    op->tensor[SLOT_RESIDUAL] = sum;
    op->tensor[SLOT_WEIGHT] = gain;
    op->tensor[SLOT_BIAS] = bias;
    op->tensor[SLOT_Y] = y;
    op->tensor[SLOT_MEAN] = mean;
    op->tensor[SLOT_RSTD] = rstd;
    *residual = sum == GRAPH_NONE ? x : sum;
    return y;
}

int layer_dropout(struct graph *graph, const char *name, int block, int x)
{
    if (graph->config.dropout <= 0.0)
        return x;
    int y = layer_activation_tensor(graph, name, "dropped", graph->tensors[x].shape[1]);
    int rng_id = graph->op_count;
    struct graph_op *op = graph_add_op(graph, GRAPH_DROPOUT, block);
    op->tensor[SLOT_X] = x;
    op->tensor[SLOT_Y] = y;
    op->rng_id = rng_id;
    return y;
}

int layer_attention(struct graph *graph, const char *name, int block, int qkv)
{
    const struct model_config *config = &graph->config;
    int y = layer_activation_tensor(graph, name, "y", config->hidden_size);
    int lse = layer_statistic_tensor(graph, name, "lse", graph->tokens * config->num_heads);
    int rng_id = graph->op_count;
    struct graph_op *op = graph_add_op(graph, GRAPH_ATTENTION, block);
    op->tensor[SLOT_X] = qkv;
    op->tensor[SLOT_Y] = y;
    op->tensor[SLOT_LSE] = lse;
    op->rng_id = rng_id;
    return y;
}

/* Each chunk of rows reads and writes the gradient of the whole output matrix once more, which on a GPU costs
 * as much as the product itself where the chunk is small. */
static bool layer_head_fits(const struct graph *graph, int64_t rows, int64_t vocabulary)
{
    if (!graph->on_device)
        return rows * vocabulary * 4 <= LAYER_HEAD_CHUNK_BYTES;
    return ops_device_head_loss_bytes(graph->compute_dtype, rows, vocabulary) <= LAYER_HEAD_DEVICE_BYTES;
}

/* Rows of logits held at once: the largest power of two that fits, or all rows. */
static int64_t layer_head_chunk_rows(const struct graph *graph, int64_t vocabulary)
{
    int64_t rows = 16;
    while (rows < graph->tokens && layer_head_fits(graph, rows * 2, vocabulary))
        rows *= 2;
    return rows < graph->tokens ? rows : graph->tokens;
}

void layer_head_loss(struct graph *graph, int x, int weight, int bias)
{
    int64_t vocabulary = graph->config.vocab_size, tokens = graph->tokens;
    graph->chunk_rows = layer_head_chunk_rows(graph, vocabulary);
    int64_t work_bytes = graph->on_device
                             ? ops_device_head_loss_bytes(graph->compute_dtype, graph->chunk_rows, vocabulary)
                             : ops_head_loss_bytes(graph->compute_dtype, graph->chunk_rows, vocabulary);
    int work = graph_add_tensor(graph, "head.work", GRAPH_ROLE_ACTIVATION, DTYPE_F32, work_bytes / 4, 0);
    int dx = graph_add_tensor(graph, "head.x.grad", GRAPH_ROLE_ACTIVATION, graph->compute_dtype, tokens,
                              graph->tensors[x].shape[1]);
    graph->targets = graph_add_tensor(graph, "targets", GRAPH_ROLE_INPUT, DTYPE_I32, tokens, 0);
    graph->loss = graph_add_tensor(graph, "loss", GRAPH_ROLE_RESULT, DTYPE_F32, tokens, 0);
    graph->correct = graph_add_tensor(graph, "correct", GRAPH_ROLE_RESULT, DTYPE_F32, tokens, 0);
    graph->head_x = x;
    graph->head_weight = weight;
    graph->head_bias = bias;
    struct graph_op *op = graph_add_op(graph, GRAPH_HEAD_LOSS, -1);
    op->tensor[SLOT_X] = x;
    op->tensor[SLOT_WEIGHT] = weight;
    op->tensor[SLOT_BIAS] = bias;
    op->tensor[SLOT_IDS] = graph->targets;
    op->tensor[SLOT_LOSS] = graph->loss;
    op->tensor[SLOT_CORRECT] = graph->correct;
    op->tensor[SLOT_WORK] = work;
    op->tensor[SLOT_DX] = dx;
}
