/* SPDX-License-Identifier: MIT
 *
 * The sum of the owned range is left in the first node's buffer, in place, so that a step needs no memory
 * beyond the fold's buffers and what arrives from other ranks; where the only node is a leaf in the windows,
 * it has a region of its own.
 */
#include "worker/exchange/reducer.h"

#include "base/alloc.h"
#include "comm/exact_reduce.h"
#include "worker/fault_point.h"
#include "worker/exchange/reduce_pieces.h"

struct reducer {
    struct rank_state *state;
    struct comm *comm;
    struct comm_queue *queue;
    struct tree_fold fold;
    struct exact_reduce *exact; /* NULL when the job says fast */
    struct reduce_piece *pieces;
    int piece_count;
    int *opens; /* [op_count] unit to which the operation is the first to add, or -1; with windows only */
    int leaf;   /* in hand */
    int done;   /* pieces of the leaf in hand that were merged or started */
    int64_t window_ticket[PLAN_WINDOW_COUNT]; /* of the last piece sent from there */
    /* the task's own: */
    int64_t *owned_begin; /* [ranks + 1], of the piece in hand */
    int64_t *owned_count; /* [ranks] */
};

/* A flat element in a whole buffer, or in the window of its unit. */
static float *reducer_at(const struct reducer *reducer, int buffer, int unit, int64_t element)
{
    const struct rank_state *state = reducer->state;
    if (buffer == TREE_BUFFER_WINDOW)
        return state->gradient_windows + plan_units_place(&state->plan->units, unit, element);
    return state->gradients + buffer * state->plan->flat_count + element;
}

static int reducer_last_leaf(const struct reducer *reducer)
{
    return reducer->fold.leaf_count - 1;
}

static bool reducer_in_windows(const struct reducer *reducer, int leaf)
{
    return reducer->fold.leaf_buffer[leaf] == TREE_BUFFER_WINDOW;
}

/* ---- the reduction across ranks: on the thread that talks, computes nothing but the reduction's own adds
 * ---- */

static enum muster_status reducer_exact(struct reducer *reducer, const struct reduce_piece *piece,
                                        float *mine, struct muster_error *err)
{
    fault_point("reduce");
    float *nodes[TREE_BLOCK_NODES_MAX];
    for (int i = 0; i < reducer->fold.node_count; i++)
        nodes[i] = reducer_at(reducer, reducer->fold.node_buffer[i], piece->unit, piece->range.begin);
    return exact_reduce_run(reducer->exact, nodes, reducer->owned_begin, mine, reducer->state->receive, err);
}

static enum muster_status reducer_fast(struct reducer *reducer, const struct reduce_piece *piece, float *mine,
                                       struct muster_error *err)
{
    if (reducer->comm->size == 1)
        return MUSTER_OK;
    float *sum = reducer_at(reducer, reducer->fold.node_buffer[0], piece->unit, piece->range.begin);
    return comm_reduce_scatter_f32(reducer->comm, sum, reducer->owned_count, mine, err);
}

/* Stage 0: everybody gets the sums of all. */
static enum muster_status reducer_gather(struct reducer *reducer, const struct reduce_piece *piece,
                                         struct muster_error *err)
{
    int64_t *bytes = reducer->owned_count;
    for (int rank = 0; rank < reducer->comm->size; rank++)
        bytes[rank] *= (int64_t)sizeof(float);
    float *sum = reducer_at(reducer, reducer->fold.node_buffer[0], piece->unit, piece->range.begin);
    return comm_all_gather(reducer->comm, sum, bytes, err);
}

static enum muster_status reducer_reduce(void *context, int number, struct muster_error *err)
{
    struct reducer *reducer = context;
    const struct plan *plan = reducer->state->plan;
    const struct reduce_piece *piece = &reducer->pieces[number];
    int64_t begin = piece->range.begin;
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_range owned = plan_owned_range(plan, piece->bucket, rank);
        int64_t end = owned.end < piece->range.end ? owned.end : piece->range.end;
        reducer->owned_begin[rank] = begin - piece->range.begin;
        reducer->owned_count[rank] = end > begin ? end - begin : 0;
        begin += reducer->owned_count[rank];
    }
    reducer->owned_begin[plan->ranks] = piece->range.end - piece->range.begin;
    float *mine =
        reducer_sum(reducer, piece->bucket, piece->range.begin + reducer->owned_begin[reducer->state->rank]);
    enum muster_status status =
        reducer->exact ? reducer_exact(reducer, piece, mine, err) : reducer_fast(reducer, piece, mine, err);
    if (!status && plan->zero_stage == 0)
        status = reducer_gather(reducer, piece, err);
    return status;
}

/* ---- life ---- */

static enum muster_status reducer_cut(struct reducer *reducer, struct muster_error *err)
{
    const struct plan *plan = reducer->state->plan;
    if (!reducer_in_windows(reducer, reducer_last_leaf(reducer)))
        return reduce_pieces_of_buckets(plan, &reducer->pieces, &reducer->piece_count, err);
    reducer->opens = alloc_zeroed((size_t)plan->graph->op_count, sizeof *reducer->opens);
    if (!reducer->opens)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the reducer");
    for (int op = 0; op < plan->graph->op_count; op++)
        reducer->opens[op] = -1;
    for (int unit = 0; unit < plan->units.count; unit++)
        reducer->opens[plan->units.units[unit].first_add] = unit;
    return reduce_pieces_of_units(plan, &reducer->pieces, &reducer->piece_count, err);
}

enum muster_status reducer_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                  struct reducer **out, struct muster_error *err)
{
    *out = NULL;
    const struct plan *plan = state->plan;
    struct reducer *reducer = alloc_zeroed(1, sizeof *reducer);
    if (!reducer)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the reducer");
    reducer->state = state;
    reducer->comm = comm;
    reducer->queue = queue;
    reducer->owned_begin = alloc_zeroed((size_t)plan->ranks + 1, sizeof *reducer->owned_begin);
    reducer->owned_count = alloc_zeroed((size_t)plan->ranks, sizeof *reducer->owned_count);
    enum muster_status status = MUSTER_OK;
    if (!reducer->owned_begin || !reducer->owned_count)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the reducer");
    if (!status)
        status = plan_rank_fold(plan, state->rank, &reducer->fold, err);
    if (!status)
        status = reducer_cut(reducer, err);
    if (!status && state->job->parallel.reduce == JOB_REDUCE_EXACT)
        status = exact_reduce_create(comm, plan->logical_workers, plan->block_begin, &reducer->exact, err);
    if (status) {
        reducer_destroy(reducer);
        return status;
    }
    *out = reducer;
    return MUSTER_OK;
}

void reducer_destroy(struct reducer *reducer)
{
    if (!reducer)
        return;
    exact_reduce_destroy(reducer->exact);
    tree_fold_release(&reducer->fold);
    alloc_free(reducer->pieces);
    alloc_free(reducer->opens);
    alloc_free(reducer->owned_begin);
    alloc_free(reducer->owned_count);
    alloc_free(reducer);
}

/* ---- the rank's own leaves ---- */

enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, struct executor_step *micro,
                                      struct muster_error *err)
{
    const struct rank_state *state = reducer->state;
    reducer->leaf = leaf;
    reducer->done = 0;
    if (reducer_in_windows(reducer, leaf)) {
        micro->gradients = state->gradient_windows;
        micro->gradient_place = state->plan->units.param_place;
        return MUSTER_OK;
    }
    micro->gradients = reducer_at(reducer, reducer->fold.leaf_buffer[leaf], -1, 0);
    micro->gradient_place = NULL;
    return kernels_fill_zero(state->kernels, micro->gradients, state->plan->flat_count * 4, err);
}

bool reducer_wants_operations(const struct reducer *reducer, int leaf)
{
    return reducer_in_windows(reducer, leaf) ||
           (leaf == reducer_last_leaf(reducer) && comm_queue_overlaps(reducer->queue));
}

void reducer_mark(const struct reducer *reducer, unsigned char bit, unsigned char *stops)
{
    int op_count = reducer->state->plan->graph->op_count;
    for (int i = 0; i < reducer->piece_count; i++)
        if (reducer->pieces[i].last_op + 1 < op_count)
            stops[reducer->pieces[i].last_op + 1] |= bit;
    for (int op = 0; reducer->opens && op < op_count; op++)
        if (reducer->opens[op] >= 0)
            stops[op] |= bit;
}

/* What the tree merges once the leaf in hand is complete, on one range of the flat space. */
static enum muster_status reducer_merge(struct reducer *reducer, struct plan_range range, int unit,
                                        struct muster_error *err)
{
    const struct tree_fold *fold = &reducer->fold;
    for (int i = fold->merge_first[reducer->leaf]; i < fold->merge_first[reducer->leaf + 1]; i++) {
        float *into = reducer_at(reducer, fold->merge_into[i], unit, range.begin);
        const float *from = reducer_at(reducer, fold->merge_from[i], unit, range.begin);
        enum muster_status status =
            kernels_add(reducer->state->kernels, into, from, range.end - range.begin, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

/* For the fast sum the rank's nodes become one, left to right. */
static enum muster_status reducer_join_nodes(struct reducer *reducer, const struct reduce_piece *piece,
                                             struct muster_error *err)
{
    const int *buffer = reducer->fold.node_buffer;
    float *sum = reducer_at(reducer, buffer[0], piece->unit, piece->range.begin);
    enum muster_status status = MUSTER_OK;
    for (int i = 1; i < reducer->fold.node_count && !status; i++)
        status = kernels_add(reducer->state->kernels, sum,
                             reducer_at(reducer, buffer[i], piece->unit, piece->range.begin),
                             piece->range.end - piece->range.begin, err);
    return status;
}

/* The piece is complete in the leaf in hand: merged, and after the last leaf sent away. */
static enum muster_status reducer_close(struct reducer *reducer, int number, struct muster_error *err)
{
    const struct reduce_piece *piece = &reducer->pieces[number];
    enum muster_status status = reducer_merge(reducer, piece->range, piece->unit, err);
    if (status || reducer->leaf != reducer_last_leaf(reducer))
        return status;
    if (!reducer->exact)
        status = reducer_join_nodes(reducer, piece, err);
    int64_t ticket = 0;
    if (!status)
        status = comm_queue_start(reducer->queue, reducer_reduce, reducer, number, &ticket, err);
    if (piece->unit >= 0)
        reducer->window_ticket[reducer->state->plan->units.units[piece->unit].window] = ticket;
    return status;
}

static enum muster_status reducer_close_before(struct reducer *reducer, int op, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    while (!status && reducer->done < reducer->piece_count && reducer->pieces[reducer->done].last_op < op)
        status = reducer_close(reducer, reducer->done++, err);
    return status;
}

/* The unit's window is free once what was sent from it has arrived. */
static enum muster_status reducer_open(struct reducer *reducer, int unit, struct muster_error *err)
{
    const struct plan_unit *of = &reducer->state->plan->units.units[unit];
    enum muster_status status = comm_queue_wait(reducer->queue, reducer->window_ticket[of->window], err);
    if (status)
        return status;
    return kernels_fill_zero(reducer->state->kernels,
                             reducer_at(reducer, TREE_BUFFER_WINDOW, unit, of->range.begin),
                             (of->range.end - of->range.begin) * 4, err);
}

/* True when a unit that is complete but not yet closed lies in the window of `unit`. */
static bool reducer_window_is_taken(const struct reducer *reducer, int unit, int op)
{
    const struct plan_units *units = &reducer->state->plan->units;
    for (int i = reducer->done; i < reducer->piece_count && reducer->pieces[i].last_op < op; i++)
        if (units->units[reducer->pieces[i].unit].window == units->units[unit].window)
            return true;
    return false;
}

/* Opening first lets what was just completed be on its way while the next unit computes. */
enum muster_status reducer_before(struct reducer *reducer, int op, struct muster_error *err)
{
    int unit = reducer_in_windows(reducer, reducer->leaf) ? reducer->opens[op] : -1;
    enum muster_status status = MUSTER_OK;
    if (unit >= 0 && reducer_window_is_taken(reducer, unit, op))
        status = reducer_close_before(reducer, op, err);
    if (!status && unit >= 0)
        status = reducer_open(reducer, unit, err);
    return status ? status : reducer_close_before(reducer, op, err);
}

enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err)
{
    const struct plan *plan = reducer->state->plan;
    if (leaf == reducer_last_leaf(reducer))
        return MUSTER_OK;
    if (reducer_in_windows(reducer, leaf))
        return reducer_close_before(reducer, plan->graph->op_count, err);
    return reducer_merge(reducer, (struct plan_range){0, plan->flat_count}, -1, err);
}

enum muster_status reducer_finish(struct reducer *reducer, struct muster_error *err)
{
    enum muster_status status = reducer_close_before(reducer, reducer->state->plan->graph->op_count, err);
    return status ? status : comm_queue_finish(reducer->queue, err);
}

float *reducer_sum(const struct reducer *reducer, int bucket, int64_t element)
{
    const struct rank_state *state = reducer->state;
    if (reducer->fold.node_buffer[0] != TREE_BUFFER_WINDOW)
        return reducer_at(reducer, reducer->fold.node_buffer[0], -1, element);
    int64_t first = plan_owned_range(state->plan, bucket, state->rank).begin;
    return state->gradient_sum + state->owned_first[bucket] + element - first;
}
