/* SPDX-License-Identifier: MIT
 *
 * The lock is the supervisor's own, apart from the one that rank 0 holds: whoever has it may end what earlier
 * supervisors of the run have left behind.
 */
#include "coordinator/supervise/supervise_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/cli/launch_leftovers.h"

enum { LAUNCHER_BYTES_MAX = 3 * FS_PATH_MAX, TAIL_BYTES = 16384 };

static const char lock_name[] = "supervisor.lock", launcher_prefix[] = "launcher.",
                  metrics_name[] = "metrics.jsonl";
static const char plan_name[] = "plan.json";

enum muster_status supervise_folder_lock(const char *folder, struct fs_lock *lock, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    lock->fd = -1;
    enum muster_status status = fs_folder_create(folder, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, folder, lock_name, err);
    return status == MUSTER_OK ? fs_lock_take(lock, path, err) : status;
}

enum muster_status supervise_epoch_take(const char *folder, int64_t *epoch, struct muster_error *err)
{
    char path[FS_PATH_MAX], text[32];
    enum muster_status status = epoch_read(folder, epoch, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, folder, EPOCH_FILE_NAME, err);
    if (status != MUSTER_OK)
        return status;
    ++*epoch;
    int length = snprintf(text, sizeof text, "%" PRId64 "\n", *epoch);
    return fs_file_write(path, text, (size_t)length, err);
}

enum muster_status supervise_run_id(const char *folder, char id[SUPERVISE_ID_SIZE], struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct stat info;
    if (realpath(folder, path) == NULL || stat(path, &info) != 0)
        return muster_error_set_errno(err, errno, "find the run's folder %s", folder);
    snprintf(id, SUPERVISE_ID_SIZE, "%llx:%llx:%s", (unsigned long long)info.st_dev,
             (unsigned long long)info.st_ino, path);
    return MUSTER_OK;
}

void supervise_launcher_here(struct supervise_launcher *launcher, pid_t pid)
{
    *launcher = (struct supervise_launcher){.pid = pid};
    gethostname(launcher->host, sizeof launcher->host - 1);
    snprintf(launcher->temporary, sizeof launcher->temporary, "%s", launch_leftovers_temporary());
    snprintf(launcher->shared, sizeof launcher->shared, "%s", launch_leftovers_shared());
}

static enum muster_status launcher_path(char path[FS_PATH_MAX], const char *folder, int64_t epoch,
                                        struct muster_error *err)
{
    char name[sizeof launcher_prefix + 20];
    snprintf(name, sizeof name, "%s%" PRId64, launcher_prefix, epoch);
    return fs_path_join(path, folder, name, err);
}

int64_t supervise_launcher_epoch(const char *file_name)
{
    const size_t length = sizeof launcher_prefix - 1;
    int64_t epoch;
    bool noted = strncmp(file_name, launcher_prefix, length) == 0 &&
                 text_parse_int64(file_name + length, &epoch) && epoch >= 0;
    return noted ? epoch : -1;
}

enum muster_status supervise_launcher_write(const char *folder, int64_t epoch,
                                            const struct supervise_launcher *launcher,
                                            struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct text text;
    text_init(&text);
    text_print(&text, "%s\n%lld\n%s\n%s\n", launcher->host, (long long)launcher->pid, launcher->temporary,
               launcher->shared);
    enum muster_status status = launcher_path(path, folder, epoch, err);
    if (status == MUSTER_OK && text.failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write %s", path);
    if (status == MUSTER_OK)
        status = fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    return status;
}

static double changed_unix_s(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec : 0.0;
}

/* An open asks a file server anew where a mere look may be answered from memory. */
void supervise_plan_look(const char *folder, struct supervise_plan *plan)
{
    char path[FS_PATH_MAX];
    struct stat info;
    *plan = (struct supervise_plan){.inode = 0};
    int fd = fs_path_join(path, folder, plan_name, NULL) == MUSTER_OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && fstat(fd, &info) == 0)
        *plan = (struct supervise_plan){info.st_ino, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    if (fd >= 0)
        close(fd);
}

bool supervise_launch_has_started(const char *folder, const struct supervise_plan *before)
{
    struct supervise_plan now;
    supervise_plan_look(folder, &now);
    return now.inode != 0 && (now.inode != before->inode || now.changed_s != before->changed_s ||
                              now.changed_ns != before->changed_ns);
}

/* Cuts the next line off; NULL when there is none, or when it does not fit into `size` bytes. */
static const char *line_cut(char **rest, size_t size)
{
    char *line = *rest, *end = line != NULL ? strchr(line, '\n') : NULL;
    if (end == NULL || (size_t)(end - line) >= size)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return line;
}

bool supervise_launcher_read(const char *folder, int64_t epoch, struct supervise_launcher *launcher)
{
    char path[FS_PATH_MAX], *data = NULL, *rest;
    size_t bytes;
    int64_t pid = 0;
    if (launcher_path(path, folder, epoch, NULL) != MUSTER_OK || !fs_exists(path) ||
        fs_file_read(path, LAUNCHER_BYTES_MAX, &data, &bytes, NULL) != MUSTER_OK)
        return false;
    rest = data;
    const char *host = line_cut(&rest, sizeof launcher->host),
               *number = line_cut(&rest, sizeof launcher->host);
    const char *temporary = line_cut(&rest, FS_PATH_MAX), *shared = line_cut(&rest, FS_PATH_MAX);
    bool good = host != NULL && number != NULL && temporary != NULL && shared != NULL &&
                text_parse_int64(number, &pid) && pid > 1 && pid <= INT32_MAX;
    if (good) {
        *launcher = (struct supervise_launcher){.pid = (pid_t)pid};
        snprintf(launcher->host, sizeof launcher->host, "%s", host);
        snprintf(launcher->temporary, sizeof launcher->temporary, "%s", temporary);
        snprintf(launcher->shared, sizeof launcher->shared, "%s", shared);
    }
    alloc_free(data);
    return good;
}

void supervise_launcher_forget(const char *folder, int64_t epoch)
{
    char path[FS_PATH_MAX];
    if (launcher_path(path, folder, epoch, NULL) == MUSTER_OK)
        unlink(path);
}

/* What a run was told to leave alone is set aside before its first step. */
static enum muster_status saved_read(const char *dir, struct supervise_progress *progress,
                                     struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    char folder[FS_PATH_MAX], manifest[FS_PATH_MAX];
    int newest = 0;
    if (fs_exists(dir) && !fs_is_folder(dir))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "checkpoint.dir: %s is a file, not a folder", dir);
    enum muster_status status = ckpt_catalogue_read(dir, &catalogue, err);
    while (newest < catalogue.count && !catalogue.entries[newest].committed)
        newest++;
    if (newest < catalogue.count) {
        progress->saved_step = catalogue.entries[newest].step;
        if (fs_path_join(folder, dir, catalogue.entries[newest].folder, NULL) == MUSTER_OK &&
            fs_path_join(manifest, folder, CKPT_MANIFEST_NAME, NULL) == MUSTER_OK)
            progress->saved_unix_s = changed_unix_s(manifest);
    }
    ckpt_catalogue_release(&catalogue);
    return status;
}

/* The last step with a complete line; a checkpoint's own line comes when it is written, steps later. A line
 * is far shorter than what is read. */
static int64_t metrics_step(const char *path)
{
    char tail[TAIL_BYTES + 1];
    long long step = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t size = fs_file_size(path);
    if (fd < 0)
        return -1;
    ssize_t got = pread(fd, tail, TAIL_BYTES, size > TAIL_BYTES ? size - TAIL_BYTES : 0);
    close(fd);
    tail[got > 0 ? got : 0] = '\0';
    for (char *line = tail, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        long long found;
        char quote;
        if (sscanf(line, "{\"step\": %lld, \"loss%c", &found, &quote) == 2)
            step = found;
    }
    return step;
}

enum muster_status supervise_progress_read(const struct job *job, struct supervise_progress *progress,
                                           struct muster_error *err)
{
    char path[FS_PATH_MAX];
    *progress = (struct supervise_progress){.saved_step = -1, .step = -1};
    enum muster_status status = fs_path_join(path, job->output_dir, metrics_name, err);
    if (status == MUSTER_OK && job->logging.jsonl) {
        progress->step = metrics_step(path);
        progress->step_unix_s = changed_unix_s(path);
    }
    return status == MUSTER_OK ? saved_read(job->checkpoint.dir, progress, err) : status;
}
