/* SPDX-License-Identifier: MIT
 *
 * Which algorithms cuBLASLt and cuDNN chose for the shapes of this job: they decide bits, and nothing but the
 * libraries' versions and the kind of GPU, which a checkpoint names, says that they are the same tomorrow.
 */
#ifndef MUSTER_WORKER_CHOICES_H
#define MUSTER_WORKER_CHOICES_H

#include "comm/comm.h"
#include "kernels/kernels.h"
#include "worker/telemetry.h"

/**
 * For after the first step, which asked for all of them. Warns where ranks differ, naming the first such rank
 * and shape; where the run goes on (`resumed`) with others than algorithms.txt of its folder says, naming
 * what was and what is; and writes that file. Says nothing of shapes that only one side has. Collective over
 * the host's communicator; nothing on a host back end.
 */
enum muster_status choices_settle(struct kernels *kernels, struct comm *comm, const char *folder,
                                  bool resumed, struct telemetry *telemetry, struct muster_error *err);

#endif
