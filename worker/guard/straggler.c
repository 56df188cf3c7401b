/* SPDX-License-Identifier: MIT
 *
 * See straggler.h.
 */
#include "worker/guard/straggler.h"

#include <string.h>

#include "base/alloc.h"

enum muster_status straggler_init(struct straggler *straggler, int ranks, struct muster_error *err)
{
    size_t count = (size_t)ranks;
    *straggler = (struct straggler){
        .work = alloc_zeroed(count, sizeof *straggler->work),
        .slow_steps = alloc_zeroed(count, sizeof *straggler->slow_steps),
        .named = alloc_zeroed(count, sizeof *straggler->named),
        .ranks = ranks,
    };
    if (straggler->work && straggler->slow_steps && straggler->named)
        return MUSTER_OK;
    straggler_release(straggler);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the times of %d ranks", ranks);
}

void straggler_release(struct straggler *straggler)
{
    alloc_free(straggler->work);
    alloc_free(straggler->slow_steps);
    alloc_free(straggler->named);
    *straggler = (struct straggler){.ranks = 0};
}

/* Hoare's selection: the value that would stand at `nth` if the array were sorted. */
static double value_select(double *values, int count, int nth)
{
    int low = 0, high = count - 1;
    while (low < high) {
        double pivot = values[low + (high - low) / 2];
        int left = low, right = high;
        while (left <= right) {
            while (values[left] < pivot)
                left++;
            while (values[right] > pivot)
                right--;
            if (left <= right) {
                double swapped = values[left];
                values[left++] = values[right];
                values[right--] = swapped;
            }
        }
        if (nth <= right)
            high = right;
        else if (nth >= left)
            low = left;
        else
            break;
    }
    return values[nth];
}

int straggler_step(struct straggler *straggler, const double *seconds, double *median)
{
    int found = -1;
    memcpy(straggler->work, seconds, (size_t)straggler->ranks * sizeof *seconds);
    *median = value_select(straggler->work, straggler->ranks, (straggler->ranks - 1) / 2);
    for (int rank = 0; rank < straggler->ranks; rank++) {
        bool is_slow = seconds[rank] > STRAGGLER_FACTOR * *median;
        int64_t *balance = &straggler->slow_steps[rank];
        *balance = is_slow ? *balance + 1 : *balance > 0 ? *balance - 1 : 0;
        if (found < 0 && straggler->slow_steps[rank] >= STRAGGLER_STEPS && !straggler->named[rank])
            found = rank;
    }
    if (found >= 0)
        straggler->named[found] = true;
    return found;
}
