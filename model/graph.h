/* SPDX-License-Identifier: MIT
 *
 * A model as a static list of operations over tensors of known shape: forward operations in order, then
 * backward operations in order, parameters as ranges of one flat space, and an offset in one arena for
 * everything that lives inside a micro-step. Built once, never changed while training; it holds no data and
 * runs nothing (worker/executor.h does).
 *
 * Reading order: graph.h, graph.c (building blocks), layers.c (the transformer block), gpt.c / llama.c /
 * mlp.c, graph_backward.c (each operation's backward rule), graph_recompute.c (the rewrite), graph_layout.c
 * (lifetimes and offsets).
 */
#ifndef MUSTER_MODEL_GRAPH_H
#define MUSTER_MODEL_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/ops.h"
#include "model/model.h"

enum {
    GRAPH_NAME_MAX = 64,
    GRAPH_DIMS_MAX = 4,
    GRAPH_NONE = -1,
    GRAPH_PARAM_ALIGN = 64,
    GRAPH_TENSOR_ALIGN_BYTES = 256
};

enum graph_role {
    GRAPH_ROLE_PARAM, /* read from the flat parameter space; its gradient is the same range of the gradient
                         space */
    GRAPH_ROLE_INPUT, /* ids, targets, pixels: filled before each micro-step, outside the arena's reuse */
    GRAPH_ROLE_ACTIVATION, /* lives between its first and last use in a micro-step; gradients and work memory
                              too */
    GRAPH_ROLE_RESULT,     /* loss and correct: lives from its first use to the end of the micro-step */
};

enum graph_kind {
    GRAPH_EMBEDDING,
    GRAPH_LINEAR,
    GRAPH_ACTIVATION,
    GRAPH_NORM,
    GRAPH_ROPE,
    GRAPH_ATTENTION,
    GRAPH_SWIGLU,
    GRAPH_DROPOUT,
    GRAPH_HEAD_LOSS, /* forward and backward of the output head in one */
    GRAPH_EMBEDDING_BACKWARD,
    GRAPH_LINEAR_BACKWARD_WEIGHT,
    GRAPH_LINEAR_BACKWARD_INPUT,
    GRAPH_ACTIVATION_BACKWARD,
    GRAPH_NORM_BACKWARD,
    GRAPH_ROPE_BACKWARD,
    GRAPH_ATTENTION_BACKWARD,
    GRAPH_SWIGLU_BACKWARD,
    GRAPH_DROPOUT_BACKWARD,
    GRAPH_KIND_COUNT
};

/** What a tensor is to an operation; kernels.h says the shapes. */
enum graph_slot {
    SLOT_IDS, /* token ids or, for the loss, targets */
    SLOT_X,
    SLOT_DELTA,
    SLOT_WEIGHT, /* also the gain of a norm and the token table */
    SLOT_BIAS,   /* also the position table */
    SLOT_INPUT_PRE,
    SLOT_RESIDUAL,
    SLOT_PRE,
    SLOT_Y,
    SLOT_MEAN,
    SLOT_RSTD,
    SLOT_LSE,
    SLOT_LOSS,
    SLOT_CORRECT,
    SLOT_WORK,
    SLOT_DY,
    SLOT_DX, /* also dresidual, dqkv, dgate_up */
    SLOT_COUNT
};

struct graph_tensor {
    char name[GRAPH_NAME_MAX];
    enum graph_role role;
    enum dtype dtype;
    int dim_count;
    int64_t shape[GRAPH_DIMS_MAX];
    int64_t count, bytes;
    int param;             /* index in params for GRAPH_ROLE_PARAM, else GRAPH_NONE */
    int first_op, last_op; /* positions in ops; -1 when never used */
    int64_t offset;        /* bytes in the arena (activations, results) or in the input area (inputs) */
};

enum graph_init { GRAPH_INIT_NORMAL, GRAPH_INIT_ZERO, GRAPH_INIT_ONE };

struct graph_param {
    char name[GRAPH_NAME_MAX];
    int dim_count;
    int64_t shape[GRAPH_DIMS_MAX];
    int64_t offset, count; /* elements in the flat space; offset is a multiple of GRAPH_PARAM_ALIGN */
    enum graph_init init;
    double init_stddev;
    bool decay; /* weight decay applies: matrices, not biases and gains */
    int tensor;
};

struct graph_op {
    enum graph_kind kind;
    int tensor[SLOT_COUNT]; /* tensor indices or GRAPH_NONE */
    int block;              /* transformer block, or -1 outside */
    int rng_id;             /* which random stream of the slot; the same in a recomputed copy */
    enum activation activation, input_activation;
    bool accumulate; /* norm backward: dresidual already holds a gradient */
    bool recomputed;
};

struct graph {
    struct model_config config;
    int64_t micro_batch_size, tokens; /* tokens = rows of every activation */
    int64_t chunk_rows;               /* of the head's loss */
    bool on_device;                   /* the operations are for GPUs */
    enum dtype compute_dtype;
    enum recompute recompute;
    struct graph_tensor *tensors;
    int tensor_count, tensor_capacity;
    struct graph_param *params;
    int param_count, param_capacity;
    struct graph_op *ops; /* forward: [0, forward_count), backward: [forward_count, op_count) */
    int forward_count, op_count, op_capacity;
    int64_t param_elements;    /* end of the last parameter in the flat space */
    int64_t param_count_total; /* elements without alignment gaps: the model's size */
    int64_t arena_bytes, input_bytes;
    int64_t row_width_max;
    int ids, targets, pixels, loss, correct; /* tensors of special meaning, or GRAPH_NONE */
    int head_x, head_weight, head_bias;      /* what the head reads, for generation */
    struct graph_op discarded;               /* stands in for an operation that could not be appended */
    bool failed; /* out of memory while building; sticky, reported by model_build */
};

/** Takes NULL. */
void graph_destroy(struct graph *graph);

/** "linear", "norm backward" … for messages and traces. */
const char *graph_kind_name(enum graph_kind kind);

/** True for the slots an operation of this kind writes. */
bool graph_slot_is_output(enum graph_kind kind, enum graph_slot slot);

/** Floating-point operations of one execution of op. */
double graph_op_flops(const struct graph *graph, const struct graph_op *op);

/** Scratch bytes a host back end needs for this graph (base/ops.h). */
int64_t graph_scratch_bytes(const struct graph *graph, int threads);

/** Scratch bytes the CUDA back end needs for this graph (base/ops.h). */
int64_t graph_device_scratch_bytes(const struct graph *graph);

/* ---- building (used inside model/ only) ---- */

struct graph *graph_create(const struct model_config *config, int64_t micro_batch_size,
                           enum dtype compute_dtype, enum recompute recompute, bool on_device);
int graph_add_tensor(struct graph *graph, const char *name, enum graph_role role, enum dtype dtype,
                     int64_t rows, int64_t columns);
/** A parameter of one (columns = 0) or two dimensions, and its tensor; returns the tensor. */
int graph_add_param(struct graph *graph, const char *name, int64_t rows, int64_t columns,
                    enum graph_init init, double stddev);
/** A zeroed operation with all slots empty, appended; valid until the next append. Never NULL (a scratch one
 * after failure). */
struct graph_op *graph_add_op(struct graph *graph, enum graph_kind kind, int block);

/** Appends the backward operations, with recomputed copies as graph->recompute asks. */
enum muster_status graph_add_backward(struct graph *graph, struct muster_error *err);
/** The clones that must run before `backward[0 … count)` of one block, and the renaming of what it reads;
 * appended to `graph`. */
enum muster_status graph_recompute_block(struct graph *graph, int first_op, int end_op,
                                         struct graph_op *backward, int count, struct muster_error *err);
/** Lifetimes, arena offsets, input offsets, widest row. */
enum muster_status graph_layout(struct graph *graph, struct muster_error *err);

/* ---- layers (layers.c) ---- */

struct layer_linear_options {
    int x;
    int64_t in_width, out_width;
    bool bias;
    double init_stddev;
    enum activation activation;
    int input_pre; /* x = input_activation(input_pre): the gradient goes straight to input_pre */
    enum activation input_activation;
};

/** y = activation(x · wᵀ + b); returns y; *pre (may be NULL) receives the tensor before the activation, or
 * GRAPH_NONE. */
int layer_linear(struct graph *graph, const char *name, int block, const struct layer_linear_options *options,
                 int *pre);
/** residual = x + delta (delta may be GRAPH_NONE), y = norm(residual); *residual receives the tensor of the
 * sum. */
int layer_norm(struct graph *graph, const char *name, int block, enum norm_kind kind, int x, int delta,
               int *residual);
/** Drops elements while training; returns x itself when the job has no dropout. */
int layer_dropout(struct graph *graph, const char *name, int block, int x);
/** Causal self-attention over a packed qkv tensor. */
int layer_attention(struct graph *graph, const char *name, int block, int qkv);
/** Output head and loss over the final hidden state. */
void layer_head_loss(struct graph *graph, int x, int weight, int bias);

/* ---- decoder-only transformers (decoder.c) ---- */

/** The residual stream between operations: x + delta, added by the next norm; delta is GRAPH_NONE before the
 * first block. */
struct decoder_stream {
    int x, delta;
};
/** Appends one block; `residual_stddev` is the initial spread of what writes into the stream. */
typedef void (*decoder_block_fn)(struct graph *graph, int block, double residual_stddev,
                                 struct decoder_stream *stream);
void decoder_build(struct graph *graph, enum norm_kind norm, bool learned_positions,
                   decoder_block_fn build_block);

void gpt_build(struct graph *graph);
void llama_build(struct graph *graph);
void mlp_build(struct graph *graph);

#endif
