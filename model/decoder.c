/* SPDX-License-Identifier: MIT
 *
 * What every decoder-only transformer here has around its blocks: token embedding, a residual stream of sums,
 * a final norm and the head. The family is in the block.
 */
#include <math.h>

#include "model/graph.h"

void decoder_build(struct graph *graph, enum norm_kind norm, bool learned_positions,
                   decoder_block_fn build_block)
{
    const struct model_config *config = &graph->config;
    int64_t width = config->hidden_size;
    int table =
        graph_add_param(graph, "token_table", config->vocab_size, width, GRAPH_INIT_NORMAL, config->init_std);
    int positions = GRAPH_NONE;
    if (learned_positions)
        positions = graph_add_param(graph, "position_table", config->seq_len, width, GRAPH_INIT_NORMAL,
                                    config->init_std);
    graph->ids = graph_add_tensor(graph, "ids", GRAPH_ROLE_INPUT, DTYPE_I32, graph->tokens, 0);
    int x = graph_add_tensor(graph, "embedding.y", GRAPH_ROLE_ACTIVATION, graph->compute_dtype, graph->tokens,
                             width);
    struct graph_op *op = graph_add_op(graph, GRAPH_EMBEDDING, -1);
    op->tensor[SLOT_IDS] = graph->ids;
    op->tensor[SLOT_WEIGHT] = table;
    op->tensor[SLOT_BIAS] = positions;
    op->tensor[SLOT_Y] = x;

    struct decoder_stream stream = {.x = layer_dropout(graph, "embedding", -1, x), .delta = GRAPH_NONE};
    double residual_stddev = config->init_std / sqrt(2.0 * (double)config->num_layers);
    for (int block = 0; block < config->num_layers; block++)
        build_block(graph, block, residual_stddev, &stream);

    int y = layer_norm(graph, "norm_final", -1, norm, stream.x, stream.delta, &stream.x);
    int head = table;
    if (!config->tie_embeddings)
        head = graph_add_param(graph, "head.weight", config->vocab_size, width, GRAPH_INIT_NORMAL,
                               config->init_std);
    layer_head_loss(graph, y, head, GRAPH_NONE);
}
