/* SPDX-License-Identifier: MIT
 *
 * Each operation's backward rule. The forward list is walked from its end; gradient[t] is the tensor that
 * holds the gradient of tensor t. Along the residual stream one tensor is updated in place by every norm and
 * stands for the gradient of the sum and of both its terms, so the residual additions cost nothing.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"

struct backward {
    struct graph *graph;
    int *gradient;        /* per forward tensor */
    struct graph_op *ops; /* of the block being differentiated, not yet appended */
    int op_count, op_capacity;
};

static struct graph_op *backward_op(struct backward *b, enum graph_kind kind, const struct graph_op *forward)
{
    struct graph_op *op = &b->ops[b->op_count < b->op_capacity ? b->op_count++ : b->op_capacity - 1];
    *op = *forward;
    op->kind = kind;
    return op;
}

/* A fresh gradient tensor of the same shape as `tensor`. */
static int backward_gradient_create(struct backward *b, int tensor)
{
    struct graph_tensor of = b->graph->tensors[tensor];
    char name[2 * GRAPH_NAME_MAX];
    snprintf(name, sizeof name, "%s.grad", of.name);
    int gradient = graph_add_tensor(b->graph, name, GRAPH_ROLE_ACTIVATION, of.dtype, of.shape[0],
                                    of.dim_count > 1 ? of.shape[1] : 0);
    b->gradient[tensor] = gradient;
    return gradient;
}

static void backward_linear(struct backward *b, const struct graph_op *f)
{
    const struct graph *graph = b->graph;
    int through = f->activation == ACTIVATION_NONE ? f->tensor[SLOT_Y] : f->tensor[SLOT_PRE];
    int dy = b->gradient[through];
    struct graph_op *weight = backward_op(b, GRAPH_LINEAR_BACKWARD_WEIGHT, f);
    weight->tensor[SLOT_DY] = dy;
    weight->tensor[SLOT_Y] = weight->tensor[SLOT_PRE] = weight->tensor[SLOT_INPUT_PRE] = GRAPH_NONE;
    if (graph->tensors[f->tensor[SLOT_X]].role == GRAPH_ROLE_INPUT)
        return; /* nobody wants the gradient of the data */
    bool has_pre = f->input_activation != ACTIVATION_NONE;
    int dx = backward_gradient_create(b, has_pre ? f->tensor[SLOT_INPUT_PRE] : f->tensor[SLOT_X]);
    struct graph_op *input = backward_op(b, GRAPH_LINEAR_BACKWARD_INPUT, f);
    input->tensor[SLOT_DY] = dy;
    input->tensor[SLOT_DX] = dx;
    input->tensor[SLOT_X] = input->tensor[SLOT_Y] = input->tensor[SLOT_PRE] = input->tensor[SLOT_BIAS] =
        GRAPH_NONE;
}

static void backward_norm(struct backward *b, const struct graph_op *f)
{
    bool has_delta = f->tensor[SLOT_DELTA] != GRAPH_NONE;
    int residual = has_delta ? f->tensor[SLOT_RESIDUAL] : f->tensor[SLOT_X];
    bool accumulate = b->gradient[residual] != GRAPH_NONE;
    int dresidual = accumulate ? b->gradient[residual] : backward_gradient_create(b, residual);
    struct graph_op *op = backward_op(b, GRAPH_NORM_BACKWARD, f);
    op->tensor[SLOT_DY] = b->gradient[f->tensor[SLOT_Y]];
    op->tensor[SLOT_DX] = dresidual;
    op->tensor[SLOT_RESIDUAL] = residual;
    op->tensor[SLOT_X] = op->tensor[SLOT_DELTA] = op->tensor[SLOT_Y] = GRAPH_NONE;
    op->accumulate = accumulate;
    if (has_delta) {
        b->gradient[f->tensor[SLOT_X]] = dresidual;
        b->gradient[f->tensor[SLOT_DELTA]] = dresidual;
    }
}

/* Operations whose rule is "gradient of y in, fresh gradient of x out, the same saved tensors". */
static void backward_simple(struct backward *b, const struct graph_op *f, enum graph_kind kind,
                            enum graph_slot source)
{
    int dy = b->gradient[f->tensor[SLOT_Y]];
    int dx = backward_gradient_create(b, f->tensor[source]);
    struct graph_op *op = backward_op(b, kind, f);
    op->tensor[SLOT_DY] = dy;
    op->tensor[SLOT_DX] = dx;
}

static void backward_of(struct backward *b, const struct graph_op *f)
{
    struct graph_op *op;
    switch (f->kind) {
    case GRAPH_HEAD_LOSS:
        b->gradient[f->tensor[SLOT_X]] = f->tensor[SLOT_DX];
        break;
    case GRAPH_LINEAR:
        backward_linear(b, f);
        break;
    case GRAPH_NORM:
        backward_norm(b, f);
        break;
    case GRAPH_ACTIVATION:
        backward_simple(b, f, GRAPH_ACTIVATION_BACKWARD, SLOT_PRE);
        b->ops[b->op_count - 1].tensor[SLOT_Y] = GRAPH_NONE;
        break;
    case GRAPH_SWIGLU:
        backward_simple(b, f, GRAPH_SWIGLU_BACKWARD, SLOT_X);
        b->ops[b->op_count - 1].tensor[SLOT_Y] = GRAPH_NONE;
        break;
    case GRAPH_DROPOUT:
        backward_simple(b, f, GRAPH_DROPOUT_BACKWARD, SLOT_X);
        b->ops[b->op_count - 1].tensor[SLOT_X] = b->ops[b->op_count - 1].tensor[SLOT_Y] = GRAPH_NONE;
        break;
    case GRAPH_ATTENTION:
        backward_simple(b, f, GRAPH_ATTENTION_BACKWARD, SLOT_X);
        break;
    case GRAPH_ROPE:
        op = backward_op(b, GRAPH_ROPE_BACKWARD, f);
        op->tensor[SLOT_X] = b->gradient[f->tensor[SLOT_X]];
        break;
    case GRAPH_EMBEDDING:
        op = backward_op(b, GRAPH_EMBEDDING_BACKWARD, f);
        op->tensor[SLOT_DY] = b->gradient[f->tensor[SLOT_Y]];
        op->tensor[SLOT_Y] = GRAPH_NONE;
        break;
    default:
        break;
    }
}

/* Differentiates forward operations [first, end), which share one block, and appends the result. */
static enum muster_status backward_block(struct backward *b, int first, int end, struct muster_error *err)
{
    struct graph *graph = b->graph;
    b->op_count = 0;
    for (int i = end - 1; i >= first; i--) {
        struct graph_op forward = graph->ops[i];
        backward_of(b, &forward);
    }
    if (graph->recompute != RECOMPUTE_NONE && graph->ops[first].block >= 0) {
        enum muster_status status = graph_recompute_block(graph, first, end, b->ops, b->op_count, err);
        if (status)
            return status;
    }
    for (int i = 0; i < b->op_count; i++)
        *graph_add_op(graph, b->ops[i].kind, b->ops[i].block) = b->ops[i];
    return MUSTER_OK;
}

enum muster_status graph_add_backward(struct graph *graph, struct muster_error *err)
{
    graph->forward_count = graph->op_count;
    struct backward b = {.graph = graph, .op_capacity = 2 * graph->op_count + 1};
    enum muster_status status = MUSTER_OK;
    int forward_tensors = graph->tensor_count;
    b.gradient = alloc_zeroed((size_t)forward_tensors, sizeof *b.gradient);
    b.ops = alloc_zeroed((size_t)b.op_capacity, sizeof *b.ops);
    if (!b.gradient || !b.ops) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the backward graph");
        goto out;
    }
    for (int i = 0; i < forward_tensors; i++)
        b.gradient[i] = GRAPH_NONE;
    for (int end = graph->forward_count; end > 0 && !status;) {
        int first = end - 1;
        while (first > 0 && graph->ops[first - 1].block == graph->ops[end - 1].block)
            first--;
        status = backward_block(&b, first, end, err);
        end = first;
    }
out:
    alloc_free(b.gradient);
    alloc_free(b.ops);
    return status;
}
