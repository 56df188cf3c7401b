/* SPDX-License-Identifier: MIT
 *
 * How far a result of the CUDA back end may be from the reference, relative to the value and the size of the
 * array (compare_array.h): fp32 sums of some hundred terms in another order; one rounding to 16 bits, or two.
 * Where a library rounds inside an operation it has a line of its own, which the stand-ins hold it to.
 */
#ifndef MUSTER_TESTS_CUDA_TOLERANCE_H
#define MUSTER_TESTS_CUDA_TOLERANCE_H

#include "base/dtype.h"

static const enum dtype tolerance_dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

static inline double tolerance_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 2e-5 : dtype == DTYPE_BF16 ? 0.008 : 0.0015;
}

/* The largest relative error of one rounding to 16 bits. */
static inline double tolerance_roundoff(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
}

/* Attention by cuDNN rounds probabilities before they meet the values, and the scores' gradients before they
 * meet keys and queries. What that does to a row is a random walk over its terms, and early rows have few and
 * large ones. In 340 draws of the shapes that are tested: at most 1.8 roundings of y and 10.1 of a gradient.
 */
static inline double tolerance_attention(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 2e-5 : 3.0 * tolerance_roundoff(dtype);
}

static inline double tolerance_attention_gradient(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 2e-5 : 16.0 * tolerance_roundoff(dtype);
}

/* The slope of GELU in cuBLASLt's epilogue is made of tanh.approx, whose documented relative error of 2^-11
 * is multiplied by up to 9.5 for arguments between -4 and 4, and again by the sum that it belongs to: 0.024.
 */
static inline double tolerance_gelu_slope(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? tolerance_of(dtype) : 0.03;
}

#endif
