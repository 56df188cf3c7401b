/* SPDX-License-Identifier: MIT
 *
 * The median of the latest steps is compared: the first step touches memory for the first time, and one that
 * a checkpoint or a neighbour held up says nothing about the model.
 */
#include "worker/step_forecast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cost/cost.h"

static enum muster_status forecast_predict(struct step_forecast *forecast, const struct job *job,
                                           const struct plan *plan, const struct comm *comm,
                                           const struct machine_profile *profile, struct muster_error *err)
{
    struct cost_cluster cluster = {
        .hosts = comm->node_count,
        .ranks_per_host = comm->size / comm->node_count,
        .overlap = job->parallel.overlap_comm,
    };
    struct cost_prediction prediction;
    enum muster_status status = cost_predict(plan, profile, &cluster, &prediction, err);
    if (status)
        return status;
    forecast->predicted_s = prediction.step_s;
    snprintf(forecast->profile, sizeof forecast->profile, "%s", profile->name);
    return MUSTER_OK;
}

void step_forecast_open(struct step_forecast *forecast, const struct job *job, const struct plan *plan,
                        const struct comm *comm, struct text *problem)
{
    struct machine_profile *profile = NULL;
    struct muster_error err = {.status = MUSTER_OK};
    struct job_report report;
    *forecast = (struct step_forecast){.predicted_s = 0.0};
    if (comm->rank != 0)
        return;
    job_report_init(&report);
    enum muster_status status = machine_profile_open(job->machine.profile, &report, &profile, &err);
    if (status == MUSTER_OK && profile != NULL)
        status = forecast_predict(forecast, job, plan, comm, profile, &err);
    if (status != MUSTER_OK && strcmp(job->machine.profile, "auto") != 0)
        text_print(problem, "%s", err.text);
    job_report_release(&report);
    machine_profile_destroy(profile);
}

void step_forecast_note(struct step_forecast *forecast, double step_s)
{
    forecast->measured_s[forecast->count++ % STEP_FORECAST_SAMPLES] = (float)step_s;
}

static int by_size(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

bool step_forecast_describe(const struct step_forecast *forecast, char line[STEP_FORECAST_LINE])
{
    float sorted[STEP_FORECAST_SAMPLES];
    int64_t held = forecast->count < STEP_FORECAST_SAMPLES ? forecast->count : STEP_FORECAST_SAMPLES;
    if (forecast->predicted_s <= 0.0 || held == 0)
        return false;
    memcpy(sorted, forecast->measured_s, (size_t)held * sizeof *sorted);
    qsort(sorted, (size_t)held, sizeof *sorted, by_size);
    double middle = (double)sorted[held / 2], predicted = forecast->predicted_s;
    snprintf(line, STEP_FORECAST_LINE,
             "%.4g ms predicted for %s, %.4g ms measured (median of %lld): prediction %+.1f%% off",
             1e3 * predicted, forecast->profile, 1e3 * middle, (long long)held,
             100.0 * (predicted / middle - 1.0));
    return true;
}
