/* SPDX-License-Identifier: MIT
 *
 * The handler only walks its own stack and stores addresses: turning them into names takes locks that the
 * interrupted thread may hold. A handler has no argument but the signal, so its notes are a static.
 */
#include "worker/watch/stack_dump.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { FRAMES_MAX = 64, STACK_BYTES = 65536, ANSWER_MS = 250, TOTAL_MS = 2000, HANDLER_FRAMES = 2 };

static struct {
    _Atomic pid_t wanted; /* the thread that shall answer */
    _Atomic int count;    /* its frames, -1 until they are there */
    void *frames[FRAMES_MAX];
} notes;

static int dump_signal(void)
{
    return SIGRTMIN + 6;
}

static void handler(int number)
{
    (void)number;
    int errno_before = errno;
    if (atomic_load(&notes.wanted) == (pid_t)syscall(SYS_gettid))
        atomic_store(&notes.count, backtrace(notes.frames, FRAMES_MAX));
    errno = errno_before;
}

void stack_dump_prepare(void)
{
    static char own_stack[STACK_BYTES];
    const stack_t stack = {.ss_sp = own_stack, .ss_size = sizeof own_stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    void *frame;
    backtrace(&frame, 1); /* the first call loads libgcc */
    sigaltstack(&stack, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(dump_signal(), &action, NULL);
}

static void pause_ms(int ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000L};
    nanosleep(&pause, NULL);
}

/* The first bytes of /proc/self/task/ID/NAME, without the line's end. */
static void task_read(long id, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/%s", id, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, out, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static void head_write(int fd, long id)
{
    char name[32], stat[256], line[128];
    task_read(id, "comm", name, sizeof name);
    task_read(id, "stat", stat, sizeof stat);
    const char *state = strrchr(stat, ')'); /* the name before it may hold anything */
    int length = snprintf(line, sizeof line, "thread %ld (%s), state %c:\n", id, name,
                          state != NULL && strlen(state) > 2 ? state[2] : '?');
    (void)!write(fd, line, (size_t)length);
}

static void thread_write(int fd, long id)
{
    static const char silent[] = "  no answer\n";
    head_write(fd, id);
    atomic_store(&notes.count, -1);
    atomic_store(&notes.wanted, (pid_t)id);
    int waited_ms = 0;
    if (syscall(SYS_tgkill, getpid(), (pid_t)id, dump_signal()) == 0) {
        for (; waited_ms < ANSWER_MS && atomic_load(&notes.count) < 0; waited_ms++)
            pause_ms(1);
    }
    int count = atomic_load(&notes.count);
    atomic_store(&notes.wanted, 0);
    if (count > HANDLER_FRAMES)
        backtrace_symbols_fd(notes.frames + HANDLER_FRAMES, count - HANDLER_FRAMES, fd);
    else
        (void)!write(fd, silent, sizeof silent - 1);
}

/* Bytes of the directory itself: opendir would allocate, and a thread may have been stopped while it did. */
void stack_dump_write(int fd)
{
    _Alignas(struct dirent64) char entries[4096];
    int64_t deadline = clock_monotonic_ns() + TOTAL_MS * (int64_t)1000000;
    long self = syscall(SYS_gettid), got;
    int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks < 0)
        return;
    while ((got = syscall(SYS_getdents64, tasks, entries, sizeof entries)) > 0) {
        for (long at = 0; at < got && clock_monotonic_ns() < deadline;) {
            struct dirent64 *entry = (struct dirent64 *)(void *)(entries + at);
            long id = strtol(entry->d_name, NULL, 10);
            if (id > 0 && id != self)
                thread_write(fd, id);
            at += entry->d_reclen;
        }
    }
    close(tasks);
}
