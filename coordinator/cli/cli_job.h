/* SPDX-License-Identifier: MIT
 *
 * A job file as check, plan and run need it: read, checked, and every error told before anything else
 * happens.
 */
#ifndef MUSTER_COORDINATOR_CLI_JOB_H
#define MUSTER_COORDINATOR_CLI_JOB_H

#include "coordinator/cli/cli.h"
#include "coordinator/plan/plan.h"

enum cli_job_data {
    CLI_JOB_DATA_ALL,    /* the data files are checked too */
    CLI_JOB_DATA_NEEDED, /* only where the model's shape depends on them */
};

struct cli_job {
    struct job *job;
    struct model_config config;
};

/**
 * Reads and checks; errors go to cli->err, all of them. \param settings  of the command line, or NULL \param
 * notes  receives the report's notes, or NULL \return MUSTER_EXIT_DONE, or the exit code after the errors
 * were told. Release in every case.
 */
int cli_job_open(struct cli *cli, const char *path, const struct job_settings *settings,
                 enum cli_job_data data, FILE *notes, struct cli_job *out);
void cli_job_release(struct cli_job *job);

/** The same, with nothing told yet: for who has more to add to the report. The job is there, though its data
 * may be wrong, unless `out->job` is NULL. */
enum muster_status cli_job_read(const char *path, const struct job_settings *settings, enum cli_job_data data,
                                struct job_report *report, struct cli_job *out, struct muster_error *err);

/** Tells what a reading of `what` (a job, a profile) came to: the report's errors and their number, or the
 * error; releases the report. \return the exit code */
int cli_job_report(struct cli *cli, enum muster_status status, const struct muster_error *err,
                   struct job_report *report, const char *what);

/** Cores this process may use. */
int cli_job_cores(void);

/** As the worker decides it for `ranks` ranks on this host; `threads` 0 = as the job says. */
struct plan_topology cli_job_topology(const struct job *job, int64_t ranks, int64_t threads);

#endif
