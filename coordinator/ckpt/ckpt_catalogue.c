/* SPDX-License-Identifier: MIT
 *
 * Which checkpoints a folder holds, from nothing but the folder itself: no index file that could disagree
 * with it. Only names that this program would give are looked at; whatever else lies there is left alone.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char step_prefix[] = "step-";

void ckpt_format_step(char *out, int64_t step)
{
    snprintf(out, CKPT_FILE_NAME_SIZE, "%s%09" PRId64, step_prefix, step);
}

int64_t ckpt_parse_step(const char *name)
{
    char again[CKPT_FILE_NAME_SIZE];
    int64_t step = 0;
    if (strncmp(name, step_prefix, sizeof step_prefix - 1) != 0)
        return -1;
    for (const char *digit = name + sizeof step_prefix - 1; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || __builtin_mul_overflow(step, 10, &step) ||
            __builtin_add_overflow(step, *digit - '0', &step))
            return -1;
    }
    ckpt_format_step(again, step);
    return strcmp(name, again) == 0 ? step : -1;
}

/* Opens the checkpoint once to fill in what the list tells about it; only a lack of memory is an error. */
static enum muster_status entry_fill(struct ckpt_entry *entry, const char *path, struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    struct muster_error cause = {.status = MUSTER_OK};
    enum muster_status status = ckpt_open(path, &ckpt, &cause);
    if (status == MUSTER_ERR_NO_MEMORY)
        return muster_error_set(err, status, "%s", cause.text);
    if (status == MUSTER_OK && ckpt_step(ckpt) != entry->step)
        status = muster_error_set(&cause, MUSTER_ERR_CORRUPT, "%s: its MANIFEST is of step %" PRId64, path,
                                  ckpt_step(ckpt));
    entry->committed = status == MUSTER_OK;
    if (entry->committed) {
        entry->bytes = ckpt_total_bytes(ckpt);
        entry->shard_count = ckpt_shard_count(ckpt);
        entry->validation = ckpt_validation(ckpt);
    } else {
        snprintf(entry->reason, sizeof entry->reason, "%.*s", (int)sizeof entry->reason - 1, cause.text);
    }
    ckpt_close(ckpt);
    return MUSTER_OK;
}

static int entry_compare(const void *a, const void *b)
{
    const struct ckpt_entry *x = a, *y = b;
    return x->step > y->step ? -1 : x->step < y->step;
}

enum muster_status ckpt_catalogue_read(const char *dir, struct ckpt_catalogue *catalogue,
                                       struct muster_error *err)
{
    struct fs_list list;
    char path[FS_PATH_MAX];
    *catalogue = (struct ckpt_catalogue){NULL, 0};
    if (!fs_exists(dir))
        return MUSTER_OK;
    enum muster_status status = fs_list_read(dir, &list, err);
    if (status != MUSTER_OK)
        return status;
    catalogue->entries = alloc_zeroed(list.count, sizeof *catalogue->entries);
    if (catalogue->entries == NULL)
        status =
            muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %zu entries", dir, list.count);
    for (size_t i = 0; i < list.count && status == MUSTER_OK; i++) {
        struct ckpt_entry *entry = &catalogue->entries[catalogue->count];
        int64_t step = ckpt_parse_step(list.names[i]);
        if (step < 0)
            continue;
        status = fs_path_join(path, dir, list.names[i], err);
        if (status != MUSTER_OK || !fs_is_folder(path))
            continue;
        entry->step = step;
        ckpt_format_step(entry->folder, step);
        status = entry_fill(entry, path, err);
        catalogue->count++;
    }
    fs_list_release(&list);
    if (status != MUSTER_OK)
        ckpt_catalogue_release(catalogue);
    else
        qsort(catalogue->entries, (size_t)catalogue->count, sizeof *catalogue->entries, entry_compare);
    return status;
}

void ckpt_catalogue_release(struct ckpt_catalogue *catalogue)
{
    alloc_free(catalogue->entries);
    *catalogue = (struct ckpt_catalogue){NULL, 0};
}
