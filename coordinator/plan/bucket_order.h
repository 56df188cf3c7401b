/* SPDX-License-Identifier: MIT
 *
 * When a bucket's gradients are complete: after which operation of the last micro-step of a rank.
 */
#ifndef MUSTER_COORDINATOR_BUCKET_ORDER_H
#define MUSTER_COORDINATOR_BUCKET_ORDER_H

#include "coordinator/plan/plan.h"

/**
 * last_op[bucket] (bucket_count entries): the position in graph->ops after which buckets 0 … bucket are all
 * complete, so that they can be started in order; never decreasing.
 */
void bucket_order_fill(const struct plan *plan, int *last_op);

#endif
