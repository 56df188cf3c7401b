/* SPDX-License-Identifier: MIT
 *
 * Streaming operations on the flat parameter space. An element becomes the same wherever a range starts or
 * ends: all elements go through the same vector instructions. Sums are taken over blocks of fixed size.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"
#include "kernels/host.h"

enum { CPU_UPDATE_BLOCK = 65536 };

static void cpu_adamw_range(const struct adamw_args *a, int64_t at, int64_t end, float weight_decay)
{
    const float rise1 = (float)(1.0 - (double)a->beta1), rise2 = (float)(1.0 - (double)a->beta2);
    const float inverse1 = 1.0f / a->bias_correction1, inverse2 = 1.0f / a->bias_correction2;
    for (int64_t i = at; i < end; i += CPU_LANES) {
        cpu_vec grad = cpu_fetch(a->grad, i, end) * a->grad_scale, param = cpu_fetch(a->param, i, end);
        cpu_vec m = a->beta1 * cpu_fetch(a->m, i, end) + rise1 * grad;
        cpu_vec v = a->beta2 * cpu_fetch(a->v, i, end) + rise2 * (grad * grad);
        cpu_keep(a->m, i, end, m);
        cpu_keep(a->v, i, end, v);
        cpu_vec move = (m * inverse1) / (cpu_sqrt(v * inverse2) + a->epsilon) + weight_decay * param;
        param = param - a->lr * move;
        cpu_keep(a->param, i, end, param);
        if (a->param_rounded != NULL)
            cpu_put(true, a->param_rounded, i, end, param);
    }
}

CPU_OPERATION(cpu_adamw, adamw_args)
{
    (void)err;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < a->count; at += CPU_UPDATE_BLOCK) {
        int64_t end = cpu_least(at + CPU_UPDATE_BLOCK, a->count);
        for (struct host_range range = {.end = at}; host_range_next(&range, &a->decay, end);)
            cpu_adamw_range(a, range.at, range.end, range.decays ? a->weight_decay : 0.0f);
    }
    return MUSTER_OK;
}

static void cpu_sgd_range(const struct sgd_args *a, int64_t at, int64_t end, float weight_decay)
{
    for (int64_t i = at; i < end; i += CPU_LANES) {
        cpu_vec param = cpu_fetch(a->param, i, end);
        cpu_vec grad = cpu_fetch(a->grad, i, end) * a->grad_scale + weight_decay * param;
        cpu_vec momentum = a->mu * cpu_fetch(a->momentum, i, end) + grad;
        cpu_keep(a->momentum, i, end, momentum);
        param = param - a->lr * (a->nesterov ? grad + a->mu * momentum : momentum);
        cpu_keep(a->param, i, end, param);
        if (a->param_rounded != NULL)
            cpu_put(true, a->param_rounded, i, end, param);
    }
}

CPU_OPERATION(cpu_sgd, sgd_args)
{
    (void)err;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < a->count; at += CPU_UPDATE_BLOCK) {
        int64_t end = cpu_least(at + CPU_UPDATE_BLOCK, a->count);
        for (struct host_range range = {.end = at}; host_range_next(&range, &a->decay, end);)
            cpu_sgd_range(a, range.at, range.end, range.decays ? a->weight_decay : 0.0f);
    }
    return MUSTER_OK;
}

typedef double cpu_wide __attribute__((vector_size(8 * CPU_LANES)));

/* Sums in one double per lane, folded in order. */
static double cpu_sum_squares_block(const float *x, int64_t at, int64_t end)
{
    cpu_wide sums[2] = {{0}, {0}};
    for (int64_t i = at, odd = 0; i < end; i += CPU_LANES, odd ^= 1) {
        cpu_wide v = __builtin_convertvector(cpu_fetch(x, i, end), cpu_wide);
        sums[odd] += v * v;
    }
    double total = 0.0;
    for (int lane = 0; lane < CPU_LANES; lane++)
        total += sums[0][lane] + sums[1][lane];
    return total;
}

static double cpu_sum_squares_chunk(const float *x, int64_t at, int64_t end)
{
    double total = 0.0;
    for (; at < end; at += CPU_UPDATE_BLOCK)
        total += cpu_sum_squares_block(x, at, cpu_least(at + CPU_UPDATE_BLOCK, end));
    return total;
}

enum muster_status CPU_NAME(cpu_sum_squares)(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                             double *sums, struct muster_error *err)
{
    (void)err;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < count; at += chunk)
        sums[at / chunk] = cpu_sum_squares_chunk(x, at, cpu_least(at + chunk, count));
    return MUSTER_OK;
}

enum muster_status CPU_NAME(cpu_add)(struct kernels *k, float *y, const float *x, int64_t count,
                                     struct muster_error *err)
{
    (void)err;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < count; at += CPU_UPDATE_BLOCK) {
        int64_t end = cpu_least(at + CPU_UPDATE_BLOCK, count);
        for (int64_t i = at; i < end; i += CPU_LANES)
            cpu_keep(y, i, end, cpu_fetch(y, i, end) + cpu_fetch(x, i, end));
    }
    return MUSTER_OK;
}

enum muster_status CPU_NAME(cpu_fill_zero)(struct kernels *k, void *y, int64_t bytes,
                                           struct muster_error *err)
{
    (void)err;
    const int64_t block = 4 * CPU_UPDATE_BLOCK;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < bytes; at += block)
        memset((char *)y + at, 0, (size_t)cpu_least(block, bytes - at));
    return MUSTER_OK;
}

enum muster_status CPU_NAME(cpu_round_to)(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                          int64_t count, struct muster_error *err)
{
    (void)err;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t at = 0; at < count; at += CPU_UPDATE_BLOCK) {
        int64_t end = cpu_least(at + CPU_UPDATE_BLOCK, count);
        for (int64_t i = at; i < end && dtype == DTYPE_F16; i++)
            y[i] = dtype_f16_from_f32(x[i]);
        for (int64_t i = at; i < end && dtype == DTYPE_BF16; i += CPU_LANES)
            cpu_put(true, y, i, end, cpu_fetch(x, i, end));
    }
    return MUSTER_OK;
}
