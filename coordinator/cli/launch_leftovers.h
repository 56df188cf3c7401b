/* SPDX-License-Identifier: MIT
 *
 * What an mpirun that was killed leaves on its host: its session folder, and 4 MiB of shared memory a rank
 * (16 MiB with Open MPI 5.0).
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_LEFTOVERS_H
#define MUSTER_COORDINATOR_LAUNCH_LEFTOVERS_H

#include <sys/types.h>

/**
 * Removes what the mpirun with this process id left under `temporary` (where session folders are) and in
 * `shared` (/dev/shm). Only for an mpirun that has ended. Whatever cannot be told to be its own stays.
 */
void launch_leftovers_remove(const char *temporary, const char *shared, pid_t mpirun);

/** The same on a host that Open MPI calls `host`. */
void launch_leftovers_remove_named(const char *temporary, const char *shared, const char *host, pid_t mpirun);

/** The folders where an mpirun with this process's environment keeps its session and its shared memory. */
const char *launch_leftovers_temporary(void);
const char *launch_leftovers_shared(void);

/** launch_leftovers_remove in these folders. */
void launch_leftovers_remove_own(pid_t mpirun);

#endif
