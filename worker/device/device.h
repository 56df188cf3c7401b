/* SPDX-License-Identifier: MIT
 *
 * Where a rank computes: the CPU, or the one GPU that is its own. All ranks of a job compute on the same
 * kind.
 */
#ifndef MUSTER_WORKER_DEVICE_H
#define MUSTER_WORKER_DEVICE_H

#include "comm/comm.h"
#include "coordinator/job/job.h"
#include "kernels/cuda/cuda_plugin.h"

struct device {
    const struct cuda_plugin *plugin; /* NULL: the CPU */
    int index;                        /* of the GPU, as CUDA counts */
    bool shared;                      /* test mode: several ranks are on one GPU */
    bool split;                       /* several ranks are on parts of one GPU (MIG) */
    struct cuda_device_info info;
};

/**
 * One GPU per rank, by local rank (or the only one that the launcher lets this rank see), or as
 * `parallel.gpus` lists them; the process is bound to cores near it (placement.h). `device: auto`
 * takes GPUs when every rank has one and the CPU when none has. Two ranks on one GPU are refused, naming both
 * and its UUID, unless the environment of both says MUSTER_SHARE_GPU=1: then each rank gets its own
 * NCCL_HOSTID, which is for tests only. Where each has its own, that changes nothing. Collective; BAD_INPUT
 * on all ranks alike.
 */
enum muster_status device_choose(const struct job *job, struct comm *comm, struct device *device,
                                 struct muster_error *err);

/** CPU threads of the back end: with `threads` on `instruction_set` (NULL for the best), or the chosen GPU.
 */
enum muster_status device_kernels_create(const struct device *device, const struct job *job, int threads,
                                         const char *instruction_set, struct kernels **out,
                                         struct muster_error *err);

/**
 * The communicator for the back end's memory. On the CPU *out is NULL: `host` serves. Otherwise NCCL, or host
 * memory and MPI where the job says so or the plug-in has no NCCL, or there is one rank, for which starting
 * NCCL would cost a second and some hundred MB, or parts of a GPU, which NCCL does not join; `host` and
 * `kernels` outlive it. Collective.
 */
enum muster_status device_comm_create(const struct device *device, const struct job *job, struct comm *host,
                                      struct kernels *kernels, struct comm **out, struct muster_error *err);

#endif
