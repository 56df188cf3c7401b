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

/**
 * Saves a checkpoint of all ranks' pieces (together they tile the flat space, chunk-aligned) under DIR.
 * Collective. \param state_hash  out, on all ranks; also computed when the save fails later \return the same
 * status on all ranks: MUSTER_OK once committed, otherwise NO_SPACE or IO with the failing rank and file in
 * the text. The folder of a failed save is removed. A committed checkpoint of the same step is kept as it is
 * when it verifies and holds the same state; otherwise it is replaced, and comes back if the save fails.
 */
enum muster_status checkpoint_save(struct comm *comm, const char *dir, const struct ckpt_layout *layout,
                                   const struct ckpt_identity *identity, const struct ckpt_piece *pieces,
                                   int piece_count, int keep_last, struct hash128 *state_hash,
                                   struct muster_error *err);

/** The state hash of what the ranks hold now. Collective. */
enum muster_status checkpoint_state_hash(struct comm *comm, const struct ckpt_layout *layout, int64_t step,
                                         const struct ckpt_piece *pieces, int piece_count,
                                         struct hash128 *out, struct muster_error *err);

/** How far a loaded checkpoint is. */
struct checkpoint_progress {
    int64_t step, tokens_seen;
    struct ckpt_loss_scale loss_scale;
};

/**
 * Finds and loads the newest checkpoint under DIR that verifies completely (shards shared out among the
 * ranks, then a vote), into `pieces`. Every rejected one is logged as a warning with its reason. Nothing is
 * written to `pieces` before the vote. Collective. \param folder  NULL: search DIR; otherwise exactly this
 * checkpoint folder, and CORRUPT or BAD_INPUT if it cannot be used \param progress  out: step -1 when
 * there is none (MUSTER_OK, pieces untouched) \return BAD_INPUT when the checkpoint's layout (tensor names
 * and shapes, kinds, chunk size) or job hash differs from this job's, saying which tensor or that job keys
 * changed; CORRUPT when DIR holds committed checkpoints and not one of them verifies (beginning again at step
 * 0 is then a person's decision). Folders of saves that never finished are no checkpoints and do not count.
 */
enum muster_status checkpoint_load(struct comm *comm, const char *dir, const char *folder,
                                   const struct ckpt_layout *layout, struct hash128 job,
                                   const struct ckpt_piece *pieces, int piece_count,
                                   struct checkpoint_progress *progress, struct muster_error *err);

#endif
