/* SPDX-License-Identifier: MIT
 *
 * The reference operations on the flat parameter space: the two optimizers, sums and casts. State is rounded
 * to fp32 where it is stored and the parameter moves by the rounded state, so that a resumed run sees the
 * numbers that the interrupted one used.
 */
#include "kernels/host.h"
#include "kernels/ref/ref_internal.h"

static uint16_t ref_rounded(enum dtype dtype, float value)
{
    return dtype == DTYPE_F16 ? dtype_f16_from_f32(value) : dtype_bf16_from_f32(value);
}

static void ref_adamw_range(const struct adamw_args *a, int64_t at, int64_t end, double weight_decay)
{
    double beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    for (int64_t i = at; i < end; i++) {
        double grad = (double)a->grad[i] * (double)a->grad_scale;
        a->m[i] = (float)(beta1 * (double)a->m[i] + (1.0 - beta1) * grad);
        a->v[i] = (float)(beta2 * (double)a->v[i] + (1.0 - beta2) * grad * grad);
        double mean = (double)a->m[i] / (double)a->bias_correction1;
        double variance = (double)a->v[i] / (double)a->bias_correction2;
        double param = (double)a->param[i];
        double move = mean / (sqrt(variance) + (double)a->epsilon) + weight_decay * param;
        a->param[i] = (float)(param - (double)a->lr * move);
        if (a->param_rounded != NULL)
            a->param_rounded[i] = ref_rounded(a->rounded_dtype, a->param[i]);
    }
}

enum muster_status ref_adamw(struct kernels *k, const struct adamw_args *a, struct muster_error *err)
{
    (void)k;
    (void)err;
    for (struct host_range range = {0}; host_range_next(&range, &a->decay, a->count);)
        ref_adamw_range(a, range.at, range.end, range.decays ? (double)a->weight_decay : 0.0);
    return MUSTER_OK;
}

static void ref_sgd_range(const struct sgd_args *a, int64_t at, int64_t end, double weight_decay)
{
    double mu = (double)a->mu;
    for (int64_t i = at; i < end; i++) {
        double param = (double)a->param[i];
        double grad = (double)a->grad[i] * (double)a->grad_scale + weight_decay * param;
        a->momentum[i] = (float)(mu * (double)a->momentum[i] + grad);
        double move = (double)a->momentum[i];
        if (a->nesterov)
            move = grad + mu * move;
        a->param[i] = (float)(param - (double)a->lr * move);
        if (a->param_rounded != NULL)
            a->param_rounded[i] = ref_rounded(a->rounded_dtype, a->param[i]);
    }
}

enum muster_status ref_sgd(struct kernels *k, const struct sgd_args *a, struct muster_error *err)
{
    (void)k;
    (void)err;
    for (struct host_range range = {0}; host_range_next(&range, &a->decay, a->count);)
        ref_sgd_range(a, range.at, range.end, range.decays ? (double)a->weight_decay : 0.0);
    return MUSTER_OK;
}

enum muster_status ref_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                   double *sums, struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < count; i++) {
        double square = (double)x[i] * (double)x[i];
        sums[i / chunk] = i % chunk == 0 ? square : sums[i / chunk] + square;
    }
    return MUSTER_OK;
}

enum muster_status ref_add(struct kernels *k, float *y, const float *x, int64_t count,
                           struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i];
    return MUSTER_OK;
}

enum muster_status ref_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                int64_t count, struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < count; i++)
        y[i] = ref_rounded(dtype, x[i]);
    return MUSTER_OK;
}
