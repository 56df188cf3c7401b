/* SPDX-License-Identifier: MIT
 *
 * See patience.h. The clock is asked only after the first looks, which are over within microseconds.
 */
#include "comm/patience.h"

#include <sched.h>
#include <time.h>

#include "base/clock.h"

enum { LOOKS_AWAKE = 100, YIELDING_NS = 100000, SLEEP_NS = 20000 };

bool patience_go_on(struct patience *patience, int64_t timeout_ms)
{
    if (patience->looks < LOOKS_AWAKE) {
        patience->looks++;
        return true;
    }
    int64_t now_ns = clock_monotonic_ns();
    if (patience->begin_ns == 0)
        patience->begin_ns = now_ns;
    int64_t waited_ns = now_ns - patience->begin_ns;
    if (timeout_ms > 0 && waited_ns > timeout_ms * 1000000)
        return false;
    if (waited_ns < YIELDING_NS)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    return true;
}
