/* SPDX-License-Identifier: MIT
 *
 * Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.
 * Source: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023; grouped queries as in
 * Llama 2.
 */
#include <math.h>
#include <stdio.h>

#include "model/graph.h"

struct llama_stream {
    int x, delta;
};

static void llama_block(struct graph *graph, int block, double residual_stddev, struct llama_stream *stream)
{
    const struct model_config *config = &graph->config;
    int64_t width = config->hidden_size, ffn = config->ffn_hidden_size;
    int64_t qkv_width = width + 2 * config->num_kv_heads * (width / config->num_heads);
    char name[GRAPH_NAME_MAX];
#define LLAMA_NAME(part) (snprintf(name, sizeof name, "blocks.%d." part, block), name)
    int y = layer_norm(graph, LLAMA_NAME("norm1"), block, NORM_RMS, stream->x, stream->delta, &stream->x);
    struct layer_linear_options qkv = {
        .x = y, .in_width = width, .out_width = qkv_width, .init_stddev = config->init_std};
    y = layer_linear(graph, LLAMA_NAME("attention.qkv"), block, &qkv, NULL);
    struct graph_op *rope = graph_add_op(graph, GRAPH_ROPE, block);
    rope->tensor[SLOT_X] = y;
    y = layer_attention(graph, LLAMA_NAME("attention"), block, y);
    struct layer_linear_options out = {
        .x = y, .in_width = width, .out_width = width, .init_stddev = residual_stddev};
    y = layer_linear(graph, LLAMA_NAME("attention.out"), block, &out, NULL);
    stream->delta = layer_dropout(graph, LLAMA_NAME("attention.out"), block, y);

    y = layer_norm(graph, LLAMA_NAME("norm2"), block, NORM_RMS, stream->x, stream->delta, &stream->x);
    struct layer_linear_options gate_up = {
        .x = y, .in_width = width, .out_width = 2 * ffn, .init_stddev = config->init_std};
    int packed = layer_linear(graph, LLAMA_NAME("mlp.gate_up"), block, &gate_up, NULL);
    y = graph_add_tensor(graph, LLAMA_NAME("mlp.swiglu"), GRAPH_ROLE_ACTIVATION, graph->compute_dtype,
                         graph->tokens, ffn);
    struct graph_op *swiglu = graph_add_op(graph, GRAPH_SWIGLU, block);
    swiglu->tensor[SLOT_X] = packed;
    swiglu->tensor[SLOT_Y] = y;
    struct layer_linear_options down = {
        .x = y, .in_width = ffn, .out_width = width, .init_stddev = residual_stddev};
    y = layer_linear(graph, LLAMA_NAME("mlp.down"), block, &down, NULL);
    stream->delta = layer_dropout(graph, LLAMA_NAME("mlp.down"), block, y);
#undef LLAMA_NAME
}

void llama_build(struct graph *graph)
{
    const struct model_config *config = &graph->config;
    int64_t width = config->hidden_size;
    int table =
        graph_add_param(graph, "token_table", config->vocab_size, width, GRAPH_INIT_NORMAL, config->init_std);
    graph->ids = graph_add_tensor(graph, "ids", GRAPH_ROLE_INPUT, DTYPE_I32, graph->tokens, 0);
    int x = graph_add_tensor(graph, "embedding.y", GRAPH_ROLE_ACTIVATION, graph->compute_dtype, graph->tokens,
                             width);
    struct graph_op *op = graph_add_op(graph, GRAPH_EMBEDDING, -1);
    op->tensor[SLOT_IDS] = graph->ids;
    op->tensor[SLOT_WEIGHT] = table;
    op->tensor[SLOT_Y] = x;

    struct llama_stream stream = {.x = x, .delta = GRAPH_NONE};
    double residual_stddev = config->init_std / sqrt(2.0 * (double)config->num_layers);
    for (int block = 0; block < config->num_layers; block++)
        llama_block(graph, block, residual_stddev, &stream);

    int y = layer_norm(graph, "norm_final", -1, NORM_RMS, stream.x, stream.delta, &stream.x);
    int head = table;
    if (!config->tie_embeddings)
        head = graph_add_param(graph, "head.weight", config->vocab_size, width, GRAPH_INIT_NORMAL,
                               config->init_std);
    layer_head_loss(graph, y, head, GRAPH_NONE);
}
