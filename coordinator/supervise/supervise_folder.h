/* SPDX-License-Identifier: MIT
 *
 * What the supervisor keeps in and reads from the run's folder: its lock, the number of the launch (epoch),
 * which launcher is running (for the next supervisor, should this one be killed), and how far the ranks have
 * come.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_FOLDER_H
#define MUSTER_COORDINATOR_SUPERVISE_FOLDER_H

#include <sys/types.h>

#include "base/fs.h"
#include "coordinator/job/job.h"

/** The folder is created. PEER when another supervisor holds it. Release with fs_lock_release. */
enum muster_status supervise_folder_lock(const char *folder, struct fs_lock *lock, struct muster_error *err);

/** Takes the next epoch, durably: once this has returned, no earlier launch may change the run. */
enum muster_status supervise_epoch_take(const char *folder, int64_t *epoch, struct muster_error *err);

enum { SUPERVISE_HOST_SIZE = 64, SUPERVISE_ID_SIZE = FS_PATH_MAX + 64 };

/** What tells this run's processes from all others: device, inode and absolute path of its folder. The
 * launcher and the ranks carry it as the environment variable MUSTER_RUN. */
#define SUPERVISE_ID_ENVIRONMENT "MUSTER_RUN"
enum muster_status supervise_run_id(const char *folder, char id[SUPERVISE_ID_SIZE], struct muster_error *err);

/** A launcher that was started and, as far as is known, has not been cleaned up after. Every launch notes its
 * own in a file of its own, so that a supervisor that has been taken over cannot touch its successor's. */
struct supervise_launcher {
    char host[SUPERVISE_HOST_SIZE];
    pid_t pid;
    char temporary[FS_PATH_MAX], shared[FS_PATH_MAX]; /* where it keeps its session and shared memory */
};
void supervise_launcher_here(struct supervise_launcher *launcher, pid_t pid);
enum muster_status supervise_launcher_write(const char *folder, int64_t epoch,
                                            const struct supervise_launcher *launcher,
                                            struct muster_error *err);
/** False when there is none, or what is there cannot be read. */
bool supervise_launcher_read(const char *folder, int64_t epoch, struct supervise_launcher *launcher);
void supervise_launcher_forget(const char *folder, int64_t epoch);
/** The launch whose launcher the file of this name in the folder notes; -1 when it notes none. */
int64_t supervise_launcher_epoch(const char *file_name);

/** Which plan.json lies in the folder: each launch's ranks write another just before their first step, by
 * renaming a new file. No clock is asked: it may be set back, or be another one than the file server's. */
struct supervise_plan {
    uint64_t inode;
    int64_t changed_s, changed_ns;
};
void supervise_plan_look(const char *folder, struct supervise_plan *plan);
/** Whether the ranks have got as far since `before`. */
bool supervise_launch_has_started(const char *folder, const struct supervise_plan *before);

struct supervise_progress {
    int64_t saved_step;  /* of the newest committed checkpoint; -1 = none */
    double saved_unix_s; /* when it was committed, by the file system's clock */
    int64_t step;        /* the last one in metrics.jsonl; -1 = none, or not written */
    double step_unix_s;  /* when metrics.jsonl last changed, by the same clock */
};
enum muster_status supervise_progress_read(const struct job *job, struct supervise_progress *progress,
                                           struct muster_error *err);

#endif
