/* SPDX-License-Identifier: MIT
 *
 * The life cycle, each stage a function that either leaves the trainer ready for the next or says why not.
 * Whatever was built is released in one place, in the reverse order.
 */
#include "worker/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/guard/choices.h"
#include "worker/data/data_share.h"
#include "worker/device/device_memory.h"
#include "worker/evaluate.h"
#include "worker/fault_point.h"
#include "worker/job_share.h"
#include "worker/exchange/param_windows.h"
#include "worker/checkpoint/resume_choice.h"
#include "worker/run_folder.h"
#include "worker/guard/run_guard.h"
#include "worker/checkpoint/saver.h"
#include "worker/telemetry.h"
#include "worker/time_limit.h"
#include "worker/train_step.h"

struct trainer {
    struct comm *comm;
    struct comm *device_comm; /* between GPUs; NULL on the CPU */
    struct device device;
    const struct trainer_options *options;
    struct job_share share;
    struct run_folder folder;
    struct rank_state *state;
    struct comm_queue *queue;
    struct param_gathers *gathers;
    struct param_windows *windows; /* ZeRO stage 3 */
    struct reducer *reducer;
    struct optimizer *optimizer;
    struct train_step *step;
    struct loss_scaler scaler;
    struct dataset *train, *val;
    struct ckpt_data data; /* what `train` is */
    struct sampler *sampler;
    struct loader *loader;
    struct evaluator *evaluator;
    struct telemetry telemetry;
    struct time_limit limit;
    struct run_guard guard;
    struct watchdog *watchdog; /* NULL where the job has none; belongs to main */
    struct saver *saver;
    struct ckpt_validation validation; /* of the last step */
    bool resumed_near;                 /* from the nodes' own disks */
    int64_t steps_done;
    int64_t tokens_before; /* seen by steps that had another batch size */
    bool failed;           /* the run has, and nobody may be waited for */
};

/* Who watches is worth less than the run: where the ranks cannot reach each other, they train unwatched. */
static enum muster_status trainer_watch(struct trainer *t, struct muster_error *err)
{
    const struct job *job = t->share.job;
    struct watchdog_options options = {
        .comm = t->comm,
        .gpu = t->device.plugin ? t->device.index : -1,
        .timeout_s = (double)job->fault.timeout_s,
        .output_dir = job->output_dir,
        .end = t->options->end,
    };
    if (!job->fault.watchdog)
        return MUSTER_OK;
    enum muster_status status = watchdog_create(&options, &t->watchdog, err);
    *t->options->watchdog = t->watchdog;
    if (status == MUSTER_ERR_PEER || status == MUSTER_ERR_IO || status == MUSTER_ERR_UNSUPPORTED) {
        log_warn("training goes on without a watchdog: %s", err->text);
        status = MUSTER_OK;
    }
    return status;
}

static enum muster_status trainer_open_data(struct trainer *t, struct muster_error *err)
{
    const struct job *job = t->share.job;
    enum muster_status status = data_open_shared(t->comm, job, "data.train", &t->train, &t->data, err);
    if (!status)
        status = sampler_create(t->train, (uint64_t)job->seed, job->data.shuffle, &t->sampler, err);
    if (!status && job->eval.interval > 0 && job->data.val.count > 0) {
        struct ckpt_data val;
        status = data_open_shared(t->comm, job, "data.val", &t->val, &val, err);
        if (!status)
            status = evaluator_create(t->state, t->comm, t->val, job->eval.iters, &t->evaluator, err);
    }
    return status;
}

static enum muster_status trainer_start_loader(struct trainer *t, struct muster_error *err)
{
    const struct plan *plan = t->share.plan;
    int64_t left_out = t->guard.health.state.data_offset;
    struct loader_options options = {
        .micro_batch_size = plan->graph->micro_batch_size,
        .slots_per_step = plan->slots,
        .first_step = t->steps_done + left_out,
        .last_step = t->share.job->train.max_steps + left_out,
        .seq_len = t->share.config.seq_len,
        .vocab_size = t->share.config.vocab_size,
        .input_size = t->share.config.input_size,
        .depth = (int)t->share.job->data.prefetch,
    };
    plan_slots_of_rank(plan, t->comm->rank, &options.slot_begin, &options.slot_end);
    return loader_create(t->train, t->sampler, &options, &t->loader, err);
}

/* What gradients and weights travel through. */
static struct comm *trainer_data_comm(const struct trainer *t)
{
    return t->device_comm ? t->device_comm : t->comm;
}

static enum muster_status trainer_build(struct trainer *t, struct muster_error *err)
{
    const struct job *job = t->share.job;
    enum muster_status status = rank_state_create(job, t->share.plan, t->comm->rank, &t->device,
                                                  t->options->instruction_set, &t->state, err);
    if (!status) {
        status = device_comm_create(&t->device, job, t->comm, t->state->kernels, &t->device_comm, err);
        if (status)
            status = device_memory_explain(&t->device, t->state, status, err);
    }
    if (!status)
        watchdog_comms_set(t->watchdog, t->comm, t->device_comm);
    if (!status)
        status = device_memory_settle(&t->device, t->state, trainer_data_comm(t), err);
    if (!status)
        status = comm_queue_create(trainer_data_comm(t), t->state->kernels, job->parallel.overlap_comm,
                                   &t->queue, err);
    if (!status)
        status = reducer_create(t->state, trainer_data_comm(t), t->queue, &t->reducer, err);
    if (!status && t->share.plan->zero_stage == 3)
        status = param_windows_create(t->state, trainer_data_comm(t), t->queue, &t->windows, err);
    bool gathers = t->share.plan->zero_stage == 1 || t->share.plan->zero_stage == 2;
    if (!status && gathers && comm_queue_overlaps(t->queue))
        status = param_gathers_create(t->state, trainer_data_comm(t), t->queue, &t->gathers, err);
    if (!status)
        status = optimizer_create(t->state, &t->optimizer, err);
    if (!status)
        status = run_guard_init(&t->guard, t->state, t->comm, watchdog_roster(t->watchdog), err);
    loss_scaler_init(&t->scaler, job);
    struct saver_parts saver = {
        .comm = t->comm, .state = t->state, .telemetry = &t->telemetry, .data = &t->data};
    if (!status)
        status = saver_create(&saver, &t->saver, err);
    struct train_step_parts parts = {
        .state = t->state,
        .host = t->comm,
        .data = trainer_data_comm(t),
        .reducer = t->reducer,
        .gathers = t->gathers,
        .optimizer = t->optimizer,
        .scaler = &t->scaler,
        .health = &t->guard.health,
        .check = t->guard.check,
        .injection = &t->guard.injection,
        .progress = watchdog_progress(t->watchdog),
        .before_update = saver_before_update,
        .before_update_context = t->saver,
    };
    if (!status)
        status = train_step_create(&parts, &t->step, err);
    return status ? status : trainer_open_data(t, err);
}

/* What a checkpoint has put into the host pieces is the state. */
static enum muster_status trainer_adopt(struct trainer *t, const struct checkpoint_progress *progress,
                                        struct muster_error *err)
{
    t->steps_done = progress->step;
    if (progress->loss_scale.scale > 0.0) {
        t->scaler.scale = progress->loss_scale.scale;
        t->scaler.good_steps = progress->loss_scale.good_steps;
    }
    enum muster_status status = rank_state_push(t->state, err);
    return status ? status : rank_state_publish_params(t->state, trainer_data_comm(t), err);
}

static const char *trainer_resumes_from(const struct trainer *t)
{
    return t->options->resume ? t->options->resume : t->share.job->checkpoint.resume;
}

/* Whether the words that this run was started with go on from what it saves. */
static bool trainer_goes_on(const struct trainer *t)
{
    const struct job *job = t->share.job;
    return strcmp(trainer_resumes_from(t), "auto") == 0 ||
           (!t->options->resume && resume_choice_is_start(job->checkpoint.dir, job->checkpoint.resume));
}

static bool trainer_own_first(const struct trainer *t)
{
    return t->options->own_first || trainer_goes_on(t);
}

/* Weights and state from a checkpoint where there is one, otherwise fresh from the seed. */
static enum muster_status trainer_resume(struct trainer *t, struct muster_error *err)
{
    struct saver_resume resume = {trainer_resumes_from(t), trainer_own_first(t), t->options->allow_changes,
                                  true};
    struct checkpoint_progress progress;
    fault_point("resume");
    enum muster_status status = saver_load(t->saver, &resume, &progress, err);
    if (status)
        return status;
    if (progress.step < 0)
        return rank_state_initialise(t->state, trainer_data_comm(t), err);
    t->resumed_near = progress.near;
    t->tokens_before = progress.tokens_seen - progress.step * t->share.plan->step_tokens;
    health_resume(&t->guard.health, &progress.health);
    return trainer_adopt(t, &progress, err);
}

static enum muster_status trainer_save(struct trainer *t, bool last, uint64_t flags, struct muster_error *err)
{
    fault_point("save");
    enum muster_status status = run_guard_fence(&t->guard, t->steps_done - 1, err);
    if (status == MUSTER_ERR_FENCED)
        return status;
    rank_progress_enter(watchdog_progress(t->watchdog), RANK_PHASE_CHECKPOINT);
    struct saver_moment moment = {
        .step = t->steps_done,
        .tokens_seen = t->tokens_before + t->steps_done * t->share.plan->step_tokens,
        .loss_scale = {t->scaler.window > 0 ? t->scaler.scale : 0.0, t->scaler.good_steps},
        .validation = t->validation,
        .health = t->guard.health.state,
        .last = last,
    };
    status = saver_save(t->saver, &moment, flags, err);
    time_limit_saved(&t->limit, saver_duration_s(t->saver));
    return status;
}

static enum muster_status trainer_evaluate(struct trainer *t, struct muster_error *err)
{
    double loss = 0.0, accuracy;
    rank_progress_enter(watchdog_progress(t->watchdog), RANK_PHASE_EVALUATION);
    fault_point("evaluation");
    enum muster_status status = evaluator_run(t->evaluator, &loss, &accuracy, err);
    t->validation = (struct ckpt_validation){!status, loss};
    if (!status)
        telemetry_eval(&t->telemetry, t->steps_done, loss, accuracy);
    return status;
}

static bool trainer_due(int64_t interval, int64_t step)
{
    return interval > 0 && step % interval == 0;
}

/* A step that failed on all ranks alike is told once. */
static enum muster_status trainer_blame(struct trainer *t, enum muster_status status,
                                        const struct train_step_result *result, struct muster_error *err)
{
    bool differs = result->odd_rank != PARAM_CHECK_EQUAL;
    if (status == MUSTER_ERR_NUMERIC)
        run_guard_tell(&t->guard, t->steps_done, &result->finding, &t->telemetry);
    if (status == MUSTER_ERR_PEER && differs)
        run_guard_corruption(&t->guard, t->steps_done, result->odd_rank, err->text);
    *t->options->finished |= differs;
    return status;
}

/* To the state of `target` steps, that of the checkpoint or the fresh one. */
static enum muster_status trainer_return(struct trainer *t, int64_t target, struct muster_error *err)
{
    struct checkpoint_progress progress;
    char name[64], folder[FS_PATH_MAX];
    if (target == 0) {
        t->steps_done = 0;
        loss_scaler_init(&t->scaler, t->share.job);
        enum muster_status cleared = rank_state_clear(t->state, err);
        return cleared ? cleared : rank_state_initialise(t->state, trainer_data_comm(t), err);
    }
    ckpt_format_step(name, target);
    enum muster_status status = fs_path_join(folder, t->share.job->checkpoint.dir, name, err);
    struct saver_resume resume = {folder, false, t->options->allow_changes, false};
    if (!status)
        status = saver_load(t->saver, &resume, &progress, err);
    return status ? status : trainer_adopt(t, &progress, err);
}

/* The step in hand once more, or another step of the past with other data. */
static enum muster_status trainer_repeat(struct trainer *t, enum health_action action,
                                         struct muster_error *err)
{
    enum muster_status status = train_step_settle(t->step, err);
    loader_destroy(t->loader);
    t->loader = NULL;
    if (!status && action == HEALTH_ROLLBACK) {
        rank_progress_enter(watchdog_progress(t->watchdog), RANK_PHASE_CHECKPOINT);
        int64_t target = health_rollback(&t->guard.health, t->steps_done);
        status = saver_wait(t->saver, err);
        if (!status)
            status = trainer_return(t, target, err);
        if (!status)
            status = telemetry_rewind(&t->telemetry, t->steps_done, err);
        if (!status)
            telemetry_say(&t->telemetry, "back at step %lld; data of %lld steps left out so far",
                          (long long)t->steps_done, (long long)t->guard.health.state.data_offset);
    }
    return status ? status : trainer_start_loader(t, err);
}

/* The first step has asked the libraries for all that they do. */
static enum muster_status trainer_first_step(struct trainer *t, struct muster_error *err)
{
    enum muster_status status = train_step_settle(t->step, err); /* no rank talks meanwhile */
    return status ? status
                  : choices_settle(t->state->kernels, t->comm, t->folder.path, t->steps_done > 0,
                                   &t->telemetry, err);
}

/* Steps until the end or a stop that all ranks saw at the same step. */
static enum muster_status trainer_loop(struct trainer *t, bool *stopped, struct muster_error *err)
{
    const struct job *job = t->share.job;
    *stopped = false;
    *t->options->training = true;
    time_limit_init(&t->limit, job->train.max_time_s, getenv, 1e-3 * (double)clock_unix_ms());
    log_info("first step begins %.3f s after launch", clock_seconds() - t->options->launched_s);
    while (t->steps_done < job->train.max_steps && !*stopped) {
        double started = clock_seconds();
        struct train_step_result result;
        fault_point("step");
        uint64_t flags = saver_flags(t->saver) | (stop_signal_poll(t->options->stop) ? TRAIN_FLAG_STOP : 0);
        flags |= time_limit_border(&t->limit, 1e-3 * (double)clock_unix_ms()) ? TRAIN_FLAG_TIME : 0;
        enum muster_status status = train_step_run(t->step, t->loader, t->steps_done, flags, &result, err);
        if (status)
            return trainer_blame(t, status, &result, err);
        run_guard_tell(&t->guard, t->steps_done, &result.finding, &t->telemetry);
        if (result.finding.action == HEALTH_REPLAY || result.finding.action == HEALTH_ROLLBACK) {
            status = trainer_repeat(t, result.finding.action, err);
            if (status)
                return status;
            continue;
        }
        if (t->telemetry.steps_done == 0) {
            log_info("first step done %.3f s after launch", clock_seconds() - t->options->launched_s);
            status = trainer_first_step(t, err);
            if (status)
                return status;
        }
        t->steps_done++;
        *stopped = result.flags & (TRAIN_FLAG_STOP | TRAIN_FLAG_TIME);
        t->validation.known = false;
        telemetry_step(&t->telemetry, t->steps_done, &result, clock_seconds() - started);
        if (result.flags & TRAIN_FLAG_TIME)
            telemetry_say(&t->telemetry, "the time limit is near: saving and stopping");
        rank_progress_measure(watchdog_progress(t->watchdog), clock_seconds() - started);
        status = run_guard_step(&t->guard, t->steps_done - 1, train_step_rank_seconds(t->step),
                                clock_seconds(), &t->telemetry, err);
        if (!status)
            status = saver_poll(t->saver, err);
        bool last = t->steps_done == job->train.max_steps;
        bool evaluates = t->evaluator && (last || trainer_due(job->eval.interval, t->steps_done));
        bool saves = last || *stopped || trainer_due(job->checkpoint.save_interval, t->steps_done);
        if (!status && (evaluates || saves))
            status = train_step_settle(t->step, err);
        if (!status && evaluates && !*stopped)
            status = trainer_evaluate(t, err);
        if (!status && saves)
            status = trainer_save(t, last || *stopped, result.flags, err);
        if (!status && evaluates && *stopped) /* nobody will come back to this step: but first things first */
            status = trainer_evaluate(t, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

/* A profile that cannot be used is a word to the person, not the end of the run. */
static void trainer_forecast(struct trainer *t)
{
    struct text problem;
    text_init(&problem);
    step_forecast_open(&t->telemetry.forecast, t->share.job, t->share.plan, t->comm, &problem);
    if (problem.length > 0)
        telemetry_say(&t->telemetry, "WARNING: no prediction of the step time: %s", problem.data);
    text_release(&problem);
}

/* Ranks that compute in other ways round differently, and then the model depends on which of them takes which
 * sample: the first such rank is named. */
static enum muster_status trainer_compare_numerics(struct trainer *t, struct muster_error *err)
{
    const char *mine = t->state->numerics;
    char first[sizeof t->state->numerics] = "", other[sizeof t->state->numerics] = "";
    snprintf(first, sizeof first, "%s", mine);
    enum muster_status status = comm_broadcast(t->comm, first, sizeof first, 0, err);
    float others = strncmp(first, mine, sizeof first - 1) != 0 ? 1.0f : 0.0f; /* a sum of ones is exact */
    if (!status)
        status = comm_all_reduce_f32(t->comm, &others, 1, err);
    for (int rank = 1; !status && others > 0.0f && rank < t->comm->size; rank++) {
        snprintf(other, sizeof other, "%s", mine);
        status = comm_broadcast(t->comm, other, sizeof other, rank, err);
        if (status || strcmp(first, other) == 0)
            continue;
        telemetry_say(&t->telemetry,
                      "WARNING: %.0f of %d ranks round differently (rank %d is %s): the model depends on "
                      "which rank takes which sample",
                      (double)others, t->comm->size, rank, other);
        break;
    }
    return status;
}

static void trainer_introduce(struct trainer *t)
{
    const struct plan *plan = t->share.plan;
    char count[32], memory[32];
    text_format_count(count, sizeof count, (double)plan->graph->param_count_total);
    text_format_bytes(memory, sizeof memory, t->state->memory.total_bytes);
    telemetry_say(&t->telemetry,
                  "%s: %s %s, %s parameters, %d rank%s of %d thread%s on %d host%s, %s a rank, %s",
                  t->share.job->name, job_precision_name(t->share.job->train.precision),
                  model_type_name(plan->graph->config.type), count, plan->ranks, plan->ranks == 1 ? "" : "s",
                  plan->threads, plan->threads == 1 ? "" : "s", t->comm->node_count,
                  t->comm->node_count == 1 ? "" : "s", memory, t->state->numerics);
    if (t->comm->size > 1)
        telemetry_say(&t->telemetry, "ranks talk over %s%s", comm_transport(trainer_data_comm(t)),
                      comm_queue_overlaps(t->queue) ? " while they compute" : "");
    saver_introduce(t->saver);
    if (t->steps_done > 0)
        telemetry_say(&t->telemetry, "resumed from the checkpoint of step %lld%s", (long long)t->steps_done,
                      t->resumed_near ? ", as the nodes hold it" : "");
    log_info("plan: %d logical workers, %lld slots a step, block %d to %d", plan->logical_workers,
             (long long)plan->slots, plan->block_begin[t->comm->rank],
             plan->block_begin[t->comm->rank + 1] - 1);
}

static enum muster_status trainer_finish(struct trainer *t, bool stopped, struct muster_error *err)
{
    struct hash128 state_hash;
    rank_progress_enter(watchdog_progress(t->watchdog), RANK_PHASE_SHUTDOWN);
    fault_point("shutdown");
    enum muster_status status = rank_state_pull(t->state, err);
    if (!status)
        status = checkpoint_state_hash(t->comm, &t->state->layout, t->steps_done, t->state->host_pieces,
                                       t->share.plan->bucket_count, &state_hash, err);
    if (status)
        return status;
    char hash[HASH_TEXT_SIZE];
    hash_format(state_hash, hash);
    bool unsaved = saver_saved_step(t->saver) != t->steps_done;
    *t->options->finished = true;
    telemetry_summary(&t->telemetry, t->steps_done, hash,
                      stopped ? (unsaved ? "stopped, NOT saved" : "stopped and saved") : "finished");
    if (stopped && !unsaved)
        return muster_error_set(err, MUSTER_ERR_CANCELLED, "stopped at step %lld; %s continues",
                                (long long)t->steps_done,
                                trainer_goes_on(t) ? "the same command" : "--resume auto");
    if (unsaved)
        return muster_error_set(err, MUSTER_ERR_IO, "the last checkpoint (step %lld) could not be saved",
                                (long long)t->steps_done);
    return MUSTER_OK;
}

/* What the job says about talking, before anything is set up for it. */
static enum muster_status trainer_tune_comm(struct trainer *t, struct muster_error *err)
{
    const struct job *job = t->share.job;
    comm_timeout_set(t->comm, job->comm.timeout_s * 1000);
    return comm_mpi_hierarchy_set(t->comm, job->parallel.hierarchy == JOB_HIERARCHY_AUTO, err);
}

static enum muster_status trainer_stages(struct trainer *t, struct muster_error *err)
{
    enum muster_status status = job_share_read(&t->share, t->comm, t->options->job_path,
                                               &t->options->settings, t->options->report, err);
    if (!status)
        status = trainer_tune_comm(t, err);
    if (!status)
        status = device_choose(t->share.job, t->comm, &t->device, err);
    if (!status)
        status = job_share_plan(&t->share, t->comm, t->device.plugin != NULL, err);
    if (!status)
        status = run_folder_open(
            &t->folder, t->comm, t->share.job,
            trainer_own_first(t) && strcmp(t->share.job->checkpoint.local_dir, "none") == 0, err);
    if (!status)
        status = trainer_watch(t, err);
    if (!status)
        status = trainer_build(t, err);
    if (!status)
        status = trainer_resume(t, err);
    if (!status)
        status = saver_start(t->saver, err);
    if (!status && t->comm->rank == 0)
        status = run_folder_write_plan(&t->folder, t->share.job, t->share.plan, err);
    if (!status)
        status = telemetry_open(&t->telemetry, t->share.job, t->share.plan, t->comm->rank, t->options->live,
                                t->steps_done, err);
    if (status)
        return status;
    t->telemetry.peak_flops =
        t->comm->size * kernels_peak_flops(t->state->kernels, t->share.plan->graph->compute_dtype);
    trainer_introduce(t);
    status = trainer_compare_numerics(t, err);
    if (status)
        return status;
    trainer_forecast(t);
    bool stopped = false;
    if (t->steps_done < t->share.job->train.max_steps) {
        status = trainer_start_loader(t, err);
        if (!status)
            status = trainer_loop(t, &stopped, err);
    }
    return status ? status : trainer_finish(t, stopped, err);
}

enum muster_status trainer_run(struct comm *comm, const struct trainer_options *options, struct trainer **out,
                               struct muster_error *err)
{
    struct trainer *t = *out = alloc_zeroed(1, sizeof *t);
    if (!t)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a run");
    t->comm = comm;
    t->options = options;
    enum muster_status status = trainer_stages(t, err);
    t->failed = status != MUSTER_OK && status != MUSTER_ERR_CANCELLED;
    telemetry_close(&t->telemetry); /* ends the live line before anything else is printed */
    return status;
}

void trainer_destroy(struct trainer *t)
{
    if (!t)
        return;
    watchdog_comms_set(t->watchdog, t->comm, NULL);
    if (t->failed)
        comm_give_up(t->device_comm);
    evaluator_destroy(t->evaluator);
    loader_destroy(t->loader);
    sampler_destroy(t->sampler);
    dataset_close(t->train);
    dataset_close(t->val);
    train_step_destroy(t->step);
    run_guard_release(&t->guard);
    saver_destroy(t->saver);
    optimizer_destroy(t->optimizer);
    reducer_destroy(t->reducer);
    param_windows_destroy(t->windows);
    param_gathers_destroy(t->gathers);
    comm_queue_destroy(t->queue);
    comm_destroy(t->device_comm);
    rank_state_destroy(t->state);
    run_folder_close(&t->folder);
    job_share_release(&t->share);
    alloc_free(t);
}
