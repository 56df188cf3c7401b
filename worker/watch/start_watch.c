/* SPDX-License-Identifier: MIT
 *
 * Two ranks, because one of them may be who is missing, and no more: on a crowded host looking costs. A rank
 * that is behind a wrapper (its parent is not the launcher) has nobody to count. Looks are counted, not
 * seconds, and only while nobody comes: on a busy host, ranks that are still being started and who looks for
 * them are slow alike.
 */
#include "worker/watch/start_watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"
#include "base/text.h"

enum { WATCHERS = 2, LOOKS_MAX = 5, PAUSE_NS = 400000000 };

static bool is_launcher(pid_t pid)
{
    static const char *const names[] = {"mpirun", "mpiexec", "orterun", "orted", "prterun", "prted"};
    char name[16];
    process_name(pid, name);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static int64_t number_of(const char *variable)
{
    const char *text = getenv(variable);
    int64_t number;
    return text != NULL && text_parse_int64(text, &number) ? number : -1;
}

/* PAUSE_NS, or until the start is over: then false. */
static bool watch_pause(struct start_watch *watch)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->over && pthread_cond_timedwait(&watch->changed, &watch->mutex, &until) != ETIMEDOUT)
        continue;
    bool over = watch->over;
    pthread_mutex_unlock(&watch->mutex);
    return !over;
}

static void *watch_run(void *argument)
{
    struct start_watch *watch = argument;
    char host[64] = "", text[160];
    int missing = 0, most = 0;
    for (int looks = 0; looks < watch->looks_max;) {
        if (!watch_pause(watch))
            return NULL;
        int found = process_children_count(watch->launcher, watch->setting);
        missing = found > 0 ? watch->expected - found : 0; /* not even this rank: the system does not tell */
        looks = missing > 0 && found <= most ? looks + 1 : 0;
        most = found > most ? found : most;
    }
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%d of the %d ranks on %s ended before MPI had started: ending the others",
             missing, watch->expected, host);
    watch->lost(text);
    return NULL;
}

/* Signals stay with the thread that started MPI. */
static bool thread_start(struct start_watch *watch)
{
    pthread_condattr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&watch->mutex, NULL);
    pthread_cond_init(&watch->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&watch->thread, NULL, watch_run, watch) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void start_watch_begin(struct start_watch *watch, void (*lost)(const char *text))
{
    int64_t ranks = number_of("OMPI_COMM_WORLD_LOCAL_SIZE"), rank = number_of("OMPI_COMM_WORLD_LOCAL_RANK");
    *watch = (struct start_watch){.launcher = getppid(), .lost = lost};
    if (ranks < 2 || ranks > INT32_MAX || rank < 0 || rank >= WATCHERS || !is_launcher(watch->launcher))
        return;
    watch->expected = (int)ranks;
    watch->looks_max = LOOKS_MAX + (int)rank; /* whoever is first speaks */
    snprintf(watch->setting, sizeof watch->setting, "OMPI_COMM_WORLD_LOCAL_SIZE=%d", watch->expected);
    watch->runs = thread_start(watch);
}

void start_watch_end(struct start_watch *watch)
{
    if (!watch->runs)
        return;
    pthread_mutex_lock(&watch->mutex);
    watch->over = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->mutex);
    watch->runs = false;
}
