/* SPDX-License-Identifier: MIT
 *
 * What a rank asks itself after every step besides training: is a rank slow, has another launch taken over,
 * did the numbers go wrong. The answers go to the event log and, from rank 0, to the person.
 */
#ifndef MUSTER_WORKER_RUN_GUARD_H
#define MUSTER_WORKER_RUN_GUARD_H

#include "worker/guard/health.h"
#include "worker/guard/injection.h"
#include "worker/guard/param_check.h"
#include "worker/watch/roster.h"
#include "worker/guard/straggler.h"
#include "worker/telemetry.h"

struct run_guard {
    const struct job *job;
    const struct roster *roster; /* NULL: hosts are not known */
    int rank;
    int64_t epoch;
    double asked_s; /* when the epoch was last asked for */
    struct straggler straggler;
    struct injection injection;
    struct health health;
    struct param_check *check; /* NULL where nothing is compared */
};

/** \param comm  of host memory */
enum muster_status run_guard_init(struct run_guard *guard, struct rank_state *state, struct comm *comm,
                                  const struct roster *roster, struct muster_error *err);
void run_guard_release(struct run_guard *guard);

/**
 * After step `number` (0 for the first).
 * \param seconds  train_step_rank_seconds
 * \return FENCED, on this rank alone, when a newer launch of the run exists (asked every few seconds)
 */
enum muster_status run_guard_step(struct run_guard *guard, int64_t number, const double *seconds,
                                  double now_s, struct telemetry *telemetry, struct muster_error *err);

/** Tells what health_judge found, if anything. */
void run_guard_tell(const struct run_guard *guard, int64_t number, const struct health_finding *finding,
                    struct telemetry *telemetry);

/** Writes the event of weights that differ: `cause` as param_check_run says it. */
void run_guard_corruption(const struct run_guard *guard, int64_t number, int odd_rank, const char *cause);

/** Asks for the epoch now. The event is written. */
enum muster_status run_guard_fence(struct run_guard *guard, int64_t number, struct muster_error *err);

#endif
