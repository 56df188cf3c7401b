/* SPDX-License-Identifier: MIT
 *
 * How a wait that must keep looking goes on between two looks: at once, then letting other threads run, then
 * sleeping a little. A rank that overlaps has a thread that waits and a thread that computes, often on one
 * core, and sometimes several ranks share a core too. The steps were chosen by measurement
 * (docs/COMMUNICATION.md).
 */
#ifndef MUSTER_COMM_PATIENCE_H
#define MUSTER_COMM_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/** One wait; begins as {0}. */
struct patience {
    int looks;
    int64_t begin_ns;
};

/** To be called after each look that found nothing. \return false when the wait has lasted longer than
 * `timeout_ms`; 0 = no limit. */
bool patience_go_on(struct patience *patience, int64_t timeout_ms);

#endif
