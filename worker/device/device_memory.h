/* SPDX-License-Identifier: MIT
 *
 * What others than the plan take of a GPU's memory, found out before the first step.
 */
#ifndef MUSTER_WORKER_DEVICE_MEMORY_H
#define MUSTER_WORKER_DEVICE_MEMORY_H

#include "worker/device/device.h"
#include "worker/rank_state.h"

/**
 * `status` as it is, or NO_MEMORY with the numbers and what helps: where it is a failure of NCCL's to use the
 * GPU and less of that is left than the plan spares for it, or where it is none and less is left than the
 * libraries' kernels need. `err` holds the failure.
 */
enum muster_status device_memory_explain(const struct device *device, const struct rank_state *state,
                                         enum muster_status status, struct muster_error *err);

/**
 * Lets every rank talk to every other over `comm`, the way an exact sum will, and then looks at what is left
 * of the GPU, as device_memory_explain says it. On the CPU it does nothing. Collective.
 */
enum muster_status device_memory_settle(const struct device *device, const struct rank_state *state,
                                        struct comm *comm, struct muster_error *err);

#endif
