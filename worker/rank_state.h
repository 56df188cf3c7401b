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
#include "worker/executor.h"

struct rank_state {
    const struct job *job;
    const struct plan *plan;
    int rank;
    struct plan_memory memory;
    char *block; /* memory.total_bytes */
    struct kernels *kernels;
    struct executor *executor;

    void *params;              /* [flat_count] in the compute dtype */
    float *gradients;          /* [fold buffers][flat_count] */
    float *receive;            /* other ranks' nodes */
    struct ckpt_piece *pieces; /* [bucket_count], one per owned range: data[0] fp32 weights, then optimizer
                                  state; may be empty ranges */
    struct ckpt_tensor *tensors;
    struct ckpt_layout layout;
};

/**
 * Allocates and lays out; weights and state are zero until rank_state_initialise or a checkpoint fills them.
 * \param instruction_set  of the CPU back end, NULL for the best
 */
enum muster_status rank_state_create(const struct job *job, const struct plan *plan, int rank,
                                     const char *instruction_set, struct rank_state **out,
                                     struct muster_error *err);
/** Takes NULL. */
void rank_state_destroy(struct rank_state *state);

/** Fresh weights from the job's seed: each rank fills what it owns, then all gather. A function of (seed,
 * parameter name, element) only. Collective. */
enum muster_status rank_state_initialise(struct rank_state *state, struct comm *comm,
                                         struct muster_error *err);

/** Rounds the owned fp32 weights into the compute weights (nothing to do for fp32) and gathers everybody's.
 * Collective. */
enum muster_status rank_state_publish_params(struct rank_state *state, struct comm *comm,
                                             struct muster_error *err);

/** One bucket's share of rank_state_publish_params, after the optimizer has already rounded its own range.
 * Collective. */
enum muster_status rank_state_gather_bucket(struct rank_state *state, struct comm *comm, int bucket,
                                            struct muster_error *err);

#endif
