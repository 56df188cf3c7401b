/* SPDX-License-Identifier: MIT
 *
 * Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.
 * Source: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023; grouped queries as in
 * Llama 2.
 */
#include <stdio.h>

#include "model/graph.h"

static void llama_block(struct graph *graph, int block, double residual_stddev, struct decoder_stream *stream)
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
    decoder_build(graph, NORM_RMS, false, llama_block);
}
