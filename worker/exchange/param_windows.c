/* SPDX-License-Identifier: MIT
 *
 * A walk along the plan's visits. Which unit is gathered when follows from the plan alone (plan_residents),
 * so the ranks' collectives meet without a word about it.
 */
#include "worker/exchange/param_windows.h"

#include "base/alloc.h"

struct param_windows {
    struct rank_state *state;
    struct comm *comm;
    struct comm_queue *queue;
    struct plan_residents residents;   /* what was gathered, or is being */
    int64_t ticket[PLAN_WINDOW_COUNT]; /* of that gather */
    int visit, visit_count;            /* the next visit of the pass, and how many it has */
    int64_t *bytes;                    /* [ranks] the task's own */
};

enum muster_status param_windows_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                        struct param_windows **out, struct muster_error *err)
{
    *out = NULL;
    struct param_windows *windows = alloc_zeroed(1, sizeof *windows);
    if (windows)
        windows->bytes = alloc_zeroed((size_t)comm->size, sizeof *windows->bytes);
    if (!windows || !windows->bytes) {
        param_windows_destroy(windows);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the windows of weights");
    }
    windows->state = state;
    windows->comm = comm;
    windows->queue = queue;
    param_windows_forget(windows);
    state->windows = *out = windows;
    return MUSTER_OK;
}

void param_windows_destroy(struct param_windows *windows)
{
    if (!windows)
        return;
    alloc_free(windows->bytes);
    alloc_free(windows);
}

void param_windows_forget(struct param_windows *windows)
{
    plan_residents_clear(&windows->residents);
}

void param_windows_begin(struct param_windows *windows, bool training)
{
    const struct plan_units *units = &windows->state->plan->units;
    windows->visit = 0;
    windows->visit_count = training ? units->visit_count : units->forward_visit_count;
}

void param_windows_mark(const struct param_windows *windows, unsigned char bit, unsigned char *stops)
{
    const struct plan_units *units = &windows->state->plan->units;
    for (int i = 0; i < units->visit_count; i++)
        stops[units->visits[i].op] |= bit;
}

static char *windows_place(const struct param_windows *windows, int unit, int64_t element)
{
    const struct plan *plan = windows->state->plan;
    return (char *)windows->state->param_windows +
           plan_units_place(&plan->units, unit, element) * (int64_t)dtype_size(plan->graph->compute_dtype);
}

/* My part of the unit, from where I keep it. */
static enum muster_status windows_fill(struct param_windows *windows, int unit, struct muster_error *err)
{
    const struct rank_state *state = windows->state;
    int64_t size = (int64_t)dtype_size(state->plan->graph->compute_dtype);
    enum muster_status status = MUSTER_OK;
    for (int bucket = 0; bucket < state->plan->bucket_count && !status; bucket++) {
        struct plan_range mine = plan_range_common(state->plan->units.units[unit].range,
                                                   plan_owned_range(state->plan, bucket, state->rank));
        if (mine.begin < mine.end)
            status = kernels_copy_on_device(state->kernels, windows_place(windows, unit, mine.begin),
                                            rank_state_param(state, bucket, mine.begin),
                                            (mine.end - mine.begin) * size, err);
    }
    return status;
}

/* The task: within a bucket the ranks' parts follow one another, so each bucket is one gather in place. */
static enum muster_status windows_gather(void *context, int unit, struct muster_error *err)
{
    struct param_windows *windows = context;
    const struct plan *plan = windows->state->plan;
    struct plan_range range = plan->units.units[unit].range;
    enum muster_status status = MUSTER_OK;
    for (int bucket = 0; bucket < plan->bucket_count && !status; bucket++) {
        struct plan_range piece = plan_range_common(range, plan->buckets[bucket]);
        if (piece.begin == piece.end)
            continue;
        for (int rank = 0; rank < windows->comm->size; rank++) {
            struct plan_range part = plan_range_common(piece, plan_owned_range(plan, bucket, rank));
            windows->bytes[rank] = (part.end - part.begin) * (int64_t)dtype_size(plan->graph->compute_dtype);
        }
        status =
            comm_all_gather(windows->comm, windows_place(windows, unit, piece.begin), windows->bytes, err);
    }
    return status;
}

static enum muster_status windows_enter(struct param_windows *windows, int unit, struct muster_error *err)
{
    const struct plan_units *units = &windows->state->plan->units;
    if (!plan_residents_enter(units, &windows->residents, unit))
        return MUSTER_OK;
    enum muster_status status = windows_fill(windows, unit, err);
    if (status)
        return status;
    return comm_queue_start(windows->queue, windows_gather, windows, unit,
                            &windows->ticket[units->units[unit].window], err);
}

enum muster_status param_windows_ensure(struct param_windows *windows, int op, struct muster_error *err)
{
    const struct plan_units *units = &windows->state->plan->units;
    enum muster_status status = MUSTER_OK;
    while (!status && windows->visit < windows->visit_count && units->visits[windows->visit].op <= op) {
        int unit = units->visits[windows->visit++].unit;
        status = windows_enter(windows, unit, err);
        if (!status)
            status = comm_queue_wait(windows->queue, windows->ticket[units->units[unit].window], err);
    }
    return status;
}

enum muster_status param_windows_prefetch(struct param_windows *windows, struct muster_error *err)
{
    const struct plan_units *units = &windows->state->plan->units;
    if (windows->visit == 0 || windows->visit == windows->visit_count)
        return MUSTER_OK;
    int now = units->visits[windows->visit - 1].unit, next = units->visits[windows->visit].unit;
    bool room = units->units[now].window != units->units[next].window;
    return room ? windows_enter(windows, next, err) : MUSTER_OK;
}

enum muster_status param_windows_finish(struct param_windows *windows, struct muster_error *err)
{
    return comm_queue_finish(windows->queue, err);
}

enum muster_status param_windows_before(void *context, int op, struct muster_error *err)
{
    enum muster_status status = param_windows_ensure(context, op, err);
    return status ? status : param_windows_prefetch(context, err);
}

enum muster_status param_windows_idle(struct param_windows *windows, bool training, struct muster_error *err)
{
    const struct plan_units *units = &windows->state->plan->units;
    enum muster_status status = MUSTER_OK;
    param_windows_begin(windows, training);
    for (int i = 0; i < windows->visit_count && !status; i++)
        status = param_windows_before(windows, units->visits[i].op, err);
    return status;
}
