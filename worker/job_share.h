/* SPDX-License-Identifier: MIT
 *
 * One job on all ranks: rank 0 reads and checks the file, the others get the resolved text, and everybody
 * proves to hold the same plan.
 */
#ifndef MUSTER_WORKER_JOB_SHARE_H
#define MUSTER_WORKER_JOB_SHARE_H

#include "comm/comm.h"
#include "coordinator/data/dataset.h"
#include "coordinator/plan/plan.h"

struct job_share {
    struct job *job;
    struct model_config config;
    struct plan *plan;
};

/**
 * Reads the job on rank 0, checks it with its data, sends it. Collective. \param settings  as job_load's
 * \param report  receives every line that is wrong with the job (on rank 0); initialised by the caller
 */
enum muster_status job_share_read(struct job_share *share, struct comm *comm, const char *path,
                                  const struct job_settings *settings, struct text *report,
                                  struct muster_error *err);

/** Plans on every rank with rank 0's thread count (`on_device`: for GPUs) and compares hashes (PEER names the
 * first rank that differs). Collective. */
enum muster_status job_share_plan(struct job_share *share, struct comm *comm, bool on_device,
                                  struct muster_error *err);

void job_share_release(struct job_share *share);

#endif
