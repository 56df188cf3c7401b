/* SPDX-License-Identifier: MIT
 *
 * The words that the model's graph and the kernels share without knowing each other: kinds of activation and
 * norm, and the formulas for work memory that the planner reserves and the kernels stay inside.
 */
#ifndef MUSTER_BASE_OPS_H
#define MUSTER_BASE_OPS_H

#include <stdbool.h>
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

/** Work memory that cuBLASLt is given, from the start of the device scratch block. */
enum { OPS_GEMM_WORKSPACE_BYTES = 32 << 20 };

/** Attention over packed rows. */
struct ops_attention_shape {
    int64_t batch, sequence, heads, kv_heads, head_width;
};

/**
 * How much of a 16-bit attention's gradient a device takes at a time: so many sequences, or one sequence and
 * so many key/value heads with their query heads; both divide the whole. `bytes` is the work memory, about
 * 2 · sequence² for each head of the slice, and at most OPS_ATTENTION_WORKSPACE_BYTES where a slice of one
 * key/value head is not larger by itself.
 */
enum { OPS_ATTENTION_WORKSPACE_BYTES = 512 << 20 };
struct ops_attention_slice {
    int64_t batch, kv_heads, bytes;
};
struct ops_attention_slice ops_attention_slice(const struct ops_attention_shape *shape);

/** Widest shapes a job will use on a device; sizes its scratch block. */
struct ops_device_limits {
    int64_t tokens;        /* of a micro-batch */
    int64_t row_width_max; /* widest row of activations of any operation */
    int64_t vocabulary;
    int64_t heads;                        /* 0 without attention */
    struct ops_attention_shape attention; /* zeroes but for 16-bit attention without dropout */
};

/**
 * Scratch bytes of the CUDA back end: OPS_GEMM_WORKSPACE_BYTES + 512·row_width_max + 8·(vocabulary +
 * tokens) + 4·tokens·heads, rounded up to 256. Operations follow one another on the stream and share the
 * block, each from its start: the first part serves cuBLASLt and the partial sums over chunks of rows (for
 * rows wider than 65536, 512 bytes a column); the rest is the token lists of the embedding's gradient, the
 * row sums of the attention's and those that come with a product. At least what ops_attention_slice needs.
 */
int64_t ops_device_scratch_bytes(const struct ops_device_limits *limits);

/** Work bytes of one head-and-loss call: chunk_rows · vocabulary · 4, plus half as much again for bf16,
 * rounded up to 64. */
int64_t ops_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary);

/**
 * The same on a device. In a 16-bit job with a vocabulary of at least OPS_HEAD_LARGE_VOCABULARY logits have
 * the job's dtype and become their gradient in place, in rows of ops_head_stride elements: whole 16-byte
 * pieces.
 */
enum { OPS_HEAD_LARGE_VOCABULARY = 4096 };
int64_t ops_head_stride(int64_t vocabulary);
int64_t ops_device_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary);

/** The exact reduction works on pieces of at most so many fp32 elements of each node: what stays in a cache
 * on a host; on a device what a message and a kernel are worth starting for. */
enum { OPS_REDUCE_PIECE = 262144, OPS_REDUCE_DEVICE_PIECE = 1 << 20 };

/** Receive bytes of the exact reduction: a piece of each of the other ranks' nodes. */
int64_t ops_receive_bytes(int foreign_nodes, int64_t owned_count_max, bool on_device);

#ifdef __cplusplus
}
#endif
#endif
