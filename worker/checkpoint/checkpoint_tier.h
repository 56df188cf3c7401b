/* SPDX-License-Identifier: MIT
 *
 * The near copy of a checkpoint: every node keeps the shards of its own ranks and a copy of those of the node
 * before it in the ring, on its own disk or in memory, each folder with the whole MANIFEST. A checkpoint is
 * there as long as every shard is on some node; one lost node never takes one away. docs/CHECKPOINTS.md says
 * how they are used.
 *
 * A folder takes its name step-... by one rename when all nodes have written everything: what a crash leaves
 * under another name is no checkpoint. The newest two stay.
 */
#ifndef MUSTER_WORKER_CHECKPOINT_TIER_H
#define MUSTER_WORKER_CHECKPOINT_TIER_H

#include "worker/checkpoint/checkpoint.h"

struct checkpoint_tier;

/**
 * \param pattern  the folder on each node; "%h" becomes the host's name, "%r" the rank, "%%" a percent sign.
 * With
 * "%r" every rank counts as a node of its own \return BAD_INPUT for another character after %. Collective.
 */
enum muster_status checkpoint_tier_create(struct comm *comm, const char *pattern,
                                          struct checkpoint_tier **out, struct muster_error *err);
/** Takes NULL. */
void checkpoint_tier_destroy(struct checkpoint_tier *tier);

/** Whether another node holds a copy of what this one holds. */
bool checkpoint_tier_has_partner(const struct checkpoint_tier *tier);

/** As checkpoint_save, onto the nodes. The same status on all ranks. Collective. */
enum muster_status checkpoint_tier_save(const struct checkpoint_tier *tier, struct comm *comm,
                                        const struct ckpt_write_options *options,
                                        const struct ckpt_layout *layout,
                                        const struct ckpt_identity *identity, const struct ckpt_piece *pieces,
                                        int piece_count, struct hash128 *state_hash,
                                        struct muster_error *err);

/** ckpt_give_up_later on this rank's node, by the rank that acts for it: memory and disks of nodes are small,
 * so what was given up before goes. \return this rank's own finding */
enum muster_status checkpoint_tier_give_up_later(const struct checkpoint_tier *tier, int64_t step,
                                                 struct text *said, struct muster_error *err);

/** Steps of which any node holds something, newest first (alloc_free). The same on all ranks. Collective. */
enum muster_status checkpoint_tier_steps(const struct checkpoint_tier *tier, struct comm *comm,
                                         int64_t **steps, int *count, struct muster_error *err);

/**
 * Loads one step from the nodes: every shard is verified by a rank that holds it and then sent to all, in
 * blocks. \return the same on all ranks; CORRUPT when a shard is on no node, or damaged wherever it is;
 * BAD_INPUT as checkpoint_load. Without `staging` the pieces are written once every shard has verified; IO
 * may then still come. Collective.
 */
enum muster_status checkpoint_tier_try(const struct checkpoint_tier *tier, struct comm *comm, int64_t step,
                                       const struct checkpoint_wanted *wanted,
                                       struct checkpoint_progress *progress, struct muster_error *err);

#endif
