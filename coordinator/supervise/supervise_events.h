/* SPDX-License-Identifier: MIT
 *
 * What the ranks themselves say of their end, from the run's event log: a watchdog knows who stopped and
 * where, when mpirun knows an exit code.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_EVENTS_H
#define MUSTER_COORDINATOR_SUPERVISE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What an event says of a launch's end. */
struct supervise_witness {
    char text[512];
    char host[64]; /* "" = not said */
    int rank;      /* -1 = not said */
};

/**
 * The first event of this epoch, after the first `since_bytes` bytes of the log, that can have ended a launch
 * (death, stopped, nan, spike, corruption, fenced). \param killed  whom the launcher saw killed first, -1 =
 * nobody: then another rank's death is no cause, for the launcher itself ended that one; a rank that knows of
 * it through rank 0 only takes it for the first \return false when there is none
 */
bool supervise_events_cause(const char *folder, int64_t since_bytes, int64_t epoch, int killed,
                            struct supervise_witness *witness);

/** Whether the ranks have said there that they end (death, stopped): nothing goes on after that. */
bool supervise_events_end(const char *folder, int64_t since_bytes, int64_t epoch);

#endif
