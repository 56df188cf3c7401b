/* SPDX-License-Identifier: MIT
 *
 * The time between borders covers whatever may come between two decisions: a step, an evaluation, a save.
 */
#include "worker/time_limit.h"

#include <stddef.h>

#include "base/text.h"

static const double longest_decay = 0.99, margin_least_s = 1.0;
static const double unknown_save_share = 0.05, unknown_save_s_max = 30.0; /* before a save was measured */

static double number_of(char *(*lookup)(const char *name), const char *name)
{
    const char *text = lookup(name);
    double value;
    return text != NULL && text_parse_double(text, &value) && value > 0.0 ? value : 0.0;
}

void time_limit_init(struct time_limit *limit, double max_time_s, char *(*lookup)(const char *name),
                     double now_s)
{
    double began_s = 1e-3 * number_of(lookup, "MUSTER_STARTED_MS");
    double slurm_end_s = number_of(lookup, "SLURM_JOB_END_TIME");
    *limit = (struct time_limit){.end_s = 0.0};
    if (max_time_s > 0.0)
        limit->end_s = (began_s > 0.0 ? began_s : now_s) + max_time_s;
    if (slurm_end_s > 0.0 && (limit->end_s <= 0.0 || slurm_end_s < limit->end_s))
        limit->end_s = slurm_end_s;
    limit->length_s = limit->end_s > now_s ? limit->end_s - now_s : 0.0;
}

double time_limit_margin(const struct time_limit *limit)
{
    double save_s = 2.0 * limit->save_s;
    if (limit->save_s <= 0.0) {
        save_s = unknown_save_share * limit->length_s;
        save_s = save_s < unknown_save_s_max ? save_s : unknown_save_s_max;
    }
    return margin_least_s + 2.0 * limit->longest_s + save_s;
}

bool time_limit_border(struct time_limit *limit, double now_s)
{
    double since_s = limit->border_s > 0.0 ? now_s - limit->border_s : 0.0;
    limit->border_s = now_s;
    limit->longest_s *= longest_decay;
    if (since_s > limit->longest_s)
        limit->longest_s = since_s;
    return limit->end_s > 0.0 && now_s + time_limit_margin(limit) >= limit->end_s;
}

void time_limit_saved(struct time_limit *limit, double save_s)
{
    if (save_s > limit->save_s)
        limit->save_s = save_s;
}
