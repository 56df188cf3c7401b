/* SPDX-License-Identifier: MIT
 *
 * Ranks are counted anew for every entry instead of sorting: a folder has tens of checkpoints, and no memory
 * is needed.
 */
#include "coordinator/ckpt/ckpt_retention.h"

#include <math.h>

/* How many verified checkpoints are newer than entry `at`. */
static int newer_count(const struct ckpt_retention_entry *entries, int count, int at)
{
    int newer = 0;
    for (int i = 0; i < count; i++)
        newer += entries[i].verified &&
                 (entries[i].step > entries[at].step || (entries[i].step == entries[at].step && i < at));
    return newer;
}

/* Lower loss first, then the newer one, then the order of the list. */
static bool is_better(const struct ckpt_retention_entry *entries, int a, int b)
{
    if (entries[a].loss < entries[b].loss || entries[a].loss > entries[b].loss)
        return entries[a].loss < entries[b].loss;
    if (entries[a].step != entries[b].step)
        return entries[a].step > entries[b].step;
    return a < b;
}

static int better_count(const struct ckpt_retention_entry *entries, int count, int at)
{
    int better = 0;
    for (int i = 0; i < count; i++)
        better += entries[i].verified && isfinite(entries[i].loss) && is_better(entries, i, at);
    return better;
}

static bool is_wanted(const struct ckpt_retention_entry *entries, int count,
                      const struct ckpt_retention_policy *policy, int at)
{
    int64_t last = policy->keep_last > CKPT_RETENTION_MIN ? policy->keep_last : CKPT_RETENTION_MIN;
    if (newer_count(entries, count, at) < last)
        return true;
    if (policy->keep_every > 0 && entries[at].step % policy->keep_every == 0)
        return true;
    return isfinite(entries[at].loss) && better_count(entries, count, at) < policy->keep_best;
}

void ckpt_retention_decide(const struct ckpt_retention_entry *entries, int count,
                           const struct ckpt_retention_policy *policy, bool *removed)
{
    int verified_count = 0;
    for (int i = 0; i < count; i++)
        verified_count += entries[i].verified;
    for (int i = 0; i < count; i++) {
        if (entries[i].verified)
            removed[i] = !is_wanted(entries, count, policy, i);
        else
            removed[i] = verified_count >= CKPT_RETENTION_MIN && newer_count(entries, count, i) > 0;
    }
}
