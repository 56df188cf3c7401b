/* SPDX-License-Identifier: MIT
 *
 * See cases.h.
 */
#include <string.h>
#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct attention_args case_attention_args(const struct case_attention *s)
{
    struct attention_args a = {.dtype = s->dtype, .batch = s->batch, .sequence = s->sequence};
    a.heads = s->heads, a.kv_heads = s->kv_heads, a.head_width = s->head_width, a.dropout = s->dropout;
    a.key = rng_key_make(7, 0, 0, 0);
    return a;
}

enum muster_status case_attention_forward(struct kernels *k, const void *shape, void *const data[],
                                          struct muster_error *err)
{
    struct attention_args a = case_attention_args(shape);
    a.qkv = data[0], a.y = data[1], a.lse = data[2];
    return kernels_attention_forward(k, &a, err);
}

static enum muster_status attention_backward_call(struct kernels *k, const void *shape, void *const data[],
                                                  struct muster_error *err)
{
    struct attention_args a = case_attention_args(shape);
    a.qkv = data[0], a.y = data[1], a.lse = data[2], a.dy = data[3], a.dqkv = data[4];
    return kernels_attention_backward(k, &a, err);
}

void case_attention_run(const struct case_attention *s, double tolerance)
{
    int64_t rows = s->batch * s->sequence, width = s->heads * s->head_width;
    int64_t packed = rows * (width + 2 * s->kv_heads * s->head_width);
    const struct compare_array forward[] = {
        {COMPARE_INPUT, s->dtype, packed, 0, -2, 2, NULL},
        {COMPARE_OUTPUT, s->dtype, rows * width, tolerance, 0, 0, NULL},
        {COMPARE_OUTPUT, DTYPE_F32, rows * s->heads, 1e-5, 0, 0, NULL},
    };
    const struct compare_array backward[] = {
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = packed},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = rows * width},
        {COMPARE_INPUT, DTYPE_F32, rows * s->heads, 0, 2, 6, NULL},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = rows * width},
        {COMPARE_OUTPUT, s->dtype, packed, tolerance, 0, 0, NULL},
    };
    char label[128];
    snprintf(label, sizeof label, "attention %s %lldx%lld heads %lld/%lldx%lld dropout %g",
             dtype_name(s->dtype), (long long)s->batch, (long long)s->sequence, (long long)s->heads,
             (long long)s->kv_heads, (long long)s->head_width, (double)s->dropout);
    compare_run(label, forward, 3, case_attention_forward, s);
    compare_run(label, backward, 5, attention_backward_call, s);
}

static enum muster_status rope_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    const struct case_rope *s = shape;
    struct rope_args a = {.dtype = s->dtype, .tokens = s->tokens, .sequence = s->sequence};
    a.heads = s->heads, a.kv_heads = s->kv_heads, a.head_width = s->head_width;
    a.base = 10000.0f, a.inverse = s->inverse, a.qkv = data[0];
    return kernels_rope(k, &a, err);
}

void case_rope_run(const struct case_rope *s, double tolerance)
{
    int64_t count = s->tokens * (s->heads + 2 * s->kv_heads) * s->head_width;
    const struct compare_array arrays[] = {{COMPARE_UPDATE, s->dtype, count, tolerance, 0, 0, NULL}};
    compare_run("rope", arrays, 1, rope_call, s);
}

static struct embedding_args embedding_args_of(const struct case_embedding *s)
{
    struct embedding_args a = {.dtype = s->dtype, .tokens = s->tokens, .sequence = s->sequence};
    a.width = s->width, a.vocabulary = s->vocabulary;
    return a;
}

static enum muster_status embedding_forward_call(struct kernels *k, const void *shape, void *const data[],
                                                 struct muster_error *err)
{
    struct embedding_args a = embedding_args_of(shape);
    a.ids = data[0], a.token_table = data[1], a.position_table = data[2], a.y = data[3];
    return kernels_embedding_forward(k, &a, err);
}

static enum muster_status embedding_backward_call(struct kernels *k, const void *shape, void *const data[],
                                                  struct muster_error *err)
{
    struct embedding_args a = embedding_args_of(shape);
    a.ids = data[0], a.dy = data[1], a.dtoken_table = data[2], a.dposition_table = data[3];
    return kernels_embedding_backward(k, &a, err);
}

void case_embedding_run(const struct case_embedding *s)
{
    int64_t positions = s->positions ? s->sequence * s->width : 0;
    const struct compare_array forward[] = {
        {COMPARE_INPUT, DTYPE_I32, s->tokens, 0, 0, (double)s->vocabulary, NULL},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->vocabulary * s->width},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = positions},
        {COMPARE_OUTPUT, s->dtype, s->tokens * s->width, 1e-7, 0, 0, NULL},
    };
    const struct compare_array backward[] = {
        {COMPARE_INPUT, DTYPE_I32, s->tokens, 0, 0, (double)s->vocabulary, NULL},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->tokens * s->width},
        {COMPARE_UPDATE, DTYPE_F32, s->vocabulary * s->width, 2e-5, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, positions, 1e-5, 0, 0, NULL},
    };
    char label[96];
    snprintf(label, sizeof label, "embedding %s %lld x %lld", dtype_name(s->dtype), (long long)s->tokens,
             (long long)s->width);
    compare_run(label, forward, 4, embedding_forward_call, s);
    compare_run(label, backward, 4, embedding_backward_call, s);
}

static enum muster_status swiglu_forward_call(struct kernels *k, const void *shape, void *const data[],
                                              struct muster_error *err)
{
    const struct case_rows *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.gate_up = data[0], a.y = data[1];
    return kernels_swiglu_forward(k, &a, err);
}

static enum muster_status swiglu_backward_call(struct kernels *k, const void *shape, void *const data[],
                                               struct muster_error *err)
{
    const struct case_rows *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.gate_up = data[0], a.dy = data[1], a.dgate_up = data[2];
    return kernels_swiglu_backward(k, &a, err);
}

void case_swiglu_run(const struct case_rows *s, double tolerance)
{
    int64_t count = s->tokens * s->width;
    const struct compare_array forward[] = {{COMPARE_INPUT, s->dtype, 2 * count, 0, -9, 9, NULL},
                                            {COMPARE_OUTPUT, s->dtype, count, tolerance, 0, 0, NULL}};
    const struct compare_array backward[] = {{COMPARE_INPUT, s->dtype, 2 * count, 0, -9, 9, NULL},
                                             {.role = COMPARE_INPUT, .dtype = s->dtype, .count = count},
                                             {COMPARE_OUTPUT, s->dtype, 2 * count, tolerance, 0, 0, NULL}};
    compare_run("swiglu_forward", forward, 2, swiglu_forward_call, s);
    compare_run("swiglu_backward", backward, 3, swiglu_backward_call, s);
}

static enum muster_status dropout_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct case_dropout *s = shape;
    struct dropout_args a = {.dtype = s->dtype, .count = s->count, .p = s->p};
    a.key = rng_key_make(3, 1, 4, 1), a.x = data[0], a.y = data[s->in_place ? 0 : 1];
    return kernels_dropout(k, &a, err);
}

void case_dropout_run(const struct case_dropout *s, double tolerance)
{
    const struct compare_array arrays[] = {
        {s->in_place ? COMPARE_UPDATE : COMPARE_INPUT, s->dtype, s->count, tolerance, 0, 0, NULL},
        {COMPARE_OUTPUT, s->dtype, s->in_place ? 0 : s->count, tolerance, 0, 0, NULL}};
    compare_run("dropout", arrays, 2, dropout_call, s);
}

/* Turns that rise from 0 on by steps of several sizes, the last of them perhaps behind the end. */
static struct update_decay update_decay_of(const struct case_update *s, int64_t turns[CASE_TURNS_MAX])
{
    int64_t at = 0;
    for (int i = 0; i < s->turns; i++) {
        turns[i] = at;
        at += 1 + (i % 3) * s->count / (3 * s->turns + 1);
    }
    return (struct update_decay){turns, s->turns};
}

enum muster_status case_adamw_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct case_update *s = shape;
    int64_t turns[CASE_TURNS_MAX];
    struct adamw_args a = {.count = s->count, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->rounded, a.m = data[3], a.v = data[4], a.grad_scale = 0.7f, a.lr = 0.01f;
    a.beta1 = 0.9f, a.beta2 = 0.95f, a.epsilon = 0.05f, a.weight_decay = 0.1f;
    a.bias_correction1 = 0.271f, a.bias_correction2 = 0.142625f, a.decay = update_decay_of(s, turns);
    return kernels_adamw(k, &a, err);
}

static enum muster_status sgd_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct case_update *s = shape;
    int64_t turns[CASE_TURNS_MAX];
    struct sgd_args a = {.count = s->count, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->rounded, a.momentum = data[3], a.grad_scale = 0.7f, a.lr = 0.01f, a.mu = 0.9f;
    a.weight_decay = 0.1f, a.nesterov = s->nesterov, a.decay = update_decay_of(s, turns);
    return kernels_sgd(k, &a, err);
}

void case_updates_run(const struct case_update *s, double tolerance)
{
    int64_t rounded = s->rounded == DTYPE_F32 ? 0 : s->count;
    const struct compare_array arrays[] = {
        {COMPARE_UPDATE, DTYPE_F32, s->count, 1e-6, 0, 0, NULL},
        {COMPARE_OUTPUT, s->rounded, rounded, tolerance, 0, 0, NULL},
        {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = s->count},
        {COMPARE_UPDATE, DTYPE_F32, s->count, 1e-6, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, s->count, 1e-6, 0, 1, NULL},
    };
    compare_run("adamw", arrays, 5, case_adamw_call, s);
    compare_run("sgd", arrays, 4, sgd_call, s);
}

struct vectors_shape {
    int64_t count;
    enum dtype rounded;
};

static enum muster_status add_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct vectors_shape *s = shape;
    return kernels_add(k, data[0], data[1], s->count, err);
}

static enum muster_status round_call(struct kernels *k, const void *shape, void *const data[],
                                     struct muster_error *err)
{
    const struct vectors_shape *s = shape;
    return kernels_round_to(k, s->rounded, data[0], data[1], s->count, err);
}

void case_vectors_run(int64_t count)
{
    static const enum dtype rounded[] = {DTYPE_BF16, DTYPE_F16};
    const struct vectors_shape sum = {count, DTYPE_F32};
    const struct compare_array terms[] = {{.role = COMPARE_UPDATE, .dtype = DTYPE_F32, .count = count},
                                          {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = count}};
    compare_run("add", terms, 2, add_call, &sum);
    for (int d = 0; d < 2; d++) {
        const struct vectors_shape cast = {count, rounded[d]};
        const struct compare_array arrays[] = {{.role = COMPARE_OUTPUT, .dtype = rounded[d], .count = count},
                                               {COMPARE_INPUT, DTYPE_F32, count, 0, -7e4, 7e4, NULL}};
        compare_run("round_to", arrays, 2, round_call, &cast);
    }
}

/* The sums are doubles: each comes back in three floats that hold it. */
static enum muster_status squares_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct case_squares *s = shape;
    const int64_t bytes = CASE_SQUARES_SUMS * sizeof(double);
    void *block = NULL;
    enum muster_status status = kernels_memory_allocate_host(k, bytes, &block, err);
    if (status != MUSTER_OK)
        return status;
    double *sums = block;
    memset(sums, 0, (size_t)bytes);
    status = kernels_sum_squares(k, data[0], s->count, s->chunk, sums, err);
    float *parts = data[1];
    for (int i = 0; i < CASE_SQUARES_SUMS; i++, parts += 3) {
        parts[0] = (float)sums[i];
        parts[1] = (float)(sums[i] - (double)parts[0]);
        parts[2] = (float)(sums[i] - (double)parts[0] - (double)parts[1]);
    }
    kernels_memory_free_host(k, block, bytes);
    return status;
}

void case_squares_run(const struct case_squares *s, double tolerance)
{
    const struct compare_array arrays[] = {
        {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = s->count},
        {COMPARE_OUTPUT, DTYPE_F32, 3 * CASE_SQUARES_SUMS, tolerance, 0, 0, NULL}};
    compare_run("sum_squares", arrays, 2, squares_call, s);
}
