/* SPDX-License-Identifier: MIT
 *
 * The ring, and what lies on its nodes. Nodes are told apart by what the communicator says, never by the text
 * of a path: two nodes may well call their disks the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier_internal.h"

/* *per_rank: the pattern tells ranks of one host apart. */
static enum muster_status pattern_expand(const char *pattern, int rank, struct text *out, bool *per_rank,
                                         struct muster_error *err)
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    *per_rank = false;
    for (const char *at = pattern; *at != '\0'; at++) {
        if (*at != '%') {
            text_append(out, at, 1);
            continue;
        }
        switch (*++at) {
        case 'h':
            text_print(out, "%s", host);
            break;
        case 'r':
            text_print(out, "%d", rank);
            *per_rank = true;
            break;
        case '%':
            text_print(out, "%%");
            break;
        default:
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "checkpoint.local_dir %s: after %% comes h, r or another %%", pattern);
        }
    }
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the path %s", pattern);
    if (out->length >= FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "checkpoint.local_dir %s is too long", pattern);
    return MUSTER_OK;
}

/* How many ranks of `node` there are below `rank`. */
static int members_before(const struct checkpoint_tier *tier, int node, int rank)
{
    int count = 0;
    for (int r = 0; r < rank; r++)
        count += tier->node[r] == node;
    return count;
}

/* The next greater node number, else the least: the ring. */
static int node_after(const struct checkpoint_tier *tier, int node)
{
    int next = -1, least = node;
    for (int r = 0; r < tier->size; r++) {
        int other = tier->node[r];
        least = other < least ? other : least;
        if (other > node && (next < 0 || other < next))
            next = other;
    }
    return next >= 0 ? next : least;
}

static int partner_find(const struct checkpoint_tier *tier, int rank)
{
    int node = tier->node[rank], next = node_after(tier, node);
    if (next == node)
        return -1;
    int place = members_before(tier, node, rank) % members_before(tier, next, tier->size);
    for (int r = 0; r < tier->size; r++)
        if (tier->node[r] == next && place-- == 0)
            return r;
    return -1;
}

static enum muster_status nodes_gather(struct checkpoint_tier *tier, struct comm *comm, bool per_rank,
                                       struct muster_error *err)
{
    int64_t *counts = alloc_zeroed((size_t)comm->size, sizeof *counts);
    tier->node = alloc_zeroed((size_t)comm->size, sizeof *tier->node);
    tier->partner = alloc_zeroed((size_t)comm->size, sizeof *tier->partner);
    enum muster_status status = MUSTER_OK;
    if (!counts || !tier->node || !tier->partner)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d ranks", comm->size);
    status = checkpoint_agree(comm, status, err);
    for (int r = 0; r < comm->size && !status; r++)
        counts[r] = sizeof *tier->node;
    if (!status) {
        tier->node[comm->rank] = per_rank ? comm->rank : comm->node;
        status = comm_all_gather(comm, tier->node, counts, err);
    }
    for (int r = 0; r < comm->size && !status; r++)
        tier->partner[r] = partner_find(tier, r);
    alloc_free(counts);
    return status;
}

enum muster_status checkpoint_tier_create(struct comm *comm, const char *pattern,
                                          struct checkpoint_tier **out, struct muster_error *err)
{
    bool per_rank = false;
    struct text dir;
    *out = NULL;
    text_init(&dir);
    struct checkpoint_tier *tier = alloc_zeroed(1, sizeof *tier);
    enum muster_status status = MUSTER_OK;
    if (!tier)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the local checkpoints");
    if (!status)
        status = pattern_expand(pattern, comm->rank, &dir, &per_rank, err);
    status = checkpoint_agree(comm, status, err);
    if (status)
        goto out;
    memcpy(tier->dir, dir.data, dir.length + 1);
    tier->rank = comm->rank;
    tier->size = comm->size;
    status = nodes_gather(tier, comm, per_rank, err);
    if (status)
        goto out;
    tier->member = members_before(tier, tier->node[comm->rank], comm->rank);
    tier->member_count = members_before(tier, tier->node[comm->rank], comm->size);
    *out = tier;
    tier = NULL;
out:
    checkpoint_tier_destroy(tier);
    text_release(&dir);
    return status;
}

void checkpoint_tier_destroy(struct checkpoint_tier *tier)
{
    if (!tier)
        return;
    alloc_free(tier->node);
    alloc_free(tier->partner);
    alloc_free(tier);
}

bool checkpoint_tier_has_partner(const struct checkpoint_tier *tier)
{
    return tier->partner[tier->rank] >= 0;
}

enum muster_status checkpoint_tier_give_up_later(const struct checkpoint_tier *tier, int64_t step,
                                                 struct text *said, struct muster_error *err)
{
    char before[FS_PATH_MAX];
    if (tier->member != 0 || !fs_is_folder(tier->dir))
        return MUSTER_OK;
    enum muster_status status = fs_path_join(before, tier->dir, "given-up-1", err);
    if (!status)
        status = fs_remove_tree(before, err);
    return status ? status : ckpt_give_up_later(tier->dir, step, said, err);
}

static int steps_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

/* Steps of the folders of my node; a folder that is not there, or cannot be read, holds none. */
static enum muster_status steps_list(const struct checkpoint_tier *tier, struct text *out,
                                     struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    enum muster_status status = ckpt_catalogue_read(tier->dir, &catalogue, err);
    if (status == MUSTER_ERR_IO) {
        log_warn("local checkpoints are not used: %s", err->text);
        return MUSTER_OK;
    }
    for (int i = 0; !status && i < catalogue.count; i++)
        text_append(out, (const char *)&catalogue.entries[i].step, sizeof catalogue.entries[i].step);
    ckpt_catalogue_release(&catalogue);
    return !status && out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to list steps")
                                  : status;
}

enum muster_status checkpoint_tier_steps(const struct checkpoint_tier *tier, struct comm *comm,
                                         int64_t **steps, int *count, struct muster_error *err)
{
    char *all = NULL;
    int64_t *counts = NULL, total = 0;
    struct text mine;
    *steps = NULL;
    *count = 0;
    text_init(&mine);
    if (tier->member == 0 && checkpoint_tier_tidy(tier, err))
        log_warn("local checkpoints: %s", err->text);
    enum muster_status status = comm_barrier(comm, err);
    if (!status)
        status = checkpoint_agree(comm, steps_list(tier, &mine, err), err);
    if (!status)
        status = checkpoint_gather(comm, mine.data, (int64_t)mine.length, &all, &counts, err);
    for (int r = 0; !status && r < comm->size; r++)
        total += counts[r] / (int64_t)sizeof **steps;
    if (!status && total > 0) {
        *steps = (int64_t *)(void *)all;
        all = NULL;
        qsort(*steps, (size_t)total, sizeof **steps, steps_compare);
        for (int64_t i = 0; i < total; i++)
            if (*count == 0 || (*steps)[*count - 1] != (*steps)[i])
                (*steps)[(*count)++] = (*steps)[i];
    }
    alloc_free(all);
    alloc_free(counts);
    text_release(&mine);
    return status;
}
