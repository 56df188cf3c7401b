/* SPDX-License-Identifier: MIT
 *
 * When a bucket's gradients are complete: after which operation of the last micro-step of a rank; and which
 * buckets an operation needs the weights of.
 */
#ifndef MUSTER_COORDINATOR_BUCKET_ORDER_H
#define MUSTER_COORDINATOR_BUCKET_ORDER_H

#include "coordinator/plan/plan.h"

/**
 * last_op[bucket] (bucket_count entries): the position in graph->ops after which buckets 0 … bucket are all
 * complete, so that they can be started in order; never decreasing.
 */
void bucket_order_fill(const struct plan *plan, int *last_op);

/** first_read[op] (op_count entries): the lowest bucket with weights that operation `op` reads; bucket_count
 * where it reads none. */
void bucket_order_fill_reads(const struct plan *plan, int *first_read);

#endif
