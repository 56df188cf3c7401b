/* SPDX-License-Identifier: MIT
 *
 * A parameter's gradient is added to by every operation that has it in its weight or bias slot: the head's
 * loss, and those of the backward list but the one that only reads the weight.
 */
#include "coordinator/plan/bucket_order.h"

static bool bucket_order_adds(const struct graph *graph, int op)
{
    enum graph_kind kind = graph->ops[op].kind;
    return kind == GRAPH_HEAD_LOSS || (op >= graph->forward_count && kind != GRAPH_LINEAR_BACKWARD_INPUT);
}

static bool bucket_order_slot_touches(const struct graph *graph, const struct graph_op *op,
                                      enum graph_slot slot, struct plan_range range)
{
    int tensor = op->tensor[slot];
    if (tensor == GRAPH_NONE || graph->tensors[tensor].role != GRAPH_ROLE_PARAM)
        return false;
    const struct graph_param *param = &graph->params[graph->tensors[tensor].param];
    return param->offset < range.end && param->offset + param->count > range.begin;
}

static bool bucket_order_touches(const struct graph *graph, const struct graph_op *op,
                                 struct plan_range range)
{
    return bucket_order_slot_touches(graph, op, SLOT_WEIGHT, range) ||
           bucket_order_slot_touches(graph, op, SLOT_BIAS, range);
}

void bucket_order_fill(const struct plan *plan, int *last_op)
{
    const struct graph *graph = plan->graph;
    int latest = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        for (int op = 0; op < graph->op_count; op++) {
            const struct graph_op *candidate = &graph->ops[op];
            if (op > latest && bucket_order_adds(graph, op) &&
                bucket_order_touches(graph, candidate, plan->buckets[bucket]))
                latest = op;
        }
        last_op[bucket] = latest;
    }
}

void bucket_order_fill_reads(const struct plan *plan, int *first_read)
{
    const struct graph *graph = plan->graph;
    for (int op = 0; op < graph->op_count; op++) {
        first_read[op] = plan->bucket_count;
        for (int bucket = plan->bucket_count - 1; bucket >= 0; bucket--)
            if (bucket_order_touches(graph, &graph->ops[op], plan->buckets[bucket]))
                first_read[op] = bucket;
    }
}
