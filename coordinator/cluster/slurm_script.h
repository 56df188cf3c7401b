/* SPDX-License-Identifier: MIT
 *
 * The batch script of a job: what `muster submit` shows and hands to sbatch. Complete in itself, so that a
 * person can read it, keep it, and submit it again without muster.
 */
#ifndef MUSTER_COORDINATOR_SLURM_SCRIPT_H
#define MUSTER_COORDINATOR_SLURM_SCRIPT_H

#include "base/text.h"
#include "coordinator/job/job.h"

struct slurm_script {
    const struct job *job;               /* whose section slurm it is; of an array, the first */
    const char *muster;                  /* the program, absolute */
    const char *directory;               /* to start in, absolute */
    const char *log;                     /* absolute, with Slurm's %-patterns; other % in it are doubled */
    const char *const *job_paths;        /* one a task of the array, absolute */
    int job_count;                       /* 1 = no array */
    const struct job_settings *settings; /* that the run is started with; NULL = none */
    int64_t at_once;                     /* tasks of the array that may run at the same time; 0 = all */
    const char *dependency;              /* "afterok:12", or NULL */
};

/**
 * Writes the script. Every value is quoted twice over: for sbatch in the lines that begin with #SBATCH, for
 * the shell below them. BAD_INPUT for a path with a line break or control character in it.
 */
enum muster_status slurm_script_write(const struct slurm_script *script, struct text *out,
                                      struct muster_error *err);

/** `path` with every % doubled, for slurm_script.log. UNSUPPORTED for one with a backslash: Slurm would read
 * no patterns in it. */
enum muster_status slurm_script_log_print(struct text *out, const char *path, const char *pattern,
                                          struct muster_error *err);

#endif
