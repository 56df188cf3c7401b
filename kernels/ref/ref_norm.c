/* SPDX-License-Identifier: MIT
 *
 * The reference layer norm and RMS norm. The statistics are rounded to fp32 before y is made from them, also
 * where they are not stored: recomputing y from the stored residual gives the same bits. Ba, Kiros & Hinton,
 * "Layer Normalization", 2016; Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019.
 */
#include "kernels/ref/ref_internal.h"

#include "base/alloc.h"

struct ref_norm_statistics {
    double mean, rstd;
};

static struct ref_norm_statistics ref_norm_measure(const struct norm_args *a, const double *row)
{
    double mean = 0.0, variance = 0.0;
    if (a->kind == NORM_LAYER) {
        for (int64_t c = 0; c < a->width; c++)
            mean += row[c];
        mean /= (double)a->width;
    }
    for (int64_t c = 0; c < a->width; c++)
        variance += (row[c] - mean) * (row[c] - mean);
    variance /= (double)a->width;
    double rstd = 1.0 / sqrt(variance + (double)a->epsilon);
    struct ref_norm_statistics statistics = {(double)(float)mean, (double)(float)rstd};
    return statistics;
}

/* Fills `row` with row t of what is normalised, storing it as the residual when there is a delta. */
static void ref_norm_residual(const struct norm_args *a, int64_t t, double *row)
{
    for (int64_t c = 0; c < a->width; c++) {
        int64_t at = t * a->width + c;
        row[c] = ref_load(a->dtype, a->x, at);
        if (a->delta != NULL)
            row[c] = ref_store(a->dtype, a->residual, at, row[c] + ref_load(a->dtype, a->delta, at));
    }
}

enum muster_status ref_norm_forward(struct kernels *k, const struct norm_args *a, struct muster_error *err)
{
    (void)k;
    double *row = ref_array_create(a->width, err);
    if (row == NULL)
        return MUSTER_ERR_NO_MEMORY;
    for (int64_t t = 0; t < a->tokens; t++) {
        ref_norm_residual(a, t, row);
        struct ref_norm_statistics s = ref_norm_measure(a, row);
        for (int64_t c = 0; c < a->width; c++) {
            double value = (row[c] - s.mean) * s.rstd * ref_load(a->dtype, a->gain, c);
            if (a->bias != NULL)
                value += ref_load(a->dtype, a->bias, c);
            ref_store(a->dtype, a->y, t * a->width + c, value);
        }
        if (a->mean != NULL && a->kind == NORM_LAYER)
            a->mean[t] = (float)s.mean;
        if (a->rstd != NULL)
            a->rstd[t] = (float)s.rstd;
    }
    alloc_free(row);
    return MUSTER_OK;
}

/* One row: with h = (residual - mean) · rstd and g = dy · gain, the gradient is
 * rstd · (g - average(g) - h · average(g · h)); RMS lacks the middle term. */
static void ref_norm_row_back(const struct norm_args *a, int64_t t, double *dgain, double *dbias)
{
    double mean = a->kind == NORM_LAYER ? (double)a->mean[t] : 0.0, rstd = (double)a->rstd[t];
    double average = 0.0, average_scaled = 0.0;
    for (int64_t c = 0; c < a->width; c++) {
        double dy = ref_load(a->dtype, a->dy, t * a->width + c);
        double h = (ref_load(a->dtype, a->residual, t * a->width + c) - mean) * rstd;
        double g = dy * ref_load(a->dtype, a->gain, c);
        average += g / (double)a->width;
        average_scaled += g * h / (double)a->width;
        dgain[c] += dy * h;
        dbias[c] += dy;
    }
    if (a->kind == NORM_RMS)
        average = 0.0;
    for (int64_t c = 0; c < a->width; c++) {
        int64_t at = t * a->width + c;
        double h = (ref_load(a->dtype, a->residual, at) - mean) * rstd;
        double g = ref_load(a->dtype, a->dy, at) * ref_load(a->dtype, a->gain, c);
        double earlier = a->accumulate ? ref_load(a->dtype, a->dresidual, at) : 0.0;
        ref_store(a->dtype, a->dresidual, at, earlier + rstd * (g - average - h * average_scaled));
    }
}

enum muster_status ref_norm_backward(struct kernels *k, const struct norm_args *a, struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *dgain = ref_array_create(a->width, err);
    double *dbias = ref_array_create(a->width, err);
    if (dgain == NULL || dbias == NULL)
        goto out;
    for (int64_t t = 0; t < a->tokens; t++)
        ref_norm_row_back(a, t, dgain, dbias);
    ref_array_add(a->dgain, dgain, a->width);
    if (a->dbias != NULL)
        ref_array_add(a->dbias, dbias, a->width);
    status = MUSTER_OK;
out:
    alloc_free(dgain);
    alloc_free(dbias);
    return status;
}
