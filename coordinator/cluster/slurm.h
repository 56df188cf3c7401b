/* SPDX-License-Identifier: MIT
 *
 * Slurm's own commands, as words: sbatch, squeue, scancel, scontrol. Nothing is linked, so one muster works
 * beside any version, and a machine without Slurm only lacks these verbs.
 */
#ifndef MUSTER_COORDINATOR_SLURM_H
#define MUSTER_COORDINATOR_SLURM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { SLURM_ID_SIZE = 48, SLURM_FIELD_SIZE = 128 };

/** Submits a script file; `extra` are further words for sbatch. `id` receives "123" (of an array, its own).
 */
enum muster_status slurm_submit(const char *script, char *const *extra, int extra_count,
                                char id[SLURM_ID_SIZE], struct muster_error *err);

/** What the queue says of a job; `known` is false when Slurm has forgotten it. */
struct slurm_state {
    bool known;
    char name[SLURM_FIELD_SIZE]; /* PENDING, RUNNING, COMPLETED … */
    char reason[SLURM_FIELD_SIZE], elapsed[SLURM_FIELD_SIZE], limit[SLURM_FIELD_SIZE];
    char left[SLURM_FIELD_SIZE], nodes[SLURM_FIELD_SIZE], start[SLURM_FIELD_SIZE];
};
/** `id`: "123" or, for a task of an array, "123_4". */
enum muster_status slurm_state_read(const char *id, struct slurm_state *state, struct muster_error *err);

/** Whether the job waits for its start or runs: something that can be cancelled. */
bool slurm_state_is_alive(const struct slurm_state *state);

/** Ends the job. \param save  instead tells a running one to save a checkpoint and stop */
enum muster_status slurm_cancel(const char *id, bool save, struct muster_error *err);

/** Puts a running batch job back into the queue. */
enum muster_status slurm_requeue_job(const char *id, struct muster_error *err);

/** A job's number, with "_TASK" for a task of an array: nothing else is given to Slurm's commands. */
bool slurm_id_is_safe(const char *id);

/** "1-02:03:04", "03:04" and so on in seconds; -1 for UNLIMITED and whatever else is no duration. */
int64_t slurm_duration_s(const char *text);

/**
 * Inside an allocation: sets SLURM_JOB_END_TIME (Unix time) for the ranks where Slurm did not (it does
 * from 23.02 on), so that they see the end coming even if no signal does. Elsewhere nothing happens.
 */
void slurm_end_time_export(void);

#endif
