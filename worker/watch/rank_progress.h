/* SPDX-License-Identifier: MIT
 *
 * Where a rank is: written by the threads that work, read by the one that watches. Writing costs a few
 * relaxed stores, so it is done for every operation. Every call takes NULL for "nobody watches".
 */
#ifndef MUSTER_WORKER_RANK_PROGRESS_H
#define MUSTER_WORKER_RANK_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

enum rank_phase {
    RANK_PHASE_START,
    RANK_PHASE_DATA,
    RANK_PHASE_FORWARD,
    RANK_PHASE_BACKWARD,
    RANK_PHASE_REDUCE,
    RANK_PHASE_UPDATE,
    RANK_PHASE_EVALUATION,
    RANK_PHASE_CHECKPOINT,
    RANK_PHASE_SHUTDOWN,
    RANK_PHASE_COUNT
};

struct rank_progress {
    _Atomic int64_t step;    /* in progress, counted from 1; 0 before the first */
    _Atomic int phase;       /* enum rank_phase */
    _Atomic int block;       /* transformer block of the operation in progress, -1 outside */
    _Atomic int64_t moves;   /* grows with everything that is done */
    _Atomic int64_t step_us; /* how long a step takes lately; 0 = none was measured */
};

/** A phase begins. */
void rank_progress_enter(struct rank_progress *progress, enum rank_phase phase);

/** Step `step` (counted from 1) begins. */
void rank_progress_step(struct rank_progress *progress, int64_t step);

/** An operation begins, in this transformer block (or -1). */
void rank_progress_operation(struct rank_progress *progress, int block);

/** A step took this long. The longest counts, and is forgotten by a tenth with every later step. */
void rank_progress_measure(struct rank_progress *progress, double step_s);

/** "backward", "checkpoint" …; never NULL. */
const char *rank_phase_name(int phase);

#endif
