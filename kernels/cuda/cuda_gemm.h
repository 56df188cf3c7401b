/* SPDX-License-Identifier: MIT
 *
 * Matrix products by cuBLASLt, in muster's row-major terms. What a product computes, to the bit, depends on
 * the description below, the kind of GPU and the library's version only.
 */
#ifndef MUSTER_KERNELS_CUDA_GEMM_H
#define MUSTER_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda_internal.h"

/** What happens to a finished sum before it is rounded. */
enum cuda_gemm_epilogue {
    CUDA_GEMM_PLAIN = 0,
    CUDA_GEMM_BIAS,         /* + bias[column] */
    CUDA_GEMM_GELU_SLOPE,   /* · derivative of GELU (tanh form) at slope_at[row, column] */
    CUDA_GEMM_BIAS_GRADIENT /* c as it is; besides, row_sums[row] = sum over k of op(a)[row, k] */
};

/** c = op(a) · op(b), or c += where `accumulate`; op(a) is [m, k], op(b) is [k, n], sums are fp32. */
struct cuda_product {
    enum dtype in, out;
    bool transpose_a, transpose_b; /* stored as [k, m] and [n, k] */
    bool accumulate;               /* c, never row_sums; with CUDA_GEMM_PLAIN and BIAS_GRADIENT only */
    enum cuda_gemm_epilogue epilogue;
    int64_t m, n, k;
    const void *a, *b;
    void *c;
    int64_t a_stride, b_stride, c_stride; /* elements from one stored row to the next */
    const void *bias;                     /* [n], dtype `out` */
    const void *slope_at;                 /* [m, n] dense, dtype `out` */
    void *row_sums;                       /* [m], dtype `out` */
};

enum muster_status cuda_gemm_create(bool allow_tf32, struct cuda_gemm **out, struct muster_error *err);
/** Takes NULL. */
void cuda_gemm_destroy(struct cuda_gemm *gemm);

/**
 * Asynchronous on k's stream; work memory from k's scratch. \return UNSUPPORTED when the library has no
 * algorithm for the product; nothing was launched then, and asking again is cheap.
 */
enum muster_status cuda_gemm_run(struct cuda_kernels *k, const struct cuda_product *p,
                                 struct muster_error *err);

/** Products that an algorithm was chosen for, and, for index below that, "shape: algorithm". */
int cuda_gemm_choice_count(const struct cuda_gemm *gemm);
void cuda_gemm_choice(const struct cuda_gemm *gemm, int index, char *text, size_t size);

/**
 * dw += dyᵀ · x, and dbias (or NULL) += the sums over dy's rows (cuda_linear.c). dy is [tokens, out_width] in
 * rows of dy_stride elements; x is [tokens, in_width] and dw [out_width, in_width], dense; fp32 results.
 */
struct cuda_weight_args {
    enum dtype dtype;
    int64_t tokens, in_width, out_width, dy_stride;
    const void *dy, *x;
    float *dw, *dbias;
};
CUDA_OPERATION(weight_gradient, cuda_weight_args);

#endif
