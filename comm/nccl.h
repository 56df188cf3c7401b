/* SPDX-License-Identifier: MIT
 *
 * Collectives on device memory. `nccl` lives in the CUDA plug-in and runs on a stream of its own; `staged`
 * copies through host memory and lets MPI talk, for machines without NCCL and as the judge of the other.
 *
 * Both are ordered with the computation by comm_begin_after and comm_end_before (comm.h); between the two a
 * call may return before its work is done.
 */
#ifndef MUSTER_COMM_NCCL_H
#define MUSTER_COMM_NCCL_H

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** out = the sum of the terms over `count` floats, later, on `stream` (a cudaStream_t); out may be a term. */
typedef enum muster_status (*comm_sum_function)(void *stream, float *out, const struct tree_terms *terms,
                                                int64_t count, struct muster_error *err);

struct nccl_options {
    const char *device_uuid;  /* of this rank's GPU; two ranks with the same one are refused */
    bool allow_shared_device; /* test mode: each rank got its own NCCL_HOSTID before NCCL was first called */
    bool require_infiniband;  /* refuse to run over sockets */
    int timeout_ms; /* of every wait, during set-up at most five minutes; the longest computation that a
                     * collective waits for counts too */
    comm_sum_function sum;
};

/**
 * What the plug-in exports as `muster_nccl_create`; the unique id is broadcast over `bootstrap`, which stays
 * the caller's and outlives the result. On the calling thread's current device. Collective, and with one
 * outcome: when it fails on one rank it fails on all, naming that rank.
 *
 * comm_barrier and comm_end_before wait until all that was called so far is done, within timeout_ms; of the
 * others a first call may wait, likewise, for the ranks it connects to. After a failed call every later one
 * fails at once; what is under way on the GPU ends with comm_give_up or comm_destroy, which both take seconds
 * at most.
 */
typedef enum muster_status (*nccl_create_function)(struct comm *bootstrap, const struct nccl_options *options,
                                                   struct comm **out, struct muster_error *err);

/** How a device's memory is reached; the functions are the back end's. */
struct comm_device {
    void *context;
    enum muster_status (*copy_to_host)(void *context, void *host, const void *device, int64_t bytes,
                                       struct muster_error *err);
    enum muster_status (*copy_to_device)(void *context, void *device, const void *host, int64_t bytes,
                                         struct muster_error *err);
    void *stream; /* that `sum` is given */
    comm_sum_function sum;
};

/** Device buffers over a host communicator: copied to host memory, sent, copied back, a piece at a time.
 * `inner` stays the caller's and outlives the result. Allocates its host buffers (`buffer_bytes` for each
 * direction) once. */
enum muster_status comm_staged_create(struct comm *inner, const struct comm_device *device,
                                      int64_t buffer_bytes, struct comm **out, struct muster_error *err);

#ifdef __cplusplus
}
#endif
#endif
