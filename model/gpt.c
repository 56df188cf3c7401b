/* SPDX-License-Identifier: MIT
 *
 * GPT-2: learned positions, LayerNorm before each part, tanh-GELU, biases everywhere, head tied to the token
 * table. Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
 */
#include <stdio.h>

#include "model/graph.h"

static void gpt_block(struct graph *graph, int block, double residual_stddev, struct decoder_stream *stream)
{
    const struct model_config *config = &graph->config;
    int64_t width = config->hidden_size;
    int64_t qkv_width = width + 2 * config->num_kv_heads * (width / config->num_heads);
    char name[GRAPH_NAME_MAX];
#define GPT_NAME(part) (snprintf(name, sizeof name, "blocks.%d." part, block), name)
    int y = layer_norm(graph, GPT_NAME("norm1"), block, NORM_LAYER, stream->x, stream->delta, &stream->x);
    struct layer_linear_options qkv = {
        .x = y, .in_width = width, .out_width = qkv_width, .bias = true, .init_stddev = config->init_std};
    y = layer_linear(graph, GPT_NAME("attention.qkv"), block, &qkv, NULL);
    y = layer_attention(graph, GPT_NAME("attention"), block, y);
    struct layer_linear_options out = {
        .x = y, .in_width = width, .out_width = width, .bias = true, .init_stddev = residual_stddev};
    y = layer_linear(graph, GPT_NAME("attention.out"), block, &out, NULL);
    stream->delta = layer_dropout(graph, GPT_NAME("attention.out"), block, y);

    int pre;
    y = layer_norm(graph, GPT_NAME("norm2"), block, NORM_LAYER, stream->x, stream->delta, &stream->x);
    struct layer_linear_options up = {.x = y,
                                      .in_width = width,
                                      .out_width = config->ffn_hidden_size,
                                      .bias = true,
                                      .init_stddev = config->init_std,
                                      .activation = ACTIVATION_GELU_TANH};
    y = layer_linear(graph, GPT_NAME("mlp.up"), block, &up, &pre);
    struct layer_linear_options down = {.x = y,
                                        .in_width = config->ffn_hidden_size,
                                        .out_width = width,
                                        .bias = true,
                                        .init_stddev = residual_stddev,
                                        .input_pre = pre,
                                        .input_activation = ACTIVATION_GELU_TANH};
    y = layer_linear(graph, GPT_NAME("mlp.down"), block, &down, NULL);
    stream->delta = layer_dropout(graph, GPT_NAME("mlp.down"), block, y);
#undef GPT_NAME
}

void gpt_build(struct graph *graph)
{
    decoder_build(graph, NORM_LAYER, true, gpt_block);
}
