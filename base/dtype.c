/* SPDX-License-Identifier: MIT
 *
 * One table for sizes and names; the conversions are inline in the header because kernels use them per
 * element.
 */
#include "base/dtype.h"

static const struct {
    size_t size;
    const char *name;
} dtype_table[DTYPE_COUNT] = {
    [DTYPE_F32] = {4, "fp32"},
    [DTYPE_BF16] = {2, "bf16"},
    [DTYPE_F16] = {2, "fp16"},
    [DTYPE_I32] = {4, "int32"},
};

size_t dtype_size(enum dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT ? dtype_table[dtype].size : 0;
}

const char *dtype_name(enum dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT ? dtype_table[dtype].name : "unknown";
}
