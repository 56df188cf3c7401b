/* SPDX-License-Identifier: MIT
 *
 * The reference linear layer and embedding: plain triple loops over doubles, in the order of the formula.
 */
#include "kernels/ref/ref_internal.h"

#include "base/alloc.h"

/* One output row: pre is rounded before the activation even where it is not stored, so that keeping it or not
 * never changes y. */
static void ref_linear_row(const struct linear_args *a, const double *x, const double *w, int64_t t)
{
    for (int64_t n = 0; n < a->out_width; n++) {
        double sum = a->bias != NULL ? ref_load(a->dtype, a->bias, n) : 0.0;
        for (int64_t c = 0; c < a->in_width; c++)
            sum += x[c] * w[n * a->in_width + c];
        int64_t at = t * a->out_width + n;
        if (a->activation != ACTIVATION_NONE) {
            double pre = ref_round(a->dtype, sum);
            if (a->pre != NULL)
                ref_store(a->dtype, a->pre, at, pre);
            sum = ref_activation_value(a->activation, pre);
        }
        ref_store(a->dtype, a->y, at, sum);
    }
}

enum muster_status ref_linear_forward(struct kernels *k, const struct linear_args *a,
                                      struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *x = ref_array_load(a->dtype, a->x, a->tokens * a->in_width, err);
    double *w = ref_array_load(a->dtype, a->w, a->out_width * a->in_width, err);
    if (x == NULL || w == NULL)
        goto out;
    for (int64_t t = 0; t < a->tokens; t++)
        ref_linear_row(a, x + t * a->in_width, w, t);
    status = MUSTER_OK;
out:
    alloc_free(x);
    alloc_free(w);
    return status;
}

/* dx = dy · w for one row, into `sums`. */
static void ref_linear_row_back(const struct linear_args *a, const double *dy, const double *w, double *sums)
{
    memset(sums, 0, (size_t)a->in_width * sizeof *sums);
    for (int64_t n = 0; n < a->out_width; n++)
        for (int64_t c = 0; c < a->in_width; c++)
            sums[c] += dy[n] * w[n * a->in_width + c];
}

enum muster_status ref_linear_backward_input(struct kernels *k, const struct linear_args *a,
                                             struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *dy = ref_array_load(a->dtype, a->dy, a->tokens * a->out_width, err);
    double *w = ref_array_load(a->dtype, a->w, a->out_width * a->in_width, err);
    double *sums = ref_array_create(a->in_width, err);
    if (dy == NULL || w == NULL || sums == NULL)
        goto out;
    for (int64_t t = 0; t < a->tokens; t++) {
        ref_linear_row_back(a, dy + t * a->out_width, w, sums);
        for (int64_t c = 0; c < a->in_width; c++) {
            int64_t at = t * a->in_width + c;
            double slope = 1.0;
            if (a->input_pre != NULL)
                slope = ref_activation_slope(a->input_activation, ref_load(a->dtype, a->input_pre, at));
            ref_store(a->dtype, a->dx, at, sums[c] * slope);
        }
    }
    status = MUSTER_OK;
out:
    alloc_free(dy);
    alloc_free(w);
    alloc_free(sums);
    return status;
}

/* One row of dw (and its element of dbias): dw[n, :] += sum over t of dy[t, n] · x[t, :]. */
static void ref_linear_weight_row(const struct linear_args *a, const double *x, int64_t n, double *sums)
{
    double column = 0.0;
    memset(sums, 0, (size_t)a->in_width * sizeof *sums);
    for (int64_t t = 0; t < a->tokens; t++) {
        double dy = ref_load(a->dtype, a->dy, t * a->out_width + n);
        column += dy;
        for (int64_t c = 0; c < a->in_width; c++)
            sums[c] += dy * x[t * a->in_width + c];
    }
    ref_array_add(a->dw + n * a->in_width, sums, a->in_width);
    if (a->dbias != NULL)
        ref_array_add(a->dbias + n, &column, 1);
}

enum muster_status ref_linear_backward_weight(struct kernels *k, const struct linear_args *a,
                                              struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *x = ref_array_load(a->dtype, a->x, a->tokens * a->in_width, err);
    double *sums = ref_array_create(a->in_width, err);
    if (x == NULL || sums == NULL)
        goto out;
    for (int64_t n = 0; n < a->out_width; n++)
        ref_linear_weight_row(a, x, n, sums);
    status = MUSTER_OK;
out:
    alloc_free(x);
    alloc_free(sums);
    return status;
}

enum muster_status ref_embedding_forward(struct kernels *k, const struct embedding_args *a,
                                         struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t c = 0; c < a->width; c++) {
            double sum = ref_load(a->dtype, a->token_table, a->ids[t] * a->width + c);
            if (a->position_table != NULL)
                sum += ref_load(a->dtype, a->position_table, t % a->sequence * a->width + c);
            ref_store(a->dtype, a->y, t * a->width + c, sum);
        }
    }
    return MUSTER_OK;
}

enum muster_status ref_embedding_backward(struct kernels *k, const struct embedding_args *a,
                                          struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *tokens = ref_array_create(a->vocabulary * a->width, err);
    double *positions = ref_array_create(a->sequence * a->width, err);
    if (tokens == NULL || positions == NULL)
        goto out;
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t c = 0; c < a->width; c++) {
            double dy = ref_load(a->dtype, a->dy, t * a->width + c);
            tokens[a->ids[t] * a->width + c] += dy;
            positions[t % a->sequence * a->width + c] += dy;
        }
    }
    ref_array_add(a->dtoken_table, tokens, a->vocabulary * a->width);
    if (a->dposition_table != NULL)
        ref_array_add(a->dposition_table, positions, a->sequence * a->width);
    status = MUSTER_OK;
out:
    alloc_free(tokens);
    alloc_free(positions);
    return status;
}
