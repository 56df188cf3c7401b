/* SPDX-License-Identifier: MIT
 *
 * Products of small matrices that are in cache already, for attention: no packing, a block of c held in
 * registers, one broadcast element of a against vectors of b. The library's fixed cost per call would be
 * most of the time at these sizes.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

/* Rows of c held at once: with two vectors of columns, what fits the registers. */
#if defined(__AVX512F__)
#define CPU_SMALL_ROWS 8
#else
#define CPU_SMALL_ROWS 4
#endif

/* c[rows, vectors · CPU_LANES]; both are constants of the call, so the block stays in registers. */
CPU_INLINE void cpu_small_block(const struct cpu_small_product *p, const float *a, const float *b, float *c,
                                int rows, int vectors)
{
    cpu_vec sum[CPU_SMALL_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = p->accumulate ? cpu_load(c + r * p->c_row + v * CPU_LANES) : cpu_splat(0.0f);
    }
    const int64_t a_row = p->a_row, a_column = p->a_column, b_row = p->b_row, k = p->k;
    for (int64_t l = 0; l < k; l++) {
        cpu_vec first = cpu_load(b + l * b_row);
        cpu_vec second = vectors > 1 ? cpu_load(b + l * b_row + CPU_LANES) : first;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            cpu_vec value = cpu_splat(a[r * a_row + l * a_column]);
            sum[r][0] += value * first;
            if (vectors > 1)
                sum[r][1] += value * second;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            cpu_store(c + r * p->c_row + v * CPU_LANES, sum[r][v]);
    }
}

/* All rows of one strip of columns. */
CPU_INLINE void cpu_small_strip(const struct cpu_small_product *p, int64_t column, int vectors)
{
    const float *b = p->b + column;
    int64_t i = 0;
    for (; i + CPU_SMALL_ROWS <= p->m; i += CPU_SMALL_ROWS)
        cpu_small_block(p, p->a + i * p->a_row, b, p->c + i * p->c_row + column, CPU_SMALL_ROWS, vectors);
    for (; i < p->m; i++)
        cpu_small_block(p, p->a + i * p->a_row, b, p->c + i * p->c_row + column, 1, vectors);
}

void CPU_NAME(cpu_small_product_run)(const struct cpu_small_product *p)
{
    int64_t column = 0;
    for (; column + 2 * CPU_LANES <= p->n; column += 2 * CPU_LANES)
        cpu_small_strip(p, column, 2);
    if (column < p->n)
        cpu_small_strip(p, column, 1);
}
