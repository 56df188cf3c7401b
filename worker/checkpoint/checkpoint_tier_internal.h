/* SPDX-License-Identifier: MIT
 *
 * What the files checkpoint_tier*.c share: who is whose neighbour, and where the folders are.
 */
#ifndef MUSTER_WORKER_CHECKPOINT_TIER_INTERNAL_H
#define MUSTER_WORKER_CHECKPOINT_TIER_INTERNAL_H

#include "base/fs.h"
#include "worker/checkpoint/checkpoint_tier.h"

enum { CHECKPOINT_TIER_BLOCK = 4 << 20, CHECKPOINT_TIER_KEEP = 2 };

struct checkpoint_tier {
    char dir[FS_PATH_MAX]; /* of this rank's node */
    int rank, size;
    int *node;                /* [size] numbers without meaning, equal on one node */
    int *partner;             /* [size] who holds the copy of this rank's shard; -1 = nobody */
    int member, member_count; /* this rank among those of its node; 0 acts for the node */
};

/** On the rank that acts for its node: what interrupted saves left there goes, and a checkpoint that one of
 * them was about to replace comes back. */
enum muster_status checkpoint_tier_tidy(const struct checkpoint_tier *tier, struct muster_error *err);

/** Copies the shard that this rank has written to `folder` to its partner, and takes in what others send; all
 * durable. \param record  of the own shard, as ckpt_shard_write gave it. The same status on all ranks.
 * Collective. */
enum muster_status checkpoint_tier_exchange(const struct checkpoint_tier *tier, struct comm *comm,
                                            const char *folder, const char *record,
                                            const struct ckpt_write_options *options,
                                            struct muster_error *err);

#endif
