/* SPDX-License-Identifier: MIT
 *
 * Embeddings. Backward, a row of the table may belong to many tokens: threads own columns, not tokens, so
 * that every row is added in token order without locks.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

enum { CPU_EMBEDDING_STRIP = 64 };

CPU_OPERATION(cpu_embedding_forward, embedding_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
    const int64_t width = a->width;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t t = 0; t < a->tokens; t++) {
        const void *token = cpu_at(bf16, a->token_table, a->ids[t] * width);
        void *y = cpu_at_out(bf16, a->y, t * width);
        if (a->position_table == NULL) {
            memcpy(y, token, (size_t)width * (bf16 ? 2 : 4));
            continue;
        }
        const void *position = cpu_at(bf16, a->position_table, t % a->sequence * width);
        for (int64_t i = 0; i < width; i += CPU_LANES)
            cpu_put(bf16, y, i, width, cpu_get(bf16, token, i, width) + cpu_get(bf16, position, i, width));
    }
    return MUSTER_OK;
}

/* Columns [from, to) of row `dy` are added to `target`, which is fp32. */
CPU_INLINE void cpu_embedding_add(float *target, const void *dy, int64_t from, int64_t to, bool bf16)
{
    for (int64_t i = from; i < to; i += CPU_LANES)
        cpu_keep(target, i, to, cpu_fetch(target, i, to) + cpu_get(bf16, dy, i, to));
}

CPU_OPERATION(cpu_embedding_backward, embedding_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
    const int64_t width = a->width;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t from = 0; from < width; from += CPU_EMBEDDING_STRIP) {
        const int64_t to = cpu_least(from + CPU_EMBEDDING_STRIP, width);
        for (int64_t t = 0; t < a->tokens; t++) {
            const void *dy = cpu_at(bf16, a->dy, t * width);
            cpu_embedding_add(a->dtoken_table + a->ids[t] * width, dy, from, to, bf16);
            if (a->dposition_table != NULL)
                cpu_embedding_add(a->dposition_table + t % a->sequence * width, dy, from, to, bf16);
        }
    }
    return MUSTER_OK;
}
