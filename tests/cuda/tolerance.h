/* SPDX-License-Identifier: MIT
 *
 * How far a result of the CUDA back end may be from the reference: fp32 sums of some hundred terms in another
 * order; one rounding to 16 bits, or two.
 */
#ifndef MUSTER_TESTS_CUDA_TOLERANCE_H
#define MUSTER_TESTS_CUDA_TOLERANCE_H

#include "base/dtype.h"

static const enum dtype tolerance_dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

static inline double tolerance_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 2e-5 : dtype == DTYPE_BF16 ? 0.008 : 0.0015;
}

#endif
