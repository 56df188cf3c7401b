/* SPDX-License-Identifier: MIT
 *
 * What a person sees of a run and what a program reads of it: the live line or interval lines on standard
 * output, metrics.jsonl, the final summary. Rank 0 only; the others hold a silent one.
 */
#ifndef MUSTER_WORKER_TELEMETRY_H
#define MUSTER_WORKER_TELEMETRY_H

#include <stdio.h>

#include "coordinator/plan/plan.h"
#include "worker/step_forecast.h"
#include "worker/train_step.h"

struct telemetry {
    const struct job *job;
    const struct plan *plan;
    FILE *out;         /* NULL on ranks other than 0 */
    FILE *metrics;     /* NULL when off */
    bool live;         /* one line rewritten in place */
    double peak_flops; /* of all ranks together, measured; 0 = unknown */
    double started_s;
    int64_t first_step, last_step, steps_done;
    double step_s_total, interval_s;
    int64_t interval_steps;
    double first_loss, last_loss, eval_loss;
    int64_t memory_bytes;
    char checkpoint[64], saving[64];
    struct step_forecast forecast;
};

/**
 * Truncates metrics.jsonl to the steps before `first_step` and opens it for appending.
 * \param live  rewrite one line instead of printing one an interval
 */
enum muster_status telemetry_open(struct telemetry *t, const struct job *job, const struct plan *plan,
                                  int rank, bool live, int64_t first_step, struct muster_error *err);
void telemetry_close(struct telemetry *t);

/** The run has gone back to this many steps: metrics.jsonl too. */
enum muster_status telemetry_rewind(struct telemetry *t, int64_t step, struct muster_error *err);

/** After a step: `number` is the count of steps done. */
void telemetry_step(struct telemetry *t, int64_t number, const struct train_step_result *result,
                    double step_s);
void telemetry_eval(struct telemetry *t, int64_t number, double loss, double accuracy);
/** How a save went. */
struct telemetry_save {
    int64_t step;
    double duration_s;   /* from its beginning to the commit */
    double stall_s;      /* of it training stood still */
    const char *failure; /* NULL when committed */
};
void telemetry_checkpoint(struct telemetry *t, const struct telemetry_save *save);
/** A save in flight, for the lines to come: how much of this rank's share is written. step -1: none. */
void telemetry_saving(struct telemetry *t, int64_t step, double share);
/** A line for a person, on its own line even while a live line is shown. */
void telemetry_say(struct telemetry *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void telemetry_summary(struct telemetry *t, int64_t steps_done, const char *state_hash, const char *ending);

#endif
