/* SPDX-License-Identifier: MIT
 *
 * The first bucket is small so that the reduction starts early in the backward pass; the last one is small
 * because nothing is left to hide it behind. What lies between is cut evenly, so that no bucket is a
 * leftover.
 */
#include "coordinator/plan/plan_buckets.h"

#include "base/alloc.h"

enum { EDGE_SHARE = 4 };

static int64_t divide_up(int64_t value, int64_t by)
{
    return (value + by - 1) / by;
}

enum muster_status plan_buckets_cut(struct plan *plan, int64_t bucket_mb, struct muster_error *err)
{
    int64_t chunks = plan->flat_count / plan->chunk_elements;
    int64_t largest = divide_up(bucket_mb * (1 << 20) / (int64_t)sizeof(float), plan->chunk_elements);
    int64_t edge = divide_up(largest, EDGE_SHARE), middle = chunks - 2 * edge;
    int64_t middle_count = divide_up(middle, largest);
    bool one = chunks <= largest;
    plan->bucket_count = one ? 1 : (int)middle_count + 2;
    plan->buckets = alloc_zeroed((size_t)plan->bucket_count, sizeof *plan->buckets);
    if (!plan->buckets)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d buckets", plan->bucket_count);
    int64_t end = chunks;
    for (int i = 0; i < plan->bucket_count; i++) {
        bool last = i == plan->bucket_count - 1;
        int64_t begin = last ? 0 : chunks - edge - (i > 0 ? middle * i / middle_count : 0);
        plan->buckets[i] = (struct plan_range){begin * plan->chunk_elements, end * plan->chunk_elements};
        end = begin;
    }
    return MUSTER_OK;
}
