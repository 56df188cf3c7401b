/* SPDX-License-Identifier: MIT
 *
 * Element types of tensors, and the conversions between fp32, bf16 and fp16 that every part must agree on.
 */
#ifndef MUSTER_BASE_DTYPE_H
#define MUSTER_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/inline.h"

#ifdef __cplusplus
extern "C" {
#endif

enum dtype { DTYPE_F32 = 0, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_COUNT };

/** Bytes of one element. */
size_t dtype_size(enum dtype dtype);

/** "fp32", "bf16", "fp16" or "int32". */
const char *dtype_name(enum dtype dtype);

/** Round to nearest even; NaN stays NaN. */
MUSTER_INLINE uint16_t dtype_bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

MUSTER_INLINE float dtype_f32_from_bf16(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/** Round to nearest even, from 65520 on to infinity, below 2^-14 to a multiple of 2^-24; NaN stays NaN. */
MUSTER_INLINE uint16_t dtype_f16_from_f32(float value)
{
    uint32_t bits, rounded;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((size >> 13) & 0x1ffu));
    if (size >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (size >= 0x38800000u) {
        rounded = size + 0xfffu + ((size >> 13) & 1u);
        return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
    }
    float small;
    memcpy(&small, &size, sizeof small);
    small += 0.5f; /* whose last place is 2^-24: the addition rounds */
    memcpy(&rounded, &small, sizeof rounded);
    return (uint16_t)(sign | (rounded - 0x3f000000u));
}

MUSTER_INLINE float dtype_f32_from_f16(uint16_t value)
{
    uint32_t sign = (uint32_t)(value & 0x8000u) << 16, size = value & 0x7fffu, bits;
    float result;
    if (size >= 0x7c00u) {
        bits = 0x7f800000u | (size & 0x3ffu) << 13;
    } else if (size >= 0x400u) {
        bits = (size << 13) + 0x38000000u;
    } else {
        result = (float)size * 5.9604644775390625e-8f; /* 2^-24 */
        memcpy(&bits, &result, sizeof bits);
    }
    bits |= sign;
    memcpy(&result, &bits, sizeof result);
    return result;
}

#ifdef __cplusplus
}
#endif
#endif
