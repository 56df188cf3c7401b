/* SPDX-License-Identifier: MIT
 *
 * A run from its first launch to its end: the ranks are started, watched, and when they die started again
 * from the newest checkpoint, until the run is done, stopped, or beyond hope. At each turn a person reads
 * what happened, what was lost and what is done about it; the same goes to the run's event log.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_H
#define MUSTER_COORDINATOR_SUPERVISE_H

#include "coordinator/cli/launch.h"
#include "coordinator/job/job.h"

/** Set for the ranks: when this `muster run` began, in milliseconds of Unix time. */
#define SUPERVISE_STARTED_ENVIRONMENT "MUSTER_STARTED_MS"

struct supervise_options {
    const struct job *job;
    struct launch_options launch; /* of the first launch; restarts differ in what they resume from */
    bool no_restart;              /* a death ends the run */
    struct hosts *hosts;          /* where the ranks go; those that are lost are marked */
    FILE *err;                    /* for a person; the launcher's standard error goes through here */
};

/**
 * Runs the job. \param exit_code  what muster returns: 0 done, 1 failed or given up, 2 bad input, 75 stopped
 * and resumable; every end but 0, 2 and 75 was explained on options->err \return not MUSTER_OK when nothing
 * could be started: PEER when another `muster run` supervises this run.
 */
enum muster_status supervise_run(const struct supervise_options *options, int *exit_code,
                                 struct muster_error *err);

#endif
