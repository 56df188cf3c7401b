/* SPDX-License-Identifier: MIT
 *
 * What the system says of processes that others have started: the ranks are mpirun's children, and only
 * mpirun is ours.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_CHILDREN_H
#define MUSTER_COORDINATOR_LAUNCH_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

/** Nobody, or only what a parent has not asked after yet. */
bool launch_process_has_ended(pid_t pid);

/** Whether a child of this process has not ended. False too where the system does not tell. */
bool launch_has_children(pid_t pid);

#endif
