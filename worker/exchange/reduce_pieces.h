/* SPDX-License-Identifier: MIT
 *
 * The pieces in which a rank's last leaf is reduced, in the order that all ranks start them: buckets, or what
 * buckets and units have in common.
 */
#ifndef MUSTER_WORKER_REDUCE_PIECES_H
#define MUSTER_WORKER_REDUCE_PIECES_H

#include "coordinator/plan/plan.h"

struct reduce_piece {
    struct plan_range range;
    int bucket, unit; /* unit -1: the piece is a whole bucket */
    int last_op;      /* the operation after which it, and all before it, are complete */
};

/** Pieces by last_op. *out is the caller's (alloc_free). */
enum muster_status reduce_pieces_of_buckets(const struct plan *plan, struct reduce_piece **out, int *count,
                                            struct muster_error *err);
enum muster_status reduce_pieces_of_units(const struct plan *plan, struct reduce_piece **out, int *count,
                                          struct muster_error *err);

#endif
