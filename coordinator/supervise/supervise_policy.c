/* SPDX-License-Identifier: MIT
 *
 * Progress is a new checkpoint and nothing else: steps that are lost again each time are none. A run that has
 * never finished a step is most likely wrong, not unlucky, and gets fewer attempts.
 */
#include "coordinator/supervise/supervise_policy.h"

#include <stdio.h>

enum { UNTRAINED_DEATHS_MAX = 3, DOUBLINGS_MAX = 16 };

static const double delay_s_max = 60.0;

void supervise_history_init(struct supervise_history *history, int64_t saved_step)
{
    *history = (struct supervise_history){.saved_step = saved_step};
}

/* The first restart after progress waits for nothing. */
static double delay_of(const struct supervise_limits *limits, int64_t fruitless)
{
    if (fruitless < 2)
        return 0.0;
    int64_t doublings = fruitless - 2 < DOUBLINGS_MAX ? fruitless - 2 : DOUBLINGS_MAX;
    double delay_s = limits->backoff_s * (double)(1 << doublings);
    return delay_s < delay_s_max ? delay_s : delay_s_max;
}

struct supervise_verdict supervise_judge(const struct supervise_limits *limits,
                                         struct supervise_history *history,
                                         const struct supervise_death *death)
{
    struct supervise_verdict verdict = {.restart = false};
    bool progress = death->saved_step > history->saved_step;
    history->has_trained |= death->has_trained;
    history->fruitless = progress ? 0 : history->fruitless + 1;
    history->saved_step = death->saved_step;
    if (!history->has_trained && history->fruitless >= UNTRAINED_DEATHS_MAX)
        snprintf(verdict.why, sizeof verdict.why, "it died %lld times and never finished a step",
                 (long long)history->fruitless);
    else if (history->fruitless >= limits->give_up_after)
        snprintf(verdict.why, sizeof verdict.why, "it died %lld times in a row without a new checkpoint",
                 (long long)history->fruitless);
    else if (history->restarts >= limits->max_restarts)
        snprintf(verdict.why, sizeof verdict.why, "all %lld restarts are used up",
                 (long long)limits->max_restarts);
    verdict.restart = verdict.why[0] == '\0';
    if (verdict.restart) {
        history->restarts++;
        verdict.delay_s = delay_of(limits, history->fruitless);
    }
    return verdict;
}
