/* SPDX-License-Identifier: MIT
 *
 * Blocked signals stay pending for the process; sigtimedwait with no time to wait takes them.
 */
#include "worker/stop_signal.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static sigset_t stop_signal_set(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    return set;
}

void stop_signal_init(struct stop_signal *stop)
{
    sigset_t set = stop_signal_set();
    stop->seen = false;
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool stop_signal_poll(struct stop_signal *stop)
{
    sigset_t set = stop_signal_set();
    struct timespec no_time = {0, 0};
    while (sigtimedwait(&set, NULL, &no_time) > 0)
        stop->seen = true;
    return stop->seen;
}
