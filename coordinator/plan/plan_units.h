/* SPDX-License-Identifier: MIT
 *
 * The flat parameter space cut into units: what operations need together, a transformer block each, and the
 * token tables and the head apart. With ZeRO stage 3 a unit's weights are gathered just before its operations
 * and given up after them; from stage 2 on a unit's gradient lives from the first operation that adds to it
 * to the last. Both pass through three windows of memory:
 *
 *   outer      the token and position tables, and the head: the first and the last unit used, sized by the
 *              vocabulary. A head tied to the token table is that unit, used a second time.
 *   even, odd  the blocks in turn, so that one can be gathered while the one before it computes. A norm after
 *              the last block belongs to that block.
 *
 * An mlp's layers are units in turn, its head is in the outer window. Which window a unit takes never
 * changes, so its weights have one address. Pure functions of the graph; who moves data is in worker/
 * (param_windows.h, reducer.h).
 */
#ifndef MUSTER_COORDINATOR_PLAN_UNITS_H
#define MUSTER_COORDINATOR_PLAN_UNITS_H

#include <stdint.h>

#include "base/error.h"
#include "model/graph.h"

/** Flat elements [begin, end). */
struct plan_range {
    int64_t begin, end;
};

/** Empty (begin == end) when they do not meet. */
struct plan_range plan_range_common(struct plan_range a, struct plan_range b);

enum plan_window { PLAN_WINDOW_OUTER, PLAN_WINDOW_EVEN, PLAN_WINDOW_ODD, PLAN_WINDOW_COUNT };

struct plan_unit {
    struct plan_range range; /* units tile the flat space in order */
    enum plan_window window;
    int first_add, last_add; /* operations that first and last add to the unit's gradient */
};

/** From operation `op` on, operations use `unit` and no other, and read its weights, until the next visit. */
struct plan_visit {
    int op, unit;
};

struct plan_units {
    struct plan_unit *units;
    int count;
    struct plan_visit *visits; /* of one pass; the forward pass alone is the first forward_visit_count */
    int visit_count, forward_visit_count;
    int64_t *param_place;                        /* [param_count] first element in the windows' memory */
    int64_t window_begin[PLAN_WINDOW_COUNT + 1]; /* elements; the last is the size of all windows */
};

/** \param flat_count  the flat space with its padding, which belongs to the last unit
 * \return INTERNAL when an operation reads two units, a unit is no contiguous range or has no gradient: such
 * a model cannot be gathered. Release in every case. */
enum muster_status plan_units_init(struct plan_units *units, const struct graph *graph, int64_t flat_count,
                                   struct muster_error *err);
void plan_units_release(struct plan_units *units);

/** Where a flat element lies in the windows' memory while its unit is there, in elements. */
int64_t plan_units_place(const struct plan_units *units, int unit, int64_t element);

/** Which unit each window holds; a unit that is still there is not gathered again. */
struct plan_residents {
    int unit[PLAN_WINDOW_COUNT]; /* or -1 */
};
void plan_residents_clear(struct plan_residents *residents);
/** True when `unit` has to be gathered; it counts as there from now on. */
bool plan_residents_enter(const struct plan_units *units, struct plan_residents *residents, int unit);

#endif
