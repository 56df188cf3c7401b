/* SPDX-License-Identifier: MIT
 *
 * Who does what: job + topology → slots, logical workers, blocks, shards, buckets, and every byte a rank
 * allocates. A pure function: no MPI, no clock, no I/O. The program that trains and the command that predicts
 * call it, so what is predicted is what happens.
 *
 *   slot            one micro-batch of a step; S = global_batch_size / micro_batch_size
 *   logical worker  S/L slots in order, gradients accumulated in place; the leaves of the tree (base/tree.h)
 *   block           the contiguous logical workers of a rank
 *   chunk           fixed-size piece of the flat parameter space; its size never depends on the number of
 * ranks bucket          contiguous chunks reduced together, in backward order owned range     a rank's
 * contiguous chunks of a bucket: it reduces, updates and saves them
 */
#ifndef MUSTER_COORDINATOR_PLAN_H
#define MUSTER_COORDINATOR_PLAN_H

#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "coordinator/job/job.h"
#include "model/graph.h"

struct plan_topology {
    int ranks;
    int threads;    /* of each rank */
    bool on_device; /* the ranks compute on GPUs */
};

/** The parts of a rank's one allocation, in order. */
enum plan_region {
    PLAN_REGION_PARAMS,       /* compute weights, whole flat space */
    PLAN_REGION_MASTER,       /* fp32 weights of the owned ranges; empty when compute weights are fp32 */
    PLAN_REGION_STATE_FIRST,  /* Adam's m or SGD's momentum, owned ranges, fp32 */
    PLAN_REGION_STATE_SECOND, /* Adam's v */
    PLAN_REGION_GRADIENTS,    /* fold buffers × flat space, fp32 */
    PLAN_REGION_ACTIVATIONS,
    PLAN_REGION_INPUTS,
    PLAN_REGION_SCRATCH,
    PLAN_REGION_RECEIVE, /* what arrives from other ranks while a bucket is reduced */
    PLAN_REGION_COUNT
};

/** Flat elements [begin, end). */
struct plan_range {
    int64_t begin, end;
};

struct plan_memory {
    struct {
        int64_t offset, bytes;
    } region[PLAN_REGION_COUNT];
    int64_t total_bytes; /* of the regions: host memory, or the GPU's */
    int64_t host_bytes;  /* on a GPU: the pinned copy of the owned weights and optimizer state */
};

struct plan {
    struct graph *graph; /* owned */
    int ranks, threads;
    bool on_device;
    enum job_reduce reduce;
    int64_t slots; /* S */
    int logical_workers, slots_per_worker;
    int *block_begin; /* [ranks + 1] */
    int64_t flat_count, chunk_elements, chunk_count;
    struct plan_range *buckets; /* in the order they are reduced: last parameters first */
    int bucket_count;
    int state_count;     /* optimizer arrays: 1 or 2 */
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

/** Slots [first, last) of a step that a rank computes. */
void plan_slots_of_rank(const struct plan *plan, int rank, int *first, int *last);

/** What `rank` allocates, to the byte. */
enum muster_status plan_rank_memory(const struct plan *plan, int rank, struct plan_memory *memory,
                                    struct muster_error *err);

/** Payload bytes a rank sends in one step: gradients to owners, then updated weights to everybody. */
int64_t plan_step_bytes_sent(const struct plan *plan, int rank);

const char *plan_region_name(enum plan_region region);

/** For a person; `tensors` adds the table of every tensor's place in the arena. */
enum muster_status plan_print(const struct plan *plan, const struct job *job, bool tensors, struct text *out,
                              struct muster_error *err);
/** For a program. */
enum muster_status plan_write_json(const struct plan *plan, const struct job *job, struct text *out,
                                   struct muster_error *err);

#endif
