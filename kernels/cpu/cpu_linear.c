/* SPDX-License-Identifier: MIT
 *
 * Linear layers: one matrix product each, with what surrounds it (bias, activation, its derivative, column
 * sums) done tile by tile while the tile is in cache. In bf16 the activation is taken of the stored, rounded
 * value, as recomputing it would; likewise the gradient is rounded before it is multiplied by the slope.
 */
#include "kernels/cpu/cpu_gemm.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

struct cpu_linear {
    struct kernels *k;
    const struct linear_args *a;
    bool bf16;
    void *raw; /* forward: where the product lands before the activation */
};

/* Columns [from, to) of one row of pre + bias -> activation -> y; the bias is NULL where it is already in. */
CPU_INLINE void cpu_linear_finish_row(bool bf16, enum activation activation, void *raw, const void *bias,
                                      void *y, int64_t count)
{
    for (int64_t i = 0; i < count; i += CPU_LANES) {
        cpu_vec v = cpu_get(bf16, raw, i, count);
        if (bias != NULL) {
            v += cpu_get(bf16, bias, i, count);
            if (raw != y)
                cpu_put(bf16, raw, i, count, v);
        }
        cpu_put(bf16, y, i, count, cpu_activate(activation, v));
    }
}

CPU_INLINE void cpu_linear_finish_rows(const struct cpu_linear *l, const struct cpu_tile *tile, bool bf16,
                                       enum activation activation)
{
    const struct linear_args *a = l->a;
    const int64_t count = tile->column_end - tile->column;
    const void *bias = bf16 || a->bias == NULL ? NULL : cpu_at(bf16, a->bias, tile->column);
    for (int64_t t = tile->row; t < tile->row_end; t++) {
        int64_t at = t * a->out_width + tile->column;
        cpu_linear_finish_row(bf16, activation, cpu_at_out(bf16, l->raw, at), bias,
                              cpu_at_out(bf16, a->y, at), count);
    }
}

static void cpu_linear_forward_finish(void *context, const struct cpu_tile *tile)
{
    const struct cpu_linear *l = context;
    switch (l->a->activation) {
    case ACTIVATION_GELU_TANH:
        if (l->bf16)
            cpu_linear_finish_rows(l, tile, true, ACTIVATION_GELU_TANH);
        else
            cpu_linear_finish_rows(l, tile, false, ACTIVATION_GELU_TANH);
        break;
    case ACTIVATION_RELU:
        if (l->bf16)
            cpu_linear_finish_rows(l, tile, true, ACTIVATION_RELU);
        else
            cpu_linear_finish_rows(l, tile, false, ACTIVATION_RELU);
        break;
    case ACTIVATION_NONE:
        if (!l->bf16) /* bf16 products bring their bias */
            cpu_linear_finish_rows(l, tile, false, ACTIVATION_NONE);
        break;
    }
}

CPU_OPERATION(cpu_linear_forward, linear_args)
{
    struct cpu_linear l = {.k = k, .a = a, .bf16 = a->dtype == DTYPE_BF16};
    l.raw = a->activation != ACTIVATION_NONE && a->pre != NULL ? a->pre : a->y;
    struct cpu_product p = {.in = a->dtype, .out = a->dtype, .transpose_b = true};
    p.m = a->tokens, p.n = a->out_width, p.k = a->in_width;
    p.a = a->x, p.a_stride = a->in_width;
    p.b = a->w, p.b_stride = a->in_width;
    p.c = l.raw, p.c_stride = a->out_width;
    p.bias = l.bf16 ? a->bias : NULL;
    bool plain = a->activation == ACTIVATION_NONE && (l.bf16 || a->bias == NULL);
    return cpu_product_run(k, &p, plain ? NULL : cpu_linear_forward_finish, &l, err);
}

CPU_INLINE void cpu_linear_slope_rows(const struct linear_args *a, const struct cpu_tile *tile, bool bf16,
                                      enum activation activation)
{
    const int64_t count = tile->column_end - tile->column;
    for (int64_t t = tile->row; t < tile->row_end; t++) {
        int64_t at = t * a->in_width + tile->column;
        const void *pre = cpu_at(bf16, a->input_pre, at);
        void *dx = cpu_at_out(bf16, a->dx, at);
        for (int64_t i = 0; i < count; i += CPU_LANES) {
            cpu_vec slope = cpu_activate_slope(activation, cpu_get(bf16, pre, i, count));
            cpu_put(bf16, dx, i, count, cpu_get(bf16, dx, i, count) * slope);
        }
    }
}

static void cpu_linear_backward_finish(void *context, const struct cpu_tile *tile)
{
    const struct cpu_linear *l = context;
    if (l->a->input_activation == ACTIVATION_GELU_TANH) {
        if (l->bf16)
            cpu_linear_slope_rows(l->a, tile, true, ACTIVATION_GELU_TANH);
        else
            cpu_linear_slope_rows(l->a, tile, false, ACTIVATION_GELU_TANH);
    } else {
        if (l->bf16)
            cpu_linear_slope_rows(l->a, tile, true, ACTIVATION_RELU);
        else
            cpu_linear_slope_rows(l->a, tile, false, ACTIVATION_RELU);
    }
}

CPU_OPERATION(cpu_linear_backward_input, linear_args)
{
    struct cpu_linear l = {.k = k, .a = a, .bf16 = a->dtype == DTYPE_BF16};
    struct cpu_product p = {.in = a->dtype, .out = a->dtype};
    p.m = a->tokens, p.n = a->in_width, p.k = a->out_width;
    p.a = a->dy, p.a_stride = a->out_width;
    p.b = a->w, p.b_stride = a->in_width;
    p.c = a->dx, p.c_stride = a->in_width;
    bool plain = a->input_pre == NULL || a->input_activation == ACTIVATION_NONE;
    return cpu_product_run(k, &p, plain ? NULL : cpu_linear_backward_finish, &l, err);
}

/* dbias of the tile's rows of dw, which are columns of dy: summed over tokens in order, then added. */
static void cpu_linear_weight_finish(void *context, const struct cpu_tile *tile)
{
    const struct cpu_linear *l = context;
    const struct linear_args *a = l->a;
    if (tile->column != 0)
        return;
    const int64_t count = tile->row_end - tile->row;
    float *sums = cpu_scratch_of_thread(l->k);
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (int64_t t = 0; t < a->tokens; t++) {
        const void *dy = cpu_at(l->bf16, a->dy, t * a->out_width + tile->row);
        for (int64_t i = 0; i < count; i += CPU_LANES)
            cpu_keep(sums, i, count, cpu_fetch(sums, i, count) + cpu_get(l->bf16, dy, i, count));
    }
    float *dbias = a->dbias + tile->row;
    for (int64_t i = 0; i < count; i += CPU_LANES)
        cpu_keep(dbias, i, count, cpu_fetch(dbias, i, count) + cpu_fetch(sums, i, count));
}

CPU_OPERATION(cpu_linear_backward_weight, linear_args)
{
    struct cpu_linear l = {.k = k, .a = a, .bf16 = a->dtype == DTYPE_BF16};
    enum muster_status status =
        cpu_scratch_check(k, cpu_least(a->out_width, CPU_TILE_EDGE_MAX) * 4, "linear_backward_weight", err);
    if (status != MUSTER_OK)
        return status;
    struct cpu_product p = {.in = a->dtype, .out = DTYPE_F32, .transpose_a = true, .accumulate = true};
    p.m = a->out_width, p.n = a->in_width, p.k = a->tokens;
    p.a = a->dy, p.a_stride = a->out_width;
    p.b = a->x, p.b_stride = a->in_width;
    p.c = a->dw, p.c_stride = a->in_width;
    return cpu_product_run(k, &p, a->dbias == NULL ? NULL : cpu_linear_weight_finish, &l, err);
}
