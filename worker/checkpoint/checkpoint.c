/* SPDX-License-Identifier: MIT
 *
 * A save is four phases with a verdict of all ranks after each: folder, shards, MANIFEST, tidying. Until the
 * MANIFEST's rename nothing of it counts, and rank 0 takes away what a failed one leaves. What already lies
 * under the same step is dealt with first: the same state that verifies is kept, anything else is set aside
 * and comes back if this save fails.
 */
#include "worker/checkpoint/checkpoint.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/fault_point.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STEP_NAME_SIZE = 64, SPACE_FOR_MANIFEST = 64 << 10 };

static const char aside_prefix[] = ".aside-";

struct save {
    struct comm *comm;
    const struct checkpoint_options *options;
    const struct ckpt_layout *layout;
    struct ckpt_identity identity;
    const struct ckpt_piece *pieces;
    int piece_count;
    struct hash128 state;
    char folder[FS_PATH_MAX];
    char aside[FS_PATH_MAX]; /* where an earlier checkpoint of this step waits for the outcome */
};

static enum muster_status chunks_of_pieces(const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                           int piece_count, struct checkpoint_chunk **out, int64_t *count,
                                           struct muster_error *err)
{
    int64_t chunk = layout->chunk_elements, chunks_a_kind = layout->flat_count / chunk, elements = 0;
    for (int i = 0; i < piece_count; i++)
        elements += pieces[i].end - pieces[i].begin;
    *count = elements / chunk * layout->kind_count;
    struct hash128 *hashes = alloc_zeroed((size_t)*count, sizeof *hashes);
    *out = alloc_zeroed((size_t)*count, sizeof **out);
    enum muster_status status = MUSTER_OK;
    if (hashes == NULL || *out == NULL)
        status =
            muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %lld chunk hashes", (long long)*count);
    if (status == MUSTER_OK)
        status = ckpt_chunk_hashes(layout, pieces, piece_count, hashes, err);
    int64_t next = 0;
    for (int kind = 0; kind < layout->kind_count && status == MUSTER_OK; kind++) {
        for (int i = 0; i < piece_count; i++) {
            for (int64_t at = pieces[i].begin; at < pieces[i].end; at += chunk, next++)
                (*out)[next] = (struct checkpoint_chunk){kind * chunks_a_kind + at / chunk, hashes[next]};
        }
    }
    alloc_free(hashes);
    return status;
}

enum muster_status checkpoint_state_hash(struct comm *comm, const struct ckpt_layout *layout, int64_t step,
                                         const struct ckpt_piece *pieces, int piece_count,
                                         struct hash128 *out, struct muster_error *err)
{
    struct muster_error local = {.status = MUSTER_OK};
    struct checkpoint_chunk *chunks = NULL;
    int64_t count = 0;
    err = err != NULL ? err : &local;
    enum muster_status status = chunks_of_pieces(layout, pieces, piece_count, &chunks, &count, err);
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        status = checkpoint_combine(comm, layout, step, chunks, count, out, err);
    alloc_free(chunks);
    return status;
}

static enum muster_status save_paths(struct save *save, const char *dir, struct muster_error *err)
{
    char step[STEP_NAME_SIZE], aside[STEP_NAME_SIZE + sizeof aside_prefix];
    ckpt_format_step(step, save->identity.step);
    snprintf(aside, sizeof aside, "%s%s", aside_prefix, step);
    enum muster_status status = fs_path_join(save->folder, dir, step, err);
    return status == MUSTER_OK ? fs_path_join(save->aside, dir, aside, err) : status;
}

static bool has_manifest(const char *folder)
{
    char path[FS_PATH_MAX];
    return fs_path_join(path, folder, CKPT_MANIFEST_NAME, NULL) == MUSTER_OK && fs_exists(path);
}

/* *done: this very state is already there, and good. Only a failed transport is an error. */
static enum muster_status existing_check(struct save *save, bool *done, struct muster_error *err)
{
    int32_t there = save->comm->rank == 0 && has_manifest(save->folder);
    struct ckpt *ckpt = NULL;
    *done = false;
    enum muster_status status = comm_broadcast(save->comm, &there, sizeof there, 0, err);
    if (status != MUSTER_OK || !there)
        return status;
    const struct checkpoint_job job = {.hash = save->identity.job};
    status = checkpoint_verify_shared(save->comm, save->folder, save->layout, &job, &ckpt, err);
    if (status == MUSTER_ERR_PEER)
        return status;
    *done = status == MUSTER_OK && ckpt_step(ckpt) == save->identity.step &&
            hash_equal(ckpt_recorded_state_hash(ckpt), save->state);
    if (!*done && save->comm->rank == 0)
        log_warn("replacing %s: %s", save->folder,
                 status == MUSTER_OK ? "it holds another state of the same step" : err->text);
    ckpt_close(ckpt);
    return MUSTER_OK;
}

/* Rank 0: an empty folder. What was committed there is set aside, what was not is removed. */
static enum muster_status folder_prepare(const struct save *save, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    if (has_manifest(save->folder)) {
        status = fs_remove_tree(save->aside, err);
        if (status == MUSTER_OK)
            status = fs_rename(save->folder, save->aside, err);
    }
    if (status == MUSTER_OK)
        status = fs_remove_tree(save->folder, err);
    if (status == MUSTER_OK)
        status = fs_folder_create(save->folder, err);
    return status;
}

/* Rank 0: the MANIFEST from all ranks' records, which follow each other with their terminators. */
static enum muster_status manifest_commit(const struct save *save, const char *all, const int64_t *counts,
                                          struct muster_error *err)
{
    const char **records = alloc_zeroed((size_t)save->comm->size, sizeof *records);
    if (records == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d records", save->comm->size);
    for (int rank = 0; rank < save->comm->size; rank++) {
        records[rank] = all;
        all += counts[rank];
    }
    enum muster_status status =
        ckpt_manifest_write(save->folder, save->layout, &save->identity, save->state, records, err);
    alloc_free(records);
    return status;
}

/* A save that the disk cannot hold is told before a byte of it is written. */
static enum muster_status space_check(const struct save *save, struct muster_error *err)
{
    struct comm *comm = save->comm;
    char *all = NULL, needed[32], left[32];
    int64_t *counts = NULL, total = SPACE_FOR_MANIFEST;
    int64_t mine =
        ckpt_shard_bytes(comm->rank, comm->size, save->layout, save->pieces, save->piece_count, err);
    enum muster_status status = checkpoint_agree(comm, mine < 0 ? err->status : MUSTER_OK, err);
    if (status == MUSTER_OK)
        status = checkpoint_gather(comm, &mine, sizeof mine, &all, &counts, err);
    for (int rank = 0; status == MUSTER_OK && rank < comm->size; rank++)
        total += ((const int64_t *)(const void *)all)[rank];
    int64_t free_bytes = comm->rank == 0 ? fs_free_bytes(save->options->dir) : -1;
    alloc_free(counts);
    alloc_free(all);
    if (status != MUSTER_OK)
        return status;
    if (free_bytes >= 0 && free_bytes < total) {
        text_format_bytes(needed, sizeof needed, total);
        text_format_bytes(left, sizeof left, free_bytes);
        status = muster_error_set(err, MUSTER_ERR_NO_SPACE,
                                  "write %s: No space left on device: it needs %s, %s are free", save->folder,
                                  needed, left);
    }
    return checkpoint_agree(comm, status, err);
}

static enum muster_status save_write(const struct save *save, struct muster_error *err)
{
    struct comm *comm = save->comm;
    struct text record;
    char *all = NULL;
    int64_t *counts = NULL;
    text_init(&record);
    fault_point("ckpt_space");
    enum muster_status status = space_check(save, err);
    fault_point("ckpt_folder");
    if (status == MUSTER_OK)
        status = checkpoint_agree(comm, comm->rank == 0 ? folder_prepare(save, err) : MUSTER_OK, err);
    if (status != MUSTER_OK)
        goto out;
    fault_point("ckpt_shard");
    status = ckpt_shard_write_with(&save->options->write, save->folder, comm->rank, comm->size, save->layout,
                                   save->pieces, save->piece_count, &record, err);
    fault_point("ckpt_vote");
    status = checkpoint_agree(comm, status, err);
    if (status != MUSTER_OK)
        goto out;
    status = checkpoint_gather(comm, record.data, (int64_t)record.length + 1, &all, &counts, err);
    if (status != MUSTER_OK)
        goto out;
    fault_point("ckpt_manifest");
    if (comm->rank == 0)
        status = manifest_commit(save, all, counts, err);
    fault_point("ckpt_commit");
    status = checkpoint_agree(comm, status, err);
out:
    alloc_free(counts);
    alloc_free(all);
    text_release(&record);
    return status;
}

static void warn_unless_ok(enum muster_status status, const char *what, const struct muster_error *err)
{
    if (status != MUSTER_OK)
        log_warn("%s: %s", what, err->text);
}

/* What was set aside comes back unless its replacement was committed; then it goes. */
static enum muster_status aside_settle(const char *dir, const char *aside, struct muster_error *err)
{
    char from[FS_PATH_MAX], folder[FS_PATH_MAX];
    enum muster_status status = fs_path_join(from, dir, aside, err);
    if (status == MUSTER_OK)
        status = fs_path_join(folder, dir, aside + sizeof aside_prefix - 1, err);
    if (status != MUSTER_OK)
        return status;
    if (has_manifest(folder) || !has_manifest(from))
        return fs_remove_tree(from, err);
    status = fs_remove_tree(folder, err);
    return status == MUSTER_OK ? fs_rename(from, folder, err) : status;
}

enum muster_status checkpoint_asides_settle(const char *dir, struct muster_error *err)
{
    struct fs_list list;
    if (!fs_exists(dir))
        return MUSTER_OK;
    enum muster_status status = fs_list_read(dir, &list, err);
    for (size_t i = 0; i < list.count && status == MUSTER_OK; i++) {
        const char *name = list.names[i];
        if (strncmp(name, aside_prefix, sizeof aside_prefix - 1) == 0 &&
            ckpt_parse_step(name + sizeof aside_prefix - 1) >= 0)
            status = aside_settle(dir, name, err);
    }
    fs_list_release(&list);
    return status;
}

void checkpoint_verified_add(struct checkpoint_verified *verified, int64_t step)
{
    int kept = 0;
    for (int i = 0; i < verified->count; i++)
        if (verified->steps[i] != step)
            verified->steps[kept++] = verified->steps[i];
    if (kept == CHECKPOINT_VERIFIED_MAX)
        memmove(verified->steps, verified->steps + 1, (size_t)--kept * sizeof verified->steps[0]);
    verified->steps[kept] = step;
    verified->count = kept + 1;
}

/* Rank 0, after a commit: nothing here can undo it, so failures are only told. */
static void save_tidy(const struct save *save)
{
    const struct checkpoint_options *options = save->options;
    struct ckpt_retention_scope scope = {.newest_step = save->identity.step,
                                         .trusts_all = options->verified == NULL};
    struct muster_error cause;
    if (options->verified != NULL) {
        scope.verified = options->verified->steps;
        scope.verified_count = options->verified->count;
    }
    warn_unless_ok(checkpoint_asides_settle(options->dir, &cause), "removing a replaced checkpoint", &cause);
    warn_unless_ok(ckpt_retain(options->dir, &options->keep, &scope, &cause), "removing old checkpoints",
                   &cause);
}

/* Rank 0, after a failure: the folder as it was before. */
static void save_undo(const struct save *save)
{
    struct muster_error cause;
    enum muster_status status = fs_remove_tree(save->folder, &cause);
    warn_unless_ok(status, "removing an unfinished checkpoint", &cause);
    if (status == MUSTER_OK && fs_exists(save->aside))
        warn_unless_ok(fs_rename(save->aside, save->folder, &cause), "bringing back a checkpoint", &cause);
}

enum muster_status checkpoint_save(struct comm *comm, const struct checkpoint_options *options,
                                   const struct ckpt_layout *layout, const struct ckpt_identity *identity,
                                   const struct ckpt_piece *pieces, int piece_count,
                                   struct hash128 *state_hash, struct muster_error *err)
{
    struct muster_error local = {.status = MUSTER_OK};
    bool done;
    struct save save = {.comm = comm,
                        .options = options,
                        .layout = layout,
                        .identity = *identity,
                        .pieces = pieces,
                        .piece_count = piece_count};
    err = err != NULL ? err : &local;
    save.identity.writer_count = comm->size;
    enum muster_status status =
        checkpoint_state_hash(comm, layout, identity->step, pieces, piece_count, &save.state, err);
    if (status != MUSTER_OK)
        return status;
    *state_hash = save.state;
    fault_point("ckpt_look");
    status = checkpoint_agree(comm, save_paths(&save, options->dir, err), err);
    if (status == MUSTER_OK)
        status = existing_check(&save, &done, err);
    if (status != MUSTER_OK)
        return status;
    status = done ? MUSTER_OK : save_write(&save, err);
    if (status == MUSTER_OK && options->verified != NULL)
        checkpoint_verified_add(options->verified, identity->step);
    if (done)
        return MUSTER_OK;
    fault_point("ckpt_tidy");
    if (comm->rank == 0 && status == MUSTER_OK)
        save_tidy(&save);
    else if (comm->rank == 0 &&
             status != MUSTER_ERR_PEER) /* after a broken transport others may still write */
        save_undo(&save);
    return status;
}
