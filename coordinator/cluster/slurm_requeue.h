/* SPDX-License-Identifier: MIT
 *
 * The one place from which a run goes back to the queue. Batch scripts, signal handlers and ranks do not
 * requeue: two requests for one stop would lose a node's time, or the job.
 */
#ifndef MUSTER_COORDINATOR_SLURM_REQUEUE_H
#define MUSTER_COORDINATOR_SLURM_REQUEUE_H

#include <stdio.h>

#include "coordinator/job/job.h"

/**
 * After a run that stopped with a checkpoint, inside its batch job: requeues the job, unless the job file
 * says not to (slurm.requeue), somebody cancelled it, or no step was done since the last time. Says on `err`
 * what it did.
 */
void slurm_requeue(const struct job *job, FILE *err);

#endif
