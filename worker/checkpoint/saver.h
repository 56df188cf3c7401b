/* SPDX-License-Identifier: MIT
 *
 * The checkpoints of one run: what the trainer asks for, turned into saves beside training or in its place,
 * as the job says. One save at a time; how each went is told to the telemetry when it is known.
 */
#ifndef MUSTER_WORKER_SAVER_H
#define MUSTER_WORKER_SAVER_H

#include "worker/checkpoint/checkpoint.h"
#include "worker/rank_state.h"
#include "worker/telemetry.h"

struct saver;

/** All outlive the saver. */
struct saver_parts {
    struct comm *comm; /* of all ranks, in host memory; saves beside training use a duplicate of it */
    struct rank_state *state;
    struct telemetry *telemetry;
    const struct ckpt_data *data; /* what is trained on; filled in before the first load */
};

struct saver_resume {
    const char *from;          /* "auto", "never" or a checkpoint's folder */
    bool own_first;            /* but what the run has saved since goes before it */
    const char *allow_changes; /* as checkpoint_job.allowed */
    bool first;                /* nothing has been computed yet */
};

/** A moment between two steps. */
struct saver_moment {
    int64_t step, tokens_seen; /* done */
    struct ckpt_loss_scale loss_scale;
    struct ckpt_validation validation;
    struct ckpt_health health;
    bool last; /* the run ends here: the save is waited for and never skipped */
};

/** Collective. */
enum muster_status saver_create(const struct saver_parts *parts, struct saver **out,
                                struct muster_error *err);
/** Starts what saves beside training, if the job has it so; after the first load, which needs the machine for
 * itself. Collective. */
enum muster_status saver_start(struct saver *saver, struct muster_error *err);
/** Waits for a save in flight. Takes NULL. */
void saver_destroy(struct saver *saver);

/**
 * Loads what `resume` says into the state's host pieces: in place before anything has been computed, later by
 * way of the memory that saves are written from; see checkpoint_load. No save may be in flight. Collective.
 */
enum muster_status saver_load(struct saver *saver, const struct saver_resume *resume,
                              struct checkpoint_progress *progress, struct muster_error *err);

/** Tells, before the first step, what was set aside, which job keys differ from the loaded checkpoint's, and
 * that the disk has no room for a save. */
void saver_introduce(const struct saver *saver);

/** train_flag bits of this rank for the step about to run. */
uint64_t saver_flags(struct saver *saver);

/** For train_step_parts.before_update: returns once the state may change. \param saver  a struct saver */
void saver_before_update(void *saver);

/**
 * Saves, or begins to. Collective. \param flags  of the step just done, OR over ranks: where a save is still
 * in flight on any rank, the job's checkpoint.on_busy decides on all alike; a last save that fails is tried
 * again for checkpoint.retry_last \return MUSTER_OK also when a save failed in a way that training survives;
 * the telemetry has told it
 */
enum muster_status saver_save(struct saver *saver, const struct saver_moment *moment, uint64_t flags,
                              struct muster_error *err);

/** Looks whether the save in flight has ended; once a step. */
enum muster_status saver_poll(struct saver *saver, struct muster_error *err);

/** How long the last save took from its beginning to its end; 0 before the first. */
double saver_duration_s(const struct saver *saver);

/** Waits for the save in flight, if there is one. */
enum muster_status saver_wait(struct saver *saver, struct muster_error *err);

/** The newest step whose checkpoint is committed or was loaded; -1 when there is none. */
int64_t saver_saved_step(const struct saver *saver);

#endif
