/* SPDX-License-Identifier: MIT
 *
 * Removing old checkpoints after a newer one is safe. What stays is decided by ckpt_retention.c as if
 * everything that opens were good; but nothing goes unless enough of what stays is known to be good, not only
 * to open.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/shell_word.h"
#include "coordinator/ckpt/ckpt_internal.h"
#include "coordinator/ckpt/ckpt_retention.h"

/* Without its MANIFEST a folder is no checkpoint any more, however far the removal gets. */
static enum muster_status folder_remove(const char *dir, const char *folder, struct muster_error *err)
{
    char path[FS_PATH_MAX], manifest[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, dir, folder, err);
    if (status == MUSTER_OK)
        status = fs_path_join(manifest, path, CKPT_MANIFEST_NAME, err);
    if (status == MUSTER_OK)
        status = fs_remove_tree(manifest, err);
    if (status == MUSTER_OK)
        status = fs_folder_sync(path, err);
    if (status == MUSTER_OK)
        status = fs_remove_tree(path, err);
    return status;
}

/* A folder that cannot be read today (a server that is away) may be a good checkpoint: only one that is known
 * to be unfinished or damaged is rubbish. */
static bool entry_is_rubbish(const char *dir, const struct ckpt_entry *entry)
{
    char path[FS_PATH_MAX];
    struct ckpt *ckpt = NULL;
    if (fs_path_join(path, dir, entry->folder, NULL) != MUSTER_OK)
        return false;
    enum muster_status status = ckpt_open(path, &ckpt, NULL);
    ckpt_close(ckpt);
    return status == MUSTER_OK || status == MUSTER_ERR_CORRUPT; /* OK: it opens, but is of another step */
}

static bool is_known_good(const struct ckpt_retention_scope *scope, int64_t step)
{
    bool known = scope->trusts_all;
    for (int i = 0; i < scope->verified_count && !known; i++)
        known = scope->verified[i] == step;
    return known;
}

/* Fills removed[] for the entries of the scope, which are the last `count` of the catalogue (newest first).
 */
static void removal_decide(const struct ckpt_entry *entries, int count,
                           const struct ckpt_retention_policy *policy,
                           const struct ckpt_retention_scope *scope, struct ckpt_retention_entry *candidates,
                           bool *removed)
{
    int good_count = 0;
    for (int i = 0; i < count; i++)
        candidates[i] =
            (struct ckpt_retention_entry){entries[i].step, entries[i].committed,
                                          entries[i].validation.known ? entries[i].validation.loss : NAN};
    ckpt_retention_decide(candidates, count, policy, removed);
    for (int i = 0; i < count; i++)
        good_count += entries[i].committed && !removed[i] && is_known_good(scope, entries[i].step);
    for (int i = 0; i < count && good_count < CKPT_RETENTION_MIN; i++)
        removed[i] = false;
}

enum muster_status ckpt_retain(const char *dir, const struct ckpt_retention_policy *policy,
                               const struct ckpt_retention_scope *scope, struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    enum muster_status status = ckpt_catalogue_read(dir, &catalogue, err);
    if (status != MUSTER_OK)
        return status;
    int first = 0;
    while (first < catalogue.count && catalogue.entries[first].step > scope->newest_step)
        first++;
    const struct ckpt_entry *entries = catalogue.entries + first;
    int count = catalogue.count - first;
    struct ckpt_retention_entry *candidates = alloc_zeroed((size_t)count, sizeof *candidates);
    bool *removed = alloc_zeroed((size_t)count, sizeof *removed);
    if (candidates == NULL || removed == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %d entries", dir, count);
    else
        removal_decide(entries, count, policy, scope, candidates, removed);
    for (int i = count - 1; i >= 0 && status == MUSTER_OK; i--) {
        if (removed[i] && (entries[i].committed || entry_is_rubbish(dir, &entries[i])))
            status = folder_remove(dir, entries[i].folder, err);
    }
    alloc_free(removed);
    alloc_free(candidates);
    ckpt_catalogue_release(&catalogue);
    return status;
}

enum muster_status ckpt_prune(const char *dir, int keep_last, struct muster_error *err)
{
    const struct ckpt_retention_policy policy = {.keep_last = keep_last};
    const struct ckpt_retention_scope scope = {.newest_step = INT64_MAX, .trusts_all = true};
    return ckpt_retain(dir, &policy, &scope, err);
}

static const char given_up_prefix[] = "given-up-";

static bool is_given_up(const char *name)
{
    int64_t number;
    size_t length = sizeof given_up_prefix - 1;
    return strncmp(name, given_up_prefix, length) == 0 && text_parse_int64(name + length, &number);
}

static int64_t checkpoints_bytes(const char *dir)
{
    struct ckpt_catalogue catalogue;
    int64_t bytes = 0;
    if (ckpt_catalogue_read(dir, &catalogue, NULL) != MUSTER_OK)
        return 0;
    for (int i = 0; i < catalogue.count; i++)
        bytes += catalogue.entries[i].bytes;
    ckpt_catalogue_release(&catalogue);
    return bytes;
}

void ckpt_given_up_print(const char *dir, const char *title, struct text *out)
{
    struct fs_list list;
    struct text command;
    char path[FS_PATH_MAX], size[32];
    int64_t bytes = 0;
    int count = 0;
    if (fs_list_read(dir, &list, NULL) != MUSTER_OK)
        return;
    text_init(&command);
    for (size_t i = 0; i < list.count; i++) {
        if (!is_given_up(list.names[i]) || fs_path_join(path, dir, list.names[i], NULL) != MUSTER_OK)
            continue;
        bytes += checkpoints_bytes(path);
        count++;
        text_print(&command, " ");
        shell_word_print(&command, path);
    }
    text_format_bytes(size, sizeof size, bytes);
    if (count > 0)
        text_print(out, "%s%s in %d folder%s; nothing removes them by itself; when not wanted: rm -r%s\n",
                   title, size, count, count == 1 ? "" : "s", command.data);
    text_release(&command);
    fs_list_release(&list);
}

static enum muster_status given_up_create(const char *dir, char folder[FS_PATH_MAX], struct muster_error *err)
{
    char name[32];
    for (int i = 1;; i++) {
        snprintf(name, sizeof name, "%s%d", given_up_prefix, i);
        enum muster_status status = fs_path_join(folder, dir, name, err);
        if (status != MUSTER_OK || !fs_exists(folder))
            return status != MUSTER_OK ? status : fs_folder_create(folder, err);
    }
}

enum muster_status ckpt_give_up_later(const char *dir, int64_t step, struct text *said,
                                      struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    char folder[FS_PATH_MAX] = "", from[FS_PATH_MAX], to[FS_PATH_MAX];
    enum muster_status status = ckpt_catalogue_read(dir, &catalogue, err);
    if (status != MUSTER_OK)
        return status;
    for (int i = 0; i < catalogue.count && status == MUSTER_OK; i++) {
        const struct ckpt_entry *entry = &catalogue.entries[i];
        if (entry->step <= step)
            continue;
        if (folder[0] == '\0') {
            status = given_up_create(dir, folder, err);
            text_print(
                said,
                "checkpoints of later steps, up to %lld, are set aside in %s: this run would be continued "
                "from them",
                (long long)entry->step, folder);
        }
        if (status == MUSTER_OK)
            status = fs_path_join(from, dir, entry->folder, err);
        if (status == MUSTER_OK)
            status = fs_path_join(to, folder, entry->folder, err);
        if (status == MUSTER_OK)
            status = fs_rename(from, to, err);
    }
    ckpt_catalogue_release(&catalogue);
    return status;
}
