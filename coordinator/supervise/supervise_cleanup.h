/* SPDX-License-Identifier: MIT
 *
 * Ends what an earlier supervisor of the same run could not end any more because it was killed.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_CLEANUP_H
#define MUSTER_COORDINATOR_SUPERVISE_CLEANUP_H

#include "base/error.h"

/**
 * Kills this user's processes on this host that carry the run's id in their environment, and removes the
 * session folders and the shared memory of the launchers of this host that are noted in the folder. Touches
 * nothing else. Only for who holds the supervisor's lock. \return how many processes were ended
 */
int supervise_cleanup(const char *folder, const char *run_id);

#endif
