/* SPDX-License-Identifier: MIT
 *
 * Who does what: job + topology → slots, logical workers, blocks, shards, buckets, and every byte a rank
 * allocates. A pure function: no MPI, no clock, no I/O. The program that trains and the command that predicts
 * call it, so what is predicted is what happens.
 *
 * - slot: one micro-batch of a step; S = global_batch_size / micro_batch_size
 * - logical worker: S/L slots in order, gradients accumulated in place; the leaves of the tree (base/tree.h)
 * - block: the contiguous logical workers of a rank
 * - chunk: fixed-size piece of the flat parameter space; its size never depends on the number of ranks
 * - bucket: contiguous chunks reduced together, in backward order
 * - owned range: a rank's contiguous chunks of a bucket; it reduces and saves them
 * - held range: what a rank keeps master weights and optimizer state of, and updates: the owned range; with
 *   ZeRO stage 0 the whole bucket
 * - unit: the parameters that operations need together (plan_units.h)
 *
 * What a rank keeps, by ZeRO stage:
 *
 * - stage 0: everything. The reduced gradient is gathered, and every rank updates all weights.
 * - stage 1: compute weights and gradients whole; master weights and optimizer state of the owned ranges. The
 *   updated weights are gathered.
 * - stage 2: as 1, and of the gradient the sum of the owned ranges; see below.
 * - stage 3: as 2, and of the compute weights the owned ranges; units are gathered into windows when they are
 *   needed (worker/exchange/param_windows.h).
 *
 * From stage 2 on, a logical worker whose gradient is not the start of a partial sum is computed into
 * windows, unit by unit, and each unit is added or sent away as soon as it is complete (tree_fold_window in
 * base/tree.h); only partial sums that the tree keeps waiting need whole buffers. A logical worker of several
 * slots accumulates its gradient in place over all of them, which needs all of it: then stage 2 has the fold
 * buffers of stage 1. The reduced gradient lies in the first whole buffer, or in a region of its own when
 * there is none. One rank has nobody to share with: every stage is stage 1 there.
 *
 * With parallel.offload on a device, master weights (fp32 ones too) and optimizer state are in host memory
 * instead: the reduced gradient is copied there bucket by bucket, and the rounded weights back.
 */
#ifndef MUSTER_COORDINATOR_PLAN_H
#define MUSTER_COORDINATOR_PLAN_H

#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/tree.h"
#include "coordinator/job/job.h"
#include "coordinator/plan/plan_units.h"
#include "model/graph.h"

struct plan_topology {
    int ranks;
    int threads;    /* of each rank */
    bool on_device; /* the ranks compute on GPUs */
};

/** The parts of a rank's one allocation, in order. */
enum plan_region {
    PLAN_REGION_PARAMS,           /* compute weights: whole flat space; stage 3: the owned ranges */
    PLAN_REGION_PARAM_WINDOWS,    /* stage 3: gathered units, the windows of plan_units.h */
    PLAN_REGION_MASTER,           /* fp32 weights of the held ranges; empty when compute weights are fp32 */
    PLAN_REGION_STATE_FIRST,      /* Adam's m or SGD's momentum, held ranges, fp32 */
    PLAN_REGION_STATE_SECOND,     /* Adam's v */
    PLAN_REGION_GRADIENTS,        /* whole gradient buffers × flat space, fp32 */
    PLAN_REGION_GRADIENT_WINDOWS, /* stage 2 and 3: the windows of plan_units.h, fp32 */
    PLAN_REGION_GRADIENT_SUM,     /* stage 2 and 3 without whole buffers: reduced, owned ranges, fp32 */
    PLAN_REGION_ACTIVATIONS,
    PLAN_REGION_INPUTS,
    PLAN_REGION_SCRATCH,
    PLAN_REGION_RECEIVE,  /* what arrives from other ranks while a bucket is reduced */
    PLAN_REGION_SNAPSHOT, /* owned weights and optimizer state, as a checkpoint being written holds them */
    PLAN_REGION_COUNT
};

struct plan_memory {
    struct {
        int64_t offset, bytes;
    } region[PLAN_REGION_COUNT];
    int64_t total_bytes; /* of the regions: host memory, or the GPU's */
    int64_t host_bytes;  /* on a GPU, pinned: a copy of the owned weights and optimizer state; with offload
                            the held ones themselves, then the gradient and the rounded weights of the largest
                            held range */
};

struct plan {
    struct graph *graph; /* owned */
    int ranks, threads;
    bool on_device;
    bool saves_async;
    enum job_reduce reduce;
    int zero_stage; /* the job's; 1 on one rank */
    bool offload;   /* master weights and optimizer state in host memory; on a device only */
    int64_t slots;  /* S */
    int logical_workers, slots_per_worker;
    int *block_begin; /* [ranks + 1] */
    int64_t flat_count, chunk_elements, chunk_count;
    struct plan_range *buckets; /* in the order they are reduced: last parameters first */
    int bucket_count;
    struct plan_units units;
    int state_count;     /* optimizer arrays: 1 or 2 */
    int64_t spare_bytes; /* of its GPU's memory, for CUDA, the libraries and NCCL: a reserve, not a measured
                            value */
    double step_flops;   /* of the whole job, recompute not counted */
    int64_t step_tokens; /* samples × seq_len */
    struct hash128 hash;
};

/**
 * \param config  the job's model with input_size filled in (dataset_check_job)
 * \return BAD_INPUT when ranks exceed logical workers or sizes do not fit; the text names key and values.
 */
enum muster_status plan_create(const struct job *job, const struct model_config *config,
                               const struct plan_topology *topology, struct plan **out,
                               struct muster_error *err);
/** Takes NULL. */
void plan_destroy(struct plan *plan);

/** The range of bucket `bucket` that `rank` owns; may be empty. */
struct plan_range plan_owned_range(const struct plan *plan, int bucket, int rank);
/** Elements a rank owns over all buckets. */
int64_t plan_owned_count(const struct plan *plan, int rank);

/** The range of bucket `bucket` of which `rank` keeps master weights and optimizer state. */
struct plan_range plan_held_range(const struct plan *plan, int bucket, int rank);
/** Elements a rank holds over all buckets. */
int64_t plan_held_count(const struct plan *plan, int rank);

/** Slots [first, last) of a step that a rank computes. */
void plan_slots_of_rank(const struct plan *plan, int rank, int *first, int *last);

/** Passes over the graph that every rank takes part in each step: the slots of the busiest rank. A rank with
 * fewer slots only gathers weights with the others in the rest (stage 3). */
int plan_step_passes(const struct plan *plan);

/** How `rank` folds its logical workers, with windows from stage 2 on; to be released (tree_fold_release). */
enum muster_status plan_rank_fold(const struct plan *plan, int rank, struct tree_fold *fold,
                                  struct muster_error *err);

/** What `rank` allocates, to the byte. */
enum muster_status plan_rank_memory(const struct plan *plan, int rank, struct plan_memory *memory,
                                    struct muster_error *err);

/** Payload bytes a rank sends in one step: gradients to owners, then to everybody what they lack: updated
 * weights (stage 1, 2), reduced gradients (0), or weights each time they are gathered (3). */
int64_t plan_step_bytes_sent(const struct plan *plan, int rank);

const char *plan_region_name(enum plan_region region);
/** What a person can do where the memory is too small, as the end of a sentence. */
const char *plan_memory_advice(const struct plan *plan);

/** For a person; `tensors` adds the table of every tensor's place in the arena. */
enum muster_status plan_print(const struct plan *plan, const struct job *job, bool tensors, struct text *out,
                              struct muster_error *err);
/** For a program. */
enum muster_status plan_write_json(const struct plan *plan, const struct job *job, struct text *out,
                                   struct muster_error *err);

#endif
