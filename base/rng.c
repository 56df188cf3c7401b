/* SPDX-License-Identifier: MIT
 *
 * What is too long to be inline in the header: keys, fills and the permutation. All of it is arithmetic on
 * integers and doubles without state, so the order of calls and the number of threads cannot change a result.
 */
#include "base/rng.h"

#include <math.h>

/* A 64-bit finalizer (a bijection). Constants: D. Stafford, "Better bit mixing", variant 13. */
static uint64_t mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/*
 * Each coordinate is absorbed by a bijection of the state, so two keys that differ in one coordinate only are
 * certain to differ; the added constants keep equal coordinates in different places apart.
 */
struct rng_key rng_key_make(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t state = mix64(seed + 0x9e3779b97f4a7c15u);
    state = mix64((state ^ a) + 0x3c6ef372fe94f82bu);
    state = mix64((state ^ b) + 0xdaa66d2c7ddf743fu);
    state = mix64((state ^ c) + 0x78dde6e5fd29f055u);
    return (struct rng_key){{(uint32_t)state, (uint32_t)(state >> 32)}};
}

void rng_uniform_fill(struct rng_key key, float low, float high, float *values, uint64_t count)
{
    struct rng_block block = {{0, 0, 0, 0}};
    float below_high = nextafterf(high, low);
    for (uint64_t i = 0; i < count; i++) {
        if (i % 4 == 0)
            block = rng_philox(key, 0, i / 4);
        double unit = rng_uniform(block.word[i % 4]);
        float value = (float)((double)low + ((double)high - (double)low) * unit);
        values[i] = value < high ? value : below_high; /* rounding to float may reach `high` */
    }
}

enum { FEISTEL_ROUNDS = 8 };

/* One pass of the network over 2 × half_bits bits. Any round function gives a bijection; this one mixes well.
 */
static uint64_t feistel(uint64_t key, int half_bits, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << half_bits) - 1;
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint64_t round = 1; round <= FEISTEL_ROUNDS; round++) {
        uint64_t mixed = mix64((key + round * 0x9e3779b97f4a7c15u) ^ right);
        uint64_t next = left ^ (mixed & mask);
        left = right;
        right = next;
    }
    return left << half_bits | right;
}

uint64_t rng_permute(struct rng_key key, uint64_t n, uint64_t index)
{
    if (n <= 1)
        return 0;
    uint64_t key64 = (uint64_t)key.word[1] << 32 | key.word[0];
    int half_bits = 1;
    while (half_bits < 31 && ((uint64_t)1 << (2 * half_bits)) < n)
        half_bits++;
    do {
        index = feistel(key64, half_bits, index);
    } while (index >= n);
    return index;
}
