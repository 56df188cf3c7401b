/* SPDX-License-Identifier: MIT
 *
 * Making room without risk. First it is decided which checkpoints would stay if all were good; those are
 * read and verified; one that fails counts for nothing any more and the decision is taken again, until
 * everything that is to stay has been seen to be good. Only then does anything go, and a folder that goes is
 * renamed first: after a crash it is either whole under its name or rubbish under a hidden one.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_retention.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 96 };

static const char hidden_prefix[] = ".prune-";

struct prune {
    char dir[FS_PATH_MAX];
    const struct ckpt_prune_options *options;
    struct ckpt_catalogue catalogue;
    struct ckpt_retention_entry *entries;
    bool *removed, *seen; /* seen: was verified, whatever came out */
    int bad_count;
    int64_t freed_bytes;
    struct text *out;
};

static enum muster_status entry_verify(const struct prune *prune, int i, struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    struct ckpt *ckpt = NULL;
    enum muster_status status = fs_path_join(folder, prune->dir, prune->catalogue.entries[i].folder, err);
    if (status == MUSTER_OK)
        status = ckpt_open(folder, &ckpt, err);
    if (status == MUSTER_OK && prune->catalogue.entries[i].committed)
        status = ckpt_verify(ckpt, err);
    ckpt_close(ckpt);
    return status;
}

/* Verifies one checkpoint that is to stay and has not been read yet; *found = false when there is none. Only
 * damage is an opinion about the checkpoint: a disk that cannot be read ends the command. */
static enum muster_status next_verify(struct prune *prune, bool *found, struct muster_error *err)
{
    *found = false;
    for (int i = 0; i < prune->catalogue.count; i++) {
        struct muster_error cause = {.status = MUSTER_OK};
        if (prune->removed[i] || !prune->entries[i].verified || prune->seen[i])
            continue;
        *found = prune->seen[i] = true;
        enum muster_status status = entry_verify(prune, i, &cause);
        if (status == MUSTER_OK)
            return MUSTER_OK;
        if (status != MUSTER_ERR_CORRUPT)
            return muster_error_set(err, status, "%s", cause.text);
        text_print(prune->out, "%s  BAD      %s\n", prune->catalogue.entries[i].folder, cause.text);
        prune->entries[i].verified = false;
        prune->bad_count++;
        return MUSTER_OK;
    }
    return MUSTER_OK;
}

/* A folder that cannot be read today (a server that is away) may be a good checkpoint: it is not rubbish. */
static enum muster_status rubbish_check(const struct prune *prune, int i, struct muster_error *err)
{
    struct muster_error cause = {.status = MUSTER_OK};
    enum muster_status status = entry_verify(prune, i, &cause);
    if (status == MUSTER_OK || status == MUSTER_ERR_CORRUPT)
        return MUSTER_OK;
    return muster_error_set(err, status, "%s", cause.text);
}

static enum muster_status prune_decide(struct prune *prune, struct muster_error *err)
{
    const struct ckpt_retention_policy policy = {.keep_last = prune->options->keep_last,
                                                 .keep_every = prune->options->keep_every,
                                                 .keep_best = prune->options->keep_best};
    enum muster_status status = MUSTER_OK;
    bool found = true;
    for (int i = 0; i < prune->catalogue.count && status == MUSTER_OK; i++) {
        const struct ckpt_entry *entry = &prune->catalogue.entries[i];
        prune->entries[i] = (struct ckpt_retention_entry){
            entry->step, entry->committed, entry->validation.known ? entry->validation.loss : NAN};
        if (!entry->committed)
            status = rubbish_check(prune, i, err);
    }
    while (found && status == MUSTER_OK) {
        ckpt_retention_decide(prune->entries, prune->catalogue.count, &policy, prune->removed);
        status = next_verify(prune, &found, err);
    }
    return status;
}

static int64_t folder_bytes(const char *folder)
{
    struct fs_list list;
    char path[FS_PATH_MAX];
    int64_t bytes = 0;
    if (fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return 0;
    for (size_t i = 0; i < list.count; i++) {
        int64_t size = fs_path_join(path, folder, list.names[i], NULL) == MUSTER_OK ? fs_file_size(path) : 0;
        bytes += size > 0 ? size : 0;
    }
    fs_list_release(&list);
    return bytes;
}

/* \param hidden  the name under which the folder goes; the same as `name` when it has that already */
static enum muster_status folder_remove(struct prune *prune, const char *name, const char *hidden,
                                        struct muster_error *err)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX], size[32];
    enum muster_status status = fs_path_join(from, prune->dir, name, err);
    if (status == MUSTER_OK)
        status = fs_path_join(to, prune->dir, hidden, err);
    if (status != MUSTER_OK)
        return status;
    int64_t bytes = folder_bytes(from);
    if (!prune->options->dry_run && strcmp(from, to) != 0)
        status = fs_rename(from, to, err);
    if (!prune->options->dry_run && status == MUSTER_OK)
        status = fs_remove_tree(to, err);
    if (status != MUSTER_OK)
        return status;
    prune->freed_bytes += bytes;
    text_format_bytes(size, sizeof size, bytes);
    text_print(prune->out, "%s  %s  %s\n", name, prune->options->dry_run ? "would go" : "removed ", size);
    return MUSTER_OK;
}

/* What an interrupted prune left. */
static enum muster_status hidden_remove(struct prune *prune, struct muster_error *err)
{
    struct fs_list list;
    enum muster_status status = fs_list_read(prune->dir, &list, err);
    for (size_t i = 0; i < list.count && status == MUSTER_OK; i++) {
        if (strncmp(list.names[i], hidden_prefix, sizeof hidden_prefix - 1) == 0)
            status = folder_remove(prune, list.names[i], list.names[i], err);
    }
    fs_list_release(&list);
    return status;
}

static enum muster_status prune_remove(struct prune *prune, struct muster_error *err)
{
    char hidden[NAME_SIZE], size[32];
    int kept_count = 0;
    enum muster_status status = hidden_remove(prune, err);
    for (int i = prune->catalogue.count - 1; i >= 0 && status == MUSTER_OK; i--) {
        const struct ckpt_entry *entry = &prune->catalogue.entries[i];
        kept_count += !prune->removed[i] && prune->entries[i].verified;
        if (!prune->removed[i])
            continue;
        snprintf(hidden, sizeof hidden, "%s%s", hidden_prefix, entry->folder);
        status = folder_remove(prune, entry->folder, hidden, err);
    }
    if (status != MUSTER_OK)
        return status;
    text_format_bytes(size, sizeof size, prune->freed_bytes);
    text_print(prune->out, "%s %s; %d verified checkpoints stay\n", size,
               prune->options->dry_run ? "would be freed" : "freed", kept_count);
    return MUSTER_OK;
}

enum muster_status ckpt_command_prune(const char *path, const struct ckpt_prune_options *options,
                                      struct text *out, struct muster_error *err)
{
    struct prune prune = {.options = options, .out = out};
    enum muster_status status = ckpt_locate_dir(path, prune.dir, err);
    if (status == MUSTER_OK)
        status = ckpt_catalogue_read(prune.dir, &prune.catalogue, err);
    if (status != MUSTER_OK)
        return status;
    size_t count = (size_t)prune.catalogue.count;
    if (count == 0) {
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "there are no checkpoints in %s", prune.dir);
        goto out;
    }
    prune.entries = alloc_zeroed(count, sizeof *prune.entries);
    prune.removed = alloc_zeroed(count, sizeof *prune.removed);
    prune.seen = alloc_zeroed(count, sizeof *prune.seen);
    if (prune.entries == NULL || prune.removed == NULL || prune.seen == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %zu checkpoints", count);
    if (status == MUSTER_OK)
        status = prune_decide(&prune, err);
    if (status == MUSTER_OK)
        status = prune_remove(&prune, err);
    if (status == MUSTER_OK && prune.bad_count > 0)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%d checkpoints in %s do not verify",
                                  prune.bad_count, prune.dir);
out:
    alloc_free(prune.entries);
    alloc_free(prune.removed);
    alloc_free(prune.seen);
    ckpt_catalogue_release(&prune.catalogue);
    return status;
}
