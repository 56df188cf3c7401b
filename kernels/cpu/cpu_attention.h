/* SPDX-License-Identifier: MIT
 *
 * What the forward and backward attention share: one block of queries of one head, and its rows as fp32 in
 * scratch. Scores are kept transposed, [keys, CPU_QUERIES], so that maxima and sums over keys run down the
 * lanes; heads are padded with zeros to whole vectors. Source: Dao et al., "FlashAttention", 2022.
 */
#ifndef MUSTER_KERNELS_CPU_CPU_ATTENTION_H
#define MUSTER_KERNELS_CPU_CPU_ATTENTION_H

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

/* Queries in a block, and keys in a block of the backward rule. */
enum { CPU_QUERIES = 64 };

struct cpu_attention {
    const struct attention_args *a;
    bool bf16;
    int64_t row_width;    /* of qkv */
    int64_t padded_width; /* of a head in scratch */
    float scale;
};

CPU_INLINE struct cpu_attention cpu_attention_start(const struct attention_args *a)
{
    struct cpu_attention at = {.a = a, .bf16 = a->dtype == DTYPE_BF16};
    at.row_width = (a->heads + 2 * a->kv_heads) * a->head_width;
    at.padded_width = cpu_lanes_round_up(a->head_width);
    at.scale = (float)(1.0 / __builtin_sqrt((double)a->head_width));
    return at;
}

/* Element of qkv (or dqkv) where the query, key or value of a sequence position starts. */
CPU_INLINE int64_t cpu_attention_query_at(const struct cpu_attention *at, int64_t b, int64_t i, int64_t head)
{
    return (b * at->a->sequence + i) * at->row_width + head * at->a->head_width;
}

CPU_INLINE int64_t cpu_attention_key_at(const struct cpu_attention *at, int64_t b, int64_t i, int64_t kv_head)
{
    return cpu_attention_query_at(at, b, i, at->a->heads + kv_head);
}

CPU_INLINE int64_t cpu_attention_value_at(const struct cpu_attention *at, int64_t b, int64_t i,
                                          int64_t kv_head)
{
    return cpu_attention_query_at(at, b, i, at->a->heads + at->a->kv_heads + kv_head);
}

CPU_INLINE void cpu_attention_gather_rows(float *to, int64_t padded_width, const void *from, int64_t width,
                                          int64_t stride, int64_t rows, bool bf16)
{
    for (int64_t r = 0; r < rows; r++) {
        const void *row = cpu_at(bf16, from, r * stride);
        for (int64_t i = 0; i < padded_width; i += CPU_LANES)
            cpu_store(to + r * padded_width + i, cpu_get(bf16, row, i, width));
    }
}

/* Copies `rows` heads, `stride` elements apart, to fp32 rows of padded_width. */
CPU_INLINE void cpu_attention_gather(const struct cpu_attention *at, float *to, const void *from,
                                     int64_t stride, int64_t rows)
{
    if (at->bf16)
        cpu_attention_gather_rows(to, at->padded_width, from, at->a->head_width, stride, rows, true);
    else
        cpu_attention_gather_rows(to, at->padded_width, from, at->a->head_width, stride, rows, false);
}

/* The way back. */
CPU_INLINE void cpu_attention_scatter(const struct cpu_attention *at, void *to, const float *from,
                                      int64_t stride, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        void *row = cpu_at_out(at->bf16, to, r * stride);
        for (int64_t i = 0; i < at->a->head_width; i += CPU_LANES)
            cpu_put(at->bf16, row, i, at->a->head_width, cpu_load(from + r * at->padded_width + i));
    }
}

/* to[d, CPU_QUERIES] = scale · from[rows, d]ᵀ; columns past `rows` become zero. */
CPU_INLINE void cpu_attention_transpose(const struct cpu_attention *at, float *to, const float *from,
                                        int64_t rows, float scale)
{
    for (int64_t d = 0; d < at->a->head_width; d++) {
        float *row = to + d * CPU_QUERIES;
        for (int64_t r = 0; r < rows; r++)
            row[r] = from[r * at->padded_width + d] * scale;
        for (int64_t r = rows; r < CPU_QUERIES; r++)
            row[r] = 0.0f;
    }
}

/* factors[keys, CPU_QUERIES]: 0 or 1 / (1 - dropout) for queries from i and keys from j. */
CPU_INLINE void cpu_attention_factors(const struct cpu_attention *at, int64_t head_index, int64_t i,
                                      int64_t queries, int64_t j, int64_t keys, float *factors)
{
    const struct attention_args *a = at->a;
    const float kept = (float)(1.0 / (1.0 - (double)a->dropout));
    uint32_t words[CPU_QUERIES + 8];
    memset(factors, 0, (size_t)keys * CPU_QUERIES * sizeof *factors);
    for (int64_t q = 0; q < queries; q++) {
        uint64_t first = (uint64_t)((head_index * a->sequence + i + q) * a->sequence + j);
        CPU_NAME(cpu_random_words)(a->key, first / 4, (int64_t)(first % 4 + (uint64_t)keys + 3) / 4, words);
        for (int64_t key = 0; key < keys; key++) {
            float uniform = rng_uniform(words[first % 4 + (uint64_t)key]);
            factors[key * CPU_QUERIES + q] = uniform >= a->dropout ? kept : 0.0f;
        }
    }
}

#endif
