/* SPDX-License-Identifier: MIT
 *
 * What saving and loading share: one verdict for all ranks, and the state hash put together from what each
 * rank can see. Private to worker/checkpoint/.
 */
#ifndef MUSTER_WORKER_CHECKPOINT_AGREE_H
#define MUSTER_WORKER_CHECKPOINT_AGREE_H

#include "comm/comm.h"
#include "coordinator/ckpt/ckpt.h"
#include "worker/checkpoint/checkpoint.h"

/** The hash of one chunk on its way to the other ranks; index = kind · chunks + chunk. */
struct checkpoint_chunk {
    int64_t index;
    struct hash128 hash;
};

/**
 * One verdict from all ranks' own: MUSTER_OK when all are, otherwise status and text of the lowest failing
 * rank, on all, with its number where others did not fail. Collective; allocates nothing, so that a rank
 * short of memory can still say so. \param err  not NULL; holds the text when `mine` is not MUSTER_OK
 */
enum muster_status checkpoint_agree(struct comm *comm, enum muster_status mine, struct muster_error *err);

/** All ranks' blocks, in rank order, on all ranks: *all (alloc_free), with counts[rank] bytes each
 * (*counts, alloc_free). Collective. */
enum muster_status checkpoint_gather(struct comm *comm, const void *mine, int64_t bytes, char **all,
                                     int64_t **counts, struct muster_error *err);

/** The state hash from the chunks that the ranks know; each must be known to exactly one. Collective. */
enum muster_status checkpoint_combine(struct comm *comm, const struct ckpt_layout *layout, int64_t step,
                                      const struct checkpoint_chunk *mine, int64_t count, struct hash128 *out,
                                      struct muster_error *err);

/** What a crash in the middle of a replacement left in DIR: the replaced checkpoint comes back, unless the
 * one in its place was committed. One rank only. */
enum muster_status checkpoint_asides_settle(const char *dir, struct muster_error *err);

/** Opens `folder` on all ranks. \param layout  when not NULL, layout and job must be the checkpoint's own
 * (BAD_INPUT) \return the same on all. Collective. */
enum muster_status checkpoint_open_shared(struct comm *comm, const char *folder,
                                          const struct ckpt_layout *layout, const struct checkpoint_job *job,
                                          struct ckpt **out, struct muster_error *err);

/** Each rank's share of all shards, or of their headers only. \return this rank's own finding */
enum muster_status checkpoint_shards_verify(const struct comm *comm, const struct ckpt *ckpt,
                                            bool headers_only, struct muster_error *err);

/** Whether the pieces of all ranks have the state hash that the checkpoint records, else CORRUPT. Collective.
 */
enum muster_status checkpoint_state_check(struct comm *comm, const struct ckpt *ckpt, const char *folder,
                                          const struct ckpt_piece *pieces, int piece_count,
                                          struct muster_error *err);

/** Where a load puts what it reads, and what it does once that is to be believed. */
const struct ckpt_piece *checkpoint_wanted_target(const struct checkpoint_wanted *wanted);
void checkpoint_wanted_accept(const struct checkpoint_wanted *wanted);

/**
 * ckpt_verify shared out: each rank opens `folder`, reads its share of the shards and hashes its share of the
 * chunks. Collective; the same status on all ranks. \param layout  when not NULL, layout and job must be the
 * checkpoint's own (BAD_INPUT) \param out  the open checkpoint on success
 */
enum muster_status checkpoint_verify_shared(struct comm *comm, const char *folder,
                                            const struct ckpt_layout *layout,
                                            const struct checkpoint_job *job, struct ckpt **out,
                                            struct muster_error *err);

/** BAD_INPUT, saying what differs, unless the checkpoint is of this layout and of a job that may go on from
 * it. */
enum muster_status checkpoint_match(const struct ckpt *ckpt, const char *folder,
                                    const struct ckpt_layout *wanted, const struct checkpoint_job *job,
                                    struct muster_error *err);

#endif
