/* SPDX-License-Identifier: MIT
 *
 * Where all ranks come to the same answer, rank 0 alone writes the event.
 */
#include "worker/guard/run_guard.h"

#include <stdio.h>

#include "base/epoch.h"
#include "base/event_log.h"
#include "base/log.h"

static const double fence_interval_s = 5.0;

enum muster_status run_guard_init(struct run_guard *guard, struct rank_state *state, struct comm *comm,
                                  const struct roster *roster, struct muster_error *err)
{
    const struct job *job = state->job;
    *guard =
        (struct run_guard){.job = job, .roster = roster, .rank = comm->rank, .epoch = epoch_of_process()};
    health_init(&guard->health, job);
    enum muster_status status = injection_init(&guard->injection, comm->rank, err);
    if (status == MUSTER_OK)
        status = straggler_init(&guard->straggler, comm->size, err);
    if (status == MUSTER_OK && job->fault.check_interval > 0)
        status = param_check_create(state, comm, &guard->check, err);
    return status;
}

void run_guard_release(struct run_guard *guard)
{
    straggler_release(&guard->straggler);
    param_check_destroy(guard->check);
    guard->check = NULL;
}

static void event_write(const struct run_guard *guard, const char *kind, int rank, int64_t number,
                        const char *phase, const char *text)
{
    struct muster_error err = {0};
    struct event event = {
        .kind = kind,
        .epoch = guard->epoch,
        .rank = rank,
        .host = rank >= 0 && guard->roster != NULL ? guard->roster->entries[rank].host : NULL,
        .step = number + 1,
        .phase = phase,
        .text = text,
    };
    if (event_log_append(guard->job->output_dir, &event, &err))
        log_warn("%s", err.text);
}

static void straggler_tell(const struct run_guard *guard, int64_t number, int rank, double seconds,
                           double median, struct telemetry *telemetry)
{
    char name[ROSTER_NAME_SIZE], text[256];
    if (guard->rank != 0)
        return;
    if (guard->roster != NULL)
        roster_name(guard->roster, rank, name);
    else
        snprintf(name, sizeof name, "rank %d", rank);
    snprintf(text, sizeof text,
             "%s is slow: more than %.1f times the others' computing time in most steps, now %.1f times",
             name, STRAGGLER_FACTOR, median > 0.0 ? seconds / median : 0.0);
    event_write(guard, "straggler", rank, number, NULL, text);
    telemetry_say(telemetry, "step %lld  WARNING: %s", (long long)number + 1, text);
    log_info("%s", text);
}

enum muster_status run_guard_fence(struct run_guard *guard, int64_t number, struct muster_error *err)
{
    enum muster_status status = epoch_check(guard->job->output_dir, guard->epoch, err);
    if (status == MUSTER_ERR_FENCED)
        event_write(guard, "fenced", guard->rank, number, NULL, err->text);
    return status;
}

enum muster_status run_guard_step(struct run_guard *guard, int64_t number, const double *seconds,
                                  double now_s, struct telemetry *telemetry, struct muster_error *err)
{
    double median;
    int slow = straggler_step(&guard->straggler, seconds, &median);
    if (slow >= 0)
        straggler_tell(guard, number, slow, seconds[slow], median, telemetry);
    if (guard->epoch < 0 || now_s - guard->asked_s < fence_interval_s)
        return MUSTER_OK;
    guard->asked_s = now_s;
    enum muster_status status = run_guard_fence(guard, number, err);
    if (status == MUSTER_OK || status == MUSTER_ERR_FENCED)
        return status;
    log_warn("%s", err->text); /* a folder that cannot be read for a moment fences nobody */
    return MUSTER_OK;
}

void run_guard_corruption(const struct run_guard *guard, int64_t number, int odd_rank, const char *cause)
{
    if (guard->rank == 0)
        event_write(guard, "corruption", odd_rank, number, "update", cause);
}

void run_guard_tell(const struct run_guard *guard, int64_t number, const struct health_finding *finding,
                    struct telemetry *telemetry)
{
    static const char *const actions[] = {
        [HEALTH_GO] = "it counts",        [HEALTH_SKIP] = "skipped, no weight was changed",
        [HEALTH_ROLLBACK] = "going back", [HEALTH_REPLAY] = "computing it once more",
        [HEALTH_STOP] = "stopping",
    };
    char text[512];
    if (finding->text[0] == '\0')
        return;
    snprintf(text, sizeof text, "%s: %s", finding->text, actions[finding->action]);
    log_info("step %lld: %s", (long long)number + 1, text);
    telemetry_say(telemetry, "step %lld  WARNING: %s", (long long)number + 1, text);
    if (guard->rank == 0 && finding->action != HEALTH_REPLAY)
        event_write(guard, finding->trouble == HEALTH_SPIKE ? "spike" : "nan", -1, number, "reduce", text);
}
