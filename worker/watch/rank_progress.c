/* SPDX-License-Identifier: MIT
 *
 * Relaxed stores: the reader wants to know whether anything moves, not in which order.
 */
#include "worker/watch/rank_progress.h"

#include <stddef.h>

#define STORE(member, value) atomic_store_explicit(&progress->member, value, memory_order_relaxed)

static void progress_move(struct rank_progress *progress)
{
    atomic_fetch_add_explicit(&progress->moves, 1, memory_order_relaxed);
}

void rank_progress_enter(struct rank_progress *progress, enum rank_phase phase)
{
    if (progress == NULL)
        return;
    STORE(phase, (int)phase);
    STORE(block, -1);
    progress_move(progress);
}

void rank_progress_step(struct rank_progress *progress, int64_t step)
{
    if (progress == NULL)
        return;
    STORE(step, step);
    rank_progress_enter(progress, RANK_PHASE_DATA);
}

void rank_progress_operation(struct rank_progress *progress, int block)
{
    if (progress == NULL)
        return;
    STORE(block, block);
    progress_move(progress);
}

void rank_progress_measure(struct rank_progress *progress, double step_s)
{
    if (progress == NULL)
        return;
    int64_t before = atomic_load_explicit(&progress->step_us, memory_order_relaxed);
    int64_t faded = before - before / 10, now = (int64_t)(step_s * 1e6) + 1;
    STORE(step_us, now > faded ? now : faded);
}

const char *rank_phase_name(int phase)
{
    static const char *const names[RANK_PHASE_COUNT] = {
        [RANK_PHASE_START] = "start-up",        [RANK_PHASE_DATA] = "data",
        [RANK_PHASE_FORWARD] = "forward",       [RANK_PHASE_BACKWARD] = "backward",
        [RANK_PHASE_REDUCE] = "reduce",         [RANK_PHASE_UPDATE] = "update",
        [RANK_PHASE_EVALUATION] = "evaluation", [RANK_PHASE_CHECKPOINT] = "checkpoint",
        [RANK_PHASE_SHUTDOWN] = "shutdown",
    };
    return phase >= 0 && phase < RANK_PHASE_COUNT ? names[phase] : "unknown";
}
