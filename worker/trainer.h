/* SPDX-License-Identifier: MIT
 *
 * The life of one rank: read the job, agree on the plan, open the run folder, allocate, resume or initialise,
 * step, save, summarise.
 */
#ifndef MUSTER_WORKER_TRAINER_H
#define MUSTER_WORKER_TRAINER_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/comm.h"
#include "coordinator/job/job.h"
#include "worker/stop_signal.h"
#include "worker/watch/watchdog.h"

struct trainer_options {
    const char *job_path;
    struct job_settings settings;
    const char *resume; /* overrides checkpoint.resume; NULL = as the job says */
    bool own_first; /* what the run has saved after the checkpoint that it is to begin from goes before it */
    const char
        *allow_changes; /* job keys that may differ from the checkpoint's, comma-separated; NULL = none */
    const char *instruction_set; /* of the CPU back end; NULL = the best */
    bool live;
    struct stop_signal *stop;   /* asked once a step: save at its end and leave */
    double launched_s;          /* clock_seconds() at process start */
    struct text *report;        /* receives what is wrong with the job, line by line (rank 0) */
    void (*end)(int exit_code); /* ends the process at once, from any thread: another rank is lost */
    struct watchdog **watchdog; /* receives the rank's watchdog, to be destroyed after MPI has ended; NULL
                                   where the job has none */
    bool *training;             /* set before the first step: a lack of memory after it is no bad input */
    bool *finished;             /* set when all ranks got through: they return the same status then */
};

struct trainer;

/**
 * Trains to the end. Collective over all ranks of `comm`.
 * \param out  what the run holds; trainer_destroy, whatever the status. NULL where there was no memory for it
 * \return MUSTER_OK when max_steps are done; CANCELLED after a stop that saved a checkpoint; BAD_INPUT on all
 * ranks alike, told once by the caller on rank 0; with *finished set, whatever it is, on all ranks alike;
 * anything else may be one rank's alone, and the caller must abort the job.
 */
enum muster_status trainer_run(struct comm *comm, const struct trainer_options *options, struct trainer **out,
                               struct muster_error *err);

/** Releases all of it. After a failure this may never return, because what is behind a dead operation of a
 * GPU waits for it: the failure is told first, and the process is ended when this takes too long. Takes NULL.
 */
void trainer_destroy(struct trainer *trainer);

#endif
