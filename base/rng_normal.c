/* SPDX-License-Identifier: MIT
 *
 * Normal numbers by address, fast enough to fill a model's weights in a fraction of a second. Blocks of
 * Philox words go through Box and Muller's transform with our own logarithm, sine and cosine in single
 * precision: only additions, multiplications, divisions and square roots, each rounded once (no fused
 * multiply-add), so every machine and every vector width gives the same bits. Absolute error of a number is
 * below 2e-6.
 */
#include <math.h>
#include <string.h>

#include "base/rng.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) &&      \
    !defined(__SANITIZE_ADDRESS__)
#define NORMAL_CLONES                                                                                        \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define NORMAL_CLONES
#endif

enum { NORMAL_LANES = 16, NORMAL_GROUP = 4 * NORMAL_LANES };

/* Natural logarithm of u in (0, 1]: u = 2^e · m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1)/(m +
 * 1)). */
static inline float normal_log(float u)
{
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    int32_t exponent = (int32_t)((bits - 0x3f3504f3u) >> 23);
    exponent = (int32_t)((uint32_t)exponent << 23) >> 23; /* sign of the nine-bit field */
    bits -= (uint32_t)exponent << 23;
    float m;
    memcpy(&m, &bits, sizeof m);
    float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
    float series = ((0.2222222222f * t2 + 0.2857142857f) * t2 + 0.4f) * t2 + 0.6666666667f;
    return (float)exponent * 0.69314718f + (2.0f * t + t * t2 * series);
}

/* cos and sin of 2·pi·turn for turn in [0, 1): the nearest quarter turn is taken off, the rest is a short
 * series. */
static inline void normal_circle(float turn, float *cosine, float *sine)
{
    float quarter_turns = turn * 4.0f;
    int32_t quadrant = (int32_t)(quarter_turns + 0.5f);
    float x = (quarter_turns - (float)quadrant) * 1.5707963268f, x2 = x * x;
    float s = x * (1.0f + x2 * (-0.1666666667f + x2 * (0.0083333333f + x2 * -0.00019841270f)));
    float c = 1.0f + x2 * (-0.5f + x2 * (0.0416666667f + x2 * (-0.0013888889f + x2 * 0.0000248016f)));
    float swapped_cosine = quadrant & 1 ? s : c, swapped_sine = quadrant & 1 ? c : s;
    *cosine = (quadrant + 1) & 2 ? -swapped_cosine : swapped_cosine;
    *sine = quadrant & 2 ? -swapped_sine : swapped_sine;
}

/* The 64 standard normal numbers of blocks [first, first + 16). */
NORMAL_CLONES static void normal_group(struct rng_key key, uint64_t first, float *restrict out)
{
    uint32_t word[4][NORMAL_LANES];
    for (int lane = 0; lane < NORMAL_LANES; lane++) {
        struct rng_block block = rng_philox(key, 0, first + (uint64_t)lane);
        for (int i = 0; i < 4; i++)
            word[i][lane] = block.word[i];
    }
    float pair[4][NORMAL_LANES];
    for (int half = 0; half < 2; half++) {
        for (int lane = 0; lane < NORMAL_LANES; lane++) {
            float u = (float)((int32_t)(word[2 * half][lane] >> 8) + 1) * 0x1p-24f;
            float turn = (float)(int32_t)(word[2 * half + 1][lane] >> 8) * 0x1p-24f;
            float radius = sqrtf(-2.0f * normal_log(u)), cosine, sine;
            normal_circle(turn, &cosine, &sine);
            pair[2 * half][lane] = radius * cosine;
            pair[2 * half + 1][lane] = radius * sine;
        }
    }
    for (int lane = 0; lane < NORMAL_LANES; lane++)
        for (int i = 0; i < 4; i++)
            out[4 * lane + i] = pair[i][lane];
}

void rng_normal_fill(struct rng_key key, uint64_t first, float mean, float stddev, float *values,
                     uint64_t count)
{
    float group[NORMAL_GROUP];
    uint64_t done = 0;
    while (done < count) {
        uint64_t element = first + done, skip = element % NORMAL_GROUP;
        normal_group(key, (element - skip) / 4, group);
        uint64_t take = NORMAL_GROUP - skip < count - done ? NORMAL_GROUP - skip : count - done;
        for (uint64_t i = 0; i < take; i++)
            values[done + i] = mean + stddev * group[skip + i];
        done += take;
    }
}
