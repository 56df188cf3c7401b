/* SPDX-License-Identifier: MIT
 *
 * A thread in each rank that says where the rank is and listens to where the others are, over connections of
 * its own, because Open MPI 4.1 never notices a stopped rank. When one is lost (watch_table.h says what that
 * means) every rank is told which, writes the stacks of its threads to its log, and ends; one of them writes
 * the event. It also ends a rank whose launcher is gone. Nothing here stops it: not a main thread stuck in
 * MPI, a lock or a read, and not a run folder that no longer answers.
 */
#ifndef MUSTER_WORKER_WATCHDOG_H
#define MUSTER_WORKER_WATCHDOG_H

#include "comm/comm.h"
#include "worker/watch/rank_progress.h"
#include "worker/watch/roster.h"

struct watchdog;

struct watchdog_options {
    struct comm *comm;
    int gpu;                    /* of this rank, -1 on the CPU */
    double timeout_s;           /* fault.timeout; 0 = WATCHDOG_TIMEOUT_S */
    const char *output_dir;     /* of the event log; copied */
    void (*end)(int exit_code); /* ends the process at once, whatever its other threads do */
};

/* Silence, and the least standstill, that make a rank lost. */
#define WATCHDOG_TIMEOUT_S 7.0
/* Standstill that is allowed where no step is measured, unless the job gives a timeout: then ten times that.
 */
#define WATCHDOG_UNMEASURED_S 600.0

/** Connects the ranks and starts the thread. Collective; the same status on all ranks. */
enum muster_status watchdog_create(const struct watchdog_options *options, struct watchdog **out,
                                   struct muster_error *err);

/** Says good-bye to the others; takes NULL. To be called last, after MPI has ended. */
void watchdog_destroy(struct watchdog *watchdog);

/** Where the rank writes down where it is; NULL for NULL. */
struct rank_progress *watchdog_progress(struct watchdog *watchdog);

/** NULL for NULL. */
const struct roster *watchdog_roster(const struct watchdog *watchdog);

/** The communicators whose collectives are counted; both may be NULL. To be called before one is destroyed.
 */
void watchdog_comms_set(struct watchdog *watchdog, const struct comm *host, const struct comm *device);

/** This rank cannot go on, perhaps because another is gone, or has failed and says so: waits until that is
 * known, and then for the end. Returns after so many seconds when nobody else is to blame. Takes NULL. */
void watchdog_await(struct watchdog *watchdog, double seconds);

/** This rank ends the job by an error of its own: the others are told, and the event is written, so that
 * nobody has to guess. Takes NULL. */
void watchdog_failed(struct watchdog *watchdog, const char *cause);

#endif
