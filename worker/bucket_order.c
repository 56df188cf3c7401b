/* SPDX-License-Identifier: MIT
 *
 * A parameter's gradient is added to by every operation of the backward list, and by the head's loss in the
 * forward list, that has it in its weight or bias slot.
 */
#include "worker/bucket_order.h"

static bool bucket_order_adds(const struct graph *graph, int op)
{
    return op >= graph->forward_count || graph->ops[op].kind == GRAPH_HEAD_LOSS;
}

static bool bucket_order_touches(const struct graph *graph, const struct graph_op *op, enum graph_slot slot,
                                 struct plan_range range)
{
    int tensor = op->tensor[slot];
    if (tensor == GRAPH_NONE || graph->tensors[tensor].role != GRAPH_ROLE_PARAM)
        return false;
    const struct graph_param *param = &graph->params[graph->tensors[tensor].param];
    return param->offset < range.end && param->offset + param->count > range.begin;
}

void bucket_order_fill(const struct plan *plan, int *last_op)
{
    const struct graph *graph = plan->graph;
    int latest = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        for (int op = 0; op < graph->op_count; op++) {
            const struct graph_op *candidate = &graph->ops[op];
            if (op > latest && bucket_order_adds(graph, op) &&
                (bucket_order_touches(graph, candidate, SLOT_WEIGHT, plan->buckets[bucket]) ||
                 bucket_order_touches(graph, candidate, SLOT_BIAS, plan->buckets[bucket])))
                latest = op;
        }
        last_op[bucket] = latest;
    }
}
