/* SPDX-License-Identifier: MIT
 *
 * Rules about what is done when something goes wrong: found out now, and not in the night when it does.
 */
#include "coordinator/job/job_rules.h"

/* A rollback from just before a save goes back the most checkpoints. */
static void rollback_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    bool wanted = job->fault.on_nan == JOB_ON_NAN_ROLLBACK || job->fault.on_spike == JOB_ON_SPIKE_ROLLBACK;
    int64_t interval = job->checkpoint.save_interval;
    if (!wanted ||
        !job_rules_trust(reading, JOB_AT(fault.on_nan), JOB_AT(fault.on_spike), JOB_AT(fault.rollback_steps),
                         JOB_AT(checkpoint.save_interval), JOB_AT(checkpoint.keep_last)))
        return;
    if (interval == 0) {
        job_reading_note(reading, JOB_AT(fault.rollback_steps),
                         "without checkpoint.save_interval every rollback goes to the start");
        return;
    }
    int64_t needed = (job->fault.rollback_steps + interval - 1) / interval + 1;
    if (job->checkpoint.keep_last < needed)
        job_reading_error(reading, JOB_AT(fault.rollback_steps),
                          "goes back %lld checkpoints; checkpoint.keep_last must be at least %lld",
                          (long long)needed - 1, (long long)needed);
}

void job_rules_fault_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    rollback_check(reading);
    if (job_rules_trust(reading, JOB_AT(fault.check_interval), JOB_AT(parallel.zero_stage)) &&
        job->fault.check_interval > 0 && job->parallel.zero_stage == 3)
        job_reading_error(
            reading, JOB_AT(fault.check_interval),
            "needs parallel.zero_stage 0, 1 or 2: with 3 no rank holds a second copy of the weights");
}
