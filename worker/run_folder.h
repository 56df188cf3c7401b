/* SPDX-License-Identifier: MIT
 *
 * The folder of a run: job.yaml as resolved, plan.json, metrics.jsonl, checkpoints/, logs/rank-0003.log. Rank
 * 0 creates it and holds its lock, so that two runs never write one folder.
 */
#ifndef MUSTER_WORKER_RUN_FOLDER_H
#define MUSTER_WORKER_RUN_FOLDER_H

#include "base/fs.h"
#include "comm/comm.h"
#include "coordinator/plan/plan.h"

struct run_folder {
    char path[FS_PATH_MAX];
    struct fs_lock lock; /* rank 0 */
    bool locked;
};

/** Creates folders, takes the lock (rank 0), opens the rank's log. \param goes_on  from a checkpoint, if
 * there is one \return the same on all ranks: PEER names who holds the lock; BAD_INPUT. Collective. */
enum muster_status run_folder_open(struct run_folder *folder, struct comm *comm, const struct job *job,
                                   bool goes_on, struct muster_error *err);
void run_folder_close(struct run_folder *folder);

/** Writes job.yaml and plan.json durably. Rank 0 only. */
enum muster_status run_folder_write_plan(const struct run_folder *folder, const struct job *job,
                                         const struct plan *plan, struct muster_error *err);

/** Everybody learns whether `status` was MUSTER_OK on `root`; the others get PEER with root's text.
 * Collective. */
enum muster_status run_folder_share_status(struct comm *comm, int root, enum muster_status status,
                                           struct muster_error *err);

#endif
