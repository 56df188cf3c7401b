/* SPDX-License-Identifier: MIT
 *
 * The multiply-add rate of this machine, measured in a few milliseconds with independent chains in registers:
 * what matrix products are compared with (MFU). Processor time is used, so a busy neighbour does not pass for
 * a slow machine.
 */
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/cpu.h"

enum { PEAK_CHAINS = 12, PEAK_ROUNDS = 500000, PEAK_RUNS = 5, PEAK_LANES = 16 };

typedef float peak_vector __attribute__((vector_size(4 * PEAK_LANES)));

#define PEAK_FUNCTION(name, attributes)                                                                      \
    attributes static float name(void)                                                                       \
    {                                                                                                        \
        peak_vector sum[PEAK_CHAINS], x = {0}, y = {0};                                                      \
        x += 1.0000001f;                                                                                     \
        y += 1e-9f;                                                                                          \
        for (int i = 0; i < PEAK_CHAINS; i++)                                                                \
            sum[i] = y * (float)i;                                                                           \
        for (int round = 0; round < PEAK_ROUNDS; round++)                                                    \
            for (int i = 0; i < PEAK_CHAINS; i++)                                                            \
                sum[i] = sum[i] * x + y;                                                                     \
        for (int i = 1; i < PEAK_CHAINS; i++)                                                                \
            sum[0] += sum[i];                                                                                \
        return sum[0][0];                                                                                    \
    }

PEAK_FUNCTION(peak_plain, )
#if defined(__x86_64__)
PEAK_FUNCTION(peak_avx2, __attribute__((target("avx2,fma"))))
PEAK_FUNCTION(peak_avx512, __attribute__((target("avx512f"))))

/* Pairs of bf16 products added to fp32: twice the operations of a multiply-add of the same width. */
__attribute__((target("avx512f,avx512bf16"))) static float peak_bf16(void)
{
    __m512 sum[PEAK_CHAINS];
    __m512i bits = _mm512_set1_epi16(0x3f80);
    __m512bh one;
    memcpy(&one, &bits, sizeof one);
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = _mm512_setzero_ps();
    for (int round = 0; round < PEAK_ROUNDS; round++)
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], one, one);
    for (int i = 1; i < PEAK_CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}
#endif

static float (*peak_choose(enum dtype dtype, double *operations))(void)
{
    *operations = 2.0 * PEAK_LANES * PEAK_CHAINS * PEAK_ROUNDS;
#if defined(__x86_64__)
    if (dtype == DTYPE_BF16 && __builtin_cpu_supports("avx512bf16")) {
        *operations *= 2.0;
        return peak_bf16;
    }
    if (__builtin_cpu_supports("avx512f"))
        return peak_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return peak_avx2;
#endif
    (void)dtype;
    return peak_plain;
}

static double peak_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double cpu_peak_flops(struct kernels *k, enum dtype dtype)
{
    double operations, best = 0.0;
    float (*chains)(void) = peak_choose(dtype, &operations);
    volatile float kept;
    for (int run = 0; run < PEAK_RUNS; run++) {
        double start = peak_now();
        kept = chains();
        double rate = operations / (peak_now() - start);
        best = rate > best ? rate : best;
    }
    (void)kept;
    return best * k->threads;
}
