/* SPDX-License-Identifier: MIT
 *
 * Where everything that lives inside a micro-step lies: lifetimes are positions in the operation list, and
 * tensors are placed largest first at the lowest offset that is free for their whole life. Deterministic, so
 * what `muster plan` prints is what is allocated.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "model/graph.h"

static void layout_lifetimes(struct graph *graph)
{
    for (int i = 0; i < graph->op_count; i++) {
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int index = graph->ops[i].tensor[slot];
            if (index == GRAPH_NONE)
                continue;
            struct graph_tensor *tensor = &graph->tensors[index];
            if (tensor->first_op < 0)
                tensor->first_op = i;
            tensor->last_op = i;
        }
    }
    for (int i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i].role == GRAPH_ROLE_RESULT)
            graph->tensors[i].last_op = graph->op_count;
}

static bool layout_overlaps(const struct graph_tensor *a, const struct graph_tensor *b)
{
    return a->first_op <= b->last_op && b->first_op <= a->last_op;
}

static int64_t layout_padded(const struct graph_tensor *tensor)
{
    return (tensor->bytes + GRAPH_TENSOR_ALIGN_BYTES - 1) / GRAPH_TENSOR_ALIGN_BYTES *
           GRAPH_TENSOR_ALIGN_BYTES;
}

struct layout_item {
    int tensor;
    int64_t bytes;
};

static int layout_by_size(const void *left, const void *right)
{
    const struct layout_item *a = left, *b = right;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    return (a->tensor > b->tensor) - (a->tensor < b->tensor);
}

/* Lowest offset at which `tensor` collides with none of the placed ones; placed is kept sorted by offset. */
static int64_t layout_find(const struct graph *graph, const int *placed, int placed_count,
                           const struct graph_tensor *tensor)
{
    int64_t offset = 0, bytes = layout_padded(tensor);
    for (int i = 0; i < placed_count; i++) {
        const struct graph_tensor *other = &graph->tensors[placed[i]];
        if (!layout_overlaps(tensor, other))
            continue;
        if (offset + bytes <= other->offset)
            break;
        int64_t end = other->offset + layout_padded(other);
        if (end > offset)
            offset = end;
    }
    return offset;
}

static void layout_insert(const struct graph *graph, int *placed, int placed_count, int tensor)
{
    int at = placed_count;
    while (at > 0 && graph->tensors[placed[at - 1]].offset > graph->tensors[tensor].offset) {
        placed[at] = placed[at - 1];
        at--;
    }
    placed[at] = tensor;
}

static void layout_inputs(struct graph *graph)
{
    graph->input_bytes = 0;
    for (int i = 0; i < graph->tensor_count; i++) {
        struct graph_tensor *tensor = &graph->tensors[i];
        if (tensor->role != GRAPH_ROLE_INPUT)
            continue;
        tensor->offset = graph->input_bytes;
        graph->input_bytes += layout_padded(tensor);
    }
}

static void layout_widest_row(struct graph *graph)
{
    for (int i = 0; i < graph->tensor_count; i++) {
        const struct graph_tensor *tensor = &graph->tensors[i];
        bool is_row = tensor->dim_count > 1 && tensor->role != GRAPH_ROLE_PARAM;
        if (is_row && tensor->shape[1] > graph->row_width_max)
            graph->row_width_max = tensor->shape[1];
    }
}

enum muster_status graph_layout(struct graph *graph, struct muster_error *err)
{
    layout_lifetimes(graph);
    layout_inputs(graph);
    layout_widest_row(graph);
    struct layout_item *items = alloc_zeroed((size_t)graph->tensor_count, sizeof *items);
    int *placed = alloc_zeroed((size_t)graph->tensor_count, sizeof *placed);
    enum muster_status status = MUSTER_OK;
    int count = 0;
    if (!items || !placed) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to lay out the activations");
        goto out;
    }
    for (int i = 0; i < graph->tensor_count; i++) {
        const struct graph_tensor *tensor = &graph->tensors[i];
        bool in_arena = tensor->role == GRAPH_ROLE_ACTIVATION || tensor->role == GRAPH_ROLE_RESULT;
        if (in_arena && tensor->first_op >= 0)
            items[count++] = (struct layout_item){i, layout_padded(tensor)};
    }
    qsort(items, (size_t)count, sizeof *items, layout_by_size);
    for (int i = 0; i < count; i++) {
        struct graph_tensor *tensor = &graph->tensors[items[i].tensor];
        tensor->offset = layout_find(graph, placed, i, tensor);
        layout_insert(graph, placed, i, items[i].tensor);
        if (tensor->offset + items[i].bytes > graph->arena_bytes)
            graph->arena_bytes = tensor->offset + items[i].bytes;
    }
out:
    alloc_free(items);
    alloc_free(placed);
    return status;
}
