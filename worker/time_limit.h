/* SPDX-License-Identifier: MIT
 *
 * When a run must stop because its time is over: the job's train.max_time, counted from the beginning of
 * `muster run` (MUSTER_STARTED_MS) or of this process, and Slurm's own limit (SLURM_JOB_END_TIME), whichever
 * comes first. Any rank may find that it is time; the step's exchange makes it every rank's decision.
 */
#ifndef MUSTER_WORKER_TIME_LIMIT_H
#define MUSTER_WORKER_TIME_LIMIT_H

#include <stdbool.h>

struct time_limit {
    double end_s;     /* Unix time; 0 = no limit */
    double length_s;  /* from the start of the process to there */
    double border_s;  /* when the last step border was; 0 = there was none */
    double longest_s; /* between two borders, older ones weighing less */
    double save_s;    /* the longest save; 0 = none yet */
};

/** \param max_time_s  0 = none \param lookup  getenv, or a test's stand-in \param now_s  Unix time */
void time_limit_init(struct time_limit *limit, double max_time_s, char *(*lookup)(const char *name),
                     double now_s);

/** How long before the end the last step must be over: two more steps and a save. */
double time_limit_margin(const struct time_limit *limit);

/** Called at every step border; true when this must be the last step. */
bool time_limit_border(struct time_limit *limit, double now_s);

void time_limit_saved(struct time_limit *limit, double save_s);

#endif
