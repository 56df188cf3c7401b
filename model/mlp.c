/* SPDX-License-Identifier: MIT
 *
 * A multi-layer perceptron with ReLU for classification: num_layers hidden layers of hidden_size, then one of
 * classes.
 */
#include <math.h>
#include <stdio.h>

#include "model/graph.h"

void mlp_build(struct graph *graph)
{
    const struct model_config *config = &graph->config;
    graph->pixels = graph_add_tensor(graph, "pixels", GRAPH_ROLE_INPUT, graph->compute_dtype, graph->tokens,
                                     config->input_size);
    int x = graph->pixels, pre = GRAPH_NONE;
    int64_t width = config->input_size;
    for (int layer = 0; layer < config->num_layers; layer++) {
        char name[GRAPH_NAME_MAX];
        snprintf(name, sizeof name, "layers.%d", layer);
        /* the last hidden layer feeds the head, which knows no activation: there it is an operation of its
         * own */
        bool fused = layer + 1 < config->num_layers;
        struct layer_linear_options options = {.x = x,
                                               .in_width = width,
                                               .out_width = config->hidden_size,
                                               .bias = true,
                                               .init_stddev = sqrt(2.0 / (double)width),
                                               .activation = fused ? ACTIVATION_RELU : ACTIVATION_NONE,
                                               .input_pre = pre,
                                               .input_activation = layer ? ACTIVATION_RELU : ACTIVATION_NONE};
        x = layer_linear(graph, name, -1, &options, &pre);
        width = config->hidden_size;
    }
    int hidden =
        graph_add_tensor(graph, "hidden", GRAPH_ROLE_ACTIVATION, graph->compute_dtype, graph->tokens, width);
    struct graph_op *op = graph_add_op(graph, GRAPH_ACTIVATION, -1);
    op->tensor[SLOT_PRE] = x;
    op->tensor[SLOT_Y] = hidden;
    op->activation = ACTIVATION_RELU;
    hidden = layer_dropout(graph, "hidden", -1, hidden);

    int weight = graph_add_param(graph, "head.weight", config->vocab_size, width, GRAPH_INIT_NORMAL,
                                 sqrt(1.0 / (double)width));
    int bias = graph_add_param(graph, "head.bias", config->vocab_size, 0, GRAPH_INIT_ZERO, 0.0);
    layer_head_loss(graph, hidden, weight, bias);
}
