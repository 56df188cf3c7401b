/* SPDX-License-Identifier: MIT
 *
 * The arithmetic entries of the operations table of the copy being compiled, collected by cpu_table.c.
 */
#ifndef MUSTER_KERNELS_CPU_CPU_OPS_H
#define MUSTER_KERNELS_CPU_CPU_OPS_H

#include "kernels/cpu/cpu.h"

#define CPU_OPERATION(name, arguments)                                                                       \
    enum muster_status CPU_NAME(name)(struct kernels * k, const struct arguments *a, struct muster_error *err)

CPU_OPERATION(cpu_embedding_forward, embedding_args);
CPU_OPERATION(cpu_embedding_backward, embedding_args);
CPU_OPERATION(cpu_linear_forward, linear_args);
CPU_OPERATION(cpu_linear_backward_input, linear_args);
CPU_OPERATION(cpu_linear_backward_weight, linear_args);
CPU_OPERATION(cpu_activation_forward, activation_args);
CPU_OPERATION(cpu_activation_backward, activation_args);
CPU_OPERATION(cpu_norm_forward, norm_args);
CPU_OPERATION(cpu_norm_backward, norm_args);
CPU_OPERATION(cpu_rope, rope_args);
CPU_OPERATION(cpu_attention_forward, attention_args);
CPU_OPERATION(cpu_attention_backward, attention_args);
CPU_OPERATION(cpu_swiglu_forward, swiglu_args);
CPU_OPERATION(cpu_swiglu_backward, swiglu_args);
CPU_OPERATION(cpu_dropout, dropout_args);
CPU_OPERATION(cpu_head_loss, head_loss_args);
CPU_OPERATION(cpu_adamw, adamw_args);
CPU_OPERATION(cpu_sgd, sgd_args);

enum muster_status CPU_NAME(cpu_sum_squares)(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                             double *sums, struct muster_error *err);
enum muster_status CPU_NAME(cpu_add)(struct kernels *k, float *y, const float *x, int64_t count,
                                     struct muster_error *err);
enum muster_status CPU_NAME(cpu_fill_zero)(struct kernels *k, void *y, int64_t bytes,
                                           struct muster_error *err);
enum muster_status CPU_NAME(cpu_round_to)(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                          int64_t count, struct muster_error *err);

void CPU_NAME(cpu_widen)(float *y, int64_t y_stride, const uint16_t *x, int64_t x_stride, int64_t rows,
                         int64_t columns);
void CPU_NAME(cpu_narrow)(uint16_t *y, int64_t y_stride, const float *x, int64_t x_stride,
                          const uint16_t *bias, int64_t rows, int64_t columns);

/**
 * c[m,n] (+)= a[m,k] · b[k,n] on small fp32 matrices in cache, for attention. a[i,l] lies at
 * a[i·a_row + l·a_column]; n is a multiple of the vector width; rows of b and c lie `b_row` and `c_row`
 * apart.
 */
struct cpu_small_product {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    bool accumulate;
};
void CPU_NAME(cpu_small_product_run)(const struct cpu_small_product *p);

/** words[0..4·blocks) = the words of `blocks` consecutive Philox blocks from `first`. */
void CPU_NAME(cpu_random_words)(struct rng_key key, uint64_t first, int64_t blocks, uint32_t *words);

#endif
