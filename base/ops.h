/* SPDX-License-Identifier: MIT
 *
 * The words that the model's graph and the kernels share without knowing each other: kinds of activation and
 * norm, and the formulas for work memory that the planner reserves and the kernels stay inside.
 */
#ifndef MUSTER_BASE_OPS_H
#define MUSTER_BASE_OPS_H

#include <stdint.h>

#include "base/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

enum activation { ACTIVATION_NONE = 0, ACTIVATION_GELU_TANH, ACTIVATION_RELU };
enum norm_kind { NORM_LAYER = 0, NORM_RMS };

/** Widest shapes a job will use; sizes a host back end's scratch block. */
struct ops_limits {
    int threads;
    int64_t row_width_max; /* widest activation row of any operation */
    int64_t sequence, head_width;
};

/**
 * Scratch bytes of a host back end: threads · (1 MiB + 64·row_width_max + 256·sequence +
 * 32·sequence·head_width), the bracket rounded up to 64.
 */
int64_t ops_scratch_bytes(const struct ops_limits *limits);

/** Work bytes of one head-and-loss call: chunk_rows · vocabulary · 4, plus half as much again for bf16,
 * rounded up to 64. */
int64_t ops_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary);

/** The exact reduction works on pieces of at most so many fp32 elements of each node. */
enum { OPS_REDUCE_PIECE = 262144 };

/** Receive bytes of the exact reduction: a piece of each of the other ranks' nodes. */
int64_t ops_receive_bytes(int foreign_nodes, int64_t owned_count_max);

#ifdef __cplusplus
}
#endif
#endif
