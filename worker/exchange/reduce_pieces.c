/* SPDX-License-Identifier: MIT
 *
 * Units are complete one after the other, the outer ones last where the head is tied to the token table, so
 * their pieces are sorted by the operation that completes them.
 */
#include "worker/exchange/reduce_pieces.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "coordinator/plan/bucket_order.h"

static enum muster_status pieces_allocate(int count, struct reduce_piece **out, struct muster_error *err)
{
    *out = alloc_zeroed((size_t)count, sizeof **out);
    return *out ? MUSTER_OK : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d pieces", count);
}

enum muster_status reduce_pieces_of_buckets(const struct plan *plan, struct reduce_piece **out, int *count,
                                            struct muster_error *err)
{
    *count = plan->bucket_count;
    int *last_op = alloc_zeroed((size_t)plan->bucket_count, sizeof *last_op);
    enum muster_status status = pieces_allocate(plan->bucket_count, out, err);
    if (!status && !last_op)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d buckets", plan->bucket_count);
    if (!status) {
        bucket_order_fill(plan, last_op);
        for (int i = 0; i < plan->bucket_count; i++)
            (*out)[i] = (struct reduce_piece){plan->buckets[i], i, -1, last_op[i]};
    }
    alloc_free(last_op);
    return status;
}

/* From the end of the flat space to its beginning among those complete at once. */
static int pieces_by_completion(const void *left, const void *right)
{
    const struct reduce_piece *a = left, *b = right;
    if (a->last_op != b->last_op)
        return a->last_op < b->last_op ? -1 : 1;
    return (a->range.begin < b->range.begin) - (a->range.begin > b->range.begin);
}

enum muster_status reduce_pieces_of_units(const struct plan *plan, struct reduce_piece **out, int *count,
                                          struct muster_error *err)
{
    const struct plan_units *units = &plan->units;
    *count = 0;
    /* both tile the flat space: every piece but the first begins where a bucket or a unit does */
    enum muster_status status = pieces_allocate(plan->bucket_count + units->count, out, err);
    for (int u = 0; u < units->count && !status; u++)
        for (int b = 0; b < plan->bucket_count; b++) {
            struct plan_range range = plan_range_common(units->units[u].range, plan->buckets[b]);
            if (range.begin < range.end)
                (*out)[(*count)++] = (struct reduce_piece){range, b, u, units->units[u].last_add};
        }
    if (!status)
        qsort(*out, (size_t)*count, sizeof **out, pieces_by_completion);
    return status;
}
