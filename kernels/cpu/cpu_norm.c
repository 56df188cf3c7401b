/* SPDX-License-Identifier: MIT
 *
 * Layer and RMS norms, a row at a time. The gradients of gain and bias are sums over rows: rows are cut into
 * groups whose number depends on the shape only, each group sums its rows in order, and the groups' sums are
 * added in order, so that the number of threads does not show.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

struct cpu_norm_row {
    int64_t width;
    enum norm_kind kind;
    float mean, rstd;
};

/* Stores x + delta as the residual, if there is a delta, and returns the row that is normalised. */
CPU_INLINE const void *cpu_norm_add(const struct norm_args *a, int64_t t, bool bf16)
{
    const void *x = cpu_at(bf16, a->x, t * a->width);
    if (a->delta == NULL)
        return x;
    const void *delta = cpu_at(bf16, a->delta, t * a->width);
    void *residual = cpu_at_out(bf16, a->residual, t * a->width);
    for (int64_t i = 0; i < a->width; i += CPU_LANES)
        cpu_put(bf16, residual, i, a->width,
                cpu_get(bf16, x, i, a->width) + cpu_get(bf16, delta, i, a->width));
    return residual;
}

CPU_INLINE struct cpu_norm_row cpu_norm_measure(const struct norm_args *a, const void *row, bool bf16)
{
    const int64_t width = a->width;
    struct cpu_norm_row result = {.width = width, .kind = a->kind};
    cpu_vec sum[2] = {{0}, {0}};
    if (a->kind == NORM_LAYER) {
        for (int64_t i = 0; i < width; i += 2 * CPU_LANES) {
            sum[0] += cpu_get(bf16, row, i, width);
            if (i + CPU_LANES < width)
                sum[1] += cpu_get(bf16, row, i + CPU_LANES, width);
        }
        result.mean = cpu_lanes_sum(sum[0] + sum[1]) / (float)width;
    }
    cpu_vec square[2] = {{0}, {0}};
    for (int64_t i = 0, odd = 0; i < width; i += CPU_LANES, odd ^= 1) {
        cpu_vec d = cpu_get(bf16, row, i, width) - result.mean;
        if (width - i < CPU_LANES)
            d = cpu_select(cpu_lanes_present(i, width), d, cpu_splat(0.0f));
        square[odd] += d * d;
    }
    float variance = cpu_lanes_sum(square[0] + square[1]) / (float)width;
    result.rstd = 1.0f / __builtin_sqrtf(variance + a->epsilon);
    return result;
}

CPU_INLINE void cpu_norm_forward_row(const struct norm_args *a, int64_t t, bool bf16)
{
    const void *row = cpu_norm_add(a, t, bf16);
    const struct cpu_norm_row n = cpu_norm_measure(a, row, bf16);
    void *y = cpu_at_out(bf16, a->y, t * a->width);
    for (int64_t i = 0; i < a->width; i += CPU_LANES) {
        cpu_vec v = (cpu_get(bf16, row, i, a->width) - n.mean) * n.rstd * cpu_get(bf16, a->gain, i, a->width);
        if (a->bias != NULL)
            v += cpu_get(bf16, a->bias, i, a->width);
        cpu_put(bf16, y, i, a->width, v);
    }
    if (a->mean != NULL && a->kind == NORM_LAYER)
        a->mean[t] = n.mean;
    if (a->rstd != NULL)
        a->rstd[t] = n.rstd;
}

CPU_OPERATION(cpu_norm_forward, norm_args)
{
    (void)err;
    const bool bf16 = a->dtype == DTYPE_BF16;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t t = 0; t < a->tokens; t++) {
        if (bf16)
            cpu_norm_forward_row(a, t, true);
        else
            cpu_norm_forward_row(a, t, false);
    }
    return MUSTER_OK;
}

/* The gradient of one row; adds its terms to the sums of its group. With h = (residual - mean) rstd and
 * g = dy gain it is rstd (g - average(g) - h average(g h)); RMS lacks the middle term. */
CPU_INLINE void cpu_norm_backward_row(const struct norm_args *a, int64_t t, float *dgain, float *dbias,
                                      bool bf16)
{
    const int64_t width = a->width;
    const void *dy = cpu_at(bf16, a->dy, t * width), *row = cpu_at(bf16, a->residual, t * width);
    void *dresidual = cpu_at_out(bf16, a->dresidual, t * width);
    const float rstd = a->rstd[t], mean = a->kind == NORM_LAYER ? a->mean[t] : 0.0f;
    cpu_vec sum = {0}, sum_scaled = {0};
    for (int64_t i = 0; i < width; i += CPU_LANES) {
        cpu_vec d = cpu_get(bf16, dy, i, width);
        cpu_vec h = (cpu_get(bf16, row, i, width) - mean) * rstd;
        cpu_vec g = d * cpu_get(bf16, a->gain, i, width); /* 0 in lanes past the end */
        sum += g;
        sum_scaled += g * h;
        cpu_keep(dgain, i, width, cpu_fetch(dgain, i, width) + d * h);
        cpu_keep(dbias, i, width, cpu_fetch(dbias, i, width) + d);
    }
    float average = a->kind == NORM_LAYER ? cpu_lanes_sum(sum) / (float)width : 0.0f;
    float average_scaled = cpu_lanes_sum(sum_scaled) / (float)width;
    for (int64_t i = 0; i < width; i += CPU_LANES) {
        cpu_vec h = (cpu_get(bf16, row, i, width) - mean) * rstd;
        cpu_vec g = cpu_get(bf16, dy, i, width) * cpu_get(bf16, a->gain, i, width);
        cpu_vec v = rstd * (g - average - h * average_scaled);
        if (a->accumulate)
            v += cpu_get(bf16, dresidual, i, width);
        cpu_put(bf16, dresidual, i, width, v);
    }
}

/* How many groups the rows are cut into: their sums fit in one thread's scratch. */
static int64_t cpu_norm_groups(const struct norm_args *a)
{
    int64_t fitting = (1 << 19) / (8 * a->width);
    int64_t groups = fitting < 4 ? 4 : cpu_least(fitting, 64);
    return cpu_least(groups, cpu_divide_up(a->tokens, 8));
}

/* sums += the groups' sums of one column strip, in order. */
static void cpu_norm_add_groups(float *total, const float *sums, int64_t groups, int64_t group_stride,
                                int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += CPU_LANES) {
        cpu_vec v = cpu_fetch(sums, i, to);
        for (int64_t g = 1; g < groups; g++)
            v += cpu_fetch(sums + g * group_stride, i, to);
        cpu_keep(total, i, to, cpu_fetch(total, i, to) + v);
    }
}

CPU_OPERATION(cpu_norm_backward, norm_args)
{
    const bool bf16 = a->dtype == DTYPE_BF16;
    const int64_t groups = cpu_norm_groups(a), stride = 2 * a->width;
    enum muster_status status = cpu_scratch_check(k, groups * stride * 4, "norm_backward", err);
    if (status != MUSTER_OK)
        return status;
    float *sums = k->scratch; /* [groups][dgain, dbias][width] */
#pragma omp parallel num_threads(k->threads)
    {
#pragma omp for schedule(static)
        for (int64_t g = 0; g < groups; g++) {
            float *dgain = sums + g * stride, *dbias = dgain + a->width;
            memset(dgain, 0, (size_t)stride * sizeof *dgain);
            for (int64_t t = g * a->tokens / groups; t < (g + 1) * a->tokens / groups; t++) {
                if (bf16)
                    cpu_norm_backward_row(a, t, dgain, dbias, true);
                else
                    cpu_norm_backward_row(a, t, dgain, dbias, false);
            }
        }
#pragma omp for schedule(static)
        for (int64_t c = 0; c < a->width; c += 64) {
            int64_t end = cpu_least(c + 64, a->width);
            cpu_norm_add_groups(a->dgain, sums, groups, stride, c, end);
            if (a->dbias != NULL)
                cpu_norm_add_groups(a->dbias, sums + a->width, groups, stride, c, end);
        }
    }
    return MUSTER_OK;
}
