/* SPDX-License-Identifier: MIT
 *
 * Linear layers as wide as a small GPT's, attention, norms, GELU, the optimizer. Only shapes and types
 * matter; the pool holds small numbers that are valid in every type.
 */
#include "worker/measure/measure_cases.h"

/* The next `count` elements of the pool, from its beginning again when they do not fit behind the last. */
static void *take(struct measure_instance *instance, enum dtype dtype, int64_t count)
{
    int64_t bytes = (count * (int64_t)dtype_size(dtype) + 255) / 256 * 256;
    if (instance->taken_bytes + bytes > instance->shape->pool_bytes)
        instance->taken_bytes = 0;
    void *block = instance->pool + instance->taken_bytes;
    instance->taken_bytes += bytes;
    return block;
}

static struct linear_args linear(struct measure_instance *instance, enum dtype dtype, bool widens,
                                 double *amount)
{
    const struct measure_shape *shape = instance->shape;
    struct linear_args args = {.dtype = dtype, .tokens = shape->tokens};
    args.in_width = widens ? shape->width : shape->hidden;
    args.out_width = widens ? shape->hidden : shape->width;
    *amount = 2.0 * (double)args.tokens * (double)args.in_width * (double)args.out_width;
    return args;
}

static enum muster_status linear_forward(struct measure_instance *instance, enum dtype dtype, bool widens,
                                         double *amount, struct muster_error *err)
{
    struct linear_args args = linear(instance, dtype, widens, amount);
    args.x = take(instance, dtype, args.tokens * args.in_width);
    args.w = take(instance, dtype, args.in_width * args.out_width);
    args.bias = take(instance, dtype, args.out_width);
    args.y = take(instance, dtype, args.tokens * args.out_width);
    return kernels_linear_forward(instance->kernels, &args, err);
}

static enum muster_status linear_input(struct measure_instance *instance, enum dtype dtype, bool widens,
                                       double *amount, struct muster_error *err)
{
    struct linear_args args = linear(instance, dtype, widens, amount);
    args.dy = take(instance, dtype, args.tokens * args.out_width);
    args.w = take(instance, dtype, args.in_width * args.out_width);
    args.dx = take(instance, dtype, args.tokens * args.in_width);
    return kernels_linear_backward_input(instance->kernels, &args, err);
}

static enum muster_status linear_weight(struct measure_instance *instance, enum dtype dtype, bool widens,
                                        double *amount, struct muster_error *err)
{
    struct linear_args args = linear(instance, dtype, widens, amount);
    args.dy = take(instance, dtype, args.tokens * args.out_width);
    args.x = take(instance, dtype, args.tokens * args.in_width);
    args.dw = take(instance, DTYPE_F32, args.in_width * args.out_width);
    args.dbias = take(instance, DTYPE_F32, args.out_width);
    return kernels_linear_backward_weight(instance->kernels, &args, err);
}

#define LINEAR_CASE(name, function, widens)                                                                  \
    static enum muster_status name(struct measure_instance *instance, enum dtype dtype, double *amount,      \
                                   struct muster_error *err)                                                 \
    {                                                                                                        \
        return function(instance, dtype, widens, amount, err);                                               \
    }

LINEAR_CASE(run_up_forward, linear_forward, true)
LINEAR_CASE(run_up_input, linear_input, true)
LINEAR_CASE(run_up_weight, linear_weight, true)
LINEAR_CASE(run_down_forward, linear_forward, false)
LINEAR_CASE(run_down_input, linear_input, false)
LINEAR_CASE(run_down_weight, linear_weight, false)

/* Causal: half of sequence x sequence and the masked half of each block; `products` matrix products. */
static struct attention_args attention(struct measure_instance *instance, enum dtype dtype, double products,
                                       double *amount)
{
    const struct measure_shape *shape = instance->shape;
    int64_t rows = shape->tokens * shape->width;
    struct attention_args args = {.dtype = dtype, .batch = shape->tokens / shape->sequence};
    args.sequence = shape->sequence;
    args.heads = args.kv_heads = shape->heads;
    args.head_width = shape->width / shape->heads;
    args.qkv = take(instance, dtype, 3 * rows);
    args.y = take(instance, dtype, rows);
    args.lse = take(instance, DTYPE_F32, shape->tokens * shape->heads);
    *amount = products * (double)rows * (double)(shape->sequence + shape->attention_block);
    return args;
}

static enum muster_status run_attention_forward(struct measure_instance *instance, enum dtype dtype,
                                                double *amount, struct muster_error *err)
{
    struct attention_args args = attention(instance, dtype, 2.0, amount);
    return kernels_attention_forward(instance->kernels, &args, err);
}

static enum muster_status run_attention_backward(struct measure_instance *instance, enum dtype dtype,
                                                 double *amount, struct muster_error *err)
{
    struct attention_args args = attention(instance, dtype, 5.0, amount);
    args.dy = take(instance, dtype, instance->shape->tokens * instance->shape->width);
    args.dqkv = take(instance, dtype, 3 * instance->shape->tokens * instance->shape->width);
    return kernels_attention_backward(instance->kernels, &args, err);
}

static struct norm_args norm(struct measure_instance *instance, enum dtype dtype, double rows, double *amount)
{
    const struct measure_shape *shape = instance->shape;
    struct norm_args args = {.dtype = dtype, .epsilon = 1e-5f, .tokens = shape->tokens};
    args.width = shape->width;
    args.gain = take(instance, dtype, shape->width);
    args.bias = take(instance, dtype, shape->width);
    args.residual = take(instance, dtype, shape->tokens * shape->width);
    args.mean = take(instance, DTYPE_F32, shape->tokens);
    args.rstd = take(instance, DTYPE_F32, shape->tokens);
    *amount = rows * (double)(shape->tokens * shape->width) * (double)dtype_size(dtype);
    return args;
}

static enum muster_status run_norm_forward(struct measure_instance *instance, enum dtype dtype,
                                           double *amount, struct muster_error *err)
{
    struct norm_args args = norm(instance, dtype, 4.0, amount);
    int64_t rows = args.tokens * args.width;
    args.x = take(instance, dtype, rows);
    args.delta = take(instance, dtype, rows);
    args.y = take(instance, dtype, rows);
    return kernels_norm_forward(instance->kernels, &args, err);
}

static enum muster_status run_norm_backward(struct measure_instance *instance, enum dtype dtype,
                                            double *amount, struct muster_error *err)
{
    struct norm_args args = norm(instance, dtype, 4.0, amount);
    args.dy = take(instance, dtype, args.tokens * args.width);
    args.dresidual = take(instance, dtype, args.tokens * args.width);
    args.accumulate = true;
    args.dgain = take(instance, DTYPE_F32, args.width);
    args.dbias = take(instance, DTYPE_F32, args.width);
    return kernels_norm_backward(instance->kernels, &args, err);
}

/* Counted as two tensors, the one before the activation and the result, as where a product does it to its
 * tiles. */
static struct activation_args activation(struct measure_instance *instance, enum dtype dtype, double *amount)
{
    struct activation_args args = {.dtype = dtype, .activation = ACTIVATION_GELU_TANH};
    args.count = instance->shape->tokens * instance->shape->hidden;
    args.pre = take(instance, dtype, args.count);
    *amount = 2.0 * (double)args.count * (double)dtype_size(dtype);
    return args;
}

static enum muster_status run_activation_forward(struct measure_instance *instance, enum dtype dtype,
                                                 double *amount, struct muster_error *err)
{
    struct activation_args args = activation(instance, dtype, amount);
    args.y = take(instance, dtype, args.count);
    return kernels_activation_forward(instance->kernels, &args, err);
}

static enum muster_status run_activation_backward(struct measure_instance *instance, enum dtype dtype,
                                                  double *amount, struct muster_error *err)
{
    struct activation_args args = activation(instance, dtype, amount);
    args.dy = take(instance, dtype, args.count);
    args.dx = take(instance, dtype, args.count);
    return kernels_activation_backward(instance->kernels, &args, err);
}

static enum muster_status run_adamw(struct measure_instance *instance, enum dtype dtype, double *amount,
                                    struct muster_error *err)
{
    struct adamw_args args = {.count = instance->shape->stream_count, .grad_scale = 1.0f, .lr = 1e-6f};
    args.beta1 = 0.9f, args.beta2 = 0.95f, args.epsilon = 1e-8f;
    args.bias_correction1 = 0.1f, args.bias_correction2 = 0.05f;
    args.param = take(instance, dtype, args.count);
    args.grad = take(instance, dtype, args.count);
    args.m = take(instance, dtype, args.count);
    args.v = take(instance, dtype, args.count);
    *amount = 28.0 * (double)args.count;
    return kernels_adamw(instance->kernels, &args, err);
}

static enum muster_status run_add(struct measure_instance *instance, enum dtype dtype, double *amount,
                                  struct muster_error *err)
{
    int64_t count = instance->shape->stream_count;
    float *y = take(instance, dtype, count), *x = take(instance, dtype, count);
    *amount = 12.0 * (double)count;
    return kernels_add(instance->kernels, y, x, count, err);
}

enum muster_status measure_run_nothing(struct measure_instance *instance, struct muster_error *err)
{
    struct activation_args args = {.dtype = DTYPE_F32, .activation = ACTIVATION_GELU_TANH, .count = 64};
    args.pre = take(instance, DTYPE_F32, args.count);
    args.y = take(instance, DTYPE_F32, args.count);
    return kernels_activation_forward(instance->kernels, &args, err);
}

const struct measure_case measure_cases[] = {
    {MACHINE_MATRIX, true, run_up_forward},
    {MACHINE_MATRIX, true, run_up_input},
    {MACHINE_MATRIX, true, run_up_weight},
    {MACHINE_MATRIX, true, run_down_forward},
    {MACHINE_MATRIX, true, run_down_input},
    {MACHINE_MATRIX, true, run_down_weight},
    {MACHINE_ATTENTION_FORWARD, true, run_attention_forward},
    {MACHINE_ATTENTION_BACKWARD, true, run_attention_backward},
    {MACHINE_ROWS, true, run_norm_forward},
    {MACHINE_ROWS, true, run_norm_backward},
    {MACHINE_ACTIVATION, true, run_activation_forward},
    {MACHINE_ACTIVATION, true, run_activation_backward},
    {MACHINE_STREAM, false, run_adamw},
    {MACHINE_STREAM, false, run_add},
};
const int measure_case_count = sizeof measure_cases / sizeof measure_cases[0];
