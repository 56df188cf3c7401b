/* SPDX-License-Identifier: MIT
 *
 * How the flat space is cut into buckets; plan.h says what they are for.
 */
#ifndef MUSTER_COORDINATOR_PLAN_BUCKETS_H
#define MUSTER_COORDINATOR_PLAN_BUCKETS_H

#include "coordinator/plan/plan.h"

/**
 * Fills plan->buckets and bucket_count from flat_count and chunk_elements: whole chunks, from the last
 * parameter to the first, none larger than `bucket_mb` (rounded up to chunks). One bucket where all fits;
 * otherwise the first has a quarter of that, the last eight have three quarters
 * of the one before each (fewer where there is too little), and the rest is shared evenly.
 */
enum muster_status plan_buckets_cut(struct plan *plan, int64_t bucket_mb, struct muster_error *err);

#endif
