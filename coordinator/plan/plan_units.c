/* SPDX-License-Identifier: MIT
 *
 * Units follow from the operations: those of one block share a unit, and outside the blocks every operation
 * has its own, but a norm joins what comes before it. A parameter that was met before stays where it is.
 */
#include "coordinator/plan/plan_units.h"

#include "base/alloc.h"

struct plan_range plan_range_common(struct plan_range a, struct plan_range b)
{
    int64_t begin = a.begin > b.begin ? a.begin : b.begin, end = a.end < b.end ? a.end : b.end;
    return (struct plan_range){begin, end > begin ? end : begin};
}

struct units_maker {
    struct plan_units *units;
    const struct graph *graph;
    int *of_param;  /* unit of each parameter, GRAPH_NONE before it was met */
    int last_block; /* of the newest unit; -1 outside */
    int in_turn;    /* units so far that take the even and odd windows */
};

static const enum graph_slot units_slots[] = {SLOT_WEIGHT, SLOT_BIAS};
enum { UNITS_SLOTS = sizeof units_slots / sizeof units_slots[0] };

/* The parameter in a slot, or GRAPH_NONE. */
static int units_param(const struct graph *graph, const struct graph_op *op, enum graph_slot slot)
{
    int tensor = op->tensor[slot];
    return tensor == GRAPH_NONE ? GRAPH_NONE : graph->tensors[tensor].param;
}

static bool units_begin_anew(const struct units_maker *m, const struct graph_op *op)
{
    if (m->units->count == 0)
        return true;
    if (op->block >= 0)
        return op->block != m->last_block;
    return op->kind != GRAPH_NORM;
}

/* The unit for parameters that are met at `op` for the first time. */
static int units_open(struct units_maker *m, const struct graph_op *op)
{
    struct plan_units *units = m->units;
    if (!units_begin_anew(m, op))
        return units->count - 1;
    bool outer = op->kind == GRAPH_EMBEDDING || op->kind == GRAPH_HEAD_LOSS;
    units->units[units->count] = (struct plan_unit){
        .range = {INT64_MAX, 0},
        .window = outer              ? PLAN_WINDOW_OUTER
                  : m->in_turn++ % 2 ? PLAN_WINDOW_ODD
                                     : PLAN_WINDOW_EVEN,
        .first_add = GRAPH_NONE,
        .last_add = GRAPH_NONE,
    };
    m->last_block = op->block;
    return units->count++;
}

static void units_collect(struct units_maker *m)
{
    for (int i = 0; i < m->graph->forward_count; i++) {
        const struct graph_op *op = &m->graph->ops[i];
        int unit = GRAPH_NONE;
        for (int s = 0; s < UNITS_SLOTS; s++) {
            int param = units_param(m->graph, op, units_slots[s]);
            if (param == GRAPH_NONE || m->of_param[param] != GRAPH_NONE)
                continue;
            if (unit == GRAPH_NONE)
                unit = units_open(m, op);
            m->of_param[param] = unit;
            int64_t *begin = &m->units->units[unit].range.begin, offset = m->graph->params[param].offset;
            *begin = offset < *begin ? offset : *begin;
        }
    }
}

/* The one unit that `op` touches, or GRAPH_NONE; *mixed where there are two. */
static int units_touched(const struct units_maker *m, const struct graph_op *op, bool *mixed)
{
    int unit = GRAPH_NONE;
    for (int s = 0; s < UNITS_SLOTS; s++) {
        int param = units_param(m->graph, op, units_slots[s]);
        if (param == GRAPH_NONE)
            continue;
        *mixed = *mixed || (unit != GRAPH_NONE && unit != m->of_param[param]);
        unit = m->of_param[param];
    }
    return unit;
}

/* Units become ranges without gaps; false when they are not in order, or a parameter is in no unit. */
static bool units_tile(struct units_maker *m, int64_t flat_count)
{
    struct plan_units *units = m->units;
    int64_t at = 0;
    for (int i = 0; i < m->graph->param_count; i++)
        if (m->of_param[i] == GRAPH_NONE || (i > 0 && m->of_param[i] < m->of_param[i - 1]))
            return false;
    for (int i = 0; i < units->count; i++) {
        units->units[i].range.begin = at;
        at = i + 1 < units->count ? units->units[i + 1].range.begin : flat_count;
        units->units[i].range.end = at;
    }
    return units->count > 0;
}

static bool units_op_reads(const struct graph_op *op)
{
    return op->kind != GRAPH_EMBEDDING_BACKWARD && op->kind != GRAPH_LINEAR_BACKWARD_WEIGHT;
}

static bool units_op_adds(const struct graph_op *op)
{
    return op->kind == GRAPH_HEAD_LOSS || op->kind == GRAPH_NORM_BACKWARD ||
           op->kind == GRAPH_EMBEDDING_BACKWARD || op->kind == GRAPH_LINEAR_BACKWARD_WEIGHT;
}

static bool units_schedule(struct units_maker *m)
{
    struct plan_units *units = m->units;
    struct plan_visit run = {0, GRAPH_NONE}; /* a visit if one of its operations reads */
    bool mixed = false;
    for (int i = 0; i < m->graph->op_count; i++) {
        const struct graph_op *op = &m->graph->ops[i];
        int unit = units_touched(m, op, &mixed);
        int last = units->visit_count ? units->visits[units->visit_count - 1].unit : GRAPH_NONE;
        if (unit != GRAPH_NONE && unit != run.unit)
            run = (struct plan_visit){i, unit};
        if (unit != GRAPH_NONE && unit != last && units_op_reads(op))
            units->visits[units->visit_count++] = run;
        if (i < m->graph->forward_count)
            units->forward_visit_count = units->visit_count;
        if (unit == GRAPH_NONE || !units_op_adds(op))
            continue;
        if (units->units[unit].first_add == GRAPH_NONE)
            units->units[unit].first_add = i;
        units->units[unit].last_add = i;
    }
    for (int i = 0; i < units->count; i++)
        mixed = mixed || units->units[i].first_add == GRAPH_NONE;
    return !mixed;
}

static void units_place_params(struct units_maker *m)
{
    struct plan_units *units = m->units;
    int64_t size[PLAN_WINDOW_COUNT] = {0};
    for (int i = 0; i < units->count; i++) {
        const struct plan_unit *unit = &units->units[i];
        int64_t count = unit->range.end - unit->range.begin;
        size[unit->window] = count > size[unit->window] ? count : size[unit->window];
    }
    for (int window = 0; window < PLAN_WINDOW_COUNT; window++)
        units->window_begin[window + 1] = units->window_begin[window] + size[window];
    for (int i = 0; i < m->graph->param_count; i++)
        units->param_place[i] = plan_units_place(units, m->of_param[i], m->graph->params[i].offset);
}

enum muster_status plan_units_init(struct plan_units *units, const struct graph *graph, int64_t flat_count,
                                   struct muster_error *err)
{
    *units = (struct plan_units){0};
    struct units_maker m = {.units = units, .graph = graph, .last_block = -1};
    enum muster_status status = MUSTER_OK;
    units->units = alloc_zeroed((size_t)graph->param_count, sizeof *units->units);
    units->visits = alloc_zeroed((size_t)graph->op_count, sizeof *units->visits);
    units->param_place = alloc_zeroed((size_t)graph->param_count, sizeof *units->param_place);
    m.of_param = alloc_zeroed((size_t)graph->param_count, sizeof *m.of_param);
    if (!units->units || !units->visits || !units->param_place || !m.of_param) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the model's units");
        goto out;
    }
    for (int i = 0; i < graph->param_count; i++)
        m.of_param[i] = GRAPH_NONE;
    units_collect(&m);
    if (!units_tile(&m, flat_count) || !units_schedule(&m)) {
        status = muster_error_set(err, MUSTER_ERR_INTERNAL,
                                  "the model's parameters cannot be cut into units that are used one by one");
        goto out;
    }
    units_place_params(&m);
out:
    alloc_free(m.of_param);
    return status;
}

void plan_units_release(struct plan_units *units)
{
    alloc_free(units->units);
    alloc_free(units->visits);
    alloc_free(units->param_place);
    *units = (struct plan_units){0};
}

int64_t plan_units_place(const struct plan_units *units, int unit, int64_t element)
{
    const struct plan_unit *of = &units->units[unit];
    return units->window_begin[of->window] + element - of->range.begin;
}

void plan_residents_clear(struct plan_residents *residents)
{
    for (int window = 0; window < PLAN_WINDOW_COUNT; window++)
        residents->unit[window] = -1;
}

bool plan_residents_enter(const struct plan_units *units, struct plan_residents *residents, int unit)
{
    int *resident = &residents->unit[units->units[unit].window];
    bool gathers = *resident != unit;
    *resident = unit;
    return gathers;
}
