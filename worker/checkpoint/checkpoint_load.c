/* SPDX-License-Identifier: MIT
 *
 * Rank 0 alone looks at the folder, so that all ranks see the same list; each candidate is then verified by
 * all as it is read. Checkpoints that are there but damaged, all of them, end the start: silently beginning
 * again at step 0 would be the most expensive answer.
 */
#include "worker/checkpoint/checkpoint.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct load {
    struct comm *comm;
    const char *dir;
    const struct checkpoint_tier *tier;
    const struct checkpoint_wanted *wanted;
};

/* Rank 0's walk through the folder, newest first. */
struct candidates {
    struct ckpt_catalogue catalogue;
    int next, damaged_count;
    int64_t *near_steps; /* what the nodes hold, newest first */
    int near_next, near_count;
    char newest_reason[256];
};

static void candidate_reject(struct candidates *candidates, const char *folder, const char *reason,
                             bool damaged)
{
    log_warn("checkpoint %s is not used: %s", folder, reason);
    if (damaged && candidates->damaged_count++ == 0)
        snprintf(candidates->newest_reason, sizeof candidates->newest_reason, "%.*s",
                 (int)sizeof candidates->newest_reason - 1, reason);
}

/* What is tried next; all ranks get rank 0's choice. */
struct choice {
    int64_t step; /* -1: nothing is left */
    bool near;    /* from the nodes' own disks */
    char path[FS_PATH_MAX];
};

/* The newest that opens; where the nodes have the same step as the shared folder, theirs is nearer. */
static enum muster_status candidate_next(struct candidates *candidates, const char *dir,
                                         struct choice *choice, struct muster_error *err)
{
    char manifest[FS_PATH_MAX];
    enum muster_status status = MUSTER_OK;
    const struct ckpt_entry *entry = NULL;
    *choice = (struct choice){.step = -1};
    while (!status && candidates->next < candidates->catalogue.count) {
        entry = &candidates->catalogue.entries[candidates->next];
        status = fs_path_join(choice->path, dir, entry->folder, err);
        if (status == MUSTER_OK)
            status = fs_path_join(manifest, choice->path, CKPT_MANIFEST_NAME, err);
        if (status != MUSTER_OK || entry->committed)
            break;
        candidate_reject(candidates, entry->folder, entry->reason, fs_exists(manifest));
        candidates->next++;
        entry = NULL;
    }
    bool near = candidates->near_next < candidates->near_count;
    int64_t near_step = near ? candidates->near_steps[candidates->near_next] : -1;
    if (status != MUSTER_OK)
        return status;
    if (near && (entry == NULL || near_step >= entry->step)) {
        candidates->near_next++;
        *choice = (struct choice){.step = near_step, .near = true};
        snprintf(choice->path, sizeof choice->path, "of step %" PRId64 " on the nodes", near_step);
    } else if (entry != NULL) {
        candidates->next++;
        choice->step = entry->step;
    } else if (candidates->damaged_count > 0) {
        return muster_error_set(
            err, MUSTER_ERR_CORRUPT,
            "no checkpoint in %s can be used, %d damaged (move them away to begin at step 0); the newest: %s",
            dir, candidates->damaged_count, candidates->newest_reason);
    }
    return MUSTER_OK;
}

/* Everything is read where the ranks want it; where that is the live state, all shards are verified first. */
static enum muster_status pieces_read(const struct load *load, const struct ckpt *ckpt, const char *folder,
                                      struct muster_error *err)
{
    const struct checkpoint_wanted *wanted = load->wanted;
    const struct ckpt_piece *target = checkpoint_wanted_target(wanted);
    bool staged = wanted->staging != NULL;
    enum muster_status status = checkpoint_shards_verify(load->comm, ckpt, staged, err);
    if (!staged) {
        status = checkpoint_agree(load->comm, status, err);
        if (status != MUSTER_OK)
            return status;
    }
    if (status == MUSTER_OK)
        status = ckpt_pieces_read(ckpt, target, wanted->piece_count, wanted->direct_io, err);
    status = checkpoint_agree(load->comm, status, err);
    return status == MUSTER_OK
               ? checkpoint_state_check(load->comm, ckpt, folder, target, wanted->piece_count, err)
               : status;
}

/* Verifies one checkpoint and, if all ranks accept it, loads it. */
static enum muster_status checkpoint_try(const struct load *load, const char *folder,
                                         struct checkpoint_progress *progress, struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    enum muster_status status =
        checkpoint_open_shared(load->comm, folder, load->wanted->layout, load->wanted->job, &ckpt, err);
    if (status == MUSTER_OK)
        status = pieces_read(load, ckpt, folder, err);
    if (status == MUSTER_OK) {
        checkpoint_wanted_accept(load->wanted);
        progress->step = ckpt_step(ckpt);
        progress->tokens_seen = ckpt_tokens_seen(ckpt);
        progress->loss_scale = ckpt_loss_scale(ckpt);
        progress->near = false;
        progress->health = ckpt_health(ckpt);
    }
    ckpt_close(ckpt);
    return status;
}

static enum muster_status newest_load(const struct load *load, struct candidates *candidates,
                                      struct checkpoint_progress *progress, struct muster_error *err)
{
    struct comm *comm = load->comm;
    struct choice choice = {.step = -1};
    for (;;) {
        enum muster_status status =
            comm->rank == 0 ? candidate_next(candidates, load->dir, &choice, err) : MUSTER_OK;
        status = checkpoint_agree(comm, status, err);
        if (status == MUSTER_OK)
            status = comm_broadcast(comm, &choice, sizeof choice, 0, err);
        if (status != MUSTER_OK || choice.step < 0)
            return status;
        if (choice.near)
            status = checkpoint_tier_try(load->tier, comm, choice.step, load->wanted, progress, err);
        else
            status = checkpoint_try(load, choice.path, progress, err);
        if (status != MUSTER_ERR_CORRUPT && status != MUSTER_ERR_IO)
            return status;
        if (comm->rank == 0)
            candidate_reject(candidates, choice.path, err->text, true);
    }
}

/* Rank 0: what there is to choose from, once what a crash left in the middle is settled. */
static enum muster_status catalogue_read(const char *dir, struct ckpt_catalogue *catalogue,
                                         struct muster_error *err)
{
    if (checkpoint_asides_settle(dir, err) != MUSTER_OK)
        log_warn("after a save that was cut short: %s", err->text);
    return ckpt_catalogue_read(dir, catalogue, err);
}

enum muster_status checkpoint_load(struct comm *comm, const char *dir, const char *folder,
                                   const struct checkpoint_tier *tier, const struct checkpoint_wanted *wanted,
                                   struct checkpoint_progress *progress, struct muster_error *err)
{
    struct muster_error local = {.status = MUSTER_OK};
    struct candidates candidates = {.next = 0};
    const struct load load = {comm, dir, tier, wanted};
    enum muster_status status = MUSTER_OK;
    err = err != NULL ? err : &local;
    *progress = (struct checkpoint_progress){.step = -1};
    if (folder != NULL && !fs_is_folder(folder))
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "there is no checkpoint %s", folder);
    else if (folder == NULL && comm->rank == 0)
        status = catalogue_read(dir, &candidates.catalogue, err);
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK && folder == NULL && tier != NULL)
        status = checkpoint_tier_steps(tier, comm, &candidates.near_steps, &candidates.near_count, err);
    if (status == MUSTER_OK && folder != NULL)
        status = checkpoint_try(&load, folder, progress, err);
    else if (status == MUSTER_OK)
        status = newest_load(&load, &candidates, progress, err);
    alloc_free(candidates.near_steps);
    ckpt_catalogue_release(&candidates.catalogue);
    return status;
}
