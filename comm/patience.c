/* SPDX-License-Identifier: MIT
 *
 * See patience.h. The clock is asked only after the first looks, which are over within microseconds.
 */
#include "comm/patience.h"

#include <sched.h>
#include <time.h>

#include "base/clock.h"

/* A sleep is an eighth of the time waited so far, within bounds: what a sleeper comes too late is little
 * beside its wait. */
enum {
    LOOKS_AWAKE = 100,
    YIELDING_NS = 100000,
    SLEEP_SHARE = 8,
    SLEEP_NS_MIN = 20000,
    SLEEP_NS_MAX = 300000
};

static void patience_sleep(int64_t waited_ns)
{
    int64_t sleep_ns = waited_ns / SLEEP_SHARE;
    if (sleep_ns < SLEEP_NS_MIN)
        sleep_ns = SLEEP_NS_MIN;
    if (sleep_ns > SLEEP_NS_MAX)
        sleep_ns = SLEEP_NS_MAX;
    nanosleep(&(struct timespec){.tv_nsec = sleep_ns}, NULL);
}

bool patience_go_on(struct patience *patience, int64_t timeout_ms)
{
    if (patience->looks < LOOKS_AWAKE) {
        patience->looks++;
        return true;
    }
    int64_t now_ns = clock_monotonic_ns();
    if (patience->begin_ns == 0)
        patience->begin_ns = patience->moved_ns = now_ns;
    if (timeout_ms > 0 && now_ns - patience->moved_ns > timeout_ms * 1000000)
        return false;
    int64_t waited_ns = now_ns - patience->begin_ns;
    if (waited_ns < YIELDING_NS)
        sched_yield();
    else
        patience_sleep(waited_ns);
    return true;
}

void patience_moved(struct patience *patience)
{
    if (patience->begin_ns != 0)
        patience->moved_ns = clock_monotonic_ns();
}
