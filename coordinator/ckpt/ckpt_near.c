/* SPDX-License-Identifier: MIT
 *
 * The copies of a run's checkpoints that lie on its nodes' own disks (checkpoint.local_dir), as far as this
 * host can see them. The pattern in the job says where they are: what a worker fills in for %h and %r may be
 * anything here, so that disks of other hosts which are mounted in the same way are found too. Nothing is
 * verified.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One folder step-… on one node. */
struct near_copy {
    char path[FS_PATH_MAX];
    struct ckpt *ckpt; /* NULL: its MANIFEST does not open */
    int64_t step, bytes;
    int present_count;
    char reason[256];
};

struct near_copies {
    struct near_copy *items;
    int count, capacity;
};

static bool shard_is_present(const struct ckpt *ckpt, int shard)
{
    char path[FS_PATH_MAX];
    return fs_path_join(path, ckpt->folder, ckpt->shards[shard].file, NULL) == MUSTER_OK &&
           fs_file_size(path) == ckpt->shards[shard].bytes;
}

/* local_dir as a pattern of glob(3). */
static enum muster_status pattern_make(const char *local_dir, struct text *out, struct muster_error *err)
{
    for (const char *at = local_dir; *at != '\0'; at++) {
        if (*at == '%' && (at[1] == 'h' || at[1] == 'r'))
            text_print(out, "*");
        else if (strchr("*?[\\", *at) != NULL)
            text_print(out, "\\%c", *at);
        else
            text_append(out, at, 1);
        at += *at == '%' && at[1] != '\0';
    }
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the path %s", local_dir)
                       : MUSTER_OK;
}

static enum muster_status copy_open(struct near_copy *copy, struct muster_error *err)
{
    char manifest[FS_PATH_MAX], *text = NULL;
    size_t bytes = 0;
    struct muster_error cause = {.status = MUSTER_OK};
    enum muster_status status = fs_path_join(manifest, copy->path, CKPT_MANIFEST_NAME, &cause);
    if (status == MUSTER_OK)
        status = fs_file_read(manifest, CKPT_MANIFEST_BYTES_MAX, &text, &bytes, &cause);
    if (status == MUSTER_OK)
        status = ckpt_open_text(text, bytes, copy->path, &copy->ckpt, &cause);
    alloc_free(text);
    for (int i = 0; status == MUSTER_OK && i < copy->ckpt->shard_count; i++) {
        bool present = shard_is_present(copy->ckpt, i);
        copy->present_count += present;
        copy->bytes += present ? copy->ckpt->shards[i].bytes : 0;
    }
    snprintf(copy->reason, sizeof copy->reason, "%.*s", (int)sizeof copy->reason - 1,
             status != MUSTER_OK ? cause.text : "");
    return status == MUSTER_ERR_NO_MEMORY ? muster_error_set(err, status, "%s", cause.text) : MUSTER_OK;
}

static enum muster_status copies_grow(struct near_copies *copies, struct muster_error *err)
{
    if (copies->count < copies->capacity)
        return MUSTER_OK;
    int capacity = copies->capacity > 0 ? 2 * copies->capacity : 8;
    struct near_copy *items = alloc_zeroed((size_t)capacity, sizeof *items);
    if (items == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to list local checkpoints");
    if (copies->count > 0)
        memcpy(items, copies->items, (size_t)copies->count * sizeof *items);
    alloc_free(copies->items);
    copies->items = items;
    copies->capacity = capacity;
    return MUSTER_OK;
}

/* A folder that cannot be read is passed over: the others may have what is wanted. */
static enum muster_status node_read(struct near_copies *copies, const char *folder, struct muster_error *err)
{
    struct fs_list list;
    enum muster_status status = MUSTER_OK;
    if (fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return MUSTER_OK;
    for (size_t i = 0; i < list.count && status == MUSTER_OK; i++) {
        int64_t step = ckpt_parse_step(list.names[i]);
        if (step < 0)
            continue;
        status = copies_grow(copies, err);
        if (status != MUSTER_OK)
            break;
        struct near_copy *copy = &copies->items[copies->count];
        copy->step = step;
        status = fs_path_join(copy->path, folder, list.names[i], err);
        if (status == MUSTER_OK && fs_is_folder(copy->path)) {
            copies->count++;
            status = copy_open(copy, err);
        }
    }
    fs_list_release(&list);
    return status;
}

static int copy_compare(const void *a, const void *b)
{
    const struct near_copy *x = a, *y = b;
    return x->step != y->step ? (x->step > y->step ? -1 : 1) : strcmp(x->path, y->path);
}

static enum muster_status copies_read(struct near_copies *copies, const char *local_dir,
                                      struct muster_error *err)
{
    struct text pattern;
    glob_t found = {.gl_pathc = 0};
    text_init(&pattern);
    enum muster_status status = pattern_make(local_dir, &pattern, err);
    if (status == MUSTER_OK && glob(pattern.data, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && status == MUSTER_OK; i++)
            status = node_read(copies, found.gl_pathv[i], err);
        globfree(&found);
    }
    text_release(&pattern);
    if (status == MUSTER_OK && copies->count > 0)
        qsort(copies->items, (size_t)copies->count, sizeof *copies->items, copy_compare);
    return status;
}

/* Shards of this copy's checkpoint that no folder has, of those that were found. */
static int missing_count(const struct near_copies *copies, const struct near_copy *copy)
{
    int missing = 0;
    for (int shard = 0; shard < copy->ckpt->shard_count; shard++) {
        bool present = false;
        for (int i = 0; i < copies->count && !present; i++) {
            const struct ckpt *other = copies->items[i].ckpt;
            present = other != NULL && other->step == copy->ckpt->step &&
                      other->shard_count == copy->ckpt->shard_count &&
                      hash_equal(other->state, copy->ckpt->state) && shard_is_present(other, shard);
        }
        missing += !present;
    }
    return missing;
}

static void copy_print(const struct near_copies *copies, const struct near_copy *copy, int width,
                       struct text *out)
{
    char size[32] = "-", shards[32] = "-", state[320];
    if (copy->ckpt == NULL) {
        snprintf(state, sizeof state, "%s", copy->reason);
    } else {
        int missing = missing_count(copies, copy);
        text_format_bytes(size, sizeof size, copy->bytes);
        snprintf(shards, sizeof shards, "%d of %d", copy->present_count, copy->ckpt->shard_count);
        if (copy->present_count == copy->ckpt->shard_count)
            snprintf(state, sizeof state, "complete");
        else if (missing == 0)
            snprintf(state, sizeof state, "complete with the others here");
        else
            snprintf(state, sizeof state, "incomplete: %d of its shards are in no folder in reach", missing);
    }
    text_print(out, "%-*s  %10" PRId64 "  %10s  %8s  %s\n", width, copy->path, copy->step, size, shards,
               state);
}

static void copies_print(const struct near_copies *copies, struct text *out)
{
    size_t width = strlen("LOCAL COPY");
    for (int i = 0; i < copies->count; i++) {
        size_t length = strlen(copies->items[i].path);
        width = length > width ? length : width;
    }
    text_print(out, "%-*s  %10s  %10s  %8s  %s\n", (int)width, "LOCAL COPY", "STEP", "SIZE", "SHARDS",
               "STATE");
    for (int i = 0; i < copies->count; i++)
        copy_print(copies, &copies->items[i], (int)width, out);
}

/* The job as the run's folder has it, or else as its newest checkpoint has; *job NULL where neither can be
 * read. */
static void job_find(const char *path, struct job **job)
{
    char file[FS_PATH_MAX], folder[FS_PATH_MAX];
    struct ckpt *ckpt = NULL;
    struct job_report report;
    *job = NULL;
    job_report_init(&report);
    if (fs_path_join(file, path, "job.yaml", NULL) == MUSTER_OK && fs_exists(file)) {
        job_load(file, NULL, &report, job, NULL);
    } else if (ckpt_locate(path, folder, NULL) == MUSTER_OK && ckpt_open(folder, &ckpt, NULL) == MUSTER_OK) {
        const char *yaml = ckpt_job_yaml(ckpt);
        job_parse("job_yaml", yaml, strlen(yaml), &report, job, NULL);
    }
    ckpt_close(ckpt);
    job_report_release(&report);
}

enum muster_status ckpt_command_ls(const char *path, struct text *out, struct muster_error *err)
{
    struct near_copies copies = {.items = NULL};
    struct job *job = NULL;
    char manifest[FS_PATH_MAX];
    enum muster_status status = ckpt_command_list(path, out, err);
    bool single = fs_path_join(manifest, path, CKPT_MANIFEST_NAME, NULL) == MUSTER_OK && fs_exists(manifest);
    if ((status != MUSTER_OK && status != MUSTER_ERR_BAD_INPUT) || single)
        return status;
    job_find(path, &job);
    if (job != NULL && strcmp(job->checkpoint.local_dir, "none") != 0) {
        struct muster_error cause;
        enum muster_status read = copies_read(&copies, job->checkpoint.local_dir, &cause);
        if (read != MUSTER_OK) {
            status = muster_error_set(err, read, "%s", cause.text);
        } else if (copies.count > 0) {
            text_print(out, "%s", status == MUSTER_OK ? "\n" : "");
            copies_print(&copies, out);
            status = MUSTER_OK; /* also where `dir` holds none yet */
        }
    }
    for (int i = 0; i < copies.count; i++)
        ckpt_close(copies.items[i].ckpt);
    alloc_free(copies.items);
    job_destroy(job);
    return status;
}
