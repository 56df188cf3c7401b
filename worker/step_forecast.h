/* SPDX-License-Identifier: MIT
 *
 * The predicted time of a step beside the measured one, where the machine's profile is known: a prediction
 * that nobody compares with what came of it is not worth much.
 */
#ifndef MUSTER_WORKER_STEP_FORECAST_H
#define MUSTER_WORKER_STEP_FORECAST_H

#include "comm/comm.h"
#include "coordinator/plan/plan.h"

enum { STEP_FORECAST_NAME = 64, STEP_FORECAST_LINE = 256, STEP_FORECAST_SAMPLES = 512 };

/** Zeroed: nothing is known. */
struct step_forecast {
    double predicted_s; /* 0: the machine is not known */
    char profile[STEP_FORECAST_NAME];
    float measured_s[STEP_FORECAST_SAMPLES]; /* of the latest steps */
    int64_t count;                           /* of steps noted */
};

/**
 * Predicts the plan's step for the job's machine.profile, on rank 0; the others keep a silent one. A profile
 * that was only found ("auto") and does not fit the run is left aside.
 * \param problem  what is wrong with a profile that the job names, one line; the run goes on without
 */
void step_forecast_open(struct step_forecast *forecast, const struct job *job, const struct plan *plan,
                        const struct comm *comm, struct text *problem);

/** A step took so long. */
void step_forecast_note(struct step_forecast *forecast, double step_s);

/** "12.3 ms predicted (PROFILE), 12.9 ms measured (median of 20 steps): +4.9%"; false when there is nothing
 * to compare. */
bool step_forecast_describe(const struct step_forecast *forecast, char line[STEP_FORECAST_LINE]);

#endif
