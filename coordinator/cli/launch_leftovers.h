/* SPDX-License-Identifier: MIT
 *
 * What an mpirun that was killed leaves on its host: its session folder, and 4 MiB of shared memory a rank.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_LEFTOVERS_H
#define MUSTER_COORDINATOR_LAUNCH_LEFTOVERS_H

#include <sys/types.h>

/**
 * Removes what the mpirun with this process id left under `temporary` (where session folders are) and in
 * `shared` (/dev/shm). Only for an mpirun that has ended. Whatever cannot be told to be its own stays.
 */
void launch_leftovers_remove(const char *temporary, const char *shared, pid_t mpirun);

#endif
