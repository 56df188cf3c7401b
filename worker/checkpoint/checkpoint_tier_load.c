/* SPDX-License-Identifier: MIT
 *
 * Loading from the nodes: first who has what and whether it is good, then every shard once from one holder to
 * all, who keep what is theirs. No disk space and no memory but one block is needed on the way, whatever the
 * number of ranks was.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier_internal.h"

enum { MANIFEST_BYTES_MAX = 256 << 20 };

struct tier_load {
    const struct checkpoint_tier *tier;
    struct comm *comm;
    const struct checkpoint_wanted *wanted;
    const struct ckpt_piece *target;
    char folder[FS_PATH_MAX];
    char *text; /* the MANIFEST that counts, the same everywhere */
    int64_t text_bytes;
    bool same_here; /* what lies on this node belongs to it */
    struct ckpt *ckpt;
    int *holder; /* [shards] the rank that sends it */
};

/* What a rank says of the MANIFEST on its node. */
struct manifest_said {
    int64_t bytes; /* 0: there is none */
    struct hash128 hash;
};

/* The MANIFEST of the lowest rank that has one, to everybody. */
static enum muster_status manifest_share(struct tier_load *load, struct muster_error *err)
{
    char path[FS_PATH_MAX], *mine = NULL, *all = NULL;
    size_t bytes = 0;
    int64_t *counts = NULL;
    int root = -1;
    struct manifest_said said = {0};
    if (fs_path_join(path, load->folder, CKPT_MANIFEST_NAME, NULL) == MUSTER_OK && fs_exists(path) &&
        fs_file_read(path, MANIFEST_BYTES_MAX, &mine, &bytes, NULL) == MUSTER_OK)
        said = (struct manifest_said){(int64_t)bytes, hash_xxh3(mine, bytes)};
    enum muster_status status = checkpoint_gather(load->comm, &said, sizeof said, &all, &counts, err);
    const struct manifest_said *others = (const struct manifest_said *)(const void *)all;
    for (int r = load->comm->size - 1; !status && r >= 0; r--)
        root = others[r].bytes > 0 ? r : root;
    if (!status && root < 0)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "no node has a MANIFEST of it");
    if (status)
        goto out;
    load->text_bytes = others[root].bytes;
    load->same_here = said.bytes > 0 && hash_equal(said.hash, others[root].hash);
    load->text = alloc_zeroed((size_t)load->text_bytes + 1, 1);
    if (!load->text)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a MANIFEST");
    status = checkpoint_agree(load->comm, status, err);
    if (!status && load->comm->rank == root)
        memcpy(load->text, mine, (size_t)load->text_bytes);
    if (!status)
        status = comm_broadcast(load->comm, load->text, load->text_bytes, root, err);
out:
    alloc_free(mine);
    alloc_free(counts);
    alloc_free(all);
    return status;
}

/* The shards on this node are shared out among its ranks. */
static void shards_look(const struct tier_load *load, char *good)
{
    for (int i = 0; load->same_here && i < ckpt_shard_count(load->ckpt); i++) {
        char file[64], path[FS_PATH_MAX];
        struct muster_error cause;
        if (i % load->tier->member_count != load->tier->member)
            continue;
        ckpt_format_shard(file, i, ckpt_shard_count(load->ckpt));
        if (fs_path_join(path, load->folder, file, NULL) || !fs_exists(path))
            continue;
        good[i] = ckpt_shard_verify(load->ckpt, i, &cause) == MUSTER_OK;
        if (!good[i])
            log_warn("local copy not used: %s", cause.text);
    }
}

/* Who sends each shard: the first that has it. */
static enum muster_status holders_find(struct tier_load *load, struct muster_error *err)
{
    int count = ckpt_shard_count(load->ckpt);
    char *good = alloc_zeroed((size_t)count, 1), *all = NULL;
    int64_t *counts = NULL;
    enum muster_status status = MUSTER_OK;
    load->holder = alloc_zeroed((size_t)count, sizeof *load->holder);
    if (!good || !load->holder)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d shards", count);
    status = checkpoint_agree(load->comm, status, err);
    if (!status) {
        shards_look(load, good);
        status = checkpoint_gather(load->comm, good, count, &all, &counts, err);
    }
    for (int i = 0; !status && i < count; i++) {
        load->holder[i] = -1;
        for (int r = load->comm->size - 1; r >= 0; r--)
            load->holder[i] = all[(int64_t)r * count + i] ? r : load->holder[i];
        if (load->holder[i] < 0)
            status = muster_error_set(err, MUSTER_ERR_CORRUPT, "shard %d of %d is good on no node", i, count);
    }
    alloc_free(counts);
    alloc_free(all);
    alloc_free(good);
    return status;
}

/* *read: how this rank's reading went; sending goes on so that nobody waits. */
static enum muster_status shard_send(const struct tier_load *load, int shard, char *block,
                                     enum muster_status *read, struct muster_error *read_err,
                                     struct muster_error *err)
{
    int64_t begin, end;
    enum muster_status status = MUSTER_OK;
    ckpt_shard_span(load->ckpt, shard, &begin, &end);
    for (int64_t at = begin; at < end && !status; at += CHECKPOINT_TIER_BLOCK) {
        int64_t bytes = end - at < CHECKPOINT_TIER_BLOCK ? end - at : CHECKPOINT_TIER_BLOCK;
        if (load->holder[shard] == load->comm->rank && !*read)
            *read = ckpt_shard_read(load->ckpt, shard, at, block, bytes, read_err);
        status = comm_broadcast(load->comm, block, bytes, load->holder[shard], err);
        if (!status)
            ckpt_shard_scatter(load->ckpt, shard, at, block, bytes, load->target, load->wanted->piece_count);
    }
    return status;
}

static enum muster_status shards_send(const struct tier_load *load, struct muster_error *err)
{
    struct muster_error read_err;
    enum muster_status read = MUSTER_OK;
    char *block = alloc_zeroed(CHECKPOINT_TIER_BLOCK, 1);
    enum muster_status status = MUSTER_OK;
    if (!block)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to read local checkpoints");
    status = checkpoint_agree(load->comm, status, err);
    if (!status)
        ckpt_padding_clear(load->wanted->layout, load->target, load->wanted->piece_count);
    for (int i = 0; !status && i < ckpt_shard_count(load->ckpt); i++)
        status = shard_send(load, i, block, &read, &read_err, err);
    alloc_free(block);
    if (status)
        return status;
    if (read)
        *err = read_err;
    return checkpoint_agree(load->comm, read, err);
}

static enum muster_status manifest_open(struct tier_load *load, int64_t step, struct muster_error *err)
{
    enum muster_status status =
        ckpt_open_text(load->text, (size_t)load->text_bytes, load->folder, &load->ckpt, err);
    if (!status && ckpt_step(load->ckpt) != step)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "its MANIFEST is of step %" PRId64,
                                  ckpt_step(load->ckpt));
    if (!status)
        status = checkpoint_match(load->ckpt, load->folder, load->wanted->layout, load->wanted->job, err);
    return checkpoint_agree(load->comm, status, err);
}

enum muster_status checkpoint_tier_try(const struct checkpoint_tier *tier, struct comm *comm, int64_t step,
                                       const struct checkpoint_wanted *wanted,
                                       struct checkpoint_progress *progress, struct muster_error *err)
{
    struct tier_load load = {
        .tier = tier, .comm = comm, .wanted = wanted, .target = checkpoint_wanted_target(wanted)};
    char name[64];
    ckpt_format_step(name, step);
    enum muster_status status = checkpoint_agree(comm, fs_path_join(load.folder, tier->dir, name, err), err);
    if (!status)
        status = manifest_share(&load, err);
    if (!status)
        status = manifest_open(&load, step, err);
    if (!status)
        status = holders_find(&load, err);
    if (!status)
        status = shards_send(&load, err);
    if (!status)
        status = checkpoint_state_check(comm, load.ckpt, load.folder, load.target, wanted->piece_count, err);
    if (!status) {
        checkpoint_wanted_accept(wanted);
        *progress = (struct checkpoint_progress){step, ckpt_tokens_seen(load.ckpt),
                                                 ckpt_loss_scale(load.ckpt), true, ckpt_health(load.ckpt)};
    }
    ckpt_close(load.ckpt);
    alloc_free(load.holder);
    alloc_free(load.text);
    return status;
}
