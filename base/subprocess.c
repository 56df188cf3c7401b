/* SPDX-License-Identifier: MIT
 *
 * The end of a command is seen through a pidfd, its words through pipes, all in one poll. Every command leads
 * a process group of its own, so that what it started can be ended with it.
 */
#include "base/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { FDS_EACH = 3, FDS_OTHERS = 64, SIGNAL_CODE = 128, NS_PER_MS = 1000000, GRACE_MS = 1000 };

void subprocess_init(struct subprocess *process, const char *const *argv)
{
    *process = (struct subprocess){.argv = argv, .pid = -1, .fds = {-1, -1}};
    text_init(&process->out);
    text_init(&process->err);
}

void subprocess_release(struct subprocess *process)
{
    text_release(&process->out);
    text_release(&process->err);
}

/* Returns only when the program could not be started. */
static void child_become(const struct subprocess *process, pid_t parent, int out, int err)
{
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(MUSTER_EXIT_FAILED);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(err, STDERR_FILENO) < 0)
        return;
    if (nothing > STDERR_FILENO)
        close(nothing);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(process->argv[0], (char *const *)process->argv);
}

static void pair_close(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* `told` carries errno from a child that could not become the program; an exec closes it empty. */
static void process_start(struct subprocess *process)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1}, told[2] = {-1, -1}, error = 0;
    pid_t parent = getpid();
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(told, O_CLOEXEC) != 0 ||
        (process->pid = fork()) < 0) {
        process->start_errno = errno;
        goto done;
    }
    if (process->pid == 0) {
        child_become(process, parent, out[1], err[1]);
        error = errno;
        (void)!write(told[1], &error, sizeof error);
        _exit(MUSTER_EXIT_FAILED);
    }
    setpgid(process->pid, process->pid);
    close(told[1]);
    told[1] = -1;
    if (read(told[0], &error, sizeof error) == sizeof error) {
        waitpid(process->pid, NULL, 0);
        process->pid = -1;
        process->start_errno = error;
        goto done;
    }
    process->fds[0] = out[0];
    process->fds[1] = err[0];
    out[0] = err[0] = -1;
    fcntl(process->fds[0], F_SETFL, O_NONBLOCK);
    fcntl(process->fds[1], F_SETFL, O_NONBLOCK);
done:
    pair_close(out);
    pair_close(err);
    pair_close(told);
}

static void output_take(int *fd, struct text *text)
{
    char chunk[4096];
    ssize_t got;
    while (*fd >= 0 && (got = read(*fd, chunk, sizeof chunk)) != 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got < 0)
            break;
        if (text->length + (size_t)got <= SUBPROCESS_BYTES_MAX)
            text_append(text, chunk, (size_t)got);
    }
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void process_take(struct subprocess *process)
{
    int status;
    if (process->pid <= 0 || waitpid(process->pid, &status, WNOHANG) != process->pid)
        return;
    output_take(&process->fds[0], &process->out);
    output_take(&process->fds[1], &process->err);
    kill(-process->pid, SIGKILL); /* what it left behind in its group */
    pair_close(process->fds);
    process->pid = -1;
    process->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : SIGNAL_CODE + WTERMSIG(status);
}

/* What to wait for of one process; returns how many entries. */
static int process_events(const struct subprocess *process, struct pollfd events[FDS_EACH])
{
    int pidfd = process->pid > 0 ? (int)syscall(SYS_pidfd_open, process->pid, 0) : -1;
    events[0] = (struct pollfd){.fd = process->fds[0], .events = POLLIN};
    events[1] = (struct pollfd){.fd = process->fds[1], .events = POLLIN};
    events[2] = (struct pollfd){.fd = pidfd, .events = POLLIN};
    return FDS_EACH;
}

/* One wait for anything to happen. Without memory for the events, or without pidfds, it looks every so often.
 */
static void wait_once(struct subprocess *processes, int count, struct pollfd *events, int64_t left_ms)
{
    const int look_ms = 20;
    bool blind = events == NULL;
    int used = 0;
    for (int i = 0; i < count && events != NULL; i++) {
        used += process_events(&processes[i], events + used);
        blind |= processes[i].pid > 0 && events[used - 1].fd < 0;
    }
    poll(events, (nfds_t)used, blind && left_ms > look_ms ? look_ms : (int)left_ms);
    for (int i = 0; i < count; i++) {
        if (events != NULL && events[i * FDS_EACH + 2].fd >= 0)
            close(events[i * FDS_EACH + 2].fd);
        output_take(&processes[i].fds[0], &processes[i].out);
        output_take(&processes[i].fds[1], &processes[i].err);
        process_take(&processes[i]);
    }
}

static int running_count(const struct subprocess *processes, int count)
{
    int running = 0;
    for (int i = 0; i < count; i++)
        running += processes[i].pid > 0;
    return running;
}

/* As many descriptors as all commands at once need, if the system lets us: a login shell's limit of 1024 is
 * reached at 340 hosts. Returns the limit as it was. */
static struct rlimit descriptors_allow(int count)
{
    struct rlimit before = {.rlim_cur = RLIM_INFINITY}, now;
    rlim_t needed = (rlim_t)count * FDS_EACH + FDS_OTHERS;
    if (getrlimit(RLIMIT_NOFILE, &before) != 0 || before.rlim_cur >= needed)
        return before;
    now = before;
    now.rlim_cur = needed < now.rlim_max ? needed : now.rlim_max;
    setrlimit(RLIMIT_NOFILE, &now);
    return before;
}

void subprocess_run_all(struct subprocess *processes, int count, int timeout_ms)
{
    const struct rlimit descriptors = descriptors_allow(count);
    struct pollfd *events = alloc_zeroed((size_t)count * FDS_EACH, sizeof *events);
    int64_t deadline_ms = clock_monotonic_ns() / NS_PER_MS + timeout_ms, left_ms;
    for (int i = 0; i < count; i++)
        process_start(&processes[i]);
    while (running_count(processes, count) > 0 &&
           (left_ms = deadline_ms - clock_monotonic_ns() / NS_PER_MS) > 0)
        wait_once(processes, count, events, left_ms);
    for (int i = 0; i < count; i++) {
        if (processes[i].pid > 0) {
            processes[i].timed_out = true;
            kill(-processes[i].pid, SIGKILL);
        }
    }
    while (running_count(processes, count) > 0)
        wait_once(processes, count, events, GRACE_MS);
    setrlimit(RLIMIT_NOFILE, &descriptors);
    alloc_free(events);
}

void subprocess_last_line(const struct text *text, char *line, size_t size)
{
    const char *end = text->data + text->length;
    while (end > text->data && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    const char *begin = end;
    while (begin > text->data && begin[-1] != '\n')
        begin--;
    snprintf(line, size, "%.*s", (int)(end - begin), begin);
}

enum muster_status subprocess_run(struct subprocess *process, int timeout_ms, struct muster_error *err)
{
    char line[512];
    subprocess_run_all(process, 1, timeout_ms);
    if (process->start_errno == ENOENT)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "%s was not found in PATH", process->argv[0]);
    if (process->start_errno != 0)
        return muster_error_set_errno(err, process->start_errno, "start %s", process->argv[0]);
    if (process->timed_out)
        return muster_error_set(err, MUSTER_ERR_IO, "%s did not answer within %d s", process->argv[0],
                                timeout_ms / 1000);
    if (process->exit_code == 0)
        return MUSTER_OK;
    subprocess_last_line(process->err.length > 0 ? &process->err : &process->out, line, sizeof line);
    return muster_error_set(err, MUSTER_ERR_IO, "%s failed (exit code %d): %s", process->argv[0],
                            process->exit_code, line);
}
