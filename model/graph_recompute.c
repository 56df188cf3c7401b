/* SPDX-License-Identifier: MIT
 *
 * Recompute as a graph rewrite: before a block's backward operations, copies of the forward operations that
 * make what they read, writing to fresh tensors, so that the originals die in the forward pass.
 *
 *   selective  what is cheap to make again: norm outputs, activations, SwiGLU. Matrix products and attention
 * stay saved. full       everything but the block's first residual sum.
 *
 * The copies are the same operations on the same values, so the bits do not change (kernels.h: what is stored
 * is what is used).
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"

struct recompute_state {
    struct graph *graph;
    int first_op, end_op;
    int saved; /* the block's first residual sum, kept by `full` */
    int first_tensor_count;
    bool *needed; /* per tensor: read by a backward operation or by a copy */
    int *copy_of; /* per tensor: its recomputed copy, or GRAPH_NONE */
};

/* The forward operation of the block that made this tensor last, or -1 (made elsewhere, or a parameter). */
static int recompute_producer(const struct recompute_state *s, int tensor)
{
    for (int i = s->end_op - 1; i >= s->first_op; i--) {
        const struct graph_op *op = &s->graph->ops[i];
        for (int slot = 0; slot < SLOT_COUNT; slot++)
            if (op->tensor[slot] == tensor && graph_slot_is_output(op->kind, slot))
                return i;
    }
    return -1;
}

/* Whether the policy makes this tensor again rather than keeping it. */
static bool recompute_wanted(const struct recompute_state *s, int tensor)
{
    if (tensor == GRAPH_NONE || tensor == s->saved)
        return false;
    int producer = recompute_producer(s, tensor);
    if (producer < 0)
        return false;
    if (s->graph->recompute == RECOMPUTE_FULL)
        return true;
    const struct graph_op *op = &s->graph->ops[producer];
    switch (op->kind) {
    case GRAPH_NORM:
        return op->tensor[SLOT_Y] == tensor;
    case GRAPH_LINEAR:
        return op->activation != ACTIVATION_NONE && op->tensor[SLOT_Y] == tensor;
    case GRAPH_SWIGLU:
        return true;
    default:
        return false;
    }
}

static void recompute_mark(struct recompute_state *s, const struct graph_op *op)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        if (op->tensor[slot] != GRAPH_NONE && op->tensor[slot] < s->first_tensor_count)
            s->needed[op->tensor[slot]] = true;
}

/* True when `op` makes something that is needed and not kept. */
static bool recompute_makes_needed(const struct recompute_state *s, const struct graph_op *op)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int tensor = op->tensor[slot];
        if (tensor != GRAPH_NONE && graph_slot_is_output(op->kind, slot) && s->needed[tensor] &&
            recompute_wanted(s, tensor))
            return true;
    }
    return false;
}

/* The copy of a forward operation in terms of original tensors: a norm starts from its stored sum if that is
 * kept, and a fused activation is made from its stored input when only the activation is wanted. */
static struct graph_op recompute_reduced(const struct recompute_state *s, const struct graph_op *forward)
{
    struct graph_op op = *forward;
    op.recomputed = true;
    if (op.kind == GRAPH_NORM && op.tensor[SLOT_DELTA] != GRAPH_NONE &&
        !recompute_wanted(s, op.tensor[SLOT_RESIDUAL])) {
        op.tensor[SLOT_X] = op.tensor[SLOT_RESIDUAL];
        op.tensor[SLOT_DELTA] = op.tensor[SLOT_RESIDUAL] = GRAPH_NONE;
    }
    if (op.kind == GRAPH_LINEAR && s->graph->recompute == RECOMPUTE_SELECTIVE) {
        op.kind = GRAPH_ACTIVATION;
        op.tensor[SLOT_X] = op.tensor[SLOT_WEIGHT] = op.tensor[SLOT_BIAS] = op.tensor[SLOT_INPUT_PRE] =
            GRAPH_NONE;
    }
    return op;
}

/* Gives every output of a copy a fresh tensor and points its inputs at copies made before. */
static void recompute_rename(struct recompute_state *s, struct graph_op *op)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int tensor = op->tensor[slot];
        if (tensor == GRAPH_NONE)
            continue;
        bool in_place = op->kind == GRAPH_ROPE;
        if (graph_slot_is_output(op->kind, slot) && !in_place) {
            struct graph_tensor of = s->graph->tensors[tensor];
            char name[2 * GRAPH_NAME_MAX];
            snprintf(name, sizeof name, "%s.again", of.name);
            int copy = graph_add_tensor(s->graph, name, of.role, of.dtype, of.shape[0],
                                        of.dim_count > 1 ? of.shape[1] : 0);
            s->copy_of[tensor] = copy;
        }
        if (s->copy_of[tensor] != GRAPH_NONE)
            op->tensor[slot] = s->copy_of[tensor];
    }
}

/* Which forward operations of the block must run again: backwards from what is read. */
static void recompute_select(struct recompute_state *s, bool *selected)
{
    for (int i = s->end_op - 1; i >= s->first_op; i--) {
        const struct graph_op *forward = &s->graph->ops[i];
        if (!recompute_makes_needed(s, forward))
            continue;
        selected[i - s->first_op] = true;
        struct graph_op reduced = recompute_reduced(s, forward);
        recompute_mark(s, &reduced);
    }
}

static void recompute_emit(struct recompute_state *s, const bool *selected, struct graph_op *backward,
                           int count)
{
    for (int i = s->first_op; i < s->end_op; i++) {
        if (!selected[i - s->first_op])
            continue;
        struct graph_op copy = recompute_reduced(s, &s->graph->ops[i]);
        recompute_rename(s, &copy);
        *graph_add_op(s->graph, copy.kind, copy.block) = copy;
    }
    for (int i = 0; i < count; i++)
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int tensor = backward[i].tensor[slot];
            if (tensor != GRAPH_NONE && tensor < s->first_tensor_count && s->copy_of[tensor] != GRAPH_NONE)
                backward[i].tensor[slot] = s->copy_of[tensor];
        }
}

static int recompute_saved_tensor(const struct graph *graph, int first_op)
{
    const struct graph_op *op = &graph->ops[first_op];
    int residual = op->tensor[SLOT_RESIDUAL];
    return residual != GRAPH_NONE ? residual : op->tensor[SLOT_X];
}

enum muster_status graph_recompute_block(struct graph *graph, int first_op, int end_op,
                                         struct graph_op *backward, int count, struct muster_error *err)
{
    struct recompute_state s = {.graph = graph,
                                .first_op = first_op,
                                .end_op = end_op,
                                .saved = recompute_saved_tensor(graph, first_op),
                                .first_tensor_count = graph->tensor_count};
    bool *selected = alloc_zeroed((size_t)(end_op - first_op), sizeof *selected);
    s.needed = alloc_zeroed((size_t)graph->tensor_count, sizeof *s.needed);
    s.copy_of = alloc_zeroed((size_t)graph->tensor_count, sizeof *s.copy_of);
    enum muster_status status = MUSTER_OK;
    if (!selected || !s.needed || !s.copy_of) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for recompute");
        goto out;
    }
    for (int i = 0; i < graph->tensor_count; i++)
        s.copy_of[i] = GRAPH_NONE;
    for (int i = 0; i < count; i++)
        recompute_mark(&s, &backward[i]);
    recompute_select(&s, selected);
    recompute_emit(&s, selected, backward, count);
out:
    alloc_free(selected);
    alloc_free(s.needed);
    alloc_free(s.copy_of);
    return status;
}
