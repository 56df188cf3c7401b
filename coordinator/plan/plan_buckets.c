/* SPDX-License-Identifier: MIT
 *
 * The first bucket is small so that the reduction starts early in the backward pass. The last ones shrink by
 * a quarter each: one is on the wire while the next, smaller one is computed, so that a link up to a quarter
 * quicker than the computation falls no further behind, and at the end there is only the smallest to wait
 * for. (Halving them leaves half the time of the largest.) What lies between is cut evenly, so that no bucket
 * is a leftover.
 */
#include "coordinator/plan/plan_buckets.h"

#include "base/alloc.h"

enum { FIRST_SHARE = 4, TAIL_MAX = 8 };

static int64_t divide_up(int64_t value, int64_t by)
{
    return (value + by - 1) / by;
}

/* Chunks in each of the last buckets, the smallest first, out of `chunks`; what is left is never less than
 * the largest of them. Returns their number. */
static int plan_buckets_tail(int64_t chunks, int64_t largest, int64_t tail[TAIL_MAX])
{
    int64_t length = largest;
    for (int i = TAIL_MAX - 1; i >= 0; i--)
        tail[i] = length = divide_up(length * 3, 4);
    int count = 0;
    for (; count < TAIL_MAX && chunks >= 2 * tail[count]; count++)
        chunks -= tail[count];
    return count;
}

enum muster_status plan_buckets_cut(struct plan *plan, int64_t bucket_mb, struct muster_error *err)
{
    int64_t chunks = plan->flat_count / plan->chunk_elements, tail[TAIL_MAX];
    int64_t largest = divide_up(bucket_mb * (1 << 20) / (int64_t)sizeof(float), plan->chunk_elements);
    bool one = chunks <= largest;
    int64_t first = one ? chunks : divide_up(largest, FIRST_SHARE), middle = chunks - first;
    int tail_count = plan_buckets_tail(middle, largest, tail);
    for (int i = 0; i < tail_count; i++)
        middle -= tail[i];
    int64_t middle_count = divide_up(middle, largest);
    plan->bucket_count = 1 + (int)middle_count + tail_count;
    plan->buckets = alloc_zeroed((size_t)plan->bucket_count, sizeof *plan->buckets);
    if (!plan->buckets)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d buckets", plan->bucket_count);
    int64_t end = chunks;
    for (int i = 0; i < plan->bucket_count; i++) {
        int64_t begin = chunks - first;
        if (i > middle_count)
            begin = end - tail[plan->bucket_count - 1 - i];
        else if (i > 0)
            begin -= middle * i / middle_count;
        plan->buckets[i] = (struct plan_range){begin * plan->chunk_elements, end * plan->chunk_elements};
        end = begin;
    }
    return MUSTER_OK;
}
