/* SPDX-License-Identifier: MIT
 *
 * One turn of the loop is one launch. Signals stay blocked between launches, so that one that comes while
 * nothing runs is answered as well: it ends the wait. What is decided is in supervise_policy.c.
 */
#include "coordinator/supervise/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/event_log.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/supervise/supervise_cleanup.h"
#include "coordinator/supervise/supervise_events.h"
#include "coordinator/supervise/supervise_folder.h"
#include "coordinator/supervise/supervise_policy.h"
#include "coordinator/supervise/supervise_roster.h"

enum { POLL_MS = 1000, EMPTY_MS = 10000 };

/* From the ranks' word that they end to mpirun's end: longer than the last of them takes. */
static const double end_patience_s = 15.0;

struct supervise {
    const struct supervise_options *options;
    struct launch_supervision supervision;
    struct supervise_limits limits;
    struct supervise_history history;
    struct supervise_progress before; /* this launch */
    struct supervise_plan plan_before;
    struct fs_lock lock;
    sigset_t stops, mask_before;
    int64_t epoch, launches;
    int64_t events_bytes, events_seen; /* of the log, before the launch and when it was last looked into */
    double launched_unix_s, ending_s;  /* ending_s: when its ranks' word was found that they end, or 0 */
    double launched_s;                 /* by the clock that nobody sets */
    struct supervise_roster roster;
    int ranks;         /* of the launch in hand */
    bool has_started;  /* the launch's ranks have found each other and loaded their state */
    bool ever_started; /* those of any launch */
};

static double unix_s(void)
{
    return 1e-3 * (double)clock_unix_ms();
}

static const char *run_folder(const struct supervise *s)
{
    return s->options->job->output_dir;
}

/* A log that cannot be written to does not stop a run. */
static void event_add(const struct supervise *s, const char *kind, const struct launch_outcome *outcome,
                      const char *text)
{
    bool known = outcome != NULL && outcome->rank >= 0;
    const struct event event = {.kind = kind,
                                .epoch = s->epoch,
                                .rank = known ? outcome->rank : -1,
                                .host = known && outcome->host[0] != '\0' ? outcome->host : NULL,
                                .step = -1,
                                .text = text};
    event_log_append(run_folder(s), &event, NULL);
}

static void launcher_started(void *context, pid_t launcher)
{
    const struct supervise *s = context;
    struct supervise_launcher here;
    supervise_launcher_here(&here, launcher);
    /* Only a killed supervisor's successor would miss it. */
    supervise_launcher_write(run_folder(s), s->epoch, &here, NULL);
}

/* An mpirun that has lost a host without a word waits for the daemon there as long as TCP does, 15 minutes,
 * or as Slurm does. */
static bool launch_is_stuck(void *context)
{
    struct supervise *s = context;
    int64_t bytes = event_log_size(run_folder(s));
    if (s->ending_s <= 0.0 && bytes > s->events_seen &&
        supervise_events_end(run_folder(s), s->events_bytes, s->epoch))
        s->ending_s = clock_seconds();
    s->events_seen = bytes;
    return s->ending_s > 0.0 && clock_seconds() - s->ending_s > end_patience_s;
}

static bool launch_look(struct supervise *s)
{
    if (!s->has_started)
        s->has_started = supervise_launch_has_started(run_folder(s), &s->plan_before);
    s->ever_started |= s->has_started;
    return s->has_started;
}

static bool launch_has_begun(void *context)
{
    return launch_look(context);
}

/* Whether the ranks are still where nobody but us would notice that one hangs: before their watchdogs run. */
static enum launch_wish launch_judge(void *context)
{
    struct supervise *s = context;
    if (launch_look(s) && supervise_roster_come_back(&s->roster, unix_s(), true))
        return LAUNCH_SAVE;
    bool overdue =
        !s->has_started && clock_seconds() - s->launched_s > s->options->job->supervisor.start_timeout_s;
    return overdue ? LAUNCH_END : LAUNCH_GO_ON;
}

static void signals_block(struct supervise *s)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    sigemptyset(&s->stops);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&s->stops, numbers[i]);
    sigprocmask(SIG_BLOCK, &s->stops, &s->mask_before);
}

/* What every launch of this run is started with. */
static enum muster_status environment_set(const char *id, struct muster_error *err)
{
    char started[32];
    snprintf(started, sizeof started, "%" PRId64, clock_unix_ms());
    if (setenv(SUPERVISE_ID_ENVIRONMENT, id, 1) != 0 ||
        setenv(SUPERVISE_STARTED_ENVIRONMENT, started, 1) != 0)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the ranks' environment");
    return MUSTER_OK;
}

static enum muster_status supervise_open(struct supervise *s, const struct supervise_options *options,
                                         struct muster_error *err)
{
    const struct job *job = options->job;
    char id[SUPERVISE_ID_SIZE], text[96];
    *s = (struct supervise){
        .options = options,
        .supervision = {.err = options->err,
                        .live = options->launch.live,
                        .repeat_ms = LAUNCH_REPEAT_MS,
                        .kill_after_ms = LAUNCH_KILL_AFTER_MS,
                        .orphan_ms = LAUNCH_ORPHAN_MS,
                        .mask = &s->mask_before,
                        .started = launcher_started,
                        .is_stuck = launch_is_stuck,
                        .ask = launch_judge,
                        .has_begun = launch_has_begun,
                        .poll_ms = POLL_MS,
                        .empty_ms = EMPTY_MS,
                        .context = s},
        .limits = {job->supervisor.max_restarts, job->supervisor.give_up_after,
                   job->supervisor.restart_backoff_s},
        .lock = {.fd = -1},
        .roster = {.hosts = options->hosts,
                   .worker = options->launch.worker,
                   .retry_s = job->supervisor.host_retry_s,
                   .failures_max = (int)job->supervisor.host_failures_max,
                   .supervision = &s->supervision},
    };
    signals_block(s);
    enum muster_status status = supervise_folder_lock(job->output_dir, &s->lock, err);
    if (status == MUSTER_OK)
        status = supervise_run_id(job->output_dir, id, err);
    if (status != MUSTER_OK)
        return status;
    int ended = supervise_cleanup(job->output_dir, id);
    if (ended > 0) {
        snprintf(text, sizeof text, "ended %d process%s that an earlier run left behind", ended,
                 ended == 1 ? "" : "es");
        launch_say(&s->supervision, text);
    }
    status = environment_set(id, err);
    if (status == MUSTER_OK)
        status = supervise_progress_read(job, &s->before, err);
    supervise_history_init(&s->history, s->before.saved_step);
    return status;
}

static void supervise_close(struct supervise *s)
{
    fs_lock_release(&s->lock);
    sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
}

/* Slurm has started this batch job before. */
static bool is_requeued(void)
{
    const char *count = getenv("SLURM_RESTART_COUNT");
    return count != NULL && strcmp(count, "0") != 0;
}

static const char *resume_asked(const struct supervise *s)
{
    const char *resume = s->options->launch.resume;
    return resume != NULL ? resume : s->options->job->checkpoint.resume;
}

static enum muster_status launch_prepare(struct supervise *s, struct launch_command *command,
                                         struct muster_error *err)
{
    char hosts[FS_PATH_MAX], number[32];
    struct launch_options options = s->options->launch;
    enum muster_status status =
        s->launches > 0 ? epoch_check(run_folder(s), s->epoch, err) : MUSTER_OK; /* ours, while it waited? */
    if (status == MUSTER_OK)
        status = supervise_progress_read(s->options->job, &s->before, err);
    supervise_plan_look(run_folder(s), &s->plan_before);
    /* What the run has saved goes before what it began from; so it does where Slurm starts the job again. */
    options.own_first = (s->ever_started || is_requeued()) && strcmp(resume_asked(s), "auto") != 0;
    supervise_roster_come_back(&s->roster, unix_s(), false);
    if (status == MUSTER_OK)
        status = supervise_roster_choose(&s->roster, &options, run_folder(s), hosts, err);
    s->ranks = options.ranks;
    if (status == MUSTER_OK)
        status = supervise_epoch_take(run_folder(s), &s->epoch, err);
    snprintf(number, sizeof number, "%" PRId64, s->epoch);
    if (status == MUSTER_OK && setenv(EPOCH_ENVIRONMENT, number, 1) != 0)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the ranks' environment");
    return status == MUSTER_OK ? launch_command_build(command, &options, err) : status;
}

static enum muster_status supervise_launch(struct supervise *s, struct launch_outcome *outcome,
                                           struct muster_error *err)
{
    struct launch_command command = {.argc = 0};
    char text[64];
    enum muster_status status = launch_prepare(s, &command, err);
    if (status == MUSTER_OK) {
        s->launches++;
        s->has_started = false;
        s->launched_unix_s = unix_s();
        s->launched_s = clock_seconds();
        s->ending_s = 0.0;
        s->events_bytes = s->events_seen = event_log_size(run_folder(s));
        snprintf(text, sizeof text, "%d rank%s", s->ranks, s->ranks == 1 ? "" : "s");
        event_add(s, "launch", NULL, text);
        status = launch_run(&command, &s->supervision, outcome, err);
        launch_look(s);
        supervise_launcher_forget(run_folder(s), s->epoch);
    }
    launch_command_release(&command);
    return status;
}

/* ---- what a death means ---- */

/* The ranks' own words where there are any. */
static void cause_print(const struct supervise *s, struct launch_outcome *outcome, struct text *out)
{
    struct supervise_witness witness;
    /* SIGALRM is the own end of a rank that has told of another and could not get out. */
    int killed = outcome->killer == SIGALRM ? -1 : outcome->rank;
    bool seen = outcome->stops < 2 &&
                supervise_events_cause(run_folder(s), s->events_bytes, s->epoch, killed, &witness);
    text_print(out, "%s", seen ? witness.text : outcome->cause);
    if (outcome->killer == SIGBUS)
        text_print(
            out, " (bus error: a data file was cut short under the run or cannot be read, or memory fails)");
    if (seen && killed < 0) {
        outcome->rank = witness.rank;
        memcpy(outcome->host, witness.host, sizeof outcome->host);
    } else if (!seen) {
        event_add(s, "death", outcome, outcome->cause);
    }
}

static void loss_print(const struct supervise *s, const struct supervise_progress *now, struct text *out)
{
    int64_t saved = now->saved_step > 0 ? now->saved_step : 0;
    double since = now->saved_unix_s > s->launched_unix_s ? now->saved_unix_s : s->launched_unix_s;
    char lost[32];
    double lost_s = unix_s() - since;
    text_format_duration(lost, sizeof lost, lost_s > 0.0 ? lost_s : 0.0);
    bool trained = now->step_unix_s != s->before.step_unix_s;
    if (!s->options->job->logging.jsonl)
        text_print(out, "; lost at most %s", lost);
    else if (trained && now->step > saved)
        text_print(out, "; lost %" PRId64 " step%s (%s)", now->step - saved,
                   now->step - saved == 1 ? "" : "s", lost);
    else
        text_print(out, "; lost no step (%s)", lost);
    if (now->saved_step >= 0)
        text_print(out, " after the checkpoint of step %" PRId64, now->saved_step);
    else
        text_print(out, ", there is no checkpoint yet");
}

static void advice_print(const struct supervise *s, struct text *out)
{
    text_print(out, "%s continues from the last checkpoint",
               strcmp(resume_asked(s), "auto") == 0 ? "the same command" : "--resume auto");
}

/* Waits; true when a signal ended the wait. */
static bool delay_wait(const struct supervise *s, double delay_s)
{
    const struct timespec delay = {.tv_sec = (time_t)delay_s,
                                   .tv_nsec = (long)(1e9 * (delay_s - (double)(time_t)delay_s))};
    int number;
    do {
        number = sigtimedwait(&s->stops, NULL, &delay);
    } while (number < 0 && errno == EINTR);
    return number > 0;
}

static void restart_print(const struct supervise *s, const struct supervise_verdict *verdict, int ranks,
                          struct text *out)
{
    char delay[32];
    text_format_duration(delay, sizeof delay, verdict->delay_s);
    text_print(out, "; restarting");
    if (verdict->delay_s > 0.0)
        text_print(out, " in %s", delay);
    text_print(out, " on %d rank%s (restart %" PRId64 " of at most %" PRId64 ")", ranks,
               ranks == 1 ? "" : "s", s->history.restarts, s->limits.max_restarts);
}

/* Whether another supervisor has started the run since: its launches are the newer ones, and are left alone.
 */
static bool is_taken_over(const struct supervise *s, struct text *said)
{
    struct muster_error fence;
    if (epoch_check(run_folder(s), s->epoch, &fence) != MUSTER_ERR_FENCED)
        return false;
    text_print(said, "; giving up: another `muster run` has taken this run over, and goes on with it");
    return true;
}

/* True when the ranks are to be started again; otherwise *exit_code is the run's. */
static bool death_answer(struct supervise *s, struct launch_outcome *outcome, int *exit_code)
{
    struct supervise_progress now = {.saved_step = -1};
    struct supervise_verdict verdict = {.restart = false};
    struct text said;
    text_init(&said);
    cause_print(s, outcome, &said);
    *exit_code = outcome->stops == 1 ? MUSTER_EXIT_RESUMABLE : MUSTER_EXIT_FAILED;
    bool asked = outcome->stops > 0 || s->options->no_restart;
    bool taken_over = is_taken_over(s, &said);
    if (!asked && !taken_over)
        supervise_roster_blame(&s->roster, outcome, unix_s());
    bool known = !asked && !taken_over && supervise_progress_read(s->options->job, &now, NULL) == MUSTER_OK;
    if (known) {
        const struct supervise_death death = {now.saved_step, now.step_unix_s != s->before.step_unix_s};
        verdict = supervise_judge(&s->limits, &s->history, &death);
        loss_print(s, &now, &said);
    }
    int ranks = hosts_ranks(s->roster.hosts, s->options->launch.ranks);
    if (verdict.restart && ranks == 0) {
        verdict.restart = false;
        snprintf(verdict.why, sizeof verdict.why, "no host is left");
    }
    if (verdict.restart) {
        restart_print(s, &verdict, ranks, &said);
    } else if (!taken_over) {
        text_print(&said, "%s%s; ", known ? "; giving up: " : "", verdict.why);
        advice_print(s, &said);
    }
    launch_say(&s->supervision, said.data);
    if (!asked)
        event_add(s, verdict.restart ? "restart" : "give_up", NULL, said.data);
    text_release(&said);
    if (verdict.restart && delay_wait(s, verdict.delay_s)) {
        launch_say(&s->supervision, "stopped before the restart; the same command continues");
        *exit_code = MUSTER_EXIT_RESUMABLE;
        return false;
    }
    return verdict.restart;
}

/* What no other try can mend, as long as none has worked: words that the launcher does not take, more ranks
 * than places, or words that made it print something and start nobody. Hosts of a file or of Slurm are
 * another matter: the next try leaves out those that do not answer. */
static bool start_refused(const struct supervise *s, const struct launch_outcome *outcome)
{
    bool others = outcome->host_lost && s->options->hosts->source != HOSTS_LOCAL;
    bool refused = outcome->failed && outcome->refusal[0] != '\0' && !others && outcome->rank < 0;
    bool idle = !outcome->failed && outcome->exit_code == MUSTER_EXIT_DONE;
    struct text said;
    if (s->ever_started || outcome->stops > 0 || (!refused && !idle))
        return false;
    text_init(&said);
    if (refused)
        text_print(&said,
                   "the ranks cannot be started like this (\"%s\", see above): another try would end alike",
                   outcome->refusal);
    else
        text_print(&said, "the launcher has started no rank: see what it says above, and the words after --");
    launch_say(&s->supervision, said.data);
    event_add(s, "give_up", NULL, said.data);
    text_release(&said);
    return true;
}

/* A rank that died while old checkpoints were removed, under this supervisor or one before, can have left
 * half of one, and no later save has come by. */
static void run_finish(const struct supervise *s)
{
    event_add(s, "done", NULL, NULL);
    if (s->epoch > 1)
        ckpt_prune(s->options->job->checkpoint.dir, INT32_MAX, NULL);
}

enum muster_status supervise_run(const struct supervise_options *options, int *exit_code,
                                 struct muster_error *err)
{
    struct supervise s;
    struct launch_outcome outcome;
    bool again = true;
    *exit_code = MUSTER_EXIT_FAILED;
    enum muster_status status = supervise_open(&s, options, err);
    while (status == MUSTER_OK && again) {
        status = supervise_launch(&s, &outcome, err);
        if (status != MUSTER_OK)
            break;
        *exit_code = start_refused(&s, &outcome) ? MUSTER_EXIT_BAD_INPUT : outcome.exit_code;
        if (*exit_code == MUSTER_EXIT_BAD_INPUT)
            break;
        bool grows = outcome.on_request && outcome.stops == 0 && !outcome.failed;
        again = (grows && *exit_code == MUSTER_EXIT_RESUMABLE) ||
                (outcome.failed && death_answer(&s, &outcome, exit_code));
    }
    if (status == MUSTER_OK && *exit_code == MUSTER_EXIT_DONE)
        run_finish(&s);
    supervise_close(&s);
    return status;
}
