/* SPDX-License-Identifier: MIT
 *
 * The operations that rates are taken from, with what each does counted as the cost model counts it
 * (coordinator/cost/cost_compute.c).
 */
#ifndef MUSTER_WORKER_MEASURE_CASES_H
#define MUSTER_WORKER_MEASURE_CASES_H

#include "coordinator/cost/machine.h"
#include "kernels/kernels.h"

/** Sizes that are usual on a kind of machine. */
struct measure_shape {
    int64_t tokens, sequence, width, hidden, heads;
    int64_t stream_count;    /* elements of an array that is passed over */
    int64_t pool_bytes;      /* what operations take their tensors from, in turn */
    int64_t attention_block; /* queries that the back end takes at a time */
};

/** One back end at work. */
struct measure_instance {
    struct kernels *kernels;
    const struct measure_shape *shape;
    char *pool;
    int64_t taken_bytes; /* where the next tensor begins: in training, tensors are seldom still in a cache */
};

struct measure_case {
    enum machine_rate_kind kind;
    bool half; /* one of the 16-bit types too; otherwise fp32 only */
    /* Runs the operation once; `amount` receives its FLOP or bytes. */
    enum muster_status (*run)(struct measure_instance *instance, enum dtype dtype, double *amount,
                              struct muster_error *err);
};

/** Cases of one kind follow each other; their amounts and times are added up. */
extern const struct measure_case measure_cases[];
extern const int measure_case_count;

/** An operation so small that its time is what every operation costs. */
enum muster_status measure_run_nothing(struct measure_instance *instance, struct muster_error *err);

#endif
