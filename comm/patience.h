/* SPDX-License-Identifier: MIT
 *
 * How a wait that must keep looking goes on between two looks: at once, then letting other threads run, then
 * sleeping, the longer the wait has lasted. A rank that overlaps has a thread that waits and a thread that
 * computes, often on one core, and sometimes several ranks share a core too. The steps were chosen by
 * measurement (docs/COMMUNICATION.md).
 */
#ifndef MUSTER_COMM_PATIENCE_H
#define MUSTER_COMM_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/** One wait, or a wait for several things that come one after the other; begins as {0}. */
struct patience {
    int looks;
    int64_t begin_ns, moved_ns; /* when the quick looks were over; when the last thing came */
};

/** To be called after each look that found nothing. \return false when nothing has come for longer than
 * `timeout_ms`; 0 = no limit. */
bool patience_go_on(struct patience *patience, int64_t timeout_ms);

/** One of the things has come: the limit counts from now, the looks stay as rare as they have become. */
void patience_moved(struct patience *patience);

#endif
