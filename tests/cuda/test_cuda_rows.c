/* SPDX-License-Identifier: MIT
 *
 * The kernels that exist for the sake of cuBLASLt (epilogue, bias gradient, cross entropy), under emulation.
 * The reference has no such operations: it is asked for a linear layer or head with the identity as weights.
 */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_internal.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/compare.h"
#include "tests/suite.h"

struct rows_shape {
    enum dtype dtype, bias_dtype;
    int64_t rows, columns, stride;
    enum activation activation;
    bool bias, pre, gradient;
};

static void element_set(enum dtype dtype, void *array, int64_t i, float value)
{
    if (dtype == DTYPE_F32)
        ((float *)array)[i] = value;
    else
        ((uint16_t *)array)[i] = dtype == DTYPE_BF16 ? dtype_bf16_from_f32(value) : dtype_f16_from_f32(value);
}

static float element(enum dtype dtype, const void *array, int64_t i)
{
    if (dtype == DTYPE_F32)
        return ((const float *)array)[i];
    uint16_t bits = ((const uint16_t *)array)[i];
    return dtype == DTYPE_BF16 ? dtype_f32_from_bf16(bits) : dtype_f32_from_f16(bits);
}

/* Released with alloc_free. */
static void *identity_create(enum dtype dtype, int64_t width)
{
    void *w = alloc_zeroed((size_t)(width * width), dtype_size(dtype));
    ck_assert_ptr_nonnull(w);
    for (int64_t i = 0; i < width; i++)
        element_set(dtype, w, i * width + i, 1.0f);
    return w;
}

/* The rows of a padded matrix one after another; released with alloc_free. */
static void *dense_create(const struct rows_shape *s, const void *padded)
{
    void *dense = alloc_zeroed((size_t)(s->rows * s->columns), dtype_size(s->dtype));
    ck_assert_ptr_nonnull(dense);
    for (int64_t i = 0; i < s->rows * s->columns; i++)
        element_set(s->dtype, dense, i,
                    element(s->dtype, padded, i / s->columns * s->stride + i % s->columns));
    return dense;
}

static enum muster_status epilogue_call(struct kernels *k, const void *shape, void *const data[],
                                        struct muster_error *err)
{
    const struct rows_shape *s = shape;
    if (k == compare_subject()) {
        struct cuda_epilogue_args a = {.dtype = s->dtype, .rows = s->rows, .columns = s->columns};
        a.x = data[0], a.bias = data[1], a.activation = s->activation, a.pre = data[2], a.y = data[3];
        return cuda_epilogue(k, &a, err);
    }
    struct linear_args a = {.dtype = s->dtype, .tokens = s->rows, .in_width = s->columns};
    void *w = identity_create(s->dtype, s->columns);
    a.out_width = s->columns, a.x = data[0], a.w = w, a.bias = data[1], a.activation = s->activation;
    a.pre = data[2], a.y = data[3];
    enum muster_status status = kernels_linear_forward(k, &a, err);
    alloc_free(w);
    return status;
}

START_TEST(the_epilogue_is_that_of_a_linear_layer)
{
    static const int64_t sizes[][2] = {{1, 1}, {5, 16}, {7, 33}};
    for (int i = 0; i < 3 * 3 * 4; i++) {
        struct rows_shape s = {.dtype = tolerance_dtypes[i % 3], .activation = (enum activation)_i};
        s.rows = sizes[i / 3 % 3][0], s.columns = sizes[i / 3 % 3][1];
        s.bias = i / 9 % 2 == 0, s.pre = i / 18 == 0 && s.activation != ACTIVATION_NONE;
        const int64_t count = s.rows * s.columns;
        const struct compare_array arrays[] = {
            {COMPARE_INPUT, s.dtype, count, 0, -4, 4, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.bias ? s.columns : 0},
            {COMPARE_OUTPUT, s.dtype, s.pre ? count : 0, 1e-7, 0, 0, NULL},
            {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL}};
        compare_run("epilogue", arrays, 4, epilogue_call, &s);
    }
}
END_TEST

/* Stored or not, pre is rounded before the activation; recomputing y from it gives the same bits. */
START_TEST(an_activation_recomputed_from_the_stored_pre_has_the_same_bits)
{
    enum { ROWS = 6, COLUMNS = 24, COUNT = ROWS * COLUMNS };
    uint16_t *all = NULL, *bias = NULL;
    float values[COUNT];
    cudaMalloc((void **)&all, 5 * COUNT * sizeof *all);
    cudaMalloc((void **)&bias, COLUMNS * sizeof *bias);
    rng_uniform_fill(rng_key_make(8, 0, 0, 0), -3.0f, 3.0f, values, COUNT);
    for (int i = 0; i < COUNT; i++)
        all[i] = bias[i % COLUMNS] = dtype_bf16_from_f32(values[i]);
    uint16_t *pre = all + COUNT, *y = pre + COUNT, *alone = y + COUNT, *again = alone + COUNT;
    struct cuda_epilogue_args a = {.dtype = DTYPE_BF16, .rows = ROWS, .columns = COLUMNS, .x = all};
    a.bias = bias, a.activation = ACTIVATION_GELU_TANH, a.pre = pre, a.y = y;
    ck_assert_int_eq(cuda_epilogue(compare_subject(), &a, NULL), MUSTER_OK);
    a.pre = NULL, a.y = alone;
    ck_assert_int_eq(cuda_epilogue(compare_subject(), &a, NULL), MUSTER_OK);
    struct activation_args recompute = {.dtype = DTYPE_BF16, .count = COUNT, .pre = pre, .y = again};
    recompute.activation = ACTIVATION_GELU_TANH;
    ck_assert_int_eq(kernels_activation_forward(compare_subject(), &recompute, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, alone, COUNT * sizeof *y);
    ck_assert_mem_eq(y, again, COUNT * sizeof *y);
    cudaFree(all);
    cudaFree(bias);
}
END_TEST

static enum muster_status bias_gradient_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    const struct rows_shape *s = shape;
    if (k == compare_subject())
        return cuda_bias_gradient(k, s->dtype, data[0], s->rows, s->columns, s->stride, data[1], err);
    void *dense = dense_create(s, data[0]);
    void *x = alloc_zeroed((size_t)s->rows, sizeof(float));
    float *dw = alloc_zeroed((size_t)s->columns, sizeof *dw);
    struct linear_args a = {.dtype = s->dtype, .tokens = s->rows, .in_width = 1, .out_width = s->columns};
    a.x = x, a.dy = dense, a.dw = dw, a.dbias = data[1];
    enum muster_status status = kernels_linear_backward_weight(k, &a, err);
    alloc_free(dense);
    alloc_free(x);
    alloc_free(dw);
    return status;
}

/* Several chunks of rows, several tiles of columns, padded rows. */
START_TEST(bias_gradients_agree_with_the_reference)
{
    static const int64_t sizes[][3] = {{1, 1, 1},     {9, 40, 40}, {70, 16, 16},
                                       {200, 33, 40}, {130, 7, 7}, {66, 300, 301}};
    for (int i = 0; i < 6 * 3; i++) {
        const int64_t *n = sizes[i / 3];
        struct rows_shape s = {
            .dtype = tolerance_dtypes[i % 3], .rows = n[0], .columns = n[1], .stride = n[2]};
        const struct compare_array arrays[] = {
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.rows * s.stride},
            {COMPARE_UPDATE, DTYPE_F32, s.columns, 1e-5, 0, 0, NULL}};
        compare_run("bias_gradient", arrays, 2, bias_gradient_call, &s);
    }
}
END_TEST

/* The judge's part of the call below: a head whose weights are the identity. */
static enum muster_status cross_entropy_judge(struct kernels *k, const struct rows_shape *s,
                                              void *const data[], struct muster_error *err)
{
    void *dense = dense_create(s, data[0]), *w = identity_create(s->dtype, s->columns), *bias = NULL;
    void *dx = alloc_zeroed((size_t)(s->rows * s->columns), 4), *work = alloc_zeroed(1, 64);
    float *dw = alloc_zeroed((size_t)(s->columns * s->columns), sizeof *dw);
    if (s->bias)
        bias = alloc_zeroed((size_t)s->columns, 4);
    for (int64_t c = 0; s->bias && c < s->columns; c++)
        element_set(s->dtype, bias, c, element(s->bias_dtype, data[1], c));
    struct head_loss_args a = {.dtype = s->dtype, .tokens = s->rows, .width = s->columns};
    a.vocabulary = s->columns, a.chunk_rows = s->rows, a.x = dense, a.w = w, a.bias = bias;
    a.targets = data[2], a.loss = data[3], a.correct = data[4], a.gradient_scale = 0.3f;
    a.dx = s->gradient ? dx : NULL, a.dw = dw, a.work = work;
    enum muster_status status = kernels_head_loss(k, &a, err);
    for (int64_t i = 0; s->gradient && i < s->rows * s->stride; i++) {
        const int64_t row = i / s->stride, c = i % s->stride;
        element_set(s->dtype, data[0], i,
                    c < s->columns ? element(s->dtype, dx, row * s->columns + c) : 0.0f);
    }
    void *all[] = {dense, w, bias, dx, work, dw};
    for (int i = 0; i < 6; i++)
        alloc_free(all[i]);
    return status;
}

static enum muster_status cross_entropy_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    const struct rows_shape *s = shape;
    if (k != compare_subject())
        return cross_entropy_judge(k, s, data, err);
    struct cuda_cross_entropy_args a = {.dtype = s->dtype, .bias_dtype = s->bias_dtype, .rows = s->rows};
    a.vocabulary = s->columns, a.stride = s->stride, a.logits = data[0], a.bias = data[1];
    a.targets = data[2], a.loss = data[3], a.correct = data[4];
    a.gradient_scale = 0.3f, a.gradient = s->gradient;
    return cuda_cross_entropy(k, &a, err);
}

/* Targets from -1 on; logits of fp16 and bf16 have ties, which the first of the largest wins. */
START_TEST(cross_entropy_is_that_of_a_head)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {20, 7, 8}, {9, 50, 50}, {6, 130, 136}, {3, 300, 303}};
    for (int variant = 0; variant < 9; variant++) {
        const int64_t *n = sizes[_i];
        struct rows_shape s = {.dtype = tolerance_dtypes[variant % 3], .rows = n[0], .columns = n[1]};
        s.stride = n[2], s.bias = variant / 3 != 1, s.gradient = variant / 3 != 2;
        s.bias_dtype = s.dtype == DTYPE_F32 ? tolerance_dtypes[variant / 3 % 3] : s.dtype;
        const double tolerance = s.dtype == DTYPE_F32 ? 1e-5 : tolerance_of(s.dtype);
        char label[96];
        const struct compare_array arrays[] = {
            {s.gradient ? COMPARE_UPDATE : COMPARE_INPUT, s.dtype, s.rows * s.stride, tolerance, -3, 3, NULL},
            {.role = COMPARE_INPUT, .dtype = s.bias_dtype, .count = s.bias ? s.columns : 0},
            {COMPARE_INPUT, DTYPE_I32, s.rows, 0, -1, (double)s.columns, NULL},
            {COMPARE_OUTPUT, DTYPE_F32, s.rows, 1e-5, 0, 0, NULL},
            {COMPARE_OUTPUT, DTYPE_F32, variant % 2 ? s.rows : 0, 0, 0, 0, NULL}};
        snprintf(label, sizeof label, "cross_entropy size %d variant %d", _i, variant);
        compare_run(label, arrays, 5, cross_entropy_call, &s);
    }
}
END_TEST

START_TEST(the_first_of_equal_logits_is_the_answer)
{
    static const int32_t targets[] = {0, 1, 2, -1};
    static const float logits[] = {5, 5, 1, 1, 5, 5, 1, 1, 5, 5, 1, 1, 5, 5, 1, 1};
    struct rows_shape s = {.dtype = DTYPE_F32, .rows = 4, .columns = 3, .stride = 4};
    const struct compare_array arrays[] = {{COMPARE_INPUT, DTYPE_F32, 16, 0, 0, 0, logits},
                                           {.role = COMPARE_INPUT, .dtype = DTYPE_F32},
                                           {COMPARE_INPUT, DTYPE_I32, 4, 0, 0, 0, targets},
                                           {COMPARE_OUTPUT, DTYPE_F32, 4, 1e-5, 0, 0, NULL},
                                           {COMPARE_OUTPUT, DTYPE_F32, 4, 0, 0, 0, NULL}};
    compare_run("ties", arrays, 5, cross_entropy_call, &s);
}
END_TEST

/* More columns than a block takes at once, with the largest ones last. */
START_TEST(a_row_longer_than_the_block_has_the_right_loss_and_gradient)
{
    enum { COLUMNS = 9001, TARGET = 77 };
    float *logits = NULL, *loss = NULL;
    int32_t *target = NULL;
    double total = 0.0, worst = 0.0;
    cudaMalloc((void **)&logits, COLUMNS * sizeof *logits);
    cudaMalloc((void **)&loss, sizeof *loss);
    cudaMalloc((void **)&target, sizeof *target);
    for (int c = 0; c < COLUMNS; c++) {
        logits[c] = (float)(c % 1000) * 0.002f + (float)(c / 1000);
        total += exp((double)logits[c]);
    }
    const double lse = log(total), expected = lse - (double)logits[TARGET];
    *target = TARGET;
    struct cuda_cross_entropy_args a = {.dtype = DTYPE_F32, .rows = 1, .vocabulary = COLUMNS};
    a.stride = COLUMNS, a.logits = logits, a.targets = target, a.loss = loss;
    a.gradient_scale = 1.0f, a.gradient = true;
    ck_assert_int_eq(cuda_cross_entropy(compare_subject(), &a, NULL), MUSTER_OK);
    ck_assert_double_eq_tol((double)*loss, expected, 1e-5);
    for (int c = 0; c < COLUMNS; c++) {
        double logit = (double)((float)(c % 1000) * 0.002f + (float)(c / 1000));
        double wanted = exp(logit - lse) - (c == TARGET ? 1.0 : 0.0);
        worst = fmax(worst, fabs((double)logits[c] - wanted));
    }
    ck_assert_double_lt(worst, 1e-6);
    cudaFree(logits);
    cudaFree(loss);
    cudaFree(target);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("CUDA rows");
    TCase *cases = tcase_create("CUDA rows");
    tcase_add_unchecked_fixture(cases, compare_open, compare_close);
    tcase_add_loop_test(cases, the_epilogue_is_that_of_a_linear_layer, 0, 3);
    tcase_add_test(cases, an_activation_recomputed_from_the_stored_pre_has_the_same_bits);
    tcase_add_test(cases, bias_gradients_agree_with_the_reference);
    tcase_add_loop_test(cases, cross_entropy_is_that_of_a_head, 0, 5);
    tcase_add_test(cases, the_first_of_equal_logits_is_the_answer);
    tcase_add_test(cases, a_row_longer_than_the_block_has_the_right_loss_and_gradient);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
