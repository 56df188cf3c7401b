/* SPDX-License-Identifier: MIT
 *
 * Whether hosts answer: `ssh HOST true`, or what Open MPI was told to use instead of ssh.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_PROBE_H
#define MUSTER_COORDINATOR_SUPERVISE_PROBE_H

#include <stdbool.h>

/** Asks all at once; answers[i] is true for those that answer within the time, and for this host. */
void supervise_probe(const char *const *hosts, int count, int timeout_ms, bool *answers);

#endif
