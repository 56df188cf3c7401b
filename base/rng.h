/* SPDX-License-Identifier: MIT
 *
 * Random numbers by address, not by stream: the same (key, counter) gives the same numbers on any rank, in
 * any order. Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11), and a keyed
 * bijection on [0, n) for shuffling without memory.
 */
#ifndef MUSTER_BASE_RNG_H
#define MUSTER_BASE_RNG_H

#include <stdint.h>

#include "base/inline.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rng_key {
    uint32_t word[2];
};

struct rng_block {
    uint32_t word[4];
};

/** A key from the job's seed and up to three coordinates (such as purpose, step, slot); a mixing hash, no
 * collisions by design. */
struct rng_key rng_key_make(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);

/** Four 32-bit words of Philox4x32-10 at a 128-bit counter (high:low). */
MUSTER_INLINE struct rng_block rng_philox(struct rng_key key, uint64_t counter_high, uint64_t counter_low)
{
    uint32_t k0 = key.word[0], k1 = key.word[1];
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    struct rng_block block = {{c0, c1, c2, c3}};
    return block;
}

/** Uniform in [0, 1) with 24 bits: the upper ones, times 2^-24. */
MUSTER_INLINE float rng_uniform(uint32_t word)
{
    return (float)(word >> 8) * 5.9604644775390625e-8f;
}

/**
 * values[i] = element first + i of an endless sequence of normal numbers (Box-Muller; rng_normal.c): any range can be made
 * anywhere, with the same bits on every machine.
 */
void rng_normal_fill(struct rng_key key, uint64_t first, float mean, float stddev, float *values, uint64_t count);

/** Fills with uniform numbers in [low, high). */
void rng_uniform_fill(struct rng_key key, float low, float high, float *values, uint64_t count);

/**
 * The image of `index` under a keyed permutation of [0, n): a balanced Feistel network on the next even
 * number of bits with cycle walking. Needs 0 <= index < n; n up to 2^62. O(1) expected, no memory.
 */
uint64_t rng_permute(struct rng_key key, uint64_t n, uint64_t index);

#ifdef __cplusplus
}
#endif
#endif
