/* SPDX-License-Identifier: MIT
 *
 * Linear layers as products with what cuBLASLt can do on the way out. Which of its epilogues are used follows
 * from the rule "what is stored is what is used" (kernels.h):
 *
 *   bias             fused: pre = x · wᵀ + bias is rounded once, as it must be.
 *   activation       never fused. cuBLASLt applies its own GELU to the sum before it is rounded; recomputing
 * y from the stored pre would then give other bits, and a job would train differently with and without
 * recomputation. Our kernel runs over the stored values instead: one more pass over [tokens, out_width].
 *   slope of GELU    fused where the values are 16 bits wide and the library has an algorithm: dx is the only
 *                    thing stored, and every mode of recomputation takes this same way.
 *   bias gradient    with the weights' (BGRADB), in fp32 into a row of scratch, which is then added to dbias:
 * the epilogue overwrites. Our kernel where the library has none or cuda_gemm.c passes it over. Not with the
 * slope of GELU (DGELU_BGRAD): its sums have the type of its output (cublasLt.h, BIAS_POINTER), so that a sum
 * over all tokens would be rounded to 16 bits, and they run across tiles instead of within one.
 */
#include "kernels/cuda/cuda_gemm.h"

/* c = x · wᵀ + bias where the library has no such epilogue: c starts as the bias in each row, exactly, and
 * the product is added to it before the one rounding. */
static enum muster_status cuda_linear_bias_first(struct kernels *k, const struct linear_args *a,
                                                 struct cuda_product *p, struct muster_error *err)
{
    const int64_t bytes = a->tokens * a->out_width * (int64_t)dtype_size(a->dtype);
    enum muster_status status = k->ops->fill_zero(k, p->c, bytes, err);
    if (status != MUSTER_OK)
        return status;
    const struct cuda_epilogue_args fill = {.dtype = a->dtype,
                                            .rows = a->tokens,
                                            .columns = a->out_width,
                                            .x = p->c,
                                            .bias = a->bias,
                                            .activation = ACTIVATION_NONE,
                                            .y = p->c};
    status = cuda_epilogue(k, &fill, err);
    if (status != MUSTER_OK)
        return status;
    p->epilogue = CUDA_GEMM_PLAIN;
    p->accumulate = true;
    return cuda_gemm_run(cuda_kernels_from(k), p, err);
}

enum muster_status cuda_linear_forward(struct kernels *k, const struct linear_args *a,
                                       struct muster_error *err)
{
    const bool activated = a->activation != ACTIVATION_NONE;
    void *pre = activated && a->pre != NULL ? a->pre : a->y;
    struct cuda_product p = {.in = a->dtype, .out = a->dtype, .transpose_b = true};
    p.m = a->tokens, p.n = a->out_width, p.k = a->in_width;
    p.a = a->x, p.a_stride = a->in_width;
    p.b = a->w, p.b_stride = a->in_width;
    p.c = pre, p.c_stride = a->out_width;
    p.bias = a->bias;
    p.epilogue = a->bias != NULL ? CUDA_GEMM_BIAS : CUDA_GEMM_PLAIN;
    enum muster_status status = cuda_gemm_run(cuda_kernels_from(k), &p, err);
    if (status == MUSTER_ERR_UNSUPPORTED && a->bias != NULL)
        status = cuda_linear_bias_first(k, a, &p, err);
    if (status != MUSTER_OK || !activated)
        return status;
    const struct cuda_epilogue_args activate = {.dtype = a->dtype,
                                                .rows = a->tokens,
                                                .columns = a->out_width,
                                                .x = pre,
                                                .activation = a->activation,
                                                .y = a->y};
    return cuda_epilogue(k, &activate, err);
}

/* dx = dx · activation'(input_pre), each element read before it is written. */
static enum muster_status cuda_linear_slope(struct kernels *k, const struct linear_args *a,
                                            struct muster_error *err)
{
    const struct activation_args slope = {.dtype = a->dtype,
                                          .count = a->tokens * a->in_width,
                                          .activation = a->input_activation,
                                          .pre = a->input_pre,
                                          .dy = a->dx,
                                          .dx = a->dx};
    return cuda_activation_backward(k, &slope, err);
}

enum muster_status cuda_linear_backward_input(struct kernels *k, const struct linear_args *a,
                                              struct muster_error *err)
{
    const bool sloped = a->input_pre != NULL && a->input_activation != ACTIVATION_NONE;
    struct cuda_product p = {.in = a->dtype, .out = a->dtype};
    p.m = a->tokens, p.n = a->in_width, p.k = a->out_width;
    p.a = a->dy, p.a_stride = a->out_width;
    p.b = a->w, p.b_stride = a->in_width;
    p.c = a->dx, p.c_stride = a->in_width;
    /* the library wants rows of the slope's argument to start on 8 elements */
    if (sloped && a->input_activation == ACTIVATION_GELU_TANH && a->dtype != DTYPE_F32 &&
        a->in_width % 8 == 0) {
        p.epilogue = CUDA_GEMM_GELU_SLOPE;
        p.slope_at = a->input_pre;
        enum muster_status fused = cuda_gemm_run(cuda_kernels_from(k), &p, err);
        if (fused != MUSTER_ERR_UNSUPPORTED)
            return fused;
        p.epilogue = CUDA_GEMM_PLAIN;
        p.slope_at = NULL;
    }
    enum muster_status status = cuda_gemm_run(cuda_kernels_from(k), &p, err);
    return status == MUSTER_OK && sloped ? cuda_linear_slope(k, a, err) : status;
}

enum muster_status cuda_weight_gradient(struct kernels *k, const struct cuda_weight_args *a,
                                        struct muster_error *err)
{
    struct cuda_product p = {.in = a->dtype, .out = DTYPE_F32, .transpose_a = true, .accumulate = true};
    p.m = a->out_width, p.n = a->in_width, p.k = a->tokens;
    p.a = a->dy, p.a_stride = a->dy_stride;
    p.b = a->x, p.b_stride = a->in_width;
    p.c = a->dw, p.c_stride = a->in_width;
    if (a->dbias == NULL)
        return cuda_gemm_run(cuda_kernels_from(k), &p, err);
    if (k->scratch_bytes >= OPS_GEMM_WORKSPACE_BYTES + a->out_width * 4) { /* behind the work memory */
        float *row = (float *)((char *)k->scratch + OPS_GEMM_WORKSPACE_BYTES);
        p.epilogue = CUDA_GEMM_BIAS_GRADIENT;
        p.row_sums = row;
        enum muster_status fused = cuda_gemm_run(cuda_kernels_from(k), &p, err);
        if (fused == MUSTER_OK)
            return cuda_add(k, a->dbias, row, a->out_width, err);
        if (fused != MUSTER_ERR_UNSUPPORTED)
            return fused;
        p.epilogue = CUDA_GEMM_PLAIN;
    }
    enum muster_status status = cuda_gemm_run(cuda_kernels_from(k), &p, err);
    if (status != MUSTER_OK)
        return status;
    return cuda_bias_gradient(k, a->dtype, a->dy, a->tokens, a->out_width, a->dy_stride, a->dbias, err);
}

enum muster_status cuda_linear_backward_weight(struct kernels *k, const struct linear_args *a,
                                               struct muster_error *err)
{
    const struct cuda_weight_args weight = {.dtype = a->dtype,
                                            .tokens = a->tokens,
                                            .in_width = a->in_width,
                                            .out_width = a->out_width,
                                            .dy_stride = a->out_width,
                                            .dy = a->dy,
                                            .x = a->x,
                                            .dw = a->dw,
                                            .dbias = a->dbias};
    return cuda_weight_gradient(k, &weight, err);
}
