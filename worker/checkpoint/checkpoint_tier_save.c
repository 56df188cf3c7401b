/* SPDX-License-Identifier: MIT
 *
 * The same phases as a save into the shared folder, each with a verdict of all ranks: folders, shards,
 * copies, MANIFESTs, names. Until the last rename on every node the checkpoint before this one is whole
 * everywhere, and only then older ones go.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier_internal.h"
#include "worker/fault_point.h"

static const char new_prefix[] = ".new-", old_prefix[] = ".old-";

struct tier_save {
    const struct checkpoint_tier *tier;
    struct comm *comm;
    const struct ckpt_layout *layout;
    struct ckpt_identity identity;
    const struct ckpt_piece *pieces;
    int piece_count;
    struct hash128 state;
    char folder[FS_PATH_MAX], made[FS_PATH_MAX],
        old[FS_PATH_MAX]; /* under its name; while written; replaced */
};

static enum muster_status paths_make(struct tier_save *save, struct muster_error *err)
{
    char step[64], name[80];
    ckpt_format_step(step, save->identity.step);
    enum muster_status status = fs_path_join(save->folder, save->tier->dir, step, err);
    snprintf(name, sizeof name, "%s%s", new_prefix, step);
    if (!status)
        status = fs_path_join(save->made, save->tier->dir, name, err);
    snprintf(name, sizeof name, "%s%s", old_prefix, step);
    return status ? status : fs_path_join(save->old, save->tier->dir, name, err);
}

/* What this node is about to write: its own ranks' shards and the copies it keeps for others. */
static enum muster_status space_check(const struct tier_save *save, const int64_t *bytes,
                                      struct muster_error *err)
{
    const struct checkpoint_tier *tier = save->tier;
    int64_t needed = 0;
    char needs[32], left[32];
    for (int r = 0; r < tier->size; r++) {
        bool copied = tier->partner[r] >= 0 && tier->node[tier->partner[r]] == tier->node[tier->rank];
        needed += tier->node[r] == tier->node[tier->rank] || copied ? bytes[r] : 0;
    }
    int64_t free_bytes = fs_free_bytes(tier->dir);
    if (free_bytes < 0 || free_bytes >= needed)
        return MUSTER_OK;
    text_format_bytes(needs, sizeof needs, needed);
    text_format_bytes(left, sizeof left, free_bytes);
    return muster_error_set(err, MUSTER_ERR_NO_SPACE,
                            "write %s: No space left on device: it needs %s, %s are free", save->folder,
                            needs, left);
}

static enum muster_status folders_prepare(const struct tier_save *save, struct muster_error *err)
{
    char *all = NULL;
    int64_t *counts = NULL;
    int64_t mine = ckpt_shard_bytes(save->tier->rank, save->tier->size, save->layout, save->pieces,
                                    save->piece_count, err);
    enum muster_status status = checkpoint_agree(save->comm, mine < 0 ? err->status : MUSTER_OK, err);
    if (!status)
        status = checkpoint_gather(save->comm, &mine, sizeof mine, &all, &counts, err);
    if (status)
        goto out;
    if (save->tier->member == 0) {
        status = fs_remove_tree(save->made, err);
        if (!status)
            status = fs_folder_create(save->made, err);
        if (!status)
            status = space_check(save, (const int64_t *)(const void *)all, err);
    }
    status = checkpoint_agree(save->comm, status, err);
out:
    alloc_free(counts);
    alloc_free(all);
    return status;
}

static enum muster_status manifest_write(const struct tier_save *save, const char *all, const int64_t *counts,
                                         struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct text text;
    const char **records = alloc_zeroed((size_t)save->tier->size, sizeof *records);
    if (!records)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d records", save->tier->size);
    for (int r = 0; r < save->tier->size; r++) {
        records[r] = all;
        all += counts[r];
    }
    text_init(&text);
    enum muster_status status =
        ckpt_manifest_compose(save->layout, &save->identity, save->state, records, &text, err);
    if (!status)
        status = fs_path_join(path, save->made, CKPT_MANIFEST_NAME, err);
    if (!status)
        status = fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    alloc_free(records);
    return status;
}

/* Everything under the name that does not count yet. */
static enum muster_status shards_write(const struct tier_save *save, const struct ckpt_write_options *options,
                                       struct muster_error *err)
{
    char *all = NULL;
    int64_t *counts = NULL;
    struct text record;
    text_init(&record);
    enum muster_status status = folders_prepare(save, err);
    fault_point("near_shard");
    if (!status)
        status = checkpoint_agree(save->comm,
                                  ckpt_shard_write_with(options, save->made, save->tier->rank,
                                                        save->tier->size, save->layout, save->pieces,
                                                        save->piece_count, &record, err),
                                  err);
    fault_point("near_exchange");
    if (!status)
        status = checkpoint_tier_exchange(save->tier, save->comm, save->made, record.data, options, err);
    fault_point("near_manifest");
    if (!status)
        status = checkpoint_gather(save->comm, record.data, (int64_t)record.length + 1, &all, &counts, err);
    if (!status)
        status = checkpoint_agree(
            save->comm, save->tier->member == 0 ? manifest_write(save, all, counts, err) : MUSTER_OK, err);
    alloc_free(counts);
    alloc_free(all);
    text_release(&record);
    return status;
}

static enum muster_status name_take(const struct tier_save *save, struct muster_error *err)
{
    enum muster_status status = fs_remove_tree(save->old, err);
    if (!status && fs_exists(save->folder))
        status = fs_rename(save->folder, save->old, err);
    return status ? status : fs_rename(save->made, save->folder, err);
}

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* One name that an interrupted save left. */
static enum muster_status leftover_settle(const struct checkpoint_tier *tier, const char *name,
                                          struct muster_error *err)
{
    char path[FS_PATH_MAX], replaced[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, tier->dir, name, err);
    if (!status && has_prefix(name, old_prefix)) {
        status = fs_path_join(replaced, tier->dir, name + strlen(old_prefix), err);
        if (!status && !fs_exists(replaced))
            return fs_rename(path, replaced, err);
    }
    return status ? status : fs_remove_tree(path, err);
}

enum muster_status checkpoint_tier_tidy(const struct checkpoint_tier *tier, struct muster_error *err)
{
    struct fs_list list;
    if (!fs_is_folder(tier->dir))
        return MUSTER_OK;
    enum muster_status status = fs_list_read(tier->dir, &list, err);
    for (size_t i = 0; i < list.count && !status; i++)
        if (has_prefix(list.names[i], new_prefix) || has_prefix(list.names[i], old_prefix))
            status = leftover_settle(tier, list.names[i], err);
    fs_list_release(&list);
    return status;
}

/* Older than the newest CHECKPOINT_TIER_KEEP up to this step, and what interrupted saves left. */
static enum muster_status old_remove(const struct tier_save *save, struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    char path[FS_PATH_MAX];
    int kept = 0;
    enum muster_status status = checkpoint_tier_tidy(save->tier, err);
    if (!status)
        status = ckpt_catalogue_read(save->tier->dir, &catalogue, err);
    if (status)
        return status;
    for (int i = 0; i < catalogue.count && !status; i++) { /* newest first */
        if (catalogue.entries[i].step > save->identity.step || kept++ < CHECKPOINT_TIER_KEEP)
            continue;
        status = fs_path_join(path, save->tier->dir, catalogue.entries[i].folder, err);
        if (!status)
            status = fs_remove_tree(path, err);
    }
    ckpt_catalogue_release(&catalogue);
    return status;
}

static void save_tidy(const struct tier_save *save, enum muster_status status)
{
    struct muster_error cause;
    enum muster_status tidied = status ? fs_remove_tree(save->made, &cause) : old_remove(save, &cause);
    if (tidied)
        log_warn("removing old local checkpoints: %s", cause.text);
}

enum muster_status checkpoint_tier_save(const struct checkpoint_tier *tier, struct comm *comm,
                                        const struct ckpt_write_options *options,
                                        const struct ckpt_layout *layout,
                                        const struct ckpt_identity *identity, const struct ckpt_piece *pieces,
                                        int piece_count, struct hash128 *state_hash, struct muster_error *err)
{
    struct tier_save save = {.tier = tier,
                             .comm = comm,
                             .layout = layout,
                             .identity = *identity,
                             .pieces = pieces,
                             .piece_count = piece_count};
    save.identity.writer_count = comm->size;
    enum muster_status status =
        checkpoint_state_hash(comm, layout, identity->step, pieces, piece_count, &save.state, err);
    if (status)
        return status;
    *state_hash = save.state;
    status = checkpoint_agree(comm, paths_make(&save, err), err);
    if (status)
        return status;
    status = shards_write(&save, options, err);
    fault_point("near_name");
    if (!status)
        status = checkpoint_agree(comm, tier->member == 0 ? name_take(&save, err) : MUSTER_OK, err);
    fault_point("near_tidy");
    if (tier->member == 0 && status != MUSTER_ERR_PEER)
        save_tidy(&save, status);
    return status;
}
