/* SPDX-License-Identifier: MIT
 *
 * Saving beside training needs a communicator that another thread may use; where MPI cannot give one, every
 * save is waited for, which costs time and nothing else. What each rank knows of its own thread's progress is
 * never used for a decision that others must share: `wait` waits for each rank's own, `skip` looks at the
 * flags that all ranks have agreed on in the step.
 */
#include "worker/checkpoint/saver.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/event_log.h"
#include "base/fs.h"
#include "base/log.h"
#include "coordinator/job/job_compare.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier.h"
#include "worker/checkpoint/checkpoint_writer.h"
#include "worker/checkpoint/resume_choice.h"

struct saver {
    struct saver_parts parts;
    struct comm *own_comm; /* the writer's; NULL when saves are waited for */
    struct checkpoint_writer *writer;
    struct checkpoint_tier *tier; /* NULL where the job has no local_dir */
    bool flush;                   /* the save in flight also goes to the shared folder */
    bool again;                   /* it is one that has failed before, and was told */
    struct ckpt_progress progress;
    struct checkpoint_verified verified;
    struct text given_up[2]; /* what was set aside at the start: in the shared folder, on this rank's node */
    struct text changes;     /* of the job since the checkpoint that was loaded */
    int64_t share_bytes;     /* of this rank in a checkpoint, about */
    int64_t saved_step, saving_step;
    double stall_s;    /* of the save in flight */
    double duration_s; /* of the last one that ended */
};

/* Between two tries of a last save: short beside the time that a rank may stand still in a checkpoint. */
enum { RETRY_PAUSE_S = 5 };

static int saver_piece_count(const struct saver *saver)
{
    return saver->parts.state->plan->bucket_count;
}

static bool saver_survives(enum muster_status status)
{
    return status == MUSTER_ERR_NO_SPACE || status == MUSTER_ERR_IO;
}

static enum muster_status saver_write_shared(struct saver *saver, struct comm *comm,
                                             const struct ckpt_identity *identity,
                                             const struct ckpt_piece *pieces, struct hash128 *state_hash,
                                             struct muster_error *err)
{
    const struct job *job = saver->parts.state->job;
    struct checkpoint_options options = {
        .dir = job->checkpoint.dir,
        .keep = {job->checkpoint.keep_last, job->checkpoint.keep_every, job->checkpoint.keep_best},
        .write = {.direct_io = job->checkpoint.direct_io, .progress = &saver->progress},
        .verified = &saver->verified,
    };
    return checkpoint_save(comm, &options, &saver->parts.state->layout, identity, pieces,
                           saver_piece_count(saver), state_hash, err);
}

/* Onto the nodes first, where there is such a tier; what fails there goes to the shared folder instead. */
static enum muster_status saver_write(struct saver *saver, struct comm *comm,
                                      const struct ckpt_identity *identity, const struct ckpt_piece *pieces,
                                      struct hash128 *state_hash, struct muster_error *err)
{
    const struct rank_state *state = saver->parts.state;
    enum muster_status status =
        checkpoint_agree(comm, epoch_check(identity->fence.folder, identity->fence.epoch, err), err);
    if (status)
        return status;
    if (!saver->tier)
        return saver_write_shared(saver, comm, identity, pieces, state_hash, err);
    struct ckpt_write_options options = {state->job->checkpoint.direct_io, &saver->progress};
    status = checkpoint_tier_save(saver->tier, comm, &options, &state->layout, identity, pieces,
                                  saver_piece_count(saver), state_hash, err);
    if (status && !saver_survives(status))
        return status;
    if (status && comm->rank == 0)
        log_warn("step %lld goes to %s: %s", (long long)identity->step, state->job->checkpoint.dir,
                 err->text);
    return saver->flush || status ? saver_write_shared(saver, comm, identity, pieces, state_hash, err)
                                  : MUSTER_OK;
}

static enum muster_status saver_write_beside(void *context, const struct ckpt_identity *identity,
                                             const struct ckpt_piece *pieces, struct hash128 *state_hash,
                                             struct muster_error *err)
{
    struct saver *saver = context;
    return saver_write(saver, saver->own_comm, identity, pieces, state_hash, err);
}

enum muster_status saver_start(struct saver *saver, struct muster_error *err)
{
    const struct rank_state *state = saver->parts.state;
    if (!state->snapshot_pieces)
        return MUSTER_OK;
    enum muster_status status = comm_mpi_duplicate(saver->parts.comm, &saver->own_comm, err);
    if (status == MUSTER_ERR_UNSUPPORTED) {
        log_warn("checkpoints are written while training waits: %s", err->text);
        return MUSTER_OK;
    }
    if (status)
        return status;
    struct checkpoint_writer_options options = {
        .pieces = state->host_pieces,
        .copies = state->snapshot_pieces,
        .piece_count = saver_piece_count(saver),
        .kind_count = state->layout.kind_count,
        .save = saver_write_beside,
        .save_context = saver,
    };
    return checkpoint_writer_create(&options, &saver->writer, err);
}

enum muster_status saver_create(const struct saver_parts *parts, struct saver **out, struct muster_error *err)
{
    *out = NULL;
    struct saver *saver = alloc_zeroed(1, sizeof *saver);
    if (!saver)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to save checkpoints");
    saver->parts = *parts;
    text_init(&saver->changes);
    text_init(&saver->given_up[0]);
    text_init(&saver->given_up[1]);
    saver->saved_step = saver->saving_step = -1;
    saver->share_bytes = plan_owned_count(parts->state->plan, parts->state->rank) *
                         parts->state->layout.kind_count * (int64_t)sizeof(float);
    const char *local_dir = parts->state->job->checkpoint.local_dir;
    enum muster_status status = strcmp(local_dir, "none") != 0
                                    ? checkpoint_tier_create(parts->comm, local_dir, &saver->tier, err)
                                    : MUSTER_OK;
    if (saver->tier && !checkpoint_tier_has_partner(saver->tier) && parts->comm->rank == 0)
        log_warn("checkpoint.local_dir: there is one node only, so nobody holds a second copy");
    if (status) {
        saver_destroy(saver);
        return status;
    }
    *out = saver;
    return MUSTER_OK;
}

void saver_destroy(struct saver *saver)
{
    if (!saver)
        return;
    checkpoint_writer_destroy(saver->writer);
    checkpoint_tier_destroy(saver->tier);
    comm_destroy(saver->own_comm);
    text_release(&saver->changes);
    text_release(&saver->given_up[0]);
    text_release(&saver->given_up[1]);
    alloc_free(saver);
}

/* A run told to begin before checkpoints that are there would be continued from those later, by whoever says
 * "auto". */
static enum muster_status saver_give_up_later(struct saver *saver, int64_t step, struct muster_error *err)
{
    const char *dir = saver->parts.state->job->checkpoint.dir;
    enum muster_status status = MUSTER_OK;
    step = step > 0 ? step : 0;
    if (saver->parts.comm->rank == 0)
        status = ckpt_give_up_later(dir, step, &saver->given_up[0], err);
    if (!status && saver->tier)
        status = checkpoint_tier_give_up_later(saver->tier, step, &saver->given_up[1], err);
    return checkpoint_agree(saver->parts.comm, status, err);
}

enum muster_status saver_load(struct saver *saver, const struct saver_resume *resume,
                              struct checkpoint_progress *progress, struct muster_error *err)
{
    const struct rank_state *state = saver->parts.state;
    const struct checkpoint_job job = {job_hash(state->job), state->job,      resume->allow_changes,
                                       &saver->changes,      state->numerics, *saver->parts.data};
    const char *from = resume->from;
    double started = clock_seconds();
    *progress = (struct checkpoint_progress){.step = -1};
    enum muster_status status =
        checkpoint_agree(saver->parts.comm, job_keys_check(resume->allow_changes, err), err);
    if (!status)
        status = resume_choice_make(saver->parts.comm, state->job->checkpoint.dir, saver->tier, resume->from,
                                    resume->own_first, &from, err);
    if (!status && strcmp(from, "never") == 0)
        return saver_give_up_later(saver, 0, err);
    if (status)
        return status;
    bool search = strcmp(from, "auto") == 0;
    const struct checkpoint_wanted wanted = {
        .layout = &state->layout,
        .job = &job,
        .pieces = state->host_pieces,
        .staging = resume->first ? state->host_pieces : state->snapshot_pieces,
        .piece_count = saver_piece_count(saver),
        .direct_io = state->job->checkpoint.direct_io,
    };
    status = checkpoint_load(saver->parts.comm, state->job->checkpoint.dir, search ? NULL : from, saver->tier,
                             &wanted, progress, err);
    if (status)
        return status;
    saver->saved_step = progress->step;
    if (progress->step >= 0)
        log_info("checkpoint of step %lld loaded in %.3f s", (long long)progress->step,
                 clock_seconds() - started);
    if (search && progress->step >= 0 && !progress->near)
        checkpoint_verified_add(&saver->verified, progress->step);
    return search || !resume->first ? MUSTER_OK : saver_give_up_later(saver, progress->step, err);
}

uint64_t saver_flags(struct saver *saver)
{
    return saver->writer && checkpoint_writer_running(saver->writer) ? TRAIN_FLAG_SAVING : 0;
}

void saver_before_update(void *context)
{
    struct saver *saver = context;
    if (!saver->writer || saver->saving_step < 0)
        return;
    double started = clock_seconds();
    checkpoint_writer_release_state(saver->writer);
    saver->stall_s += clock_seconds() - started;
}

/* A save that failed and does not end the run, for whoever watches it. */
static void saver_tell_failure(const struct saver *saver, const struct checkpoint_outcome *outcome)
{
    struct muster_error err;
    const struct event event = {
        .kind = "checkpoint_failed",
        .epoch = epoch_of_process(),
        .rank = -1,
        .step = outcome->step,
        .text = outcome->err.text,
    };
    if (saver->parts.comm->rank == 0 && event_log_append(saver->parts.state->job->output_dir, &event, &err))
        log_warn("%s", err.text);
}

/* What training survives is told, and anything else is an error. */
static enum muster_status saver_report(struct saver *saver, const struct checkpoint_outcome *outcome,
                                       struct muster_error *err)
{
    saver->saving_step = -1;
    telemetry_saving(saver->parts.telemetry, -1, 0.0);
    if (outcome->status && !saver_survives(outcome->status)) {
        *err = outcome->err;
        err->agreed = false; /* each rank comes by here when its own thread has ended */
        return outcome->status;
    }
    saver->duration_s = outcome->duration_s;
    if (!outcome->status)
        saver->saved_step = outcome->step;
    else if (saver->again)
        return MUSTER_OK;
    else
        saver_tell_failure(saver, outcome);
    struct telemetry_save save = {
        .step = outcome->step,
        .duration_s = outcome->duration_s,
        .stall_s = saver->stall_s,
        .failure = outcome->status ? outcome->err.text : NULL,
    };
    telemetry_checkpoint(saver->parts.telemetry, &save);
    return MUSTER_OK;
}

/* The end of the save in flight, if there is one and it has ended or is waited for. */
static enum muster_status saver_collect(struct saver *saver, bool wait, struct muster_error *err)
{
    struct checkpoint_outcome outcome;
    if (!saver->writer || saver->saving_step < 0)
        return MUSTER_OK;
    double started = clock_seconds();
    bool ended = checkpoint_writer_take(saver->writer, wait, &outcome);
    saver->stall_s += wait ? clock_seconds() - started : 0.0;
    return ended ? saver_report(saver, &outcome, err) : MUSTER_OK;
}

static enum muster_status saver_save_now(struct saver *saver, const struct ckpt_identity *identity,
                                         struct muster_error *err)
{
    struct checkpoint_outcome outcome = {.step = identity->step};
    double started = clock_seconds();
    outcome.status = saver_write(saver, saver->parts.comm, identity, saver->parts.state->host_pieces,
                                 &outcome.state_hash, &outcome.err);
    outcome.duration_s = clock_seconds() - started;
    saver->stall_s += outcome.duration_s;
    return saver_report(saver, &outcome, err);
}

/* Every so many saves, counted from step 0, so that a restart changes nothing. */
static bool saver_flush_due(const struct job *job, int64_t step)
{
    int64_t interval = job->checkpoint.save_interval;
    return interval == 0 || step / interval % job->checkpoint.flush_every == 0;
}

/* No save is in flight: begins this one, and sees it through where there is no thread for it. */
static enum muster_status saver_begin(struct saver *saver, const struct saver_moment *moment,
                                      struct muster_error *err)
{
    struct rank_state *state = saver->parts.state;
    double started = clock_seconds();
    struct text yaml;
    text_init(&yaml);
    enum muster_status status = job_write_yaml(state->job, &yaml, err);
    if (!status)
        status = rank_state_pull(state, err);
    struct ckpt_identity identity = {
        .step = moment->step,
        .job = job_hash(state->job),
        .job_yaml = yaml.data,
        .numerics = state->numerics,
        .writer_count = saver->parts.comm->size,
        .tokens_seen = moment->tokens_seen,
        .loss_scale = moment->loss_scale,
        .validation = moment->validation,
        .health = moment->health,
        .data = *saver->parts.data,
        .fence = {state->job->output_dir, epoch_of_process()},
    };
    saver->flush = moment->last || saver_flush_due(state->job, moment->step);
    atomic_store_explicit(&saver->progress.done_bytes, 0, memory_order_relaxed);
    saver->saving_step = moment->step;
    if (!status && saver->writer)
        status = checkpoint_writer_start(saver->writer, &identity, err);
    saver->stall_s = clock_seconds() - started;
    if (!status && !saver->writer)
        status = saver_save_now(saver, &identity, err);
    text_release(&yaml);
    return status;
}

/* What the last save would have kept is in memory only. All ranks count the tries alike. */
static enum muster_status saver_retry(struct saver *saver, const struct saver_moment *moment,
                                      struct muster_error *err)
{
    const struct job *job = saver->parts.state->job;
    const struct timespec pause = {.tv_sec = RETRY_PAUSE_S};
    int64_t tries = (int64_t)ceil(job->checkpoint.retry_last_s / RETRY_PAUSE_S);
    enum muster_status status = MUSTER_OK;
    if (saver->saved_step == moment->step || tries == 0)
        return MUSTER_OK;
    telemetry_say(saver->parts.telemetry,
                  "step %lld  the last checkpoint is tried again every %d s, %lld times: make room in %s",
                  (long long)moment->step, RETRY_PAUSE_S, (long long)tries, job->checkpoint.dir);
    saver->again = true;
    for (; !status && saver->saved_step != moment->step && tries > 0; tries--) {
        nanosleep(&pause, NULL);
        status = saver_begin(saver, moment, err);
        if (!status)
            status = saver_collect(saver, true, err);
    }
    saver->again = false;
    if (!status && saver->saved_step == moment->step)
        telemetry_say(saver->parts.telemetry, "step %lld  saved", (long long)moment->step);
    return status;
}

enum muster_status saver_save(struct saver *saver, const struct saver_moment *moment, uint64_t flags,
                              struct muster_error *err)
{
    bool skips = saver->parts.state->job->checkpoint.on_busy == JOB_ON_BUSY_SKIP;
    if (skips && !moment->last && flags & TRAIN_FLAG_SAVING) {
        telemetry_say(saver->parts.telemetry,
                      "step %lld  WARNING: no checkpoint of this step: an earlier one is still being written",
                      (long long)moment->step);
        return MUSTER_OK;
    }
    enum muster_status status = saver_collect(saver, true, err);
    if (!status)
        status = saver_begin(saver, moment, err);
    if (!status && moment->last)
        status = saver_collect(saver, true, err);
    return !status && moment->last ? saver_retry(saver, moment, err) : status;
}

void saver_introduce(const struct saver *saver)
{
    const struct rank_state *state = saver->parts.state;
    const struct ckpt_layout *layout = &state->layout;
    char needed[32], left[32];
    if (saver->changes.length > 0)
        telemetry_say(saver->parts.telemetry, "changed since the checkpoint: %s", saver->changes.data);
    for (int i = 0; i < 2; i++)
        if (saver->given_up[i].length > 0)
            telemetry_say(saver->parts.telemetry, "%s", saver->given_up[i].data);
    int64_t bytes = layout->flat_count * layout->kind_count * (int64_t)sizeof(float);
    int64_t free_bytes = saver->parts.comm->rank == 0 ? fs_free_bytes(state->job->checkpoint.dir) : -1;
    if (free_bytes < 0 || free_bytes >= bytes)
        return;
    text_format_bytes(needed, sizeof needed, bytes);
    text_format_bytes(left, sizeof left, free_bytes);
    telemetry_say(
        saver->parts.telemetry,
        "WARNING: a checkpoint takes %s, but %s are free in %s: no save can succeed before there is room",
        needed, left, state->job->checkpoint.dir);
}

enum muster_status saver_poll(struct saver *saver, struct muster_error *err)
{
    enum muster_status status = saver_collect(saver, false, err);
    if (!status && saver->saving_step >= 0) {
        double done = (double)atomic_load_explicit(&saver->progress.done_bytes, memory_order_relaxed);
        telemetry_saving(saver->parts.telemetry, saver->saving_step,
                         saver->share_bytes > 0 && done < (double)saver->share_bytes
                             ? done / (double)saver->share_bytes
                             : 1.0);
    }
    return status;
}

enum muster_status saver_wait(struct saver *saver, struct muster_error *err)
{
    return saver_collect(saver, true, err);
}

double saver_duration_s(const struct saver *saver)
{
    return saver->duration_s;
}

int64_t saver_saved_step(const struct saver *saver)
{
    return saver->saved_step;
}
