/* SPDX-License-Identifier: MIT
 *
 * What the files of the CUDA back end share. Every operation has the signature of its entry in the table of
 * kernels.h: cuda_<operation>. Memory-bound operations and the plain attention are our own kernels (*.cu);
 * matrix products are cuBLASLt (cuda_gemm.c), attention is cuDNN where it has an engine (cuda_sdpa.c) and the
 * plain kernel elsewhere.
 */
#ifndef MUSTER_KERNELS_CUDA_INTERNAL_H
#define MUSTER_KERNELS_CUDA_INTERNAL_H

#include <cuda_runtime.h>

#include "base/tree.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_gemm;
struct cuda_sdpa;
struct cuda_staging;

struct cuda_kernels {
    struct kernels base;
    int device;
    int compute_major, compute_minor;
    cudaStream_t stream;
    cudaEvent_t timer[2];         /* begin and end of the timed stretch */
    struct cuda_gemm *gemm;       /* cuBLASLt handle and the algorithms chosen so far */
    struct cuda_sdpa *sdpa;       /* cuDNN handle and plans; NULL where built without cuDNN */
    struct cuda_staging *staging; /* pinned ring that copies to the device go through */
    void (*warn)(const char *text);
    char numerics[160];
};

static inline struct cuda_kernels *cuda_kernels_from(struct kernels *k)
{
    return (struct cuda_kernels *)k;
}

/** MUSTER_OK, or INTERNAL / NO_MEMORY naming the operation and the runtime's text. */
enum muster_status cuda_check(cudaError_t result, const char *operation, struct muster_error *err);

#define CUDA_OPERATION(name, args)                                                                           \
    enum muster_status cuda_##name(struct kernels *k, const struct args *a, struct muster_error *err)

/* Our own kernels (*.cu). */
CUDA_OPERATION(embedding_forward, embedding_args);
CUDA_OPERATION(embedding_backward, embedding_args);
CUDA_OPERATION(activation_forward, activation_args);
CUDA_OPERATION(activation_backward, activation_args);
CUDA_OPERATION(norm_forward, norm_args);
CUDA_OPERATION(norm_backward, norm_args);
CUDA_OPERATION(rope, rope_args);
CUDA_OPERATION(attention_forward_plain, attention_args);
CUDA_OPERATION(attention_backward_plain, attention_args);
CUDA_OPERATION(swiglu_forward, swiglu_args);
CUDA_OPERATION(swiglu_backward, swiglu_args);
CUDA_OPERATION(dropout, dropout_args);
CUDA_OPERATION(adamw, adamw_args);
CUDA_OPERATION(sgd, sgd_args);
enum muster_status cuda_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                    double *sums, struct muster_error *err);
enum muster_status cuda_add(struct kernels *k, float *y, const float *x, int64_t count,
                            struct muster_error *err);
enum muster_status cuda_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                 int64_t count, struct muster_error *err);

/** out = the sum of the terms over `count` floats on any stream, in one launch; out may be one of the terms.
 * For the communicator's tree adds. */
enum muster_status cuda_sum_on_stream(cudaStream_t stream, float *out, const struct tree_terms *terms,
                                      int64_t count, struct muster_error *err);

/** dbias[c] += sum over rows of dy[r · stride + c], rows in fixed chunks; for products whose epilogue cannot.
 */
enum muster_status cuda_bias_gradient(struct kernels *k, enum dtype dtype, const void *dy, int64_t rows,
                                      int64_t columns, int64_t stride, float *dbias,
                                      struct muster_error *err);

/** y = x + bias (row-wise) then activation; the epilogue for shapes and dtypes that cuBLASLt has none for.
 * pre may be NULL; y may be the same memory as x. */
struct cuda_epilogue_args {
    enum dtype dtype;
    int64_t rows, columns;
    const void *x;
    const void *bias; /* or NULL */
    enum activation activation;
    void *pre;
    void *y;
};
CUDA_OPERATION(epilogue, cuda_epilogue_args);

/**
 * Rows of logits to losses, in place: logits [rows, vocabulary] (row stride `stride`, dtype of the job or
 * fp32) become dlogits = (softmax - onehot) · gradient_scale when `gradient` is set; columns from vocabulary
 * to stride become 0.
 */
struct cuda_cross_entropy_args {
    enum dtype dtype;
    int64_t rows, vocabulary, stride;
    void *logits;
    const void *bias; /* [vocabulary] or NULL, added first */
    enum dtype bias_dtype;
    const int32_t *targets;
    float *loss;
    float *correct; /* or NULL */
    float gradient_scale;
    bool gradient;
};
CUDA_OPERATION(cross_entropy, cuda_cross_entropy_args);

/* cuda_linear.c, cuda_head.c: cuBLASLt */
CUDA_OPERATION(linear_forward, linear_args);
CUDA_OPERATION(linear_backward_input, linear_args);
CUDA_OPERATION(linear_backward_weight, linear_args);
CUDA_OPERATION(head_loss, head_loss_args);

/* cuda_attention.c: cuDNN or plain */
CUDA_OPERATION(attention_forward, attention_args);
CUDA_OPERATION(attention_backward, attention_args);

#ifdef __cplusplus
}
#endif
#endif
