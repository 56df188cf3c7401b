/* SPDX-License-Identifier: MIT
 *
 * The collective side of checkpoints: every rank writes the pieces it owns, the ranks vote, rank 0 commits. A
 * save that fails anywhere (no space, I/O error) leaves the run and the older checkpoints untouched and is
 * reported; training goes on.
 */
#ifndef MUSTER_WORKER_CHECKPOINT_H
#define MUSTER_WORKER_CHECKPOINT_H

#include "comm/comm.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/ckpt/ckpt_retention.h"
#include "coordinator/job/job.h"

enum { CHECKPOINT_VERIFIED_MAX = 64 };

/** The newest steps that this run has written or read completely: what a removal may rely on. Rank 0's
 * counts. */
struct checkpoint_verified {
    int64_t steps[CHECKPOINT_VERIFIED_MAX];
    int count;
};
void checkpoint_verified_add(struct checkpoint_verified *verified, int64_t step);

/** Where checkpoints go, how they are written and which stay; the same on all ranks. */
struct checkpoint_options {
    const char *dir;
    struct ckpt_retention_policy keep;
    struct ckpt_write_options write;
    struct checkpoint_verified *verified; /* NULL: whatever opens counts as good */
};

/**
 * Saves a checkpoint of all ranks' pieces (together they tile the flat space, chunk-aligned). Collective.
 * \param state_hash  out, on all ranks; also computed when the save fails later \return the same status on
 * all ranks: MUSTER_OK once committed, otherwise NO_SPACE (also before anything is written, when the disk
 * cannot hold it) or IO with the failing rank and file in the text. The folder of a failed save is removed. A
 * committed checkpoint of the same step is kept as it is when it verifies and holds the same state; otherwise
 * it is replaced, and comes back if the save fails.
 */
enum muster_status checkpoint_save(struct comm *comm, const struct checkpoint_options *options,
                                   const struct ckpt_layout *layout, const struct ckpt_identity *identity,
                                   const struct ckpt_piece *pieces, int piece_count,
                                   struct hash128 *state_hash, struct muster_error *err);

/** The state hash of what the ranks hold now. Collective. */
enum muster_status checkpoint_state_hash(struct comm *comm, const struct ckpt_layout *layout, int64_t step,
                                         const struct ckpt_piece *pieces, int piece_count,
                                         struct hash128 *out, struct muster_error *err);

/** The job that wants to go on from a checkpoint. */
struct checkpoint_job {
    struct hash128 hash;
    const struct job *job; /* NULL: the hash must be the checkpoint's */
    const char
        *allowed; /* comma-separated keys that may differ though they change what is computed, or NULL */
    struct text *changes;  /* receives what differs and does not stand in the way, or NULL */
    const char *numerics;  /* of the back end that goes on, told where it differs, or NULL */
    struct ckpt_data data; /* what it is trained on now */
};

/** How far a loaded checkpoint is. */
struct checkpoint_progress {
    int64_t step, tokens_seen;
    struct ckpt_loss_scale loss_scale;
    bool near; /* from the nodes' own disks */
    struct ckpt_health health;
};

/** The same ranges from one place in memory to another; nothing when both are one. */
void checkpoint_pieces_copy(const struct ckpt_piece *from, const struct ckpt_piece *to, int piece_count,
                            int kind_count);

/** What a load is for, and where it goes. */
struct checkpoint_wanted {
    const struct ckpt_layout *layout;
    const struct checkpoint_job *job;
    const struct ckpt_piece *pieces;
    const struct ckpt_piece *staging; /* the same ranges in memory whose content nobody needs; may be
                                         `pieces`; NULL: there is none, and files are read twice */
    int piece_count;
    bool direct_io; /* read past the page cache */
};

struct checkpoint_tier;

/**
 * Finds and loads the newest checkpoint under DIR that verifies completely, into `pieces`. Each rank reads
 * and verifies what it wants and its share of the headers, then all vote. Every rejected one is logged as a
 * warning with its reason. Collective. With `staging` nothing is written to `pieces` before everything has
 * been verified; without, not before all CRC32C and XXH3-128 have, and the state hash is compared afterwards.
 * \param folder  NULL: search DIR; otherwise exactly this
 * checkpoint folder, and CORRUPT or BAD_INPUT if it cannot be used \param tier  NULL, or the nodes' own disks
 * (checkpoint_tier.h), which are searched too \param
 * progress  out: step -1 when there is none (MUSTER_OK, pieces untouched) \return BAD_INPUT when the
 * checkpoint's layout (tensor names and shapes, kinds, chunk size) or its job differs from this one, saying
 * which tensor or which keys; CORRUPT when DIR holds committed checkpoints and not one of them verifies
 * (beginning again at step 0 is then a person's decision). Folders of saves that never finished are no
 * checkpoints and do not count.
 */
enum muster_status checkpoint_load(struct comm *comm, const char *dir, const char *folder,
                                   const struct checkpoint_tier *tier, const struct checkpoint_wanted *wanted,
                                   struct checkpoint_progress *progress, struct muster_error *err);

#endif
