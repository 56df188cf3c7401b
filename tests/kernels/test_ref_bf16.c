/* SPDX-License-Identifier: MIT
 *
 * The reference back end in bf16: each stored value is the fp32 operation's value rounded once, sums in fp32
 * do not notice the dtype of what they are made from, and what is stored is what is used. Names that end in
 * an underscore hold the bf16 form of the array of the same name.
 */
#include "kernels/kernels.h"
#include "tests/kernels/finite_difference.h"
#include "tests/suite.h"

#include <stdlib.h>

enum { ROOM = 512 };

static struct kernels *ref;

static void setup(void)
{
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &ref, NULL), MUSTER_OK);
}

static void teardown(void)
{
    kernels_destroy(ref);
}

/* `stored` (bf16) is `exact` (fp32) rounded once, when both came from the same bf16 inputs. */
static void assert_rounded(const uint16_t *stored, const float *exact, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++) {
        double value = (double)dtype_f32_from_bf16(stored[i]);
        double allowed = fabs((double)exact[i]) * (0x1p-8 + 0x1p-20);
        ck_assert_msg(fabs(value - (double)exact[i]) <= allowed, "%s[%lld]: %.9g became %.9g", name,
                      (long long)i, (double)exact[i], value);
    }
}

/* Random values that bf16 holds, in both forms. */
static void fill_both(float *wide, uint16_t *narrow, int64_t count, uint64_t stream)
{
    fd_fill_random(wide, count, stream);
    for (int64_t i = 0; i < count; i++) {
        narrow[i] = dtype_bf16_from_f32(wide[i]);
        wide[i] = dtype_f32_from_bf16(narrow[i]);
    }
}

START_TEST(sums_are_rounded_to_bf16_once_and_not_through_fp32)
{
    /* 1 + 2^-8 + 2^-30 and 1 + 2^-7 + 2^-8 - 2^-30: fp32 would lose the last term and round the tie wrongly
     */
    static const float terms[] = {1.0f, 0x1p-8f, 0x1p-15f, 1.0f + 0x1p-7f, 0x1p-8f, -0x1p-15f};
    uint16_t x[3] = {dtype_bf16_from_f32(1.0f), dtype_bf16_from_f32(1.0f), dtype_bf16_from_f32(0x1p-15f)};
    uint16_t w[6], y[2];
    for (int i = 0; i < 6; i++)
        w[i] = dtype_bf16_from_f32(terms[i]);
    struct linear_args a = {.dtype = DTYPE_BF16, .tokens = 1, .in_width = 3, .out_width = 2};
    a.x = x;
    a.w = w;
    a.y = y;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert(dtype_f32_from_bf16(y[0]) == 1.0f + 0x1p-7f);
    ck_assert(dtype_f32_from_bf16(y[1]) == 1.0f + 0x1p-7f);
}
END_TEST

START_TEST(bf16_linear_is_the_fp32_linear_rounded_at_each_store)
{
    static float x[ROOM], w[ROOM], bias[ROOM], y[ROOM], dy[ROOM], pre[ROOM], dx[ROOM], dw[ROOM],
        dw_narrow[ROOM];
    static uint16_t x_[ROOM], w_[ROOM], bias_[ROOM], y_[ROOM], dy_[ROOM], pre_[ROOM], dx_[ROOM];
    fill_both(x, x_, 35, 91);
    fill_both(w, w_, 77, 92);
    fill_both(bias, bias_, 11, 93);
    fill_both(dy, dy_, 55, 94);
    fill_both(pre, pre_, 35, 95);
    struct linear_args a = {.dtype = DTYPE_F32, .tokens = 5, .in_width = 7, .out_width = 11};
    struct linear_args b = a;
    a.x = x, a.w = w, a.bias = bias, a.y = y, a.dy = dy, a.dx = dx, a.dw = dw, a.input_pre = pre;
    b.x = x_, b.w = w_, b.bias = bias_, b.y = y_, b.dy = dy_, b.dx = dx_, b.dw = dw_narrow,
    b.input_pre = pre_;
    a.input_activation = b.input_activation = ACTIVATION_GELU_TANH;
    b.dtype = DTYPE_BF16;
    struct linear_args *both[] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(kernels_linear_forward(ref, both[i], NULL), MUSTER_OK);
        ck_assert_int_eq(kernels_linear_backward_input(ref, both[i], NULL), MUSTER_OK);
        ck_assert_int_eq(kernels_linear_backward_weight(ref, both[i], NULL), MUSTER_OK);
    }
    assert_rounded(y_, y, 55, "y");
    assert_rounded(dx_, dx, 35, "dx");
    ck_assert_mem_eq(dw, dw_narrow, 77 * sizeof *dw);
}
END_TEST

START_TEST(an_activation_recomputed_from_the_stored_pre_has_the_same_bits)
{
    static float wide[ROOM];
    static uint16_t x[ROOM], w[ROOM], pre[ROOM], y[ROOM], again[ROOM], alone[ROOM];
    fill_both(wide, x, 120, 96);
    fill_both(wide, w, 160, 97);
    struct linear_args a = {.dtype = DTYPE_BF16, .tokens = 15, .in_width = 8, .out_width = 20};
    a.x = x, a.w = w, a.pre = pre, a.y = y, a.activation = ACTIVATION_GELU_TANH;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    struct activation_args recompute = {.dtype = DTYPE_BF16, .count = 300, .pre = pre, .y = again};
    recompute.activation = ACTIVATION_GELU_TANH;
    ck_assert_int_eq(kernels_activation_forward(ref, &recompute, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, again, 300 * sizeof *y);
    a.pre = NULL;
    a.y = alone;
    ck_assert_int_eq(kernels_linear_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, alone, 300 * sizeof *y);
}
END_TEST

START_TEST(a_norm_recomputed_from_the_stored_residual_has_the_same_bits)
{
    static float wide[ROOM], mean[ROOM], rstd[ROOM];
    static uint16_t x[ROOM], delta[ROOM], gain[ROOM], residual[ROOM], y[ROOM], again[ROOM];
    fill_both(wide, x, 300, 98);
    fill_both(wide, delta, 300, 99);
    fill_both(wide, gain, 20, 100);
    struct norm_args a = {.dtype = DTYPE_BF16, .kind = _i == 0 ? NORM_LAYER : NORM_RMS, .epsilon = 1e-5f};
    a.tokens = 15, a.width = 20;
    a.x = x, a.delta = delta, a.residual = residual, a.gain = gain, a.y = y, a.mean = mean, a.rstd = rstd;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    a.x = residual, a.delta = NULL, a.residual = NULL, a.y = again, a.mean = NULL, a.rstd = NULL;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, again, 300 * sizeof *y);
}
END_TEST

START_TEST(bf16_norm_is_the_fp32_norm_rounded_at_each_store)
{
    static float x[ROOM], gain[ROOM], y[ROOM], dy[ROOM], dx[ROOM], mean[ROOM], rstd[ROOM], dgain[ROOM];
    static float dgain_narrow[ROOM];
    static uint16_t x_[ROOM], gain_[ROOM], y_[ROOM], dy_[ROOM], dx_[ROOM];
    fill_both(x, x_, 45, 101);
    fill_both(gain, gain_, 9, 102);
    fill_both(dy, dy_, 45, 103);
    struct norm_args a = {.dtype = DTYPE_F32, .kind = NORM_LAYER, .epsilon = 1e-5f, .tokens = 5, .width = 9};
    a.mean = mean, a.rstd = rstd;
    struct norm_args b = a;
    b.dtype = DTYPE_BF16;
    a.x = a.residual = x, a.gain = gain, a.y = y, a.dy = dy, a.dresidual = dx, a.dgain = dgain;
    b.x = b.residual = x_, b.gain = gain_, b.y = y_, b.dy = dy_, b.dresidual = dx_, b.dgain = dgain_narrow;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_norm_backward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_norm_forward(ref, &b, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_norm_backward(ref, &b, NULL), MUSTER_OK);
    assert_rounded(y_, y, 45, "y");
    assert_rounded(dx_, dx, 45, "dresidual");
    ck_assert_mem_eq(dgain, dgain_narrow, 9 * sizeof *dgain);
}
END_TEST

START_TEST(bf16_attention_is_the_fp32_attention_rounded_at_each_store)
{
    static float qkv[ROOM], y[ROOM], dy[ROOM], dqkv[ROOM], lse[ROOM], lse_narrow[ROOM];
    static uint16_t qkv_[ROOM], y_[ROOM], dy_[ROOM], dqkv_[ROOM];
    fill_both(qkv, qkv_, 5 * 24, 104);
    fill_both(dy, dy_, 5 * 12, 105);
    struct attention_args a = {.dtype = DTYPE_F32, .batch = 1, .sequence = 5, .heads = 4, .kv_heads = 2};
    a.head_width = 3;
    struct attention_args b = a;
    b.dtype = DTYPE_BF16;
    a.qkv = qkv, a.y = y, a.lse = lse, a.dy = dy, a.dqkv = dqkv;
    b.qkv = qkv_, b.y = y_, b.lse = lse_narrow, b.dy = dy_, b.dqkv = dqkv_;
    ck_assert_int_eq(kernels_attention_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_attention_forward(ref, &b, NULL), MUSTER_OK);
    assert_rounded(y_, y, 60, "y");
    ck_assert_mem_eq(lse, lse_narrow, 20 * sizeof *lse);
    for (int i = 0; i < 60; i++)
        y[i] = dtype_f32_from_bf16(y_[i]);
    ck_assert_int_eq(kernels_attention_backward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_attention_backward(ref, &b, NULL), MUSTER_OK);
    assert_rounded(dqkv_, dqkv, 120, "dqkv");
}
END_TEST

START_TEST(bf16_head_is_the_fp32_head_rounded_at_each_store)
{
    static float x[ROOM], w[ROOM], bias[ROOM], loss[ROOM], dx[ROOM], dw[ROOM], work[ROOM];
    static float loss_narrow[ROOM], dw_narrow[ROOM];
    static uint16_t x_[ROOM], w_[ROOM], bias_[ROOM], dx_[ROOM];
    static const int32_t targets[] = {1, -1, 8};
    fill_both(x, x_, 15, 106);
    fill_both(w, w_, 45, 107);
    fill_both(bias, bias_, 9, 108);
    struct head_loss_args a = {.dtype = DTYPE_F32, .tokens = 3, .width = 5, .vocabulary = 9, .chunk_rows = 2};
    a.targets = targets, a.gradient_scale = 0.5f, a.work = work;
    struct head_loss_args b = a;
    b.dtype = DTYPE_BF16;
    a.x = x, a.w = w, a.bias = bias, a.loss = loss, a.dx = dx, a.dw = dw;
    b.x = x_, b.w = w_, b.bias = bias_, b.loss = loss_narrow, b.dx = dx_, b.dw = dw_narrow;
    ck_assert_int_eq(kernels_head_loss(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_head_loss(ref, &b, NULL), MUSTER_OK);
    ck_assert_mem_eq(loss, loss_narrow, 3 * sizeof *loss);
    ck_assert_mem_eq(dw, dw_narrow, 45 * sizeof *dw);
    assert_rounded(dx_, dx, 15, "dx");
}
END_TEST

START_TEST(bf16_elementwise_operations_are_the_fp32_ones_rounded_at_each_store)
{
    static float gate_up[ROOM], dy[ROOM], y[ROOM], dgate_up[ROOM];
    static uint16_t gate_up_[ROOM], dy_[ROOM], y_[ROOM], dgate_up_[ROOM];
    fill_both(gate_up, gate_up_, 120, 109);
    fill_both(dy, dy_, 60, 110);
    struct swiglu_args swiglu = {DTYPE_F32, 6, 10, gate_up, y, dy, dgate_up};
    struct swiglu_args swiglu_ = {DTYPE_BF16, 6, 10, gate_up_, y_, dy_, dgate_up_};
    ck_assert_int_eq(kernels_swiglu_forward(ref, &swiglu, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_swiglu_forward(ref, &swiglu_, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_swiglu_backward(ref, &swiglu, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_swiglu_backward(ref, &swiglu_, NULL), MUSTER_OK);
    assert_rounded(y_, y, 60, "swiglu y");
    assert_rounded(dgate_up_, dgate_up, 120, "dgate_up");
    struct activation_args gelu = {DTYPE_F32, 60, ACTIVATION_GELU_TANH, gate_up, y, dy, dgate_up};
    struct activation_args gelu_ = {DTYPE_BF16, 60, ACTIVATION_GELU_TANH, gate_up_, y_, dy_, dgate_up_};
    ck_assert_int_eq(kernels_activation_backward(ref, &gelu, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_activation_backward(ref, &gelu_, NULL), MUSTER_OK);
    assert_rounded(dgate_up_, dgate_up, 60, "activation dx");
    struct dropout_args dropout = {DTYPE_F32, 120, 0.3f, rng_key_make(1, 2, 3, 4), gate_up, y};
    struct dropout_args dropout_ = {DTYPE_BF16, 120, 0.3f, dropout.key, gate_up_, y_};
    ck_assert_int_eq(kernels_dropout(ref, &dropout, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_dropout(ref, &dropout_, NULL), MUSTER_OK);
    assert_rounded(y_, y, 120, "dropout y");
    struct rope_args rope = {DTYPE_F32, 6, 3, 3, 1, 4, 100.0f, false, gate_up};
    struct rope_args rope_ = {DTYPE_BF16, 6, 3, 3, 1, 4, 100.0f, false, gate_up_};
    ck_assert_int_eq(kernels_rope(ref, &rope, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_rope(ref, &rope_, NULL), MUSTER_OK);
    assert_rounded(gate_up_, gate_up, 120, "rope");
}
END_TEST

static TCase *bf16_case(void)
{
    TCase *tc = tcase_create("bf16");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sums_are_rounded_to_bf16_once_and_not_through_fp32);
    tcase_add_test(tc, bf16_linear_is_the_fp32_linear_rounded_at_each_store);
    tcase_add_test(tc, an_activation_recomputed_from_the_stored_pre_has_the_same_bits);
    tcase_add_loop_test(tc, a_norm_recomputed_from_the_stored_residual_has_the_same_bits, 0, 2);
    tcase_add_test(tc, bf16_norm_is_the_fp32_norm_rounded_at_each_store);
    tcase_add_test(tc, bf16_attention_is_the_fp32_attention_rounded_at_each_store);
    tcase_add_test(tc, bf16_head_is_the_fp32_head_rounded_at_each_store);
    tcase_add_test(tc, bf16_elementwise_operations_are_the_fp32_ones_rounded_at_each_store);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("ref bf16");
    suite_add_tcase(suite, bf16_case());
    return suite_run(suite);
}
