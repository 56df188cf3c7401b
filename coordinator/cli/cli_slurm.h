/* SPDX-License-Identifier: MIT
 *
 * How submit, status and cancel find what a person means: a job file, a run's folder, or a Slurm job's
 * number.
 */
#ifndef MUSTER_COORDINATOR_CLI_SLURM_H
#define MUSTER_COORDINATOR_CLI_SLURM_H

#include "base/fs.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cluster/slurm_record.h"
#include "coordinator/job/job.h"

/** The folder of a run named by its job file (with settings, or NULL) or by itself; every error in a job file
 * was told on cli->err. */
enum muster_status cli_slurm_run_of(struct cli *cli, const char *what, const struct job_settings *settings,
                                    char run[FS_PATH_MAX], struct muster_error *err);

/** The newest Slurm job of a run, or the number itself. BAD_INPUT when the run was never submitted. */
enum muster_status cli_slurm_job_of(struct cli *cli, const char *what, const struct job_settings *settings,
                                    char id[SLURM_ID_SIZE], struct muster_error *err);

#endif
