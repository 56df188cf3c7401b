/* SPDX-License-Identifier: MIT
 *
 * GPT-2: learned positions, LayerNorm before each part, tanh-GELU, biases everywhere, head tied to the token
 * table. Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
 */
#include <math.h>
#include <stdio.h>

#include "model/graph.h"

struct gpt_stream {
    int x, delta; /* the residual stream is x + delta; delta is GRAPH_NONE before the first block */
};

static void gpt_block(struct graph *graph, int block, double residual_stddev, struct gpt_stream *stream)
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
    const struct model_config *config = &graph->config;
    int64_t width = config->hidden_size;
    int table =
        graph_add_param(graph, "token_table", config->vocab_size, width, GRAPH_INIT_NORMAL, config->init_std);
    int positions =
        graph_add_param(graph, "position_table", config->seq_len, width, GRAPH_INIT_NORMAL, config->init_std);
    graph->ids = graph_add_tensor(graph, "ids", GRAPH_ROLE_INPUT, DTYPE_I32, graph->tokens, 0);
    int x = graph_add_tensor(graph, "embedding.y", GRAPH_ROLE_ACTIVATION, graph->compute_dtype, graph->tokens,
                             width);
    struct graph_op *op = graph_add_op(graph, GRAPH_EMBEDDING, -1);
    op->tensor[SLOT_IDS] = graph->ids;
    op->tensor[SLOT_WEIGHT] = table;
    op->tensor[SLOT_BIAS] = positions;
    op->tensor[SLOT_Y] = x;

    struct gpt_stream stream = {.x = layer_dropout(graph, "embedding", -1, x), .delta = GRAPH_NONE};
    double residual_stddev = config->init_std / sqrt(2.0 * (double)config->num_layers);
    for (int block = 0; block < config->num_layers; block++)
        gpt_block(graph, block, residual_stddev, &stream);

    int y = layer_norm(graph, "norm_final", -1, NORM_LAYER, stream.x, stream.delta, &stream.x);
    int head = table;
    if (!config->tie_embeddings)
        head = graph_add_param(graph, "head.weight", config->vocab_size, width, GRAPH_INIT_NORMAL,
                               config->init_std);
    layer_head_loss(graph, y, head, GRAPH_NONE);
}
