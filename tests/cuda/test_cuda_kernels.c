/* SPDX-License-Identifier: MIT
 *
 * Our own CUDA kernels but attention, under emulation, judged by the reference over shapes that are and are
 * not multiples of what a thread takes at a time; compare_emulated.c says what each comparison checks.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cudart_standin.h"
#include "kernels/cuda/cuda_internal.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/compare.h"

enum { DTYPES = 3 };

static void label_of(char label[96], const char *operation, int64_t rows, int64_t columns, enum dtype dtype)
{
    snprintf(label, 96, "%s %lld x %lld %s", operation, (long long)rows, (long long)columns,
             dtype_name(dtype));
}

struct rows_shape {
    enum dtype dtype;
    int64_t rows, columns;
    int variant;
};

static const int64_t rows_sizes[][2] = {{1, 1}, {3, 17}, {5, 64}, {40, 24}, {9, 300}};
enum { ROWS_SIZES = sizeof rows_sizes / sizeof *rows_sizes };

static enum muster_status activation_forward_call(struct kernels *k, const void *shape, void *const data[],
                                                  struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct activation_args a = {.dtype = s->dtype, .count = s->rows * s->columns};
    a.activation = (enum activation)s->variant, a.pre = data[0], a.y = data[1];
    return kernels_activation_forward(k, &a, err);
}

static enum muster_status activation_backward_call(struct kernels *k, const void *shape, void *const data[],
                                                   struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct activation_args a = {.dtype = s->dtype, .count = s->rows * s->columns};
    a.activation = (enum activation)s->variant, a.pre = data[0], a.dy = data[1], a.dx = data[2];
    return kernels_activation_backward(k, &a, err);
}

START_TEST(activations_and_their_slopes_agree_with_the_reference)
{
    for (int i = 0; i < ROWS_SIZES * DTYPES; i++) {
        struct rows_shape s = {tolerance_dtypes[i % DTYPES], rows_sizes[i / DTYPES][0],
                               rows_sizes[i / DTYPES][1], _i};
        const int64_t count = s.rows * s.columns;
        const struct compare_array forward[] = {
            {COMPARE_INPUT, s.dtype, count, 0, -9, 9, NULL},
            {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL}};
        const struct compare_array backward[] = {
            {COMPARE_INPUT, s.dtype, count, 0, -9, 9, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
            {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL}};
        compare_run("activation_forward", forward, 2, activation_forward_call, &s);
        compare_run("activation_backward", backward, 3, activation_backward_call, &s);
    }
}
END_TEST

static enum muster_status swiglu_forward_call(struct kernels *k, const void *shape, void *const data[],
                                              struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->rows, .width = s->columns};
    a.gate_up = data[0], a.y = data[1];
    return kernels_swiglu_forward(k, &a, err);
}

static enum muster_status swiglu_backward_call(struct kernels *k, const void *shape, void *const data[],
                                               struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->rows, .width = s->columns};
    a.gate_up = data[0], a.dy = data[1], a.dgate_up = data[2];
    return kernels_swiglu_backward(k, &a, err);
}

START_TEST(swiglu_and_its_gradient_agree_with_the_reference)
{
    for (int i = 0; i < ROWS_SIZES * DTYPES; i++) {
        struct rows_shape s = {tolerance_dtypes[i % DTYPES], rows_sizes[i / DTYPES][0],
                               rows_sizes[i / DTYPES][1], 0};
        const int64_t count = s.rows * s.columns;
        const struct compare_array forward[] = {
            {COMPARE_INPUT, s.dtype, 2 * count, 0, -9, 9, NULL},
            {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL}};
        const struct compare_array backward[] = {
            {COMPARE_INPUT, s.dtype, 2 * count, 0, -9, 9, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
            {COMPARE_OUTPUT, s.dtype, 2 * count, tolerance_of(s.dtype), 0, 0, NULL}};
        compare_run("swiglu_forward", forward, 2, swiglu_forward_call, &s);
        compare_run("swiglu_backward", backward, 3, swiglu_backward_call, &s);
    }
}
END_TEST

static enum muster_status dropout_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct dropout_args a = {
        .dtype = s->dtype, .count = s->rows * s->columns, .p = s->variant == 0 ? 0.1f : 0.0f};
    a.key = rng_key_make(3, 1, 4, 1), a.x = data[0], a.y = data[s->variant == 2 ? 0 : 1];
    return kernels_dropout(k, &a, err);
}

/* Variants: dropping, not dropping, in place. */
START_TEST(dropout_drops_what_the_reference_drops)
{
    for (int i = 0; i < ROWS_SIZES * DTYPES; i++) {
        struct rows_shape s = {tolerance_dtypes[i % DTYPES], rows_sizes[i / DTYPES][0],
                               rows_sizes[i / DTYPES][1], _i};
        const int64_t count = s.rows * s.columns;
        const struct compare_array arrays[] = {
            {_i == 2 ? COMPARE_UPDATE : COMPARE_INPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL},
            {COMPARE_OUTPUT, s.dtype, _i == 2 ? 0 : count, tolerance_of(s.dtype), 0, 0, NULL}};
        compare_run("dropout", arrays, 2, dropout_call, &s);
    }
}
END_TEST

struct norm_shape {
    enum dtype dtype;
    enum norm_kind kind;
    int64_t tokens, width;
    bool delta, bias, accumulate;
};

/* The last two do not fit into shared memory, one of them in one of the two directions only. */
static const int64_t norm_sizes[][2] = {{1, 1},    {5, 7},    {11, 64},  {13, 100},
                                        {2, 1032}, {2, 5128}, {1, 10248}};
enum { NORM_SIZES = sizeof norm_sizes / sizeof *norm_sizes };

static struct norm_shape norm_shape_of(int size, int variant)
{
    struct norm_shape s = {.dtype = tolerance_dtypes[variant % 3],
                           .kind = variant % 2 ? NORM_RMS : NORM_LAYER};
    s.tokens = norm_sizes[size][0], s.width = norm_sizes[size][1];
    s.delta = variant % 4 < 2;
    s.bias = s.kind == NORM_LAYER && variant < 6;
    s.accumulate = variant % 3 != 1;
    return s;
}

static struct norm_args norm_args_of(const struct norm_shape *s)
{
    return (struct norm_args){
        .dtype = s->dtype, .kind = s->kind, .epsilon = 1e-5f, .tokens = s->tokens, .width = s->width};
}

static enum muster_status norm_forward_call(struct kernels *k, const void *shape, void *const data[],
                                            struct muster_error *err)
{
    struct norm_args a = norm_args_of(shape);
    a.x = data[0], a.delta = data[1], a.residual = data[2], a.gain = data[3], a.bias = data[4];
    a.y = data[5], a.mean = data[6], a.rstd = data[7];
    return kernels_norm_forward(k, &a, err);
}

static enum muster_status norm_backward_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    const struct norm_shape *s = shape;
    struct norm_args a = norm_args_of(s);
    a.residual = data[0], a.gain = data[1], a.mean = data[2], a.rstd = data[3], a.dy = data[4];
    a.dresidual = data[5], a.dgain = data[6], a.dbias = data[7], a.accumulate = s->accumulate;
    return kernels_norm_backward(k, &a, err);
}

START_TEST(norms_agree_with_the_reference)
{
    for (int variant = 0; variant < (_i < 4 ? 12 : 2); variant++) {
        struct norm_shape s = norm_shape_of(_i, variant);
        const int64_t count = s.tokens * s.width,
                      means = s.kind == NORM_LAYER && variant % 3 != 0 ? s.tokens : 0;
        const double tolerance = tolerance_of(s.dtype);
        char label[96];
        const struct compare_array arrays[] = {
            {COMPARE_INPUT, s.dtype, count, 0, -1, 3, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.delta ? count : 0},
            {COMPARE_OUTPUT, s.dtype, s.delta ? count : 0, 1e-7, 0, 0, NULL},
            {COMPARE_INPUT, s.dtype, s.width, 0, 0.5, 1.5, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.bias ? s.width : 0},
            {COMPARE_OUTPUT, s.dtype, count, 2 * tolerance, 0, 0, NULL},
            {COMPARE_OUTPUT, DTYPE_F32, means, 1e-5, 0, 0, NULL},
            {COMPARE_OUTPUT, DTYPE_F32, s.tokens, 1e-5, 0, 0, NULL},
        };
        label_of(label, "norm_forward", s.tokens, s.width, s.dtype);
        compare_run(label, arrays, 8, norm_forward_call, &s);
    }
}
END_TEST

START_TEST(the_gradients_of_norms_agree_with_the_reference)
{
    for (int variant = 0; variant < (_i < 4 ? 12 : 2); variant++) {
        struct norm_shape s = norm_shape_of(_i, variant);
        const int64_t count = s.tokens * s.width;
        char label[96];
        const struct compare_array arrays[] = {
            {COMPARE_INPUT, s.dtype, count, 0, -1, 3, NULL},
            {COMPARE_INPUT, s.dtype, s.width, 0, 0.5, 1.5, NULL},
            {COMPARE_INPUT, DTYPE_F32, s.kind == NORM_LAYER ? s.tokens : 0, 0, 0.5, 1, NULL},
            {COMPARE_INPUT, DTYPE_F32, s.tokens, 0, 0.5, 1, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
            {s.accumulate ? COMPARE_UPDATE : COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0,
             NULL},
            {COMPARE_UPDATE, DTYPE_F32, s.width, 1e-5, 0, 0, NULL},
            {COMPARE_UPDATE, DTYPE_F32, s.bias ? s.width : 0, 1e-5, 0, 0, NULL},
        };
        label_of(label, "norm_backward", s.tokens, s.width, s.dtype);
        compare_run(label, arrays, 8, norm_backward_call, &s);
    }
}
END_TEST

/* y from the stored residual is y from x + delta, bit for bit. */
START_TEST(a_norm_recomputed_from_the_stored_residual_has_the_same_bits)
{
    enum { TOKENS = 3, WIDTH = 40, COUNT = TOKENS * WIDTH };
    uint16_t *all = NULL;
    ck_assert_int_eq(cudaMalloc((void **)&all, 6 * COUNT * sizeof *all), cudaSuccess);
    float values[COUNT], *rstd = NULL;
    ck_assert_int_eq(cudaMalloc((void **)&rstd, TOKENS * sizeof *rstd), cudaSuccess);
    rng_uniform_fill(rng_key_make(5, 0, 0, 0), -1.0f, 1.0f, values, COUNT);
    for (int i = 0; i < 3 * COUNT; i++)
        all[i] = dtype_bf16_from_f32(values[(i * 7) % COUNT]);
    struct norm_args a = {.dtype = DTYPE_BF16, .kind = NORM_RMS, .epsilon = 1e-5f, .tokens = TOKENS};
    a.width = WIDTH, a.x = all, a.delta = all + COUNT, a.gain = all + 2 * COUNT;
    a.residual = all + 3 * COUNT, a.y = all + 4 * COUNT, a.rstd = rstd;
    ck_assert_int_eq(kernels_norm_forward(compare_subject(), &a, NULL), MUSTER_OK);
    a.x = a.residual, a.delta = NULL, a.residual = NULL, a.y = all + 5 * COUNT, a.rstd = NULL;
    ck_assert_int_eq(kernels_norm_forward(compare_subject(), &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(all + 4 * COUNT, all + 5 * COUNT, COUNT * sizeof *all);
    cudaFree(all);
    cudaFree(rstd);
}
END_TEST

struct rope_shape {
    enum dtype dtype;
    int64_t tokens, sequence, heads, kv_heads, head_width;
    bool inverse;
};

static enum muster_status rope_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    const struct rope_shape *s = shape;
    struct rope_args a = {.dtype = s->dtype, .tokens = s->tokens, .sequence = s->sequence};
    a.heads = s->heads, a.kv_heads = s->kv_heads, a.head_width = s->head_width;
    a.base = 10000.0f, a.inverse = s->inverse, a.qkv = data[0];
    return kernels_rope(k, &a, err);
}

START_TEST(rotary_positions_agree_with_the_reference)
{
    static const int64_t sizes[][5] = {
        {1, 1, 1, 1, 2}, {12, 4, 3, 1, 10}, {70, 35, 2, 2, 64}, {5, 9, 1, 1, 34}, {6, 3, 9, 3, 16}};
    for (int i = 0; i < 5 * DTYPES; i++) {
        const int64_t *n = sizes[i / DTYPES];
        struct rope_shape s = {tolerance_dtypes[i % DTYPES], n[0], n[1], n[2], n[3], n[4], _i == 1};
        const struct compare_array arrays[] = {
            {COMPARE_UPDATE, s.dtype, n[0] * (n[2] + 2 * n[3]) * n[4], tolerance_of(s.dtype), 0, 0, NULL}};
        compare_run("rope", arrays, 1, rope_call, &s);
    }
}
END_TEST

struct embedding_shape {
    enum dtype dtype;
    int64_t tokens, sequence, width, vocabulary;
    bool positions;
};

static struct embedding_args embedding_args_of(const struct embedding_shape *s)
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

/* The last two have rows with more tokens than a list holds, one of them in several pieces of the width. */
START_TEST(embeddings_and_their_gradients_agree_with_the_reference)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1},    {24, 8, 70, 5},    {60, 20, 48, 100},
                                       {9, 3, 1100, 2}, {1300, 260, 6, 2}, {600, 600, 16, 1}};
    for (int variant = 0; variant < 6; variant++) {
        const int64_t *n = sizes[_i];
        struct embedding_shape s = {tolerance_dtypes[variant % 3], n[0], n[1], n[2], n[3], variant < 3};
        const int64_t positions = s.positions ? s.sequence * s.width : 0;
        char label[96];
        const struct compare_array forward[] = {
            {COMPARE_INPUT, DTYPE_I32, s.tokens, 0, 0, (double)s.vocabulary, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.vocabulary * s.width},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = positions},
            {COMPARE_OUTPUT, s.dtype, s.tokens * s.width, 1e-7, 0, 0, NULL},
        };
        const struct compare_array backward[] = {
            {COMPARE_INPUT, DTYPE_I32, s.tokens, 0, 0, (double)s.vocabulary, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.width},
            {COMPARE_UPDATE, DTYPE_F32, s.vocabulary * s.width, 2e-5, 0, 0, NULL},
            {COMPARE_UPDATE, DTYPE_F32, positions, 1e-5, 0, 0, NULL},
        };
        label_of(label, "embedding", s.tokens, s.width, s.dtype);
        compare_run(label, forward, 4, embedding_forward_call, &s);
        compare_run(label, backward, 4, embedding_backward_call, &s);
    }
}
END_TEST

/* Numbers of very different size show the order: 1e8 + 1 - 1e8 is 0, and 1e8 - 1e8 + 1 is 1. */
START_TEST(rows_of_equal_tokens_are_added_in_token_order)
{
    enum { MANY = 520 };
    static const int counts[] = {3, MANY};
    const int count = counts[_i];
    int32_t *ids = NULL;
    float *dy = NULL, *table = NULL;
    cudaMalloc((void **)&ids, MANY * sizeof *ids);
    cudaMalloc((void **)&dy, MANY * sizeof *dy);
    cudaMalloc((void **)&table, 2 * sizeof *table);
    for (int order = 0; order < 2; order++) {
        for (int t = 0; t < count; t++)
            ids[t] = 1, dy[t] = 0.0f;
        table[0] = table[1] = 0.0f;
        dy[0] = 1e8f, dy[count - 1 - order] = 1.0f, dy[count - 2 + order] = -1e8f;
        struct embedding_args a = {.dtype = DTYPE_F32, .tokens = count, .sequence = count, .width = 1};
        a.vocabulary = 2, a.ids = ids, a.dy = dy, a.dtoken_table = table;
        setenv("MUSTER_EMULATION_ORDER", "reverse", 1);
        ck_assert_int_eq(kernels_embedding_backward(compare_subject(), &a, NULL), MUSTER_OK);
        ck_assert(table[0] == 0.0f);
        ck_assert(table[1] == (order == 0 ? 1.0f : 0.0f));
    }
    cudaFree(ids);
    cudaFree(dy);
    cudaFree(table);
}
END_TEST

struct update_shape {
    int64_t count;
    enum dtype rounded;
    bool nesterov;
};

static enum muster_status adamw_call(struct kernels *k, const void *shape, void *const data[],
                                     struct muster_error *err)
{
    const struct update_shape *s = shape;
    struct adamw_args a = {.count = s->count, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->rounded, a.m = data[3], a.v = data[4], a.grad_scale = 0.7f, a.lr = 0.01f;
    a.beta1 = 0.9f, a.beta2 = 0.95f, a.epsilon = 0.05f, a.weight_decay = 0.1f;
    a.bias_correction1 = 0.271f, a.bias_correction2 = 0.142625f;
    return kernels_adamw(k, &a, err);
}

static enum muster_status sgd_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct update_shape *s = shape;
    struct sgd_args a = {.count = s->count, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->rounded, a.momentum = data[3], a.grad_scale = 0.7f, a.lr = 0.01f, a.mu = 0.9f;
    a.weight_decay = 0.1f, a.nesterov = s->nesterov;
    return kernels_sgd(k, &a, err);
}

static const int64_t update_counts[] = {1, 4, 15, 1024, 2051};
enum { UPDATE_COUNTS = sizeof update_counts / sizeof *update_counts };

START_TEST(the_optimizers_agree_with_the_reference)
{
    for (int i = 0; i < UPDATE_COUNTS; i++) {
        struct update_shape s = {update_counts[i], tolerance_dtypes[_i], _i == 1};
        const struct compare_array arrays[] = {
            {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 0, NULL},
            {COMPARE_OUTPUT, s.rounded, s.rounded == DTYPE_F32 ? 0 : s.count, tolerance_of(s.rounded), 0, 0,
             NULL},
            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = s.count},
            {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 0, NULL},
            {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 1, NULL},
        };
        compare_run("adamw", arrays, 5, adamw_call, &s);
        compare_run("sgd", arrays, 4, sgd_call, &s);
    }
}
END_TEST

/* A shard may begin anywhere: the same elements must become the same bits. */
START_TEST(an_update_cut_in_two_gives_the_same_bits)
{
    enum { COUNT = 1003, CUT = 389 };
    float *all = NULL;
    cudaMalloc((void **)&all, 7 * COUNT * sizeof *all);
    rng_uniform_fill(rng_key_make(2, 0, 0, 0), 0.0f, 1.0f, all, 4 * COUNT);
    memcpy(all + 4 * COUNT, all + COUNT, 3 * COUNT * sizeof *all);
    float *whole[] = {all + COUNT, NULL, all, all + 2 * COUNT, all + 3 * COUNT};
    float *cut[] = {all + 4 * COUNT, NULL, all, all + 5 * COUNT, all + 6 * COUNT};
    void *data[5], *rest[5], *pieces[5];
    for (int i = 0; i < 5; i++) {
        data[i] = whole[i], pieces[i] = cut[i];
        rest[i] = i == 1 ? NULL : cut[i] + CUT;
    }
    struct update_shape s = {COUNT, DTYPE_F32, false}, first = {CUT, DTYPE_F32, false};
    struct update_shape second = {COUNT - CUT, DTYPE_F32, false};
    ck_assert_int_eq(adamw_call(compare_subject(), &s, data, NULL), MUSTER_OK);
    ck_assert_int_eq(adamw_call(compare_subject(), &first, pieces, NULL), MUSTER_OK);
    ck_assert_int_eq(adamw_call(compare_subject(), &second, rest, NULL), MUSTER_OK);
    ck_assert_mem_eq(all + COUNT, all + 4 * COUNT, 3 * COUNT * sizeof *all);
    cudaFree(all);
}
END_TEST

static enum muster_status add_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    return kernels_add(k, data[0], data[1], *(const int64_t *)shape, err);
}

static enum muster_status round_call(struct kernels *k, const void *shape, void *const data[],
                                     struct muster_error *err)
{
    const struct update_shape *s = shape;
    return kernels_round_to(k, s->rounded, data[0], data[1], s->count, err);
}

START_TEST(sums_and_casts_are_exactly_those_of_the_reference)
{
    for (int i = 0; i < UPDATE_COUNTS; i++) {
        const int64_t count = update_counts[i];
        const struct compare_array sum[] = {{.role = COMPARE_UPDATE, .dtype = DTYPE_F32, .count = count},
                                            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = count}};
        compare_run("add", sum, 2, add_call, &count);
        for (int d = 1; d < DTYPES; d++) {
            struct update_shape s = {count, tolerance_dtypes[d], false};
            const struct compare_array cast[] = {{.role = COMPARE_OUTPUT, .dtype = s.rounded, .count = count},
                                                 {COMPARE_INPUT, DTYPE_F32, count, 0, -7e4, 7e4, NULL}};
            compare_run("round_to", cast, 2, round_call, &s);
        }
    }
}
END_TEST

enum { SQUARES_SUMS = 13 };

struct squares_shape {
    int64_t count, chunk;
};

/* The sums are doubles: each comes back in two floats. */
static enum muster_status squares_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct squares_shape *squares = shape;
    double *sums = NULL;
    cudaMallocHost((void **)&sums, SQUARES_SUMS * sizeof *sums);
    memset(sums, 0, SQUARES_SUMS * sizeof *sums);
    enum muster_status status = kernels_sum_squares(k, data[0], squares->count, squares->chunk, sums, err);
    ck_assert_int_eq(cudaDeviceSynchronize(), cudaSuccess);
    float *parts = data[1];
    for (int i = 0; i < SQUARES_SUMS; i++, parts += 2) {
        parts[0] = (float)sums[i];
        parts[1] = (float)(sums[i] - (double)parts[0]);
    }
    cudaFreeHost(sums);
    return status;
}

START_TEST(sums_of_squares_agree_with_the_reference_in_more_than_single_precision)
{
    static const struct squares_shape shapes[] = {{0, 1},       {1, 1},       {7, 3},        {13, 1},
                                                  {1024, 1024}, {4097, 1024}, {13001, 1024}, {13001, 13001}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct compare_array arrays[] = {
            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = shapes[i].count},
            {COMPARE_OUTPUT, DTYPE_F32, 2 * SQUARES_SUMS, 1e-12, 0, 0, NULL}};
        compare_run("sum_squares", arrays, 2, squares_call, &shapes[i]);
    }
}
END_TEST

START_TEST(a_scratch_block_that_is_too_small_is_refused)
{
    struct kernels *k = compare_subject();
    const int64_t scratch_bytes = k->scratch_bytes;
    float f[4] = {0};
    int32_t id = 0;
    struct muster_error err = {0};
    struct embedding_args embedding = {.tokens = 1, .sequence = 1, .width = 1, .vocabulary = 1, .ids = &id};
    embedding.dy = f, embedding.dtoken_table = f;
    struct norm_args norm = {
        .tokens = 1, .width = 1, .residual = f, .gain = f, .mean = f, .rstd = f, .dy = f};
    norm.dresidual = f, norm.dgain = f;
    k->scratch_bytes = 3;
    ck_assert_int_eq(kernels_embedding_backward(k, &embedding, &err), MUSTER_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "embedding_backward needs"));
    ck_assert_int_eq(kernels_norm_backward(k, &norm, &err), MUSTER_ERR_INTERNAL);
    ck_assert_int_eq(cuda_bias_gradient(k, DTYPE_F32, f, 1, 1, 1, f, &err), MUSTER_ERR_INTERNAL);
    k->scratch_bytes = scratch_bytes;
}
END_TEST

/* Captured, so that nothing runs: each operation asks for scratch before it launches. */
START_TEST(the_planned_scratch_is_enough_for_the_widest_shapes)
{
    static const struct ops_device_limits limits[] = {
        {.tokens = 1, .row_width_max = 1, .vocabulary = 1, .heads = 1},
        {.tokens = 70000, .row_width_max = 99999, .vocabulary = 300000, .heads = 128},
        {.tokens = 500000, .row_width_max = 4096, .vocabulary = 256, .heads = 64}};
    const struct ops_device_limits *l = &limits[_i];
    struct kernels *k = compare_subject();
    const int64_t scratch_bytes = k->scratch_bytes, tokens = l->tokens, width = l->row_width_max;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    cudaGraph_t graph;
    static float f[1];
    static int32_t ids[1];
    struct embedding_args embedding = {.tokens = tokens, .sequence = tokens, .width = width, .ids = ids};
    embedding.vocabulary = l->vocabulary, embedding.dy = f, embedding.dtoken_table = f;
    struct norm_args norm = {.tokens = tokens, .width = width, .residual = f, .gain = f, .mean = f};
    norm.rstd = f, norm.dy = f, norm.dresidual = f, norm.dgain = f, norm.dbias = f;
    struct attention_args attention = {.batch = 1, .sequence = tokens, .heads = l->heads, .kv_heads = 1};
    attention.head_width = 8, attention.qkv = f, attention.y = f, attention.lse = f;
    attention.dy = f, attention.dqkv = f;
    k->scratch_bytes = ops_device_scratch_bytes(l);
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    ck_assert_int_eq(kernels_embedding_backward(k, &embedding, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_norm_backward(k, &norm, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_attention_backward(k, &attention, NULL), MUSTER_OK);
    for (int d = 0; d < DTYPES; d++)
        for (int64_t rows = 1; rows <= tokens; rows = 3 * rows + 1)
            ck_assert_int_eq(cuda_bias_gradient(k, tolerance_dtypes[d], f, rows, width, width, f, NULL),
                             MUSTER_OK);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphDestroy(graph);
    k->scratch_bytes = scratch_bytes;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("CUDA kernels");
    TCase *cases = tcase_create("CUDA kernels");
    tcase_add_unchecked_fixture(cases, compare_open, compare_close);
    tcase_add_loop_test(cases, activations_and_their_slopes_agree_with_the_reference, 0, 3);
    tcase_add_test(cases, swiglu_and_its_gradient_agree_with_the_reference);
    tcase_add_loop_test(cases, dropout_drops_what_the_reference_drops, 0, 3);
    tcase_add_loop_test(cases, norms_agree_with_the_reference, 0, NORM_SIZES);
    tcase_add_loop_test(cases, the_gradients_of_norms_agree_with_the_reference, 0, NORM_SIZES);
    tcase_add_test(cases, a_norm_recomputed_from_the_stored_residual_has_the_same_bits);
    tcase_add_loop_test(cases, rotary_positions_agree_with_the_reference, 0, 2);
    tcase_add_loop_test(cases, embeddings_and_their_gradients_agree_with_the_reference, 0, 6);
    tcase_add_loop_test(cases, rows_of_equal_tokens_are_added_in_token_order, 0, 2);
    tcase_add_loop_test(cases, the_optimizers_agree_with_the_reference, 0, DTYPES);
    tcase_add_test(cases, an_update_cut_in_two_gives_the_same_bits);
    tcase_add_test(cases, sums_and_casts_are_exactly_those_of_the_reference);
    tcase_add_test(cases, sums_of_squares_agree_with_the_reference_in_more_than_single_precision);
    tcase_add_test(cases, a_scratch_block_that_is_too_small_is_refused);
    tcase_add_loop_test(cases, the_planned_scratch_is_enough_for_the_widest_shapes, 0, 3);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed_count = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed_count > 0 ? 1 : 0;
}
