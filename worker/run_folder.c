/* SPDX-License-Identifier: MIT
 *
 * Rank 0 does what must be done once; the status is shared before anybody goes on, so no rank waits for one
 * that has failed.
 */
#include "worker/run_folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "coordinator/ckpt/ckpt.h"

enum muster_status run_folder_share_status(struct comm *comm, int root, enum muster_status status,
                                           struct muster_error *err)
{
    struct muster_error shared = {0};
    if (comm->rank == root && status)
        shared = *err;
    enum muster_status sent = comm_broadcast(comm, &shared, sizeof shared, root, err);
    if (sent)
        return sent;
    if (shared.status) {
        *err = shared;
        err->agreed = true;
    }
    return shared.status;
}

static bool has_checkpoint(const char *dir)
{
    struct ckpt_catalogue catalogue;
    bool found = false;
    if (ckpt_catalogue_read(dir, &catalogue, NULL))
        return false;
    for (int i = 0; i < catalogue.count; i++)
        found |= catalogue.entries[i].committed;
    ckpt_catalogue_release(&catalogue);
    return found;
}

/* Checkpoints that lie elsewhere are found through the run's folder too, by a person as by muster. Where it
 * has some of its own, or cannot hold a link, nothing is lost but that. Where the last ones were, a run that
 * goes on must not overlook them: it would begin anew, and with it metrics.jsonl. */
static enum muster_status run_folder_link(const struct job *job, bool goes_on, struct muster_error *err)
{
    char link[FS_PATH_MAX], target[PATH_MAX], known[PATH_MAX];
    struct stat facts;
    if (fs_path_join(link, job->output_dir, "checkpoints", NULL) || !realpath(job->checkpoint.dir, target))
        return MUSTER_OK;
    bool is_known = realpath(link, known) != NULL;
    if (is_known && !strcmp(known, target))
        return MUSTER_OK;
    if (is_known && goes_on && has_checkpoint(known) && !has_checkpoint(target))
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "checkpoint.dir: %s holds no checkpoint, but %s does, where this run's were: move "
            "them, or begin anew with --resume never",
            job->checkpoint.dir, known);
    if (lstat(link, &facts) == 0 && S_ISLNK(facts.st_mode))
        unlink(link);
    if (symlink(target, link) != 0)
        log_info("no link from %s to %s: %s", link, target, strerror(errno));
    return MUSTER_OK;
}

/* A cause that only a person can mend is bad input: the run would end alike at every restart. */
static enum muster_status run_folder_make(const char *key, const char *path, struct muster_error *err)
{
    static const int lasting[] = {EACCES, EPERM, EROFS, ENOTDIR, EEXIST, ENOENT, ELOOP, ENAMETOOLONG};
    errno = 0;
    enum muster_status status = fs_folder_create(path, err);
    int cause = errno;
    for (size_t i = 0; status == MUSTER_ERR_IO && i < sizeof lasting / sizeof lasting[0]; i++) {
        if (cause == lasting[i])
            status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %.900s; name a folder that can be made",
                                      key, err->text);
    }
    return status;
}

static enum muster_status run_folder_create(struct run_folder *folder, const struct job *job, bool goes_on,
                                            struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = run_folder_make("output_dir", job->output_dir, err);
    if (!status)
        status = fs_path_join(path, job->output_dir, "logs", err);
    if (!status)
        status = run_folder_make("output_dir", path, err);
    if (!status)
        status = run_folder_make("checkpoint.dir", job->checkpoint.dir, err);
    if (!status && access(job->checkpoint.dir, W_OK | X_OK) != 0 && (errno == EACCES || errno == EROFS))
        status =
            muster_error_set(err, MUSTER_ERR_BAD_INPUT, "checkpoint.dir: nothing can be written to %s: %s",
                             job->checkpoint.dir, strerror(errno));
    if (!status)
        status = fs_path_join(path, job->output_dir, "lock", err);
    if (!status)
        status = fs_lock_take(&folder->lock, path, err);
    folder->locked = !status;
    return status ? status : run_folder_link(job, goes_on, err);
}

enum muster_status run_folder_open(struct run_folder *folder, struct comm *comm, const struct job *job,
                                   bool goes_on, struct muster_error *err)
{
    *folder = (struct run_folder){.lock = {.fd = -1}};
    snprintf(folder->path, sizeof folder->path, "%s", job->output_dir);
    enum muster_status status = comm->rank == 0 ? run_folder_create(folder, job, goes_on, err) : MUSTER_OK;
    status = run_folder_share_status(comm, 0, status, err);
    if (status)
        return status;
    char logs[FS_PATH_MAX], path[FS_PATH_MAX], name[32];
    snprintf(name, sizeof name, "rank-%04d.log", comm->rank);
    status = fs_path_join(logs, folder->path, "logs", err);
    if (!status)
        status = fs_folder_create(logs, err); /* on a host that does not share the folder */
    if (!status)
        status = fs_path_join(path, logs, name, err);
    return status ? status : log_file_open(path, comm->rank, err);
}

void run_folder_close(struct run_folder *folder)
{
    log_file_close();
    if (folder->locked)
        fs_lock_release(&folder->lock);
    folder->locked = false;
}

static enum muster_status run_folder_write(const struct run_folder *folder, const char *name,
                                           const struct text *text, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, folder->path, name, err);
    return status ? status : fs_file_write(path, text->data, text->length, err);
}

enum muster_status run_folder_write_plan(const struct run_folder *folder, const struct job *job,
                                         const struct plan *plan, struct muster_error *err)
{
    struct text text;
    text_init(&text);
    enum muster_status status = job_write_yaml(job, &text, err);
    if (!status)
        status = run_folder_write(folder, "job.yaml", &text, err);
    text_clear(&text);
    if (!status)
        status = plan_write_json(plan, job, &text, err);
    if (!status)
        status = run_folder_write(folder, "plan.json", &text, err);
    text_release(&text);
    return status;
}
