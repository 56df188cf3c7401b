/* SPDX-License-Identifier: MIT
 *
 * What `muster ckpt` says to a person. The three verbs share how a path is understood and a table whose
 * columns are as wide as their content needs.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a path turned out to mean: checkpoints of one folder, or one checkpoint (then dir + "/" + folder). */
struct selection {
    char dir[FS_PATH_MAX];
    struct ckpt_catalogue catalogue;
    bool single;
};

static void selection_release(struct selection *selection)
{
    ckpt_catalogue_release(&selection->catalogue);
}

static enum muster_status child_path(const char *folder, const char *name, char out[FS_PATH_MAX],
                                     bool *exists, struct muster_error *err)
{
    enum muster_status status = fs_path_join(out, folder, name, err);
    *exists = status == MUSTER_OK && fs_exists(out);
    return status;
}

/* Any folder with a MANIFEST is one checkpoint, whatever its name: people copy and rename them. */
static enum muster_status select_single(struct selection *selection, const char *path,
                                        struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    struct muster_error cause = {.status = MUSTER_OK};
    selection->single = true;
    selection->catalogue.entries = alloc_zeroed(1, sizeof *selection->catalogue.entries);
    if (selection->catalogue.entries == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to list it", path);
    selection->catalogue.count = 1;
    struct ckpt_entry *entry = selection->catalogue.entries;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/')
        start--;
    snprintf(entry->folder, sizeof entry->folder, "%.*s", (int)(length - start), path + start);
    snprintf(selection->dir, sizeof selection->dir, "%.*s", (int)length, path);
    entry->step = -1;
    entry->committed = ckpt_open(path, &ckpt, &cause) == MUSTER_OK;
    if (entry->committed) {
        entry->step = ckpt_step(ckpt);
        entry->bytes = ckpt_total_bytes(ckpt);
        entry->shard_count = ckpt_shard_count(ckpt);
    } else {
        snprintf(entry->reason, sizeof entry->reason, "%.*s", (int)sizeof entry->reason - 1, cause.text);
    }
    ckpt_close(ckpt);
    return MUSTER_OK;
}

static enum muster_status select_path(struct selection *selection, const char *path, struct muster_error *err)
{
    char child[FS_PATH_MAX];
    bool has_manifest, has_checkpoints;
    *selection = (struct selection){.single = false};
    if (!fs_is_folder(path))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is not a folder", path);
    enum muster_status status = child_path(path, CKPT_MANIFEST_NAME, child, &has_manifest, err);
    if (status != MUSTER_OK)
        return status;
    if (has_manifest)
        return select_single(selection, path, err);
    status = child_path(path, "checkpoints", child, &has_checkpoints, err);
    if (status != MUSTER_OK)
        return status;
    snprintf(selection->dir, sizeof selection->dir, "%s", has_checkpoints ? child : path);
    status = ckpt_catalogue_read(selection->dir, &selection->catalogue, err);
    if (status == MUSTER_OK && selection->catalogue.count == 0)
        status = muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "there are no checkpoints in %s: no " CKPT_MANIFEST_NAME " and no step-… folder", selection->dir);
    return status;
}

static enum muster_status entry_path(const struct selection *selection, const struct ckpt_entry *entry,
                                     char out[FS_PATH_MAX], struct muster_error *err)
{
    if (!selection->single)
        return fs_path_join(out, selection->dir, entry->folder, err);
    memcpy(out, selection->dir, sizeof selection->dir);
    return MUSTER_OK;
}

static int folder_width(const struct selection *selection)
{
    size_t width = strlen("CHECKPOINT");
    for (int i = 0; i < selection->catalogue.count; i++) {
        size_t length = strlen(selection->catalogue.entries[i].folder);
        width = length > width ? length : width;
    }
    return (int)width;
}

/* A save that did not finish is no damage; a MANIFEST that is there and does not open is. */
static bool entry_is_unfinished(const char *path)
{
    char manifest[FS_PATH_MAX];
    return fs_path_join(manifest, path, CKPT_MANIFEST_NAME, NULL) == MUSTER_OK && !fs_exists(manifest);
}

static enum muster_status text_finish(const struct text *out, enum muster_status status,
                                      struct muster_error *err)
{
    if (status == MUSTER_OK && out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the list of checkpoints");
    return status;
}

enum muster_status ckpt_command_list(const char *path, struct text *out, struct muster_error *err)
{
    struct selection selection;
    enum muster_status status = select_path(&selection, path, err);
    if (status == MUSTER_OK) {
        int width = folder_width(&selection);
        text_print(out, "%-*s  %10s  %10s  %6s  %s\n", width, "CHECKPOINT", "STEP", "SIZE", "SHARDS",
                   "STATE");
        for (int i = 0; i < selection.catalogue.count; i++) {
            const struct ckpt_entry *entry = &selection.catalogue.entries[i];
            char size[32] = "-", step[32] = "-", shards[16] = "-";
            if (entry->step >= 0)
                snprintf(step, sizeof step, "%" PRId64, entry->step);
            if (entry->committed) {
                text_format_bytes(size, sizeof size, entry->bytes);
                snprintf(shards, sizeof shards, "%d", entry->shard_count);
            }
            text_print(out, "%-*s  %10s  %10s  %6s  %s\n", width, entry->folder, step, size, shards,
                       entry->committed ? "committed" : entry->reason);
        }
        if (!selection.single)
            ckpt_given_up_print(selection.dir, "\nset aside: ", out);
    }
    selection_release(&selection);
    return text_finish(out, status, err);
}

/* One line: the verdict of one checkpoint. */
static enum muster_status entry_verify(const char *path, const struct ckpt_entry *entry, int width,
                                       struct text *out)
{
    struct ckpt *ckpt = NULL;
    struct muster_error cause = {.status = MUSTER_OK};
    char state[HASH_TEXT_SIZE], size[32];
    if (entry_is_unfinished(path)) {
        text_print(out, "%-*s  unfinished  %s\n", width, entry->folder, entry->reason);
        return MUSTER_OK;
    }
    enum muster_status status = ckpt_open(path, &ckpt, &cause);
    if (status == MUSTER_OK && !entry->committed)
        status = muster_error_set(&cause, MUSTER_ERR_CORRUPT, "%s", entry->reason);
    if (status == MUSTER_OK)
        status = ckpt_verify(ckpt, &cause);
    if (status == MUSTER_OK) {
        hash_format(ckpt_recorded_state_hash(ckpt), state);
        text_format_bytes(size, sizeof size, ckpt_total_bytes(ckpt));
        text_print(out, "%-*s  ok          step %" PRId64 ", %s in %d shards, state %s\n", width,
                   entry->folder, ckpt_step(ckpt), size, ckpt_shard_count(ckpt), state);
    } else {
        text_print(out, "%-*s  BAD         %s\n", width, entry->folder, cause.text);
    }
    ckpt_close(ckpt);
    return status;
}

enum muster_status ckpt_command_verify(const char *path, struct text *out, struct muster_error *err)
{
    struct selection selection;
    char folder[FS_PATH_MAX];
    int bad_count = 0;
    enum muster_status status = select_path(&selection, path, err);
    int width = folder_width(&selection);
    for (int i = 0; i < selection.catalogue.count && status == MUSTER_OK; i++) {
        const struct ckpt_entry *entry = &selection.catalogue.entries[i];
        status = entry_path(&selection, entry, folder, err);
        if (status == MUSTER_OK)
            bad_count += entry_verify(folder, entry, width, out) != MUSTER_OK;
    }
    if (status == MUSTER_OK && bad_count > 0)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%d of %d checkpoints in %s do not verify",
                                  bad_count, selection.catalogue.count, path);
    selection_release(&selection);
    return text_finish(out, status, err);
}

static enum muster_status entry_hash(const char *path, const struct ckpt_entry *entry, struct text *out,
                                     struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    struct hash128 hash = {0, 0};
    char digits[HASH_TEXT_SIZE];
    enum muster_status status = ckpt_open(path, &ckpt, err);
    if (status == MUSTER_OK)
        status = ckpt_hash(ckpt, &hash, err);
    if (status == MUSTER_OK && !hash_equal(hash, ckpt_recorded_state_hash(ckpt)))
        status = muster_error_set(err, MUSTER_ERR_CORRUPT,
                                  "%s: the data do not have the state hash in its " CKPT_MANIFEST_NAME, path);
    if (status == MUSTER_OK) {
        hash_format(hash, digits);
        text_print(out, "%s  %s\n", digits, entry->folder);
    }
    ckpt_close(ckpt);
    return status;
}

enum muster_status ckpt_command_hash(const char *path, struct text *out, struct muster_error *err)
{
    struct selection selection;
    char folder[FS_PATH_MAX];
    enum muster_status status = select_path(&selection, path, err);
    for (int i = 0; i < selection.catalogue.count && status == MUSTER_OK; i++) {
        const struct ckpt_entry *entry = &selection.catalogue.entries[i];
        status = entry_path(&selection, entry, folder, err);
        if (status == MUSTER_OK && !entry_is_unfinished(folder))
            status = entry_hash(folder, entry, out, err);
    }
    selection_release(&selection);
    return text_finish(out, status, err);
}
