/* SPDX-License-Identifier: MIT
 *
 * The reference back end in fp16: it rounds once from double, and every operation that stores 16-bit values
 * takes fp16 where it takes bf16. What the operations compute is tested in fp32 and bf16.
 */
#include "kernels/kernels.h"
#include "tests/kernels/finite_difference.h"
#include "tests/suite.h"

enum { ROOM = 256 };

static struct kernels *ref;

static void setup(void)
{
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &ref, NULL), MUSTER_OK);
}

static void teardown(void)
{
    kernels_destroy(ref);
}

/* Random values that fp16 holds, in both forms. */
static void fill_both(float *wide, uint16_t *narrow, int64_t count, uint64_t stream)
{
    fd_fill_random(wide, count, stream);
    for (int64_t i = 0; i < count; i++) {
        narrow[i] = dtype_f16_from_f32(wide[i]);
        wide[i] = dtype_f32_from_f16(narrow[i]);
    }
}

static void assert_rounded(const uint16_t *stored, const float *exact, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double value = (double)dtype_f32_from_f16(stored[i]);
        double allowed = fabs((double)exact[i]) * (0x1p-11 + 0x1p-22) + 0x1p-25;
        ck_assert_msg(fabs(value - (double)exact[i]) <= allowed, "element %lld: %.9g became %.9g",
                      (long long)i, (double)exact[i], value);
    }
}

START_TEST(sums_are_rounded_to_fp16_once_and_not_through_fp32)
{
    /* 1 + 2^-11 ± 2^-30, 1 + 2^-10 + 2^-11 - 2^-30: in fp32 each would be a tie */
    static const float terms[] = {1.0f, 0x1p-11f, 0x1p-15f, 1.0f + 0x1p-10f, 0x1p-11f, -0x1p-15f};
    uint16_t x[3] = {dtype_f16_from_f32(1.0f), dtype_f16_from_f32(1.0f), dtype_f16_from_f32(0x1p-15f)};
    uint16_t w[6], y[2];
    for (int i = 0; i < 6; i++)
        w[i] = dtype_f16_from_f32(terms[i]);
    struct linear_args a = {.dtype = DTYPE_F16, .tokens = 1, .in_width = 3, .out_width = 2};
    a.x = x, a.w = w, a.y = y;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert(dtype_f32_from_f16(y[0]) == 1.0f + 0x1p-10f);
    ck_assert(dtype_f32_from_f16(y[1]) == 1.0f + 0x1p-10f);
}
END_TEST

START_TEST(fp16_operations_are_the_fp32_ones_rounded_at_each_store)
{
    static float x[ROOM], dy[ROOM], y[ROOM], dx[ROOM];
    static uint16_t x_[ROOM], dy_[ROOM], y_[ROOM], dx_[ROOM];
    fill_both(x, x_, 120, 1);
    fill_both(dy, dy_, 60, 2);
    struct swiglu_args a = {.dtype = DTYPE_F32, .tokens = 6, .width = 10, .gate_up = x, .y = y};
    struct swiglu_args b = {.dtype = DTYPE_F16, .tokens = 6, .width = 10, .gate_up = x_, .y = y_};
    a.dy = dy, a.dgate_up = dx, b.dy = dy_, b.dgate_up = dx_;
    ck_assert_int_eq(kernels_swiglu_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_swiglu_forward(ref, &b, NULL), MUSTER_OK);
    assert_rounded(y_, y, 60);
    ck_assert_int_eq(kernels_swiglu_backward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_swiglu_backward(ref, &b, NULL), MUSTER_OK);
    assert_rounded(dx_, dx, 120);
}
END_TEST

/* What is used for y is the rounded pre, also where it is not stored. */
START_TEST(an_fp16_activation_is_taken_of_the_rounded_value)
{
    static float wide[ROOM];
    static uint16_t x[ROOM], w[ROOM], pre[ROOM], y[ROOM], again[ROOM], alone[ROOM];
    fill_both(wide, x, 40, 3);
    fill_both(wide, w, 64, 4);
    struct linear_args a = {.dtype = DTYPE_F16, .tokens = 5, .in_width = 8, .out_width = 8};
    a.x = x, a.w = w, a.pre = pre, a.y = y, a.activation = ACTIVATION_GELU_TANH;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    struct activation_args recompute = {.dtype = DTYPE_F16, .count = 40, .pre = pre, .y = again};
    recompute.activation = ACTIVATION_GELU_TANH;
    ck_assert_int_eq(kernels_activation_forward(ref, &recompute, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, again, 40 * sizeof *y);
    a.pre = NULL, a.y = alone;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, alone, 40 * sizeof *y);
}
END_TEST

START_TEST(parameters_are_rounded_to_the_dtype_asked_for)
{
    float param[2] = {1.0f, 70000.0f}, grad[2] = {0}, m[2] = {0}, v[2] = {0};
    uint16_t narrow[2];
    struct adamw_args adamw = {.count = 2, .param = param, .param_rounded = narrow, .grad = grad};
    adamw.rounded_dtype = DTYPE_F16, adamw.m = m, adamw.v = v, adamw.epsilon = 1.0f;
    adamw.bias_correction1 = adamw.bias_correction2 = 1.0f;
    ck_assert_int_eq(kernels_adamw(ref, &adamw, NULL), MUSTER_OK);
    ck_assert_uint_eq(narrow[0], 0x3c00);
    ck_assert_uint_eq(narrow[1], 0x7c00);
    struct sgd_args sgd = {.count = 2, .param = param, .param_rounded = narrow, .grad = grad, .momentum = m};
    sgd.rounded_dtype = DTYPE_BF16;
    ck_assert_int_eq(kernels_sgd(ref, &sgd, NULL), MUSTER_OK);
    ck_assert_uint_eq(narrow[0], 0x3f80);
    sgd.rounded_dtype = DTYPE_F16;
    ck_assert_int_eq(kernels_sgd(ref, &sgd, NULL), MUSTER_OK);
    ck_assert_uint_eq(narrow[0], 0x3c00);
    ck_assert_int_eq(kernels_round_to(ref, DTYPE_F16, narrow, param, 2, NULL), MUSTER_OK);
    ck_assert_uint_eq(narrow[1], 0x7c00);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reference, fp16");
    TCase *cases = tcase_create("fp16");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, sums_are_rounded_to_fp16_once_and_not_through_fp32);
    tcase_add_test(cases, fp16_operations_are_the_fp32_ones_rounded_at_each_store);
    tcase_add_test(cases, an_fp16_activation_is_taken_of_the_rounded_value);
    tcase_add_test(cases, parameters_are_rounded_to_the_dtype_asked_for);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
