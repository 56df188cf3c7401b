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
#include "worker/device/device.h"
#include "worker/executor.h"

struct param_windows;

struct rank_state {
    const struct job *job;
    const struct plan *plan;
    int rank;
    struct plan_memory memory;
    char *block; /* memory.total_bytes of the back end's memory */
    struct kernels *kernels;
    struct kernels *update_kernels; /* the optimizer's: `kernels`, or the CPU's where state is offloaded */
    char numerics[256];             /* what the bits of a step depend on here: theirs */
    struct executor *executor;

    void *params;              /* in the compute dtype, see rank_state_param */
    void *param_windows;       /* stage 3: where units are gathered, in the compute dtype */
    float *gradients;          /* [whole buffers][flat_count] */
    float *gradient_windows;   /* stage 2 and 3 */
    float *gradient_sum;       /* stage 2 and 3 without whole buffers: the owned ranges, bucket by bucket */
    int64_t *owned_first;      /* [bucket_count] elements owned in earlier buckets */
    float *receive;            /* other ranks' nodes */
    struct ckpt_piece *held;   /* [bucket_count], one per held range: data[0] fp32 weights, then optimizer
                                  state; may be empty ranges; back-end memory, with offload host memory */
    struct ckpt_piece *pieces; /* likewise the owned ranges: what a rank saves */
    struct param_windows *windows;  /* stage 3, once param_windows_create was called; by reference */
    struct ckpt_piece *host_pieces; /* the same ranges in host memory: `pieces` itself on the CPU, otherwise a
                                       copy that pull and push move */
    char *host_block;               /* memory.host_bytes */
    float *host_gradient;           /* offload: of a held range */
    uint16_t *host_rounded;         /* offload, 16-bit compute weights: of a held range */
    struct ckpt_piece *snapshot_pieces; /* the same ranges in the memory that a checkpoint is written from
                                           while training goes on; NULL where saves are waited for */
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

/** The compute weight at a flat element of the range of `bucket` that lies in `params`, and what follows it
 * there: all of the bucket; with stage 3 the owned range. */
void *rank_state_param(const struct rank_state *state, int bucket, int64_t element);

/** Rounds the held fp32 weights of a bucket into the compute weights, or copies them from the host; nothing
 * to do where they are the same. The optimizer's rounding does it by itself without offload. */
enum muster_status rank_state_store_params(struct rank_state *state, int bucket, struct muster_error *err);

/** All weights and state become zero, as rank_state_create leaves them. */
enum muster_status rank_state_clear(struct rank_state *state, struct muster_error *err);

/** A micro-batch of images in the compute dtype, in host memory: `pixels` itself for fp32, otherwise a
 * rounded copy that the next call overwrites. */
const void *rank_state_pixels(struct rank_state *state, const float *pixels);

/** Fresh weights from the job's seed: each rank fills what it owns, then rank_state_publish_params. A
 * function of (seed, parameter name, element) only. Collective. */
enum muster_status rank_state_initialise(struct rank_state *state, struct comm *comm,
                                         struct muster_error *err);

/** After the owned fp32 weights and state were filled: rounds the weights into the compute weights (nothing
 * to do for fp32) and gives the others what they keep of them: with stage 0 weights and state, with stage 1
 * and 2 the compute weights, with stage 3 nothing (they are gathered when needed). Collective. */
enum muster_status rank_state_publish_params(struct rank_state *state, struct comm *comm,
                                             struct muster_error *err);

/** One bucket's share of it with stage 1 and 2, after the optimizer has already rounded its own range; on a
 * GPU the new weights are there after comm_end_before. Collective. */
enum muster_status rank_state_gather_bucket(struct rank_state *state, struct comm *comm, int bucket,
                                            struct muster_error *err);

#endif
