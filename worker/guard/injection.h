/* SPDX-License-Identifier: MIT
 *
 * Wrong numbers for tests: the environment variable MUSTER_INJECT makes what would otherwise take bad memory
 * or bad data. Inert without it; every call takes NULL. (A rank that dies or hangs is
 * worker/fault_point.h's.)
 *
 *   nan@N       the loss of the N-th step of data (from 1) is NaN, every time it is computed
 *   soft@N      … the first time it is computed only
 *   spike@N     … is a hundred times as large
 *   flip@N:R    before step N, one bit of a weight changes in rank R's copy
 *   slow@N:R    from step N on, rank R pauses for 60 ms in every logical worker
 */
#ifndef MUSTER_WORKER_INJECTION_H
#define MUSTER_WORKER_INJECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum injection_kind {
    INJECTION_NONE,
    INJECTION_NAN,
    INJECTION_SOFT,
    INJECTION_SPIKE,
    INJECTION_FLIP,
    INJECTION_SLOW
};

struct injection {
    enum injection_kind kind;
    int64_t step; /* counted from 1 */
    int rank;     /* -1: any */
    bool spent;
};

/** From the environment. BAD_INPUT for a word that cannot be read. */
enum muster_status injection_init(struct injection *injection, int rank, struct muster_error *err);

/** The loss of a rank's logical worker in the step with the data of step `data_number` (0 for the first). */
double injection_loss(struct injection *injection, int64_t data_number, double loss);

/** Whether a byte of weights is to be spoilt before step `number` (0 for the first). */
bool injection_flips(const struct injection *injection, int64_t number);

/** Spoils a byte of weights in host memory. */
void injection_flip(void *weight);

/** In every logical worker of step `number`. */
void injection_delay(const struct injection *injection, int64_t number);

#endif
