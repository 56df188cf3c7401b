/* SPDX-License-Identifier: MIT
 *
 * The names and shapes of the graph, the places of the plan.
 */
#include "coordinator/ckpt/ckpt_plan.h"

#include <stdio.h>

struct ckpt_layout ckpt_layout_of_plan(const struct plan *plan, struct ckpt_tensor *tensors)
{
    const struct graph *graph = plan->graph;
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        struct ckpt_tensor *tensor = &tensors[i];
        *tensor = (struct ckpt_tensor){
            .dim_count = param->dim_count, .offset = param->offset, .count = param->count};
        snprintf(tensor->name, sizeof tensor->name, "%s", param->name);
        for (int d = 0; d < param->dim_count; d++)
            tensor->shape[d] = param->shape[d];
    }
    const bool adam = plan->state_count == 2;
    return (struct ckpt_layout){
        .kinds = {"param", adam ? "adam_m" : "momentum", adam ? "adam_v" : NULL},
        .kind_count = 1 + plan->state_count,
        .tensors = tensors,
        .tensor_count = graph->param_count,
        .flat_count = plan->flat_count,
        .chunk_elements = plan->chunk_elements,
    };
}
