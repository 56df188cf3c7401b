/* SPDX-License-Identifier: MIT
 *
 * Element types of tensors, and the conversion between fp32 and bf16 that every part must agree on.
 */
#ifndef MUSTER_BASE_DTYPE_H
#define MUSTER_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum dtype { DTYPE_F32 = 0, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_COUNT };

/** Bytes of one element. */
size_t dtype_size(enum dtype dtype);

/** "fp32", "bf16", "fp16" or "int32". */
const char *dtype_name(enum dtype dtype);

/** Round to nearest even; NaN stays NaN. */
static inline uint16_t dtype_bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float dtype_f32_from_bf16(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

#ifdef __cplusplus
}
#endif
#endif
