/* SPDX-License-Identifier: MIT
 *
 * Saving beside training. A thread of each rank copies the rank's state, while the next forward and backward
 * pass only read it, and another then runs the collective save on the copy, over a communicator of its own.
 * The training loop waits in two places only: before it changes the state while the copy is not complete, and
 * before a second save while the first is not.
 */
#ifndef MUSTER_WORKER_CHECKPOINT_WRITER_H
#define MUSTER_WORKER_CHECKPOINT_WRITER_H

#include "worker/checkpoint/checkpoint.h"

struct checkpoint_writer;

/** All that is pointed to outlives the writer. */
struct checkpoint_writer_options {
    const struct ckpt_piece *pieces; /* the live state in host memory */
    const struct ckpt_piece
        *copies; /* the same ranges elsewhere; `pieces` itself when that is a copy already, which
                    only the caller of start changes, and only while no save is in flight */
    int piece_count, kind_count;
    /* The save itself, called by the thread on the copies; as checkpoint_save. */
    enum muster_status (*save)(void *context, const struct ckpt_identity *identity,
                               const struct ckpt_piece *pieces, struct hash128 *state_hash,
                               struct muster_error *err);
    void *save_context;
};

/** How a save ended. */
struct checkpoint_outcome {
    int64_t step;
    double copied_s, duration_s; /* from start to the complete copy, and to the end */
    enum muster_status status;
    struct muster_error err;
    struct hash128 state_hash;
};

/** Starts the threads. */
enum muster_status checkpoint_writer_create(const struct checkpoint_writer_options *options,
                                            struct checkpoint_writer **out, struct muster_error *err);
/** Waits for a save in flight. Takes NULL. */
void checkpoint_writer_destroy(struct checkpoint_writer *writer);

/** Begins a save of the state as it is now; none may be in flight. \param identity  its texts are copied */
enum muster_status checkpoint_writer_start(struct checkpoint_writer *writer,
                                           const struct ckpt_identity *identity, struct muster_error *err);

/** From start until the outcome is there to be taken. */
bool checkpoint_writer_running(struct checkpoint_writer *writer);

/** Waits until the live state may be changed again. */
void checkpoint_writer_release_state(struct checkpoint_writer *writer);

/** Takes the outcome of the save in flight. \param wait  until it ends \return false when there is none (yet)
 */
bool checkpoint_writer_take(struct checkpoint_writer *writer, bool wait, struct checkpoint_outcome *outcome);

#endif
