/* SPDX-License-Identifier: MIT
 *
 * Our own CUDA kernels but attention, under emulation, judged by the reference over shapes that are and are
 * not multiples of what a thread takes at a time; compare_emulated.c says what each comparison checks.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cudart_standin.h"
#include "kernels/cuda/cuda_internal.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/cases.h"
#include "tests/suite.h"

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

START_TEST(swiglu_and_its_gradient_agree_with_the_reference)
{
    for (int i = 0; i < ROWS_SIZES * DTYPES; i++) {
        const int64_t *n = rows_sizes[i / DTYPES];
        const struct case_rows s = {tolerance_dtypes[i % DTYPES], n[0], n[1]};
        case_swiglu_run(&s, tolerance_of(s.dtype));
    }
}
END_TEST

/* Dropping, not dropping, in place. */
START_TEST(dropout_drops_what_the_reference_drops)
{
    for (int i = 0; i < ROWS_SIZES * DTYPES; i++) {
        const int64_t *n = rows_sizes[i / DTYPES];
        struct case_dropout s = {.dtype = tolerance_dtypes[i % DTYPES], .count = n[0] * n[1]};
        s.p = _i == 1 ? 0.0f : 0.1f, s.in_place = _i == 2;
        case_dropout_run(&s, tolerance_of(s.dtype));
    }
}
END_TEST

struct norm_shape {
    enum dtype dtype;
    enum norm_kind kind;
    int64_t tokens, width;
    bool delta, bias, accumulate;
};

/* The last two give a thread more than one group of columns, one of them in fp32 only. */
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

START_TEST(rotary_positions_agree_with_the_reference)
{
    static const int64_t sizes[][5] = {
        {1, 1, 1, 1, 2}, {12, 4, 3, 1, 10}, {70, 35, 2, 2, 64}, {5, 9, 1, 1, 34}, {6, 3, 9, 3, 16}};
    for (int i = 0; i < 5 * DTYPES; i++) {
        const int64_t *n = sizes[i / DTYPES];
        const struct case_rope s = {tolerance_dtypes[i % DTYPES], n[0], n[1], n[2], n[3], n[4], _i == 1};
        case_rope_run(&s, tolerance_of(s.dtype));
    }
}
END_TEST

/* The last two have rows with more tokens than a list holds, one of them in several pieces of the width. */
START_TEST(embeddings_and_their_gradients_agree_with_the_reference)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1},    {24, 8, 70, 5},    {60, 20, 48, 100},
                                       {9, 3, 1100, 2}, {1300, 260, 6, 2}, {600, 600, 16, 1}};
    for (int variant = 0; variant < 6; variant++) {
        const int64_t *n = sizes[_i];
        const struct case_embedding s = {tolerance_dtypes[variant % 3], n[0], n[1], n[2], n[3], variant < 3};
        case_embedding_run(&s);
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

static const int64_t update_counts[] = {1, 4, 15, 1024, 2051};
enum { UPDATE_COUNTS = sizeof update_counts / sizeof *update_counts };

/* Without turns of weight decay, with some, and with more than one launch carries. */
START_TEST(the_optimizers_agree_with_the_reference)
{
    static const int turns[] = {0, 5, CASE_TURNS_MAX};
    for (int i = 0; i < 3 * UPDATE_COUNTS; i++) {
        const struct case_update s = {update_counts[i / 3], tolerance_dtypes[_i], _i == 1, turns[i % 3]};
        case_updates_run(&s, tolerance_of(s.rounded));
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
    struct case_update s = {.count = COUNT}, first = {.count = CUT}, second = {.count = COUNT - CUT};
    ck_assert_int_eq(case_adamw_call(compare_subject(), &s, data, NULL), MUSTER_OK);
    ck_assert_int_eq(case_adamw_call(compare_subject(), &first, pieces, NULL), MUSTER_OK);
    ck_assert_int_eq(case_adamw_call(compare_subject(), &second, rest, NULL), MUSTER_OK);
    ck_assert_mem_eq(all + COUNT, all + 4 * COUNT, 3 * COUNT * sizeof *all);
    cudaFree(all);
}
END_TEST

START_TEST(sums_and_casts_are_exactly_those_of_the_reference)
{
    for (int i = 0; i < UPDATE_COUNTS; i++)
        case_vectors_run(update_counts[i]);
}
END_TEST

START_TEST(sums_of_squares_agree_with_the_reference_in_more_than_single_precision)
{
    static const struct case_squares shapes[] = {{0, 1},       {1, 1},       {7, 3},        {13, 1},
                                                 {1024, 1024}, {4097, 1024}, {13001, 1024}, {13001, 13001}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        case_squares_run(&shapes[i], 1e-12);
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
    return suite_run(suite);
}
