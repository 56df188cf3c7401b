/* SPDX-License-Identifier: MIT
 *
 * The operations a back end offers, with their shapes. A back end is a base struct first and a `static const`
 * table of functions; `ref` (plain C, double accumulators) judges `cpu` and `cuda`. Callers use the thin
 * wrappers below, which check arguments once; a back end lacking an operation points to a function that
 * returns MUSTER_ERR_UNSUPPORTED.
 *
 * Rules that hold for every operation:
 *   - all matrices are dense row-major; `tokens` counts rows (micro-batch × sequence);
 *   - activations, their gradients and weights have the dtype in the argument struct (one the back end has:
 * fp32, bf16, fp16); arithmetic is fp32; weight gradients, statistics, losses, optimizer state are fp32
 * always;
 *   - weight gradients are accumulated (+=); every other output is overwritten unless its comment says
 * otherwise;
 *   - outputs do not overlap inputs unless the comment says "may be the same";
 *   - what is stored is what is used: when an operation both stores a rounded value and derives another
 * output from it, it derives from the rounded value, so that recomputing from the stored value gives the same
 * bits;
 *   - asynchronous on the back end's stream, deterministic, bits independent of thread count and grid size;
 *   - work memory comes from the scratch block given at creation (base/ops.h: ops_scratch_bytes); operations
 * do not allocate.
 */
#ifndef MUSTER_KERNELS_KERNELS_H
#define MUSTER_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/ops.h"
#include "base/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

/** y[t,c] = token_table[ids[t],c] + position_table[t mod sequence, c]. */
struct embedding_args {
    enum dtype dtype;
    int64_t tokens, sequence, width, vocabulary;
    const int32_t *ids;         /* [tokens], each in [0, vocabulary) (checked by the data reader) */
    const void *token_table;    /* [vocabulary, width] */
    const void *position_table; /* [>= sequence, width] or NULL */
    void *y;                    /* forward out: [tokens, width] */
    const void *dy;             /* backward in */
    float *dtoken_table;        /* backward +=; rows are added in token order */
    float *dposition_table;     /* backward += or NULL */
};

/**
 * pre = x · wᵀ + bias, y = activation(pre).
 * backward_input:  dx = dy · w, then, when `input_pre` is given, dx is multiplied by activation'(input_pre)
 * of `input_activation`: the gradient then belongs to input_pre, of which x was the activation.
 * backward_weight: dw += dyᵀ · x, dbias += column sums of dy.
 */
struct linear_args {
    enum dtype dtype;
    int64_t tokens, in_width, out_width;
    const void *x;    /* [tokens, in_width] */
    const void *w;    /* [out_width, in_width] */
    const void *bias; /* [out_width] or NULL */
    enum activation activation;
    void *pre; /* [tokens, out_width], stored when activation is not NONE and this is not NULL */
    void *y;   /* [tokens, out_width] */
    const void *dy;
    void *dx;
    const void *input_pre; /* [tokens, in_width] or NULL */
    enum activation input_activation;
    float *dw;    /* [out_width, in_width], += */
    float *dbias; /* [out_width], +=, or NULL */
};

/**
 * y = activation(pre), elementwise; used where y is recomputed. Same bits as the fused form in
 * linear_forward. backward: dx = dy · activation'(pre).
 */
struct activation_args {
    enum dtype dtype;
    int64_t count;
    enum activation activation;
    const void *pre;
    void *y;
    const void *dy;
    void *dx;
};

/**
 * residual = x + delta (stored when delta is given; otherwise residual is x), y = norm(residual) * gain +
 * bias. Layer: mean and reciprocal standard deviation over the row. RMS: mean unused, no bias. backward:
 * dresidual (+)= gradient through the norm. `accumulate` says whether dresidual already holds the gradient of
 * the later consumers of the residual stream.
 */
struct norm_args {
    enum dtype dtype;
    enum norm_kind kind;
    float epsilon;
    int64_t tokens, width;
    const void *x;     /* [tokens, width] */
    const void *delta; /* [tokens, width] or NULL */
    void *residual;    /* forward out when delta is given; backward in: the values that were normalised */
    const void *gain;  /* [width] */
    const void *bias;  /* [width] or NULL */
    void *y;           /* [tokens, width] */
    float *mean;       /* [tokens]; NULL for RMS. forward out (may be NULL when recomputing), backward in */
    float *rstd;       /* [tokens] */
    const void *dy;
    void *dresidual;
    bool accumulate;
    float *dgain; /* += */
    float *dbias; /* += or NULL */
};

/**
 * Rotary positions on the query and key heads of a packed row, in place: pairs (i, i + head_width/2) turned
 * by position · base^(-2i/head_width) ("rotate half", as in Llama). `inverse` turns back (the backward rule).
 */
struct rope_args {
    enum dtype dtype;
    int64_t tokens, sequence, heads, kv_heads, head_width;
    float base;
    bool inverse;
    void *qkv; /* [tokens, (heads + 2 kv_heads) · head_width], the v part is untouched */
};

/**
 * Causal self-attention with scale 1/sqrt(head_width); query head h reads key/value head h / (heads /
 * kv_heads). Row layout of qkv and dqkv: query heads, key heads, value heads. Never stores sequence ×
 * sequence scores. dropout > 0 drops attention probabilities: element (b, h, i, j) is kept when the uniform
 * of word (e mod 4) of rng_philox(key, 0, e / 4), e = ((b·heads + h)·sequence + i)·sequence + j, is at least
 * `dropout`; kept ones are divided by (1 - dropout).
 */
struct attention_args {
    enum dtype dtype;
    int64_t batch, sequence, heads, kv_heads, head_width;
    const void *qkv; /* [batch · sequence, (heads + 2 kv_heads) · head_width] */
    void *y;         /* [batch · sequence, heads · head_width]; backward in */
    float *lse;      /* [batch, heads, sequence] log-sum-exp of the scaled scores; forward out, backward in */
    float dropout;
    struct rng_key key;
    const void *dy;
    void *dqkv;
};

/** y[t,i] = silu(gate_up[t,i]) · gate_up[t,width+i]. */
struct swiglu_args {
    enum dtype dtype;
    int64_t tokens, width;
    const void *gate_up; /* [tokens, 2 width] */
    void *y;             /* [tokens, width] */
    const void *dy;
    void *dgate_up;
};

/** y[e] = x[e] / (1 - p) where the uniform of word (e mod 4) of rng_philox(key, 0, e / 4) is at least p, else
 * 0. y may be x. Backward: the same call on gradients. */
struct dropout_args {
    enum dtype dtype;
    int64_t count;
    float p;
    struct rng_key key;
    const void *x;
    void *y;
};

/**
 * The output head and its loss, without ever holding all logits: rows are taken `chunk_rows` at a time (the
 * bits depend on chunk_rows, so it belongs to the plan). logits = x · wᵀ (+ bias); loss[t] = logsumexp -
 * logit of target. A target of -1 gives loss 0 and no gradient. correct[t] is 1 when the target has the
 * (first) largest logit, else 0. With dx given: dlogits = (softmax - onehot) · gradient_scale, dx = dlogits ·
 * w, dw += dlogitsᵀ · x, dbias += columns. Columns from `vocabulary` on (padding rows of w) do not exist for
 * the loss and get no gradient.
 */
struct head_loss_args {
    enum dtype dtype;
    int64_t tokens, width, vocabulary, chunk_rows;
    const void *x;          /* [tokens, width] */
    const void *w;          /* [vocabulary, width] */
    const void *bias;       /* [vocabulary] or NULL */
    const int32_t *targets; /* [tokens] */
    float *loss;            /* [tokens] */
    float *correct;         /* [tokens] or NULL */
    float gradient_scale;
    void *dx;     /* [tokens, width] or NULL: evaluation */
    float *dw;    /* += */
    float *dbias; /* += or NULL */
    void *work;   /* ops_head_loss_bytes(), on a device ops_device_head_loss_bytes() */
};

/** Which elements of an updated range have weight decay: those before turns[0], not those from there to
 * turns[1], and so on in turn; turns rise. Without turns all have. */
struct update_decay {
    const int64_t *turns;
    int turn_count;
};

/** One contiguous range of the flat parameter space. Decoupled weight decay (Loshchilov & Hutter, "Decoupled
 * Weight Decay Regularization", 2019). */
struct adamw_args {
    int64_t count;
    float *param;            /* fp32 master, updated */
    uint16_t *param_rounded; /* copy in rounded_dtype, or NULL */
    enum dtype rounded_dtype;
    const float *grad;
    float *m, *v;
    float grad_scale; /* clipping coefficient, multiplies grad */
    float lr, beta1, beta2, epsilon, weight_decay;
    struct update_decay decay;
    float bias_correction1, bias_correction2; /* 1 - beta^t */
};

/** momentum = mu · momentum + grad·grad_scale + weight_decay · param; param -= lr · (nesterov ? grad' +
 * mu·momentum : momentum). */
struct sgd_args {
    int64_t count;
    float *param;
    uint16_t *param_rounded; /* copy in rounded_dtype, or NULL */
    enum dtype rounded_dtype;
    const float *grad;
    float *momentum;
    float grad_scale, lr, mu, weight_decay;
    struct update_decay decay;
    bool nesterov;
};

struct kernels;

struct kernels_ops {
    const char *name; /* "ref", "cpu", "cuda" */
    void (*destroy)(struct kernels *k);
    enum muster_status (*embedding_forward)(struct kernels *k, const struct embedding_args *a,
                                            struct muster_error *err);
    enum muster_status (*embedding_backward)(struct kernels *k, const struct embedding_args *a,
                                             struct muster_error *err);
    enum muster_status (*linear_forward)(struct kernels *k, const struct linear_args *a,
                                         struct muster_error *err);
    enum muster_status (*linear_backward_input)(struct kernels *k, const struct linear_args *a,
                                                struct muster_error *err);
    enum muster_status (*linear_backward_weight)(struct kernels *k, const struct linear_args *a,
                                                 struct muster_error *err);
    enum muster_status (*activation_forward)(struct kernels *k, const struct activation_args *a,
                                             struct muster_error *err);
    enum muster_status (*activation_backward)(struct kernels *k, const struct activation_args *a,
                                              struct muster_error *err);
    enum muster_status (*norm_forward)(struct kernels *k, const struct norm_args *a,
                                       struct muster_error *err);
    enum muster_status (*norm_backward)(struct kernels *k, const struct norm_args *a,
                                        struct muster_error *err);
    enum muster_status (*rope)(struct kernels *k, const struct rope_args *a, struct muster_error *err);
    enum muster_status (*attention_forward)(struct kernels *k, const struct attention_args *a,
                                            struct muster_error *err);
    enum muster_status (*attention_backward)(struct kernels *k, const struct attention_args *a,
                                             struct muster_error *err);
    enum muster_status (*swiglu_forward)(struct kernels *k, const struct swiglu_args *a,
                                         struct muster_error *err);
    enum muster_status (*swiglu_backward)(struct kernels *k, const struct swiglu_args *a,
                                          struct muster_error *err);
    enum muster_status (*dropout)(struct kernels *k, const struct dropout_args *a, struct muster_error *err);
    enum muster_status (*head_loss)(struct kernels *k, const struct head_loss_args *a,
                                    struct muster_error *err);
    enum muster_status (*adamw)(struct kernels *k, const struct adamw_args *a, struct muster_error *err);
    enum muster_status (*sgd)(struct kernels *k, const struct sgd_args *a, struct muster_error *err);
    /* sums[i] = Σ x² in double over the i-th `chunk` of `count` floats (the last chunk may be shorter), in
     * one fixed order that depends on the chunk's length alone; `sums` lies in host memory that the back end
     * can reach (memory_allocate_host) and is there after synchronise */
    enum muster_status (*sum_squares)(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                      double *sums, struct muster_error *err);
    /* y += x over `count` floats */
    enum muster_status (*add)(struct kernels *k, float *y, const float *x, int64_t count,
                              struct muster_error *err);
    enum muster_status (*fill_zero)(struct kernels *k, void *y, int64_t bytes, struct muster_error *err);
    /* y = x rounded to nearest even in `dtype` (bf16 or fp16) */
    enum muster_status (*round_to)(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                   int64_t count, struct muster_error *err);
    /* Device memory; on a host back end all of it is plain memory, copies are memcpy (kernels/host.h). */
    enum muster_status (*memory_allocate)(struct kernels *k, int64_t bytes, void **block,
                                          struct muster_error *err);
    void (*memory_free)(struct kernels *k, void *block, int64_t bytes);
    /* host memory that asynchronous copies and sums can reach directly */
    enum muster_status (*memory_allocate_host)(struct kernels *k, int64_t bytes, void **block,
                                               struct muster_error *err);
    void (*memory_free_host)(struct kernels *k, void *block, int64_t bytes);
    /* `host` may be reused as soon as the call returns */
    enum muster_status (*copy_to_device)(struct kernels *k, void *device, const void *host, int64_t bytes,
                                         struct muster_error *err);
    /* waits until the bytes are there */
    enum muster_status (*copy_to_host)(struct kernels *k, void *host, const void *device, int64_t bytes,
                                       struct muster_error *err);
    /* the bytes are there after synchronise; `host` is from memory_allocate_host */
    enum muster_status (*copy_to_host_later)(struct kernels *k, void *host, const void *device, int64_t bytes,
                                             struct muster_error *err);
    enum muster_status (*copy_on_device)(struct kernels *k, void *to, const void *from, int64_t bytes,
                                         struct muster_error *err);
    /* the stream that operations run on (a cudaStream_t), NULL on a host back end */
    void *(*stream)(struct kernels *k);
    /* Records the operations called between begin and end instead of running them; a recorded graph can then
     * be run many times, always on the pointers and numbers it was recorded with. UNSUPPORTED on a host. */
    enum muster_status (*capture_begin)(struct kernels *k, struct muster_error *err);
    enum muster_status (*capture_end)(struct kernels *k, void **recorded, struct muster_error *err);
    enum muster_status (*capture_run)(struct kernels *k, void *recorded, struct muster_error *err);
    void (*capture_free)(struct kernels *k, void *recorded);
    enum muster_status (*synchronise)(struct kernels *k, struct muster_error *err);
    /* How long the work between timer_begin and timer_end took where it ran, from the moment the work before
     * it was done; on a host by the clock of the calls. timer_seconds is for after the next synchronise: it
     * waits for nothing. One stretch at a time, not while recording. */
    enum muster_status (*timer_begin)(struct kernels *k, struct muster_error *err);
    enum muster_status (*timer_end)(struct kernels *k, struct muster_error *err);
    enum muster_status (*timer_seconds)(struct kernels *k, double *seconds, struct muster_error *err);
    /* measured multiply-add rate of the instance in FLOP/s for this dtype, a few milliseconds; 0 where
     * unknown */
    double (*peak_flops)(struct kernels *k, enum dtype dtype);
    /* the index-th choice that a library made so far and that decides bits, as "shape: what was chosen";
     * false beyond the last. In no particular order; a host has none */
    bool (*choice)(struct kernels *k, int index, char *text, size_t size);
};

/** Base of every back end's instance. */
struct kernels {
    const struct kernels_ops *ops;
    int threads;
    unsigned dtypes; /* bit (1 << dtype): what activations and weights may be */
    void *scratch;   /* owned by the caller, in the back end's memory, outlives the instance; 64-byte aligned,
                        on a device 256 */
    int64_t scratch_bytes;
    const char *numerics; /* what the bits depend on: back end, instruction set, library version */
    double timer_s[2];    /* when the timer of a back end on the host began and ended */
};

/**
 * Create a back end. The CPU back end runs on `threads` OpenMP threads and picks the best instruction set of
 * the machine, or the one named by `instruction_set` ("baseline", "avx2", "avx512"; NULL = best); BAD_INPUT
 * if the machine lacks it.
 */
enum muster_status kernels_ref_create(void *scratch, int64_t scratch_bytes, struct kernels **out,
                                      struct muster_error *err);
enum muster_status kernels_cpu_create(int threads, const char *instruction_set, void *scratch,
                                      int64_t scratch_bytes, struct kernels **out, struct muster_error *err);
/** Takes NULL. */
void kernels_destroy(struct kernels *k);

/* Checked wrappers, one for each entry of the table (kernels.c). BAD arguments give MUSTER_ERR_INTERNAL
 * naming the operation. */
enum muster_status kernels_embedding_forward(struct kernels *k, const struct embedding_args *a,
                                             struct muster_error *err);
enum muster_status kernels_embedding_backward(struct kernels *k, const struct embedding_args *a,
                                              struct muster_error *err);
enum muster_status kernels_linear_forward(struct kernels *k, const struct linear_args *a,
                                          struct muster_error *err);
enum muster_status kernels_linear_backward_input(struct kernels *k, const struct linear_args *a,
                                                 struct muster_error *err);
enum muster_status kernels_linear_backward_weight(struct kernels *k, const struct linear_args *a,
                                                  struct muster_error *err);
enum muster_status kernels_activation_forward(struct kernels *k, const struct activation_args *a,
                                              struct muster_error *err);
enum muster_status kernels_activation_backward(struct kernels *k, const struct activation_args *a,
                                               struct muster_error *err);
enum muster_status kernels_norm_forward(struct kernels *k, const struct norm_args *a,
                                        struct muster_error *err);
enum muster_status kernels_norm_backward(struct kernels *k, const struct norm_args *a,
                                         struct muster_error *err);
enum muster_status kernels_rope(struct kernels *k, const struct rope_args *a, struct muster_error *err);
enum muster_status kernels_attention_forward(struct kernels *k, const struct attention_args *a,
                                             struct muster_error *err);
enum muster_status kernels_attention_backward(struct kernels *k, const struct attention_args *a,
                                              struct muster_error *err);
enum muster_status kernels_swiglu_forward(struct kernels *k, const struct swiglu_args *a,
                                          struct muster_error *err);
enum muster_status kernels_swiglu_backward(struct kernels *k, const struct swiglu_args *a,
                                           struct muster_error *err);
enum muster_status kernels_dropout(struct kernels *k, const struct dropout_args *a, struct muster_error *err);
enum muster_status kernels_head_loss(struct kernels *k, const struct head_loss_args *a,
                                     struct muster_error *err);
enum muster_status kernels_adamw(struct kernels *k, const struct adamw_args *a, struct muster_error *err);
enum muster_status kernels_sgd(struct kernels *k, const struct sgd_args *a, struct muster_error *err);
enum muster_status kernels_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                       double *sums, struct muster_error *err);
enum muster_status kernels_add(struct kernels *k, float *y, const float *x, int64_t count,
                               struct muster_error *err);
enum muster_status kernels_fill_zero(struct kernels *k, void *y, int64_t bytes, struct muster_error *err);
enum muster_status kernels_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                    int64_t count, struct muster_error *err);
/** `*block` is NULL on failure; the caller releases it with kernels_memory_free, which takes NULL. */
enum muster_status kernels_memory_allocate(struct kernels *k, int64_t bytes, void **block,
                                           struct muster_error *err);
void kernels_memory_free(struct kernels *k, void *block, int64_t bytes);
enum muster_status kernels_memory_allocate_host(struct kernels *k, int64_t bytes, void **block,
                                                struct muster_error *err);
void kernels_memory_free_host(struct kernels *k, void *block, int64_t bytes);
enum muster_status kernels_copy_to_device(struct kernels *k, void *device, const void *host, int64_t bytes,
                                          struct muster_error *err);
enum muster_status kernels_copy_to_host(struct kernels *k, void *host, const void *device, int64_t bytes,
                                        struct muster_error *err);
enum muster_status kernels_copy_to_host_later(struct kernels *k, void *host, const void *device,
                                              int64_t bytes, struct muster_error *err);
enum muster_status kernels_copy_on_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                          struct muster_error *err);
void *kernels_stream(struct kernels *k);
enum muster_status kernels_capture_begin(struct kernels *k, struct muster_error *err);
enum muster_status kernels_capture_end(struct kernels *k, void **recorded, struct muster_error *err);
enum muster_status kernels_capture_run(struct kernels *k, void *recorded, struct muster_error *err);
/** Takes NULL. */
void kernels_capture_free(struct kernels *k, void *recorded);
enum muster_status kernels_synchronise(struct kernels *k, struct muster_error *err);
enum muster_status kernels_timer_begin(struct kernels *k, struct muster_error *err);
enum muster_status kernels_timer_end(struct kernels *k, struct muster_error *err);
enum muster_status kernels_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err);
double kernels_peak_flops(struct kernels *k, enum dtype dtype);
enum { KERNELS_CHOICE_MAX = 320 }; /* bytes of its text */
bool kernels_choice(struct kernels *k, int index, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
