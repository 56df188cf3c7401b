/* SPDX-License-Identifier: MIT
 *
 * A rank that computes markedly slower than the others in most steps is named, once. Steps count one by one:
 * on a host that is busy with other things too, a single one says little, and the slowest rank has a good one
 * now and then. Every rank hands in the same numbers (they ride on the step's exchange) and so comes to the
 * same answer.
 */
#ifndef MUSTER_WORKER_STRAGGLER_H
#define MUSTER_WORKER_STRAGGLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { STRAGGLER_STEPS = 50 };
#define STRAGGLER_FACTOR 1.5

struct straggler {
    double *work;        /* [ranks] */
    int64_t *slow_steps; /* [ranks] less those that were not, never below 0 */
    bool *named;         /* [ranks] */
    int ranks;
};

enum muster_status straggler_init(struct straggler *straggler, int ranks, struct muster_error *err);
void straggler_release(struct straggler *straggler);

/**
 * After a step. Allocates nothing.
 * \param seconds  [ranks] of computing for the same amount of work
 * \param median   out: of all ranks; of two numbers in the middle the smaller, so that one of two ranks can
 * be slow \return a rank that was STRAGGLER_FACTOR times slower than the median in STRAGGLER_STEPS more steps
 * than it was not, and has not been named before; -1: none
 */
int straggler_step(struct straggler *straggler, const double *seconds, double *median);

#endif
