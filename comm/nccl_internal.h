/* SPDX-License-Identifier: MIT
 *
 * What nccl.c (the collectives) and nccl_setup.c (how they come to be) share.
 */
#ifndef MUSTER_COMM_NCCL_INTERNAL_H
#define MUSTER_COMM_NCCL_INTERNAL_H

#include <cuda_runtime.h>
#include <nccl.h>
#include <pthread.h>

#include "comm/nccl.h"

struct comm_nccl {
    struct comm base;       /* first: the operations cast back */
    struct comm *bootstrap; /* the caller's */
    struct nccl_options options;
    pthread_mutex_t inside; /* held within every call of NCCL: only who holds it may abort */
    ncclComm_t nccl;        /* NULL before set-up and after an abort */
    bool failed;            /* no call of NCCL any more but the abort */
    bool others_fault;      /* what failed was reaching another rank */
    bool hangs;             /* the abort did not end, and neither might any call that waits for the GPU */
    const char *doing;      /* the collective in progress, for messages */
    int wait_ms;            /* the longest wait: options.timeout_ms, less during set-up */
    int device;
    cudaStream_t stream; /* all communication, in order */
    cudaEvent_t event;
    cudaEvent_t marks[COMM_MARKS];
    float *word; /* device memory that barriers sum */
    char transport[96];
};

extern const struct comm_ops comm_nccl_ops;

/** Takes `inside` for the collective `doing`; PEER when a call failed before. On success one of the three
 * below releases it. */
enum muster_status comm_nccl_enter(struct comm_nccl *n, const char *doing, struct muster_error *err);

/** `result` came from the NCCL function `call`: polls while it is in progress, releases `inside`. A failure
 * or a wait longer than the time limit gives PEER, and the communicator is good for nothing more. */
enum muster_status comm_nccl_leave(struct comm_nccl *n, const char *call, ncclResult_t result,
                                   struct muster_error *err);

/** As above, then polls until the stream has done all its work. */
enum muster_status comm_nccl_leave_idle(struct comm_nccl *n, const char *call, ncclResult_t result,
                                        struct muster_error *err);

/** The same for a call of the CUDA runtime. */
enum muster_status comm_nccl_leave_cuda(struct comm_nccl *n, const char *call, cudaError_t result,
                                        struct muster_error *err);

/** Aborts NCCL, unless a thread stays inside it: then only the end of the process helps. Takes seconds at
 * most, also where the abort never ends. */
void comm_nccl_give_up(struct comm_nccl *n);

/** Releases everything, at any stage of set-up. */
void comm_nccl_destroy(struct comm *c);

#endif
