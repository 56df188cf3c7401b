/* SPDX-License-Identifier: MIT
 *
 * Everything one rank holds while training: the back end and the one block of memory that the plan laid out,
 * cut into regions. What is allocated here is what `muster plan` printed, to the byte.
 */
#ifndef MUSTER_WORKER_RANK_STATE_H
#define MUSTER_WORKER_RANK_STATE_H

#include "comm/comm.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/plan/plan.h"
#include "kernels/kernels.h"
#include "worker/device.h"
#include "worker/executor.h"

struct rank_state {
    const struct job *job;
    const struct plan *plan;
    int rank;
    struct plan_memory memory;
    char *block; /* memory.total_bytes of the back end's memory */
    struct kernels *kernels;
    struct executor *executor;

    void *params;              /* [flat_count] in the compute dtype */
    float *gradients;          /* [fold buffers][flat_count] */
    float *receive;            /* other ranks' nodes */
    struct ckpt_piece *pieces; /* [bucket_count], one per owned range: data[0] fp32 weights, then optimizer
                                  state; may be empty ranges; back-end memory */
    struct ckpt_piece *host_pieces; /* the same ranges in host memory: `pieces` itself on the CPU, otherwise a
                                       copy that pull and push move */
    char *host_block;
    uint16_t *pixels; /* a micro-batch of images in the compute dtype; NULL where none or fp32 */
    struct ckpt_tensor *tensors;
    struct ckpt_layout layout;
};

/**
 * Allocates and lays out; weights and state are zero until rank_state_initialise or a checkpoint fills them.
 * \param device  NULL: the CPU
 * \param instruction_set  of the CPU back end, NULL for the best
 */
enum muster_status rank_state_create(const struct job *job, const struct plan *plan, int rank,
                                     const struct device *device, const char *instruction_set,
                                     struct rank_state **out, struct muster_error *err);
/** Takes NULL. */
void rank_state_destroy(struct rank_state *state);

/** From the back end's memory to host_pieces, and back. Nothing to do on the CPU. */
enum muster_status rank_state_pull(struct rank_state *state, struct muster_error *err);
enum muster_status rank_state_push(struct rank_state *state, struct muster_error *err);

/** A micro-batch of images in the compute dtype, in host memory: `pixels` itself for fp32, otherwise a
 * rounded copy that the next call overwrites. */
const void *rank_state_pixels(struct rank_state *state, const float *pixels);

/** Fresh weights from the job's seed: each rank fills what it owns, then all gather. A function of (seed,
 * parameter name, element) only. Collective. */
enum muster_status rank_state_initialise(struct rank_state *state, struct comm *comm,
                                         struct muster_error *err);

/** Rounds the owned fp32 weights into the compute weights (nothing to do for fp32) and gathers everybody's.
 * Collective. */
enum muster_status rank_state_publish_params(struct rank_state *state, struct comm *comm,
                                             struct muster_error *err);

/** One bucket's share of rank_state_publish_params, after the optimizer has already rounded its own range; on
 * a GPU the new weights are there after comm_end_before. Collective. */
enum muster_status rank_state_gather_bucket(struct rank_state *state, struct comm *comm, int bucket,
                                            struct muster_error *err);

#endif
