/* SPDX-License-Identifier: MIT
 *
 * One process is started and watched. All that can happen (a signal, the end of a child, output, a deadline)
 * arrives on a file descriptor, so there is one place that waits and no handler.
 *
 * mpirun gets a process group of its own, so that a terminal's Ctrl-C reaches muster alone, and a SIGTERM
 * should muster die. muster is the reaper of its descendants: ranks that outlive mpirun become its children
 * and are waited for, or killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "coordinator/cli/launch.h"
#include "coordinator/cli/launch_banners.h"
#include "coordinator/cli/launch_leftovers.h"

enum { CHUNK_BYTES = 65536, ORPHAN_ROUNDS = 3, SHELL_SIGNAL = 128, HOST_LOST = 205, AGENT_FAILED = 255 };

static const int watched_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE};

struct run {
    const struct launch_supervision *supervision;
    struct launch_banners banners;
    sigset_t mask_before;
    int signals_fd, timer_fd, errors_fd; /* -1 = closed */
    pid_t mpirun;
    int end_signal;    /* what makes it end the ranks at once */
    bool had_children; /* before the start: then descendants that come to us may be others' */
    int stops;         /* signals to us: 1 = asked to save and leave, 2 = to end, 3 = killed */
    bool early;        /* ended by the first signal: they had not begun */
    bool on_request;   /* asked to save and leave by LAUNCH_SAVE */
    bool unread;       /* asked to, because nobody reads what they print */
    bool overdue;      /* ended by LAUNCH_END */
    bool had_ranks;    /* mpirun has started something */
    double empty_s;    /* since when it has no child any more; 0 = it has */
    bool hung;         /* and did not end by itself */
    bool ended;
    int wait_status;
};

static void run_timer_set(struct run *run, int first_ms, int interval_ms)
{
    const struct itimerspec times = {
        .it_value = {.tv_sec = first_ms / 1000, .tv_nsec = first_ms % 1000 * 1000000L},
        .it_interval = {.tv_sec = interval_ms / 1000, .tv_nsec = interval_ms % 1000 * 1000000L},
    };
    timerfd_settime(run->timer_fd, 0, &times, NULL);
}

static bool run_timer_expired(struct run *run)
{
    uint64_t count;
    return read(run->timer_fd, &count, sizeof count) == sizeof count;
}

static enum muster_status run_open(struct run *run, const struct launch_supervision *supervision,
                                   struct muster_error *err)
{
    *run = (struct run){.supervision = supervision, .signals_fd = -1, .timer_fd = -1, .errors_fd = -1};
    launch_banners_init(&run->banners, supervision->err);
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof watched_signals / sizeof watched_signals[0]; i++)
        sigaddset(&set, watched_signals[i]);
    sigprocmask(SIG_BLOCK, &set, &run->mask_before);
    run->signals_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (run->signals_fd < 0 || run->timer_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return muster_error_set_errno(err, errno, "prepare to watch mpirun");
    run->had_children = waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;
    return MUSTER_OK;
}

static bool signal_stops(uint32_t number)
{
    return number != SIGCHLD && number != SIGPIPE;
}

/* Signals that came too late for the ranks are taken, so that they do not end muster before it has spoken,
 * and counted, so that nothing is started again. */
static void run_take_late_signals(struct run *run)
{
    struct signalfd_siginfo info;
    while (run->signals_fd >= 0 && read(run->signals_fd, &info, sizeof info) == sizeof info)
        run->stops += signal_stops(info.ssi_signo);
}

static void run_close(struct run *run)
{
    sigprocmask(SIG_SETMASK, &run->mask_before, NULL);
    int fds[] = {run->signals_fd, run->timer_fd, run->errors_fd};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* In the child. Returns only when the program could not be started. */
static void child_become(const struct launch_command *command, pid_t muster, const sigset_t *mask, int errors)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != muster)
        _exit(MUSTER_EXIT_FAILED);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0)
        return;
    if (nothing > STDERR_FILENO)
        close(nothing);
    for (int i = 0; i < command->setting_count; i++)
        putenv(command->settings[i]);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(command->argv[0], command->argv);
}

static enum muster_status start_error(const struct launch_command *command, int error,
                                      struct muster_error *err)
{
    if (error != ENOENT)
        return muster_error_set_errno(err, error, "start %s", command->argv[0]);
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                            "%s was not found in PATH: install Open MPI (openmpi-bin) or load its module",
                            command->argv[0]);
}

/* `told` carries errno from a child that could not become mpirun; an exec closes it empty. */
static enum muster_status run_start(struct run *run, const struct launch_command *command,
                                    struct muster_error *err)
{
    int errors[2] = {-1, -1}, told[2] = {-1, -1}, error = 0;
    pid_t muster = getpid();
    enum muster_status status = MUSTER_OK;
    if (pipe2(errors, O_CLOEXEC) != 0 || pipe2(told, O_CLOEXEC) != 0 || (run->mpirun = fork()) < 0) {
        status = muster_error_set_errno(err, errno, "start %s", command->argv[0]);
        goto out;
    }
    if (run->mpirun == 0) {
        const sigset_t *mask = run->supervision->mask;
        child_become(command, muster, mask != NULL ? mask : &run->mask_before, errors[1]);
        error = errno;
        (void)!write(told[1], &error, sizeof error);
        _exit(MUSTER_EXIT_FAILED);
    }
    setpgid(run->mpirun, run->mpirun);
    close(told[1]);
    told[1] = -1;
    if (read(told[0], &error, sizeof error) == sizeof error) {
        waitpid(run->mpirun, NULL, 0);
        status = start_error(command, error, err);
        goto out;
    }
    fcntl(errors[0], F_SETFL, O_NONBLOCK);
    run->errors_fd = errors[0];
    errors[0] = -1;
out:
    for (int i = 0; i < 2; i++) {
        if (errors[i] >= 0)
            close(errors[i]);
        if (told[i] >= 0)
            close(told[i]);
    }
    return status;
}

void launch_say(const struct launch_supervision *supervision, const char *text)
{
    fprintf(supervision->err, "%smuster run: %s\n", supervision->live ? "\n" : "", text);
    fflush(supervision->err);
}

static void run_say(const struct run *run, const char *text)
{
    launch_say(run->supervision, text);
}

static void run_ask_to_save(struct run *run)
{
    kill(run->mpirun, SIGUSR1);
    run_timer_set(run, run->supervision->repeat_ms, run->supervision->repeat_ms);
}

static void run_end(struct run *run)
{
    kill(-run->mpirun, run->end_signal);
    run_timer_set(run, run->supervision->kill_after_ms, 0);
}

static void run_stop_first(struct run *run, int number)
{
    const struct launch_supervision *supervision = run->supervision;
    char text[160];
    run->stops = 1;
    run->early = supervision->has_begun != NULL && !supervision->has_begun(supervision->context);
    if (run->early)
        run_end(run);
    else
        run_ask_to_save(run);
    snprintf(text, sizeof text, "%s: %s", strsignal(number),
             run->early
                 ? "ending the ranks, which have nothing to save yet"
                 : "the ranks save a checkpoint after this step and stop; once more ends them at once");
    run_say(run, text);
}

static void run_stop(struct run *run, int number)
{
    bool insists = number == SIGINT || number == SIGTERM;
    if (run->stops == 0) {
        run_stop_first(run, number);
    } else if (run->stops == 1 && insists) {
        run->stops = 2;
        run_end(run);
        run_say(run, "again: ending the ranks without a checkpoint");
    } else if (insists) {
        run->stops = 3;
        kill(-run->mpirun, SIGKILL);
    }
}

/* With the reader of a pipe (a tee, a head, a lost connection) Open MPI 4.1 ends everything at its tenth line
 * after that, and would again after every restart. Not counted as a signal: the Ctrl-C that has ended a tee
 * comes to us too. */
static void run_lose_reader(struct run *run)
{
    run->unread = true;
    if (run->stops > 0)
        return;
    run_ask_to_save(run);
    run_say(run, "nobody reads the output any more: the ranks save a checkpoint after this step and stop");
}

static void run_take_signals(struct run *run)
{
    struct signalfd_siginfo info;
    while (read(run->signals_fd, &info, sizeof info) == sizeof info) {
        if (signal_stops(info.ssi_signo))
            run_stop(run, (int)info.ssi_signo);
    }
    int status;
    while (!run->ended && waitpid(run->mpirun, &status, WNOHANG | WUNTRACED) == run->mpirun) {
        run->ended = !WIFSTOPPED(status);
        run->wait_status = status;
        if (!run->ended) {
            kill(run->mpirun, SIGCONT);
            run_say(run, "mpirun was stopped by a signal: continued it");
        }
    }
}

static void run_take_errors(struct run *run)
{
    char chunk[CHUNK_BYTES];
    ssize_t got = 0;
    while (run->errors_fd >= 0 && (got = read(run->errors_fd, chunk, sizeof chunk)) > 0)
        launch_banners_feed(&run->banners, chunk, (size_t)got);
    if (got == 0 && run->errors_fd >= 0) {
        close(run->errors_fd);
        run->errors_fd = -1;
    }
}

static void run_kill_hung(struct run *run)
{
    run->hung = true;
    kill(-run->mpirun, SIGKILL);
}

static void run_ask(struct run *run)
{
    const struct launch_supervision *supervision = run->supervision;
    if (run->stops > 0 || run->on_request || run->unread || run->overdue || supervision->ask == NULL)
        return;
    enum launch_wish wish = supervision->ask(supervision->context);
    run->on_request = wish == LAUNCH_SAVE;
    run->overdue = wish == LAUNCH_END;
    if (run->on_request)
        run_ask_to_save(run);
    if (run->overdue) {
        kill(-run->mpirun, SIGTERM);
        run_timer_set(run, supervision->kill_after_ms, 0);
    }
}

/* Open MPI 4.1 sometimes waits for ever in its own end, after the last rank's. */
static void run_look_after_ranks(struct run *run)
{
    if (run->supervision->empty_ms == 0)
        return;
    double now_s = clock_seconds();
    bool has_ranks = process_children_count(run->mpirun, NULL) > 0;
    run->had_ranks |= has_ranks;
    if (has_ranks || !run->had_ranks)
        run->empty_s = 0.0;
    else if (run->empty_s <= 0.0)
        run->empty_s = now_s;
    else if (now_s - run->empty_s > 1e-3 * run->supervision->empty_ms)
        run_kill_hung(run);
}

static void run_look_after_mpirun(struct run *run)
{
    const struct launch_supervision *supervision = run->supervision;
    if (supervision->is_stuck != NULL && supervision->is_stuck(supervision->context))
        run_kill_hung(run);
}

static void run_watch(struct run *run)
{
    int poll_ms = run->supervision->poll_ms > 0 ? run->supervision->poll_ms : -1;
    while (!run->ended) {
        struct pollfd events[] = {{.fd = run->signals_fd, .events = POLLIN},
                                  {.fd = run->timer_fd, .events = POLLIN},
                                  {.fd = run->errors_fd, .events = POLLIN},
                                  {.fd = run->unread ? -1 : STDOUT_FILENO}};
        int ready = poll(events, 4, poll_ms);
        if (ready < 0)
            continue;
        if (ready == 0) {
            run_look_after_ranks(run);
            run_look_after_mpirun(run);
            run_ask(run);
        }
        if (events[2].revents)
            run_take_errors(run);
        if (events[0].revents)
            run_take_signals(run);
        if (events[3].revents & POLLERR && !run->ended)
            run_lose_reader(run);
        if (events[1].revents && run_timer_expired(run) && !run->ended) {
            if (run->stops <= 1 && !run->overdue && !run->early)
                kill(run->mpirun, SIGUSR1);
            else
                kill(-run->mpirun, SIGKILL);
        }
    }
    run_take_errors(run);
}

static void orphans_kill(void)
{
    char path[64];
    long pid;
    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
    FILE *children = fopen(path, "re");
    if (children == NULL)
        return;
    while (fscanf(children, "%ld", &pid) == 1)
        kill((pid_t)pid, SIGKILL);
    fclose(children);
}

/* Ranks notice within 1.5 s that mpirun is gone, unless they are stopped or hang in a system call. Those of
 * an mpirun that was killed have nothing to wait for, but the save that they were asked for. */
static void run_end_orphans(struct run *run)
{
    int rounds = 0, patience_ms = run->supervision->orphan_ms;
    bool saving = (run->stops == 1 && !run->early) || run->on_request || run->unread;
    if (run->had_children)
        return;
    run_timer_set(run, WIFSIGNALED(run->wait_status) && !saving ? 1 : patience_ms, patience_ms);
    for (;;) {
        pid_t gone;
        while ((gone = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        if ((gone < 0 && errno == ECHILD) || rounds == ORPHAN_ROUNDS)
            return;
        struct pollfd events[] = {{.fd = run->signals_fd, .events = POLLIN},
                                  {.fd = run->timer_fd, .events = POLLIN}};
        poll(events, 2, -1);
        run_take_late_signals(run);
        if (run_timer_expired(run)) {
            orphans_kill();
            rounds++;
        }
    }
}

/* What ended the run when mpirun did not say 0, 2 or 75, in words. */
static void cause_write(const struct run *run, int code, struct launch_outcome *outcome)
{
    int killer = code > SHELL_SIGNAL && code < SHELL_SIGNAL + NSIG ? code - SHELL_SIGNAL : 0;
    char who[128] = "a rank";
    outcome->killer = killer;
    if (run->banners.rank >= 0)
        snprintf(who, sizeof who, "rank %d on %s", run->banners.rank, run->banners.host);
    if (run->stops >= 2)
        snprintf(outcome->cause, sizeof outcome->cause, "ended at once, as asked");
    else if (run->overdue)
        snprintf(outcome->cause, sizeof outcome->cause, "the ranks did not start in time and were ended");
    else if (run->hung)
        snprintf(outcome->cause, sizeof outcome->cause, "the ranks ended, but mpirun did not and was killed");
    else if (WIFSIGNALED(run->wait_status))
        snprintf(outcome->cause, sizeof outcome->cause, "mpirun was killed by signal %d (%s)",
                 WTERMSIG(run->wait_status), strsignal(WTERMSIG(run->wait_status)));
    else if (killer != 0)
        snprintf(outcome->cause, sizeof outcome->cause, "%s was killed by signal %d (mpirun returned %d)",
                 who, killer, code);
    else
        snprintf(outcome->cause, sizeof outcome->cause, "%s (mpirun returned %d)",
                 outcome->host_lost ? "a host was lost" : "the run failed", code);
}

static void outcome_write(const struct run *run, struct launch_outcome *outcome)
{
    int status = run->wait_status;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : SHELL_SIGNAL + WTERMSIG(status);
    *outcome = (struct launch_outcome){
        .exit_code = code,
        .stops = run->stops == 0 ? run->unread : run->stops,
        .on_request = run->on_request,
        .hung = run->hung,
        .rank = run->banners.rank,
        .host_lost =
            run->banners.host_lost || (WIFEXITED(status) && (code == HOST_LOST || code == AGENT_FAILED))};
    memcpy(outcome->host, run->banners.host, sizeof outcome->host);
    memcpy(outcome->refusal, run->banners.refusal, sizeof outcome->refusal);
    bool asked = (run->stops == 1 || run->on_request || run->unread) && code == SHELL_SIGNAL + SIGUSR1;
    bool ended = run->early && run->stops == 1 && code != MUSTER_EXIT_DONE && code != MUSTER_EXIT_BAD_INPUT;
    if (asked || ended) {
        if (!run->on_request)
            run_say(run, "stopped before the first step; nothing was lost");
        outcome->exit_code = MUSTER_EXIT_RESUMABLE;
    } else if ((code != MUSTER_EXIT_DONE || outcome->host_lost) && code != MUSTER_EXIT_BAD_INPUT &&
               code != MUSTER_EXIT_RESUMABLE) {
        outcome->exit_code = MUSTER_EXIT_FAILED;
        outcome->failed = true;
        cause_write(run, code, outcome);
    }
}

enum muster_status launch_run(const struct launch_command *command,
                              const struct launch_supervision *supervision, struct launch_outcome *outcome,
                              struct muster_error *err)
{
    struct run run;
    *outcome = (struct launch_outcome){.exit_code = MUSTER_EXIT_FAILED, .rank = -1};
    enum muster_status status = run_open(&run, supervision, err);
    if (status == MUSTER_OK)
        status = run_start(&run, command, err);
    if (status == MUSTER_OK) {
        run.end_signal = command->end_signal;
        if (supervision->started != NULL)
            supervision->started(supervision->context, run.mpirun);
        run_watch(&run);
        run_end_orphans(&run);
        if (run.wait_status != 0)
            launch_leftovers_remove_own(run.mpirun);
    }
    launch_banners_finish(&run.banners);
    run_take_late_signals(&run);
    if (status == MUSTER_OK)
        outcome_write(&run, outcome);
    run_close(&run);
    return status;
}
