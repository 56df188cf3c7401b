/* SPDX-License-Identifier: MIT
 *
 * Operations that treat every element (or pair) on its own: activations, SwiGLU, dropout, rotary positions,
 * and the conversion of blocks between dtypes. Flat arrays are cut into blocks of fixed size.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

#include <math.h>

enum { CPU_POINTWISE_BLOCK = 16384 };

CPU_INLINE void cpu_activation_block(const struct activation_args *a, int64_t at, bool bf16,
                                     enum activation activation)
{
    const int64_t count = cpu_least(CPU_POINTWISE_BLOCK, a->count - at);
    const void *pre = cpu_at(bf16, a->pre, at);
    void *y = cpu_at_out(bf16, a->y, at);
    for (int64_t i = 0; i < count; i += CPU_LANES)
        cpu_put(bf16, y, i, count, cpu_activate(activation, cpu_get(bf16, pre, i, count)));
}

CPU_OPERATION(cpu_activation_forward, activation_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < a->count; at += CPU_POINTWISE_BLOCK) {
        if (a->activation == ACTIVATION_GELU_TANH && bf16)
            cpu_activation_block(a, at, true, ACTIVATION_GELU_TANH);
        else if (a->activation == ACTIVATION_GELU_TANH)
            cpu_activation_block(a, at, false, ACTIVATION_GELU_TANH);
        else
            cpu_activation_block(a, at, bf16, a->activation);
    }
    return MUSTER_OK;
}

CPU_INLINE void cpu_activation_back_block(const struct activation_args *a, int64_t at, bool bf16,
                                          enum activation activation)
{
    const int64_t count = cpu_least(CPU_POINTWISE_BLOCK, a->count - at);
    const void *pre = cpu_at(bf16, a->pre, at), *dy = cpu_at(bf16, a->dy, at);
    void *dx = cpu_at_out(bf16, a->dx, at);
    for (int64_t i = 0; i < count; i += CPU_LANES) {
        cpu_vec slope = cpu_activate_slope(activation, cpu_get(bf16, pre, i, count));
        cpu_put(bf16, dx, i, count, cpu_get(bf16, dy, i, count) * slope);
    }
}

CPU_OPERATION(cpu_activation_backward, activation_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < a->count; at += CPU_POINTWISE_BLOCK) {
        if (a->activation == ACTIVATION_GELU_TANH && bf16)
            cpu_activation_back_block(a, at, true, ACTIVATION_GELU_TANH);
        else if (a->activation == ACTIVATION_GELU_TANH)
            cpu_activation_back_block(a, at, false, ACTIVATION_GELU_TANH);
        else
            cpu_activation_back_block(a, at, bf16, a->activation);
    }
    return MUSTER_OK;
}

CPU_INLINE void cpu_swiglu_row(const struct swiglu_args *a, int64_t t, bool bf16)
{
    const void *gate = cpu_at(bf16, a->gate_up, 2 * t * a->width), *up = cpu_at(bf16, gate, a->width);
    void *y = cpu_at_out(bf16, a->y, t * a->width);
    for (int64_t i = 0; i < a->width; i += CPU_LANES) {
        cpu_vec g = cpu_get(bf16, gate, i, a->width);
        cpu_put(bf16, y, i, a->width, g * cpu_sigmoid(g) * cpu_get(bf16, up, i, a->width));
    }
}

CPU_OPERATION(cpu_swiglu_forward, swiglu_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t t = 0; t < a->tokens; t++) {
        if (bf16)
            cpu_swiglu_row(a, t, true);
        else
            cpu_swiglu_row(a, t, false);
    }
    return MUSTER_OK;
}

CPU_INLINE void cpu_swiglu_row_back(const struct swiglu_args *a, int64_t t, bool bf16)
{
    const void *gate = cpu_at(bf16, a->gate_up, 2 * t * a->width), *up = cpu_at(bf16, gate, a->width);
    const void *dy = cpu_at(bf16, a->dy, t * a->width);
    void *dgate = cpu_at_out(bf16, a->dgate_up, 2 * t * a->width), *dup = cpu_at_out(bf16, dgate, a->width);
    for (int64_t i = 0; i < a->width; i += CPU_LANES) {
        cpu_vec g = cpu_get(bf16, gate, i, a->width), u = cpu_get(bf16, up, i, a->width);
        cpu_vec d = cpu_get(bf16, dy, i, a->width), s = cpu_sigmoid(g);
        cpu_put(bf16, dgate, i, a->width, d * u * (s * (1.0f + g * (1.0f - s))));
        cpu_put(bf16, dup, i, a->width, d * g * s);
    }
}

CPU_OPERATION(cpu_swiglu_backward, swiglu_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t t = 0; t < a->tokens; t++) {
        if (bf16)
            cpu_swiglu_row_back(a, t, true);
        else
            cpu_swiglu_row_back(a, t, false);
    }
    return MUSTER_OK;
}

void CPU_NAME(cpu_random_words)(struct rng_key key, uint64_t first, int64_t blocks, uint32_t *words)
{
#pragma omp simd
    for (int64_t i = 0; i < blocks; i++) {
        struct rng_block block = rng_philox(key, 0, first + (uint64_t)i);
        words[4 * i] = block.word[0];
        words[4 * i + 1] = block.word[1];
        words[4 * i + 2] = block.word[2];
        words[4 * i + 3] = block.word[3];
    }
}

/* One block: a stretch of random words at a time. */
CPU_INLINE void cpu_dropout_block(const struct dropout_args *a, int64_t at, bool bf16)
{
    enum { STRETCH = 256 };
    const float factor = (float)(1.0 / (1.0 - (double)a->p));
    const int64_t end = cpu_least(at + CPU_POINTWISE_BLOCK, a->count);
    uint32_t words[STRETCH];
    for (; at < end; at += STRETCH) {
        CPU_NAME(cpu_random_words)(a->key, (uint64_t)at / 4, STRETCH / 4, words);
        const int64_t count = cpu_least(STRETCH, end - at);
        const void *x = cpu_at(bf16, a->x, at);
        void *y = cpu_at_out(bf16, a->y, at);
        for (int64_t i = 0; i < count; i += CPU_LANES) {
            cpu_uvec w;
            memcpy(&w, words + i, sizeof w);
            cpu_vec uniform = __builtin_convertvector((cpu_ivec)(w >> 8), cpu_vec) * 0x1p-24f;
            cpu_vec v = cpu_get(bf16, x, i, count) * factor;
            cpu_put(bf16, y, i, count, cpu_select(uniform >= a->p, v, cpu_splat(0.0f)));
        }
    }
}

CPU_OPERATION(cpu_dropout, dropout_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < a->count; at += CPU_POINTWISE_BLOCK) {
        if (bf16)
            cpu_dropout_block(a, at, true);
        else
            cpu_dropout_block(a, at, false);
    }
    return MUSTER_OK;
}

/* Turns the pairs of one head. Su et al., "RoFormer", 2021, equation 34, with the pairing of Llama. */
CPU_INLINE void cpu_rope_head(void *head, const float *cosines, const float *sines, int64_t half, bool bf16)
{
    void *upper = cpu_at_out(bf16, head, half);
    for (int64_t i = 0; i < half; i += CPU_LANES) {
        cpu_vec c = cpu_fetch(cosines, i, half), s = cpu_fetch(sines, i, half);
        cpu_vec first = cpu_get(bf16, head, i, half), second = cpu_get(bf16, upper, i, half);
        cpu_put(bf16, head, i, half, first * c - second * s);
        cpu_put(bf16, upper, i, half, second * c + first * s);
    }
}

/* All rows at one position, which share their angles. */
static void cpu_rope_position(const struct rope_args *a, int64_t position, const double *frequencies,
                              float *cosines)
{
    const bool bf16 = a->dtype == DTYPE_BF16;
    const int64_t half = a->head_width / 2, row_width = (a->heads + 2 * a->kv_heads) * a->head_width;
    float *sines = cosines + half;
    for (int64_t i = 0; i < half; i++) {
        double angle = (double)position * frequencies[i];
        cosines[i] = (float)cos(angle);
        sines[i] = (float)(a->inverse ? -sin(angle) : sin(angle));
    }
    for (int64_t t = position; t < a->tokens; t += a->sequence) {
        for (int64_t h = 0; h < a->heads + a->kv_heads; h++) {
            void *head = cpu_at_out(bf16, a->qkv, t * row_width + h * a->head_width);
            cpu_rope_head(head, cosines, sines, half, bf16);
        }
    }
}

CPU_OPERATION(cpu_rope, rope_args)
{
    const int64_t frequency_bytes = a->head_width * 4; /* half as many doubles, in the first share */
    enum muster_status status = cpu_scratch_check(k, frequency_bytes + a->head_width * 4, "rope", err);
    if (status != MUSTER_OK)
        return status;
    double *frequencies = k->scratch;
    for (int64_t i = 0; i < a->head_width / 2; i++)
        frequencies[i] = pow((double)a->base, -2.0 * (double)i / (double)a->head_width);
    const int64_t positions = cpu_least(a->sequence, a->tokens);
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t position = 0; position < positions; position++) {
        float *angles = (float *)((char *)cpu_scratch_of_thread(k) + frequency_bytes);
        cpu_rope_position(a, position, frequencies, angles);
    }
    return MUSTER_OK;
}

void CPU_NAME(cpu_widen)(float *y, int64_t y_stride, const uint16_t *x, int64_t x_stride, int64_t rows,
                         int64_t columns)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < columns; i += CPU_LANES)
            cpu_keep(y + r * y_stride, i, columns, cpu_get(true, x + r * x_stride, i, columns));
    }
}

void CPU_NAME(cpu_narrow)(uint16_t *y, int64_t y_stride, const float *x, int64_t x_stride,
                          const uint16_t *bias, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < columns; i += CPU_LANES) {
            cpu_vec v = cpu_fetch(x + r * x_stride, i, columns);
            if (bias != NULL)
                v += cpu_get(true, bias, i, columns);
            cpu_put(true, y + r * y_stride, i, columns, v);
        }
    }
}
