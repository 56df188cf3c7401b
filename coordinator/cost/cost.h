/* SPDX-License-Identifier: MIT
 *
 * How long a step takes, from the plan of a job, the numbers of a machine and the shape of a cluster. A pure
 * function: no clock, no I/O, so that a laptop predicts clusters nobody here has. docs/COST_MODEL.md has the
 * formulas and how far they were found to be off.
 */
#ifndef MUSTER_COORDINATOR_COST_H
#define MUSTER_COORDINATOR_COST_H

#include "coordinator/cost/machine.h"
#include "coordinator/plan/plan.h"

/** Ranks are spread evenly: rank r is on host r / ranks_per_host. */
struct cost_cluster {
    int hosts, ranks_per_host;
    bool overlap; /* reduction and backward pass, as parallel.overlap_comm says */
};

/** What a step is made of; the parts add up to it. */
enum cost_part {
    COST_FORWARD,
    COST_BACKWARD,  /* with what is recomputed */
    COST_FOLD,      /* zeroing gradients and adding up those of a rank's logical workers */
    COST_REDUCE,    /* of the gradients across ranks, as far as computing does not hide it */
    COST_OPTIMIZER, /* with the gradient norm */
    COST_GATHER,    /* of the new weights */
    COST_EXCHANGE,  /* of losses, flags and sums of squares */
    COST_PART_COUNT
};

struct cost_prediction {
    double part_s[COST_PART_COUNT]; /* of the rank that computes most */
    double step_s;
    double reduce_s;     /* hidden or not */
    double tokens_per_s; /* of the whole job; samples for an mlp */
    double mfu;          /* share of the peak of all ranks, recompute not counted; 0 = the peak is unknown */
    int64_t memory_bytes, host_bytes; /* of the rank that needs most, as plan_rank_memory */
    int64_t spare_bytes;              /* of a GPU beside it, as in the plan */
};

/**
 * \return BAD_INPUT when cluster and plan differ in ranks, plan and profile in where they compute, or the
 * profile lacks a rate or link that the plan needs; the text names it.
 */
enum muster_status cost_predict(const struct plan *plan, const struct machine_profile *profile,
                                const struct cost_cluster *cluster, struct cost_prediction *out,
                                struct muster_error *err);

const char *cost_part_name(enum cost_part part);

/** Bytes that the ranks of a device or host need beyond what it has; <= 0 where they fit, 0 where the profile
 * does not say what it has. */
double cost_memory_short(const struct cost_prediction *prediction, const struct machine_profile *profile,
                         const struct cost_cluster *cluster);

/** One line for a person: what a rank needs, what the machine has, and what helps where that is less. */
void cost_print_memory(const struct cost_prediction *prediction, const struct plan *plan,
                       const struct machine_profile *profile, const struct cost_cluster *cluster,
                       struct text *out);

/** For a person: the parts, rates, memory against the machine's, and what of it is assumed. */
enum muster_status cost_print(const struct cost_prediction *prediction, const struct plan *plan,
                              const struct machine_profile *profile, const struct cost_cluster *cluster,
                              struct text *out, struct muster_error *err);

/** For a program: `plan_json` (plan_write_json) with a member "prediction", to `out`. Times in seconds. */
enum muster_status cost_write_json(const struct cost_prediction *prediction,
                                   const struct machine_profile *profile, const struct cost_cluster *cluster,
                                   const char *plan_json, struct text *out, struct muster_error *err);

#endif
