/* SPDX-License-Identifier: MIT
 *
 * Vectors as wide as the instruction set being compiled, and the few functions on them that the operations
 * need. Rows end with a partial vector that goes through the same instructions as the others (missing lanes
 * read as zero), so what an element becomes never depends on its place in a row or a block. exp and log are
 * polynomials: no libm in hot loops, the same bits under every C library. NaN and infinities pass through.
 */
#ifndef MUSTER_KERNELS_CPU_CPU_VECTOR_H
#define MUSTER_KERNELS_CPU_CPU_VECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/ops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define CPU_LANES 16
#elif defined(__AVX2__)
#define CPU_LANES 8
#else
#define CPU_LANES 4
#endif

#define CPU_INLINE static inline __attribute__((always_inline))

typedef float cpu_vec __attribute__((vector_size(4 * CPU_LANES)));
typedef int32_t cpu_ivec __attribute__((vector_size(4 * CPU_LANES)));
typedef uint32_t cpu_uvec __attribute__((vector_size(4 * CPU_LANES)));
typedef uint16_t cpu_half __attribute__((vector_size(2 * CPU_LANES)));

CPU_INLINE int64_t cpu_lanes_round_up(int64_t count)
{
    return (count + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
}

CPU_INLINE cpu_vec cpu_splat(float value)
{
    return (cpu_vec){0} + value;
}

CPU_INLINE cpu_vec cpu_load(const float *p)
{
    cpu_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

CPU_INLINE void cpu_store(float *p, cpu_vec v)
{
    memcpy(p, &v, sizeof v);
}

/* `count` < CPU_LANES values, the other lanes zero. */
CPU_INLINE cpu_vec cpu_load_some(const float *p, int64_t count)
{
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
#else
    float lanes[CPU_LANES] = {0};
    for (int i = 0; i < CPU_LANES; i++)
        lanes[i] = i < count ? p[i] : 0.0f;
    return cpu_load(lanes);
#endif
}

CPU_INLINE void cpu_store_some(float *p, cpu_vec v, int64_t count)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), v);
#else
    float lanes[CPU_LANES];
    cpu_store(lanes, v);
    for (int i = 0; i < CPU_LANES && i < count; i++)
        p[i] = lanes[i];
#endif
}

CPU_INLINE cpu_vec cpu_widen_half(cpu_half h)
{
#if defined(__AVX512F__)
    return (cpu_vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(__AVX2__)
    return (cpu_vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
    return (cpu_vec)(__builtin_convertvector(h, cpu_uvec) << 16);
#endif
}

/* Where `mask` (all ones or zeros in each lane) is set `a`, else `b`. */
CPU_INLINE cpu_vec cpu_select(cpu_ivec mask, cpu_vec a, cpu_vec b)
{
    return (cpu_vec)(((cpu_ivec)a & mask) | ((cpu_ivec)b & ~mask));
}

/* As dtype_bf16_from_f32. */
CPU_INLINE cpu_half cpu_narrow_vec(cpu_vec v)
{
    cpu_uvec bits = (cpu_uvec)v;
    cpu_uvec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    cpu_uvec quiet = (bits >> 16) | 0x40u;
    cpu_uvec nan = (cpu_uvec)(v != v);
    cpu_uvec result = (quiet & nan) | (rounded & ~nan);
#if defined(__AVX512F__)
    return (cpu_half)_mm512_cvtepi32_epi16((__m512i)result);
#elif defined(__AVX2__)
    __m256i packed = _mm256_packus_epi32((__m256i)result, (__m256i)result);
    return (cpu_half)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
    return __builtin_convertvector(result, cpu_half);
#endif
}

CPU_INLINE cpu_half cpu_half_load(const uint16_t *p, int64_t count)
{
    cpu_half h = {0};
    if (count >= CPU_LANES) {
        memcpy(&h, p, sizeof h);
        return h;
    }
#if defined(__AVX512F__)
    return (cpu_half)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), p);
#else
    for (int i = 0; i < CPU_LANES; i++)
        h[i] = i < count ? p[i] : 0;
    return h;
#endif
}

CPU_INLINE void cpu_half_store(uint16_t *p, cpu_half h, int64_t count)
{
    if (count >= CPU_LANES) {
        memcpy(p, &h, sizeof h);
        return;
    }
#if defined(__AVX512F__)
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1u), (__m256i)h);
#else
    uint16_t lanes[CPU_LANES];
    memcpy(lanes, &h, sizeof h);
    for (int i = 0; i < CPU_LANES && i < count; i++)
        p[i] = lanes[i];
#endif
}

/* The vector at element `i` of a row of `count` fp32 values. */
CPU_INLINE cpu_vec cpu_fetch(const float *p, int64_t i, int64_t count)
{
    return count - i >= CPU_LANES ? cpu_load(p + i) : cpu_load_some(p + i, count - i);
}

CPU_INLINE void cpu_keep(float *p, int64_t i, int64_t count, cpu_vec v)
{
    if (count - i >= CPU_LANES)
        cpu_store(p + i, v);
    else
        cpu_store_some(p + i, v, count - i);
}

/* The same for rows of either dtype; pass `bf16` as a constant of the enclosing loop. */
CPU_INLINE cpu_vec cpu_get(bool bf16, const void *row, int64_t i, int64_t count)
{
    if (bf16)
        return cpu_widen_half(cpu_half_load((const uint16_t *)row + i, count - i));
    return cpu_fetch(row, i, count);
}

CPU_INLINE void cpu_put(bool bf16, void *row, int64_t i, int64_t count, cpu_vec v)
{
    if (bf16)
        cpu_half_store((uint16_t *)row + i, cpu_narrow_vec(v), count - i);
    else
        cpu_keep(row, i, count, v);
}

/* What a later read of the stored value gives. */
CPU_INLINE cpu_vec cpu_rounded(bool bf16, cpu_vec v)
{
    return bf16 ? cpu_widen_half(cpu_narrow_vec(v)) : v;
}

/* Element `element` of an array of either dtype. */
CPU_INLINE const void *cpu_at(bool bf16, const void *base, int64_t element)
{
    return (const char *)base + element * (bf16 ? 2 : 4);
}

CPU_INLINE void *cpu_at_out(bool bf16, void *base, int64_t element)
{
    return (char *)base + element * (bf16 ? 2 : 4);
}

/* The larger of each pair; where either is NaN, `b`. */
CPU_INLINE cpu_vec cpu_max(cpu_vec a, cpu_vec b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
    return _mm_max_ps(a, b);
#else
    return cpu_select(a > b, a, b);
#endif
}

CPU_INLINE cpu_vec cpu_min(cpu_vec a, cpu_vec b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
    return _mm_min_ps(a, b);
#else
    return cpu_select(a < b, a, b);
#endif
}

CPU_INLINE cpu_vec cpu_sqrt(cpu_vec v)
{
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(v);
#elif defined(__SSE2__)
    return _mm_sqrt_ps(v);
#else
    for (int i = 0; i < CPU_LANES; i++)
        v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

/* Lane numbers 0, 1, 2, … */
CPU_INLINE cpu_ivec cpu_lane_numbers(void)
{
    cpu_ivec lanes;
    for (int i = 0; i < CPU_LANES; i++)
        lanes[i] = i;
    return lanes;
}

/* All ones in the lanes of a row that exist, at element `i` of `count`. */
CPU_INLINE cpu_ivec cpu_lanes_present(int64_t i, int64_t count)
{
    return cpu_lane_numbers() < (int32_t)(count - i < CPU_LANES ? count - i : CPU_LANES);
}

/* Sum and maximum over the lanes, always folded in the same order. */
CPU_INLINE float cpu_lanes_sum(cpu_vec v)
{
    float lanes[CPU_LANES];
    cpu_store(lanes, v);
    for (int half = CPU_LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

CPU_INLINE float cpu_lanes_max(cpu_vec v)
{
    float largest = v[0];
    for (int i = 1; i < CPU_LANES; i++)
        largest = v[i] > largest || v[i] != v[i] ? v[i] : largest;
    return largest;
}

/* v · 2^n for whole |n| <= 252; without an instruction for it, in two steps, so that neither leaves the range
 * of exponents. */
CPU_INLINE cpu_vec cpu_scale_power(cpu_vec v, cpu_vec n)
{
#if defined(__AVX512F__)
    return _mm512_scalef_ps(v, n);
#else
    cpu_ivec whole = __builtin_convertvector(n, cpu_ivec), first = whole >> 1, second = whole - first;
    return v * (cpu_vec)((first + 127) << 23) * (cpu_vec)((second + 127) << 23);
#endif
}

/* e^x to about 1 ulp: x = n ln 2 + r, a polynomial in r (Cephes expf), times 2^n. */
CPU_INLINE cpu_vec cpu_exp(cpu_vec x)
{
    const float shift = 0x1.8p23f;
    x = cpu_min(cpu_splat(89.0f), cpu_max(cpu_splat(-104.0f), x));
    cpu_vec n = (x * 1.44269504088896341f + shift) - shift; /* rounds to whole */
    cpu_vec r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    cpu_vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return cpu_scale_power(p, n);
}

/* Natural logarithm of positive normal numbers, to about 1 ulp (Cephes logf); NaN and +infinity pass. */
CPU_INLINE cpu_vec cpu_log(cpu_vec x)
{
    const float half_root = 0.707106781186547524f;
    cpu_ivec bits = (cpu_ivec)x;
    cpu_ivec n = ((bits >> 23) & 0xff) - 126;
    cpu_vec m = (cpu_vec)((bits & 0x007fffff) | 0x3f000000);
    cpu_ivec small = m < half_root;
    n = n + small;
    m = cpu_select(small, m + m, m) - 1.0f;
    cpu_vec p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    cpu_vec square = m * m, e = __builtin_convertvector(n, cpu_vec);
    cpu_vec y = p * m * square + e * -2.12194440e-4f - 0.5f * square;
    y = m + y + e * 0.693359375f;
    return cpu_select(x < __builtin_inff(), y, x);
}

CPU_INLINE float cpu_log_one(float x)
{
    return cpu_log(cpu_splat(x))[0];
}

CPU_INLINE cpu_vec cpu_sigmoid(cpu_vec x)
{
    return 1.0f / (1.0f + cpu_exp(-x));
}

/* 2 u(x), where gelu(x) = x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3); x is held
 * to
 * +-20, beyond which the sigmoid is 0 or 1 in fp32. Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.
 */
CPU_INLINE cpu_vec cpu_gelu_inner(cpu_vec x)
{
    return x * (1.59576912160573071f + 0.0713548162726f * (x * x));
}

CPU_INLINE cpu_vec cpu_gelu_held(cpu_vec x)
{
    return cpu_min(cpu_splat(20.0f), cpu_max(cpu_splat(-20.0f), x));
}

/* activation(x); `activation` is a constant of the enclosing loop. */
CPU_INLINE cpu_vec cpu_activate(enum activation activation, cpu_vec x)
{
    if (activation == ACTIVATION_RELU)
        return cpu_max(cpu_splat(0.0f), x);
    if (activation == ACTIVATION_GELU_TANH)
        return x / (1.0f + cpu_exp(-cpu_gelu_inner(cpu_gelu_held(x))));
    return x;
}

/* activation'(x). */
CPU_INLINE cpu_vec cpu_activate_slope(enum activation activation, cpu_vec x)
{
    if (activation == ACTIVATION_RELU)
        return cpu_select(x <= 0.0f, cpu_splat(0.0f), cpu_splat(1.0f));
    if (activation == ACTIVATION_GELU_TANH) {
        cpu_vec held = cpu_gelu_held(x);
        cpu_vec s = cpu_sigmoid(cpu_gelu_inner(held));
        cpu_vec slope = 1.59576912160573071f + 0.2140644488178f * (held * held);
        return s + s * (1.0f - s) * held * slope;
    }
    return cpu_splat(1.0f);
}

#endif
