/* SPDX-License-Identifier: MIT
 *
 * A checkpoint that a run is told to begin from is where it starts, not where each restart and each requeued
 * job starts again: what the run has saved since goes before it. Steps decide, never the clock of a file
 * server.
 */
#ifndef MUSTER_WORKER_RESUME_CHOICE_H
#define MUSTER_WORKER_RESUME_CHOICE_H

#include <stdbool.h>

#include "worker/checkpoint/checkpoint_tier.h"

/** Whether `from`, the job's checkpoint.resume, is a checkpoint of another run than that of `dir`: then it is
 * the start of a run that has saved nothing yet. One in `dir` says to go back to it, each time. */
bool resume_choice_is_start(const char *dir, const char *from);

/**
 * \param from  "auto", "never" or a checkpoint's folder \param own_first  what the run has saved after `from`
 * goes before it; rank 0's counts \param tier  or NULL \param chosen  `from`, or "auto" where there is such a
 * save; whoever says "never" has set all others aside at the run's first start. Collective.
 */
enum muster_status resume_choice_make(struct comm *comm, const char *dir, const struct checkpoint_tier *tier,
                                      const char *from, bool own_first, const char **chosen,
                                      struct muster_error *err);

#endif
