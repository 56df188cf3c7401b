/* SPDX-License-Identifier: MIT
 *
 * The thread wakes up four times a second. Once there is a verdict it does what can hang (writing files that
 * may be on a dead server) under alarm(), whose default action ends the process.
 */
#include "worker/watch/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/event_log.h"
#include "base/fs.h"
#include "base/log.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/watch/stack_dump.h"
#include "worker/watch/watch_channel.h"
#include "worker/watch/watch_table.h"

enum {
    TICK_MS = 250,
    ENDING_S = 5,           /* for last words */
    DEATH_GRACE_MS = 1000,  /* the launcher shall see the dead rank before it sees the others end */
    VERDICT_GRACE_MS = 100, /* for the verdict to reach the others */
    ORPHAN_TICKS = 8,       /* Open MPI ends a rank without a launcher by itself within 1.5 s, most times */
    FAREWELL_MS = 1000,     /* for the last message to a peer that reads slowly */
    FAILED_S = 10           /* from a rank's own error to the end of all */
};

struct watchdog {
    struct watchdog_options options;
    struct rank_progress progress;
    struct roster roster;
    struct watch_channel *channel;
    struct watch_table table;
    struct watch_message verdict; /* as heard from another rank; kind 0: none */
    int rank, size;
    int64_t epoch, events_before;
    pid_t launcher;
    int orphan_ticks;
    bool farewell_sent;
    bool ended;          /* only in tests is there a time after that */
    double failed_s;     /* when a rank has said that it ends by itself; negative: none */
    atomic_bool decided; /* the job ends because of another rank */
    char folder[FS_PATH_MAX], log_path[FS_PATH_MAX];

    pthread_t thread;
    bool has_mutex, has_thread;
    pthread_mutex_t mutex;
    /* under the mutex */
    const struct comm *host, *device;
    int64_t collective;            /* the last sum, for when there is no communicator any more */
    struct watch_message farewell; /* for the thread to send; kind 0: nothing */
    bool stop;
};

/* 0 for NULL. */
static int64_t collective_of(const struct comm *comm)
{
    return comm != NULL ? atomic_load_explicit(&comm->sequence, memory_order_relaxed) : 0;
}

static int64_t watchdog_collective(struct watchdog *w)
{
    pthread_mutex_lock(&w->mutex);
    if (w->host != NULL || w->device != NULL) {
        w->collective = collective_of(w->host) + collective_of(w->device);
    }
    int64_t collective = w->collective;
    pthread_mutex_unlock(&w->mutex);
    return collective;
}

static double watchdog_timeout(const struct watchdog *w)
{
    return w->options.timeout_s > 0.0 ? w->options.timeout_s : WATCHDOG_TIMEOUT_S;
}

static double watchdog_unmeasured(const struct watchdog *w)
{
    return w->options.timeout_s > 0.0 ? 10.0 * w->options.timeout_s : WATCHDOG_UNMEASURED_S;
}

static struct watch_report watchdog_here(struct watchdog *w)
{
    struct rank_progress *p = &w->progress;
    double step_s = (double)atomic_load_explicit(&p->step_us, memory_order_relaxed) * 1e-6;
    int phase = atomic_load_explicit(&p->phase, memory_order_relaxed);
    return (struct watch_report){
        .step = atomic_load_explicit(&p->step, memory_order_relaxed),
        .collective = watchdog_collective(w),
        .moves = atomic_load_explicit(&p->moves, memory_order_relaxed),
        .phase = phase,
        .block = atomic_load_explicit(&p->block, memory_order_relaxed),
        .allowance_s = watch_allowance(phase, step_s, watchdog_timeout(w), watchdog_unmeasured(w)),
    };
}

static void watchdog_report(struct watchdog *w, double now_s)
{
    struct watch_message message = {
        .kind = WATCH_MESSAGE_REPORT, .rank = w->rank, .report = watchdog_here(w)};
    watch_table_report(&w->table, w->rank, &message.report, now_s);
    watch_channel_send(w->channel, &message);
}

static void watchdog_take(struct watchdog *w, double now_s)
{
    struct watch_message message;
    enum watch_input input;
    int rank;
    while ((input = watch_channel_take(w->channel, &rank, &message)) != WATCH_INPUT_NONE) {
        if (input == WATCH_INPUT_CLOSED) {
            watch_table_died(&w->table, rank);
        } else if (message.kind == WATCH_MESSAGE_REPORT) {
            watch_table_report(&w->table, rank, &message.report, now_s);
        } else if (message.kind == WATCH_MESSAGE_BYE) {
            watch_table_left(&w->table, rank);
        } else if (message.kind == WATCH_MESSAGE_FAILED) {
            watch_table_left(&w->table, message.rank);
            w->failed_s = w->failed_s < 0.0 ? now_s : w->failed_s;
            atomic_store(&w->decided, atomic_load(&w->decided) || message.rank != w->rank);
            log_error("%s", message.text);
            if (w->rank == 0)
                watch_channel_send(w->channel, &message);
        } else if (message.kind == WATCH_MESSAGE_VERDICT) {
            w->verdict = message;
        }
    }
}

/* Where a rank was last seen: "at step 812 in backward of block 3". */
static void place_print(const struct watch_report *report, char *out, size_t size)
{
    char step[32] = "", block[32] = "";
    if (report->step > 0)
        snprintf(step, sizeof step, "at step %lld ", (long long)report->step);
    if (report->block >= 0)
        snprintf(block, sizeof block, " of block %d", report->block);
    snprintf(out, size, "%sin %s%s", step, rank_phase_name(report->phase), block);
}

static const char *verdict_kind(enum watch_finding finding)
{
    return finding == WATCH_DIED ? "death" : "stopped";
}

/* \param own  where this rank is now: a dead rank's last report may be several short steps older */
static void verdict_print(const struct watchdog *w, const struct watch_verdict *verdict,
                          const struct watch_report *own, char *out, size_t size)
{
    int rank = verdict->rank >= 0 ? verdict->rank : w->rank;
    char name[ROSTER_NAME_SIZE], place[96], others[48] = "", here[96];
    roster_name(&w->roster, rank, name);
    place_print(&w->table.ranks[rank].report, place, sizeof place);
    place_print(own, here, sizeof here);
    if (verdict->count > 1)
        snprintf(others, sizeof others, " and %d more", verdict->count - 1);
    switch (verdict->finding) {
    case WATCH_DIED:
        snprintf(out, size, "%s%s died, last seen %.1f s before %s; rank %d is %s, collective #%lld", name,
                 others, verdict->time_s, place, w->rank, here, (long long)own->collective);
        break;
    case WATCH_SILENT:
        snprintf(out, size,
                 "%s%s stopped: no sign of life for %.1f s, last seen %s; rank %d is %s, collective #%lld",
                 name, others, verdict->time_s, place, w->rank, here, (long long)own->collective);
        break;
    case WATCH_STANDS_STILL:
        snprintf(out, size,
                 "%s%s stopped: it lives but has stood still for %.1f s %s, collective #%lld; the others "
                 "wait for it",
                 name, others, verdict->time_s, place, (long long)w->table.ranks[rank].report.collective);
        break;
    case WATCH_ALL_STAND_STILL:
        snprintf(out, size,
                 "all %d ranks stopped: they live but have stood still for %.1f s %s, collective #%lld",
                 verdict->count, verdict->time_s, here, (long long)own->collective);
        break;
    case WATCH_LEFT_BEHIND:
        snprintf(out, size, "%s was stopped for a while, and the others have gone on without it", name);
        break;
    case WATCH_WELL:
        out[0] = '\0';
    }
}

/* True when this call's line is the one in the log. */
static bool event_write(const struct watchdog *w, const char *kind, int rank,
                        const struct watch_report *report, const char *text)
{
    struct event event = {
        .kind = kind,
        .epoch = w->epoch,
        .rank = rank,
        .host = rank >= 0 ? w->roster.entries[rank].host : NULL,
        .step = report->step > 0 ? report->step : -1,
        .phase = rank_phase_name(report->phase),
        .text = text,
    };
    bool added = false;
    struct muster_error err = {0};
    if (event_log_append_once(w->folder, &event, w->events_before, &added, &err))
        log_error("%s", err.text);
    return added;
}

static void stacks_write(const struct watchdog *w)
{
    static const char head[] = "stacks of all threads but the watchdog's:\n";
    int fd = open(w->log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, head, sizeof head - 1);
    stack_dump_write(fd);
    close(fd);
}

static void pause_ms(int ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000L};
    nanosleep(&pause, NULL);
}

/* From here on what the end needs may hang. */
static void watchdog_decide(struct watchdog *w)
{
    atomic_store(&w->decided, true);
    alarm(ENDING_S);
}

static void watchdog_end(struct watchdog *w, int grace_ms)
{
    double end_s = clock_seconds() + grace_ms * 1e-3;
    stacks_write(w);
    while (clock_seconds() < end_s ||
           (!watch_channel_flush(w->channel) && clock_seconds() < end_s + FAREWELL_MS * 1e-3))
        pause_ms(10);
    w->options.end(MUSTER_EXIT_LOST);
    w->ended = true;
}

/* This rank has found out by itself: it tells the others, the log, the person. */
static void watchdog_conclude(struct watchdog *w, const struct watch_verdict *verdict)
{
    struct watch_message message = {.kind = WATCH_MESSAGE_VERDICT, .rank = verdict->rank};
    const struct watch_report own = watchdog_here(w);
    verdict_print(w, verdict, &own, message.text, sizeof message.text);
    watchdog_decide(w);
    if (verdict->finding != WATCH_LEFT_BEHIND) {
        message.report = verdict->rank >= 0 ? w->table.ranks[verdict->rank].report : own;
        bool speaks = verdict->finding == WATCH_STANDS_STILL;
        if (!speaks && message.report.step < own.step) /* where nobody gets without it */
            message.report.step = own.step;
        watch_channel_send(w->channel, &message);
        if (event_write(w, verdict_kind(verdict->finding), verdict->rank, &message.report, message.text))
            log_console_level_set(LOG_ERROR); /* one rank speaks for all */
    }
    log_error("%s", message.text);
    watchdog_end(w, verdict->finding == WATCH_DIED ? DEATH_GRACE_MS : VERDICT_GRACE_MS);
}

/* Another rank has found out. */
static void watchdog_obey(struct watchdog *w)
{
    watchdog_decide(w);
    log_console_level_set(LOG_SILENT); /* the one who found out speaks */
    if (w->rank == 0)
        watch_channel_send(w->channel, &w->verdict);
    if (w->verdict.rank == w->rank)
        log_error("the other ranks gave this one up: %s", w->verdict.text);
    else
        log_error("%s", w->verdict.text);
    watchdog_end(w, VERDICT_GRACE_MS);
}

static void watchdog_orphaned(struct watchdog *w)
{
    watchdog_decide(w);
    log_error("the process that launched this rank is gone: ending");
    watchdog_end(w, 0);
}

/* Sends what the main thread has to say. True when the thread shall end. */
static bool watchdog_farewell(struct watchdog *w)
{
    pthread_mutex_lock(&w->mutex);
    struct watch_message farewell = w->farewell;
    bool stop = w->stop;
    w->farewell.kind = 0;
    pthread_mutex_unlock(&w->mutex);
    if (farewell.kind == 0)
        return stop;
    w->farewell_sent = true;
    watch_channel_send(w->channel, &farewell);
    for (int waited_ms = 0; !watch_channel_flush(w->channel) && waited_ms < FAREWELL_MS; waited_ms += 10)
        pause_ms(10);
    return stop;
}

static void *watchdog_run(void *argument)
{
    struct watchdog *w = argument;
    double said_s = 0.0;
    for (bool stop = false; !stop;) {
        watch_channel_wait(w->channel, TICK_MS);
        double now_s = clock_seconds();
        watch_table_look(&w->table, now_s);
        watchdog_take(w, now_s);
        stop = watchdog_farewell(w);
        if (now_s - said_s >= TICK_MS * 0.9e-3) {
            watchdog_report(w, now_s);
            said_s = now_s;
            w->orphan_ticks += getppid() != w->launcher;
        }
        struct watch_verdict verdict = watch_table_judge(&w->table, now_s);
        if (stop || w->ended || w->farewell_sent)
            continue;
        if (w->verdict.kind != 0)
            watchdog_obey(w);
        else if (w->failed_s >= 0.0 && now_s - w->failed_s > FAILED_S)
            watchdog_end(w, 0);
        else if (w->failed_s < 0.0 && verdict.finding != WATCH_WELL)
            watchdog_conclude(w, &verdict);
        else if (w->orphan_ticks > ORPHAN_TICKS)
            watchdog_orphaned(w);
    }
    return NULL;
}

static enum muster_status watchdog_paths(struct watchdog *w, struct muster_error *err)
{
    char logs[FS_PATH_MAX], name[32];
    snprintf(name, sizeof name, "rank-%04d.log", w->rank);
    enum muster_status status = fs_path_join(w->folder, w->options.output_dir, "", err);
    if (status == MUSTER_OK)
        status = fs_path_join(logs, w->folder, "logs", err);
    return status == MUSTER_OK ? fs_path_join(w->log_path, logs, name, err) : status;
}

static enum muster_status watchdog_start(struct watchdog *w, struct muster_error *err)
{
    int result = pthread_mutex_init(&w->mutex, NULL);
    w->has_mutex = result == 0;
    if (result == 0)
        result = pthread_create(&w->thread, NULL, watchdog_run, w);
    w->has_thread = w->has_mutex && result == 0;
    return result == 0 ? MUSTER_OK : muster_error_set_errno(err, result, "start the watchdog's thread");
}

/* What each rank does alone before the thread may start. */
static enum muster_status watchdog_prepare(struct watchdog *w, struct muster_error *err)
{
    w->rank = w->options.comm->rank;
    w->size = w->options.comm->size;
    w->host = w->options.comm;
    w->epoch = epoch_of_process();
    w->launcher = getppid();
    w->failed_s = -1.0;
    atomic_store(&w->progress.block, -1);
    enum muster_status status = watchdog_paths(w, err);
    if (status == MUSTER_OK)
        status = watch_table_init(&w->table, w->size, w->rank, 0, watchdog_timeout(w), clock_seconds(), err);
    w->events_before = event_log_size(w->folder);
    stack_dump_prepare();
    return status;
}

enum muster_status watchdog_create(const struct watchdog_options *options, struct watchdog **out,
                                   struct muster_error *err)
{
    struct comm *comm = options->comm;
    *out = NULL;
    struct watchdog *w = alloc_zeroed(1, sizeof *w);
    enum muster_status status = MUSTER_OK;
    if (w == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a watchdog");
    if (w != NULL) {
        w->options = *options;
        status = watchdog_prepare(w, err);
    }
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        status = roster_collect(&w->roster, comm, options->gpu, err);
    if (status == MUSTER_OK)
        status = watch_channel_open(comm, watch_channel_wire(comm), &w->channel, err);
    if (status == MUSTER_OK)
        status = checkpoint_agree(comm, watchdog_start(w, err), err);
    if (status != MUSTER_OK) {
        watchdog_destroy(w);
        return status;
    }
    *out = w;
    return MUSTER_OK;
}

static void farewell_say(struct watchdog *w, const struct watch_message *message, bool stop)
{
    if (!w->has_thread)
        return;
    pthread_mutex_lock(&w->mutex);
    w->farewell = *message;
    w->stop = stop;
    pthread_mutex_unlock(&w->mutex);
}

void watchdog_destroy(struct watchdog *w)
{
    if (w == NULL)
        return;
    if (w->has_thread) {
        farewell_say(w, &(struct watch_message){.kind = WATCH_MESSAGE_BYE, .rank = w->rank}, true);
        pthread_join(w->thread, NULL);
    }
    if (w->has_mutex)
        pthread_mutex_destroy(&w->mutex);
    watch_channel_close(w->channel);
    watch_table_release(&w->table);
    roster_release(&w->roster);
    alloc_free(w);
}

struct rank_progress *watchdog_progress(struct watchdog *w)
{
    return w != NULL ? &w->progress : NULL;
}

const struct roster *watchdog_roster(const struct watchdog *w)
{
    return w != NULL ? &w->roster : NULL;
}

void watchdog_comms_set(struct watchdog *w, const struct comm *host, const struct comm *device)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->host = host;
    w->device = device;
    pthread_mutex_unlock(&w->mutex);
}

void watchdog_await(struct watchdog *w, double seconds)
{
    if (w == NULL || !w->has_thread)
        return;
    double end_s = clock_seconds() + seconds;
    while (clock_seconds() < end_s || atomic_load(&w->decided))
        pause_ms(10);
}

void watchdog_failed(struct watchdog *w, const char *cause)
{
    if (w == NULL)
        return;
    struct watch_message message = {
        .kind = WATCH_MESSAGE_FAILED, .rank = w->rank, .report = watchdog_here(w)};
    char name[ROSTER_NAME_SIZE];
    roster_name(&w->roster, w->rank, name);
    snprintf(message.text, sizeof message.text, "%s failed: %s", name, cause);
    alarm(2 * FAILED_S);
    farewell_say(w, &message, false);
    event_write(w, "death", w->rank, &message.report, message.text);
}
