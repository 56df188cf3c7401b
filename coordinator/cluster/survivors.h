/* SPDX-License-Identifier: MIT
 *
 * Which nodes of a Slurm allocation a run can go on with after a death: every node is asked again, those that
 * do not answer are left out of the next launch, and one that answers again is back in it. The hosts of a
 * hostfile have their own roster (coordinator/supervise/supervise_roster.h).
 */
#ifndef MUSTER_COORDINATOR_SURVIVORS_H
#define MUSTER_COORDINATOR_SURVIVORS_H

#include "coordinator/cluster/hosts.h"

/**
 * Marks hosts->items[].lost anew, by a small step on each node, all at once. Adds "; without node3: REASON"
 * to `said` for each that does not answer within the time. What cannot be asked (no srun) is taken for alive:
 * the launch will tell. \return how many of `ranks` the nodes left have places for; 0 when none is left.
 */
int survivors_find(struct hosts *hosts, int timeout_ms, int ranks, struct text *said);

#endif
