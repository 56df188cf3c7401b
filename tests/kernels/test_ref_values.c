/* SPDX-License-Identifier: MIT
 *
 * What finite differences cannot see in the reference back end: that the forward operations compute the right
 * function (values known from elsewhere), that bf16 is rounded once and what is stored is what is used, and
 * the optimizers against formulas written down a second time.
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

static void assert_near(double given, double expected, double allowed)
{
    ck_assert_msg(fabs(given - expected) <= allowed, "%.9g is not %.9g", given, expected);
}

/* ---- known values ---- */

START_TEST(activations_have_their_known_values)
{
    static const float x[] = {-2.0f, -1.0f, 0.0f, 1.0f, 2.0f, 3.0f};
    static const double gelu[] = {-0.0454023060, -0.1588080094, 0.0,
                                  0.8411919906,  1.9545976940,  2.9963626080};
    float y[6];
    struct activation_args a = {
        .dtype = DTYPE_F32, .count = 6, .activation = ACTIVATION_GELU_TANH, .pre = x, .y = y};
    ck_assert_int_eq(kernels_activation_forward(ref, &a, NULL), MUSTER_OK);
    for (int i = 0; i < 6; i++)
        assert_near((double)y[i], gelu[i], 2e-7);
    a.activation = ACTIVATION_RELU;
    ck_assert_int_eq(kernels_activation_forward(ref, &a, NULL), MUSTER_OK);
    for (int i = 0; i < 6; i++)
        ck_assert(y[i] == (x[i] > 0.0f ? x[i] : 0.0f));
    a.activation = ACTIVATION_NONE;
    ck_assert_int_eq(kernels_activation_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, x, sizeof x);
}
END_TEST

START_TEST(swiglu_of_one_and_two_is_two_times_the_sigmoid_of_one)
{
    static const float gate_up[] = {1.0f, -1.0f, 2.0f, 4.0f};
    float y[2];
    struct swiglu_args a = {.dtype = DTYPE_F32, .tokens = 1, .width = 2, .gate_up = gate_up, .y = y};
    ck_assert_int_eq(kernels_swiglu_forward(ref, &a, NULL), MUSTER_OK);
    assert_near((double)y[0], 2.0 * 0.7310585786, 1e-6);
    assert_near((double)y[1], -4.0 * 0.2689414214, 1e-6);
}
END_TEST

START_TEST(head_of_logits_one_two_three_gives_the_known_softmax)
{
    static const float x[] = {1.0f, 1.0f, 1.0f}, w[] = {1.0f, 2.0f, 3.0f};
    static const int32_t targets[] = {2, 0, -1};
    float loss[3], correct[3], dx[3], dw[3] = {0}, work[64];
    struct head_loss_args a = {.dtype = DTYPE_F32,
                               .tokens = 3,
                               .width = 1,
                               .vocabulary = 3,
                               .chunk_rows = 2,
                               .x = x,
                               .w = w,
                               .targets = targets,
                               .loss = loss,
                               .correct = correct,
                               .gradient_scale = 1.0f,
                               .dx = dx,
                               .dw = dw,
                               .work = work};
    ck_assert_int_eq(kernels_head_loss(ref, &a, NULL), MUSTER_OK);
    assert_near((double)loss[0], 0.4076059644, 1e-6);
    assert_near((double)loss[1], 2.4076059644, 1e-6);
    ck_assert(loss[2] == 0.0f && dx[2] == 0.0f);
    ck_assert(correct[0] == 1.0f && correct[1] == 0.0f && correct[2] == 0.0f);
    assert_near((double)dw[0], 2 * 0.0900305732 - 1.0, 1e-6);
    assert_near((double)dw[1], 2 * 0.2447284711, 1e-6);
    assert_near((double)dw[2], 2 * 0.6652409558 - 1.0, 1e-6);
}
END_TEST

START_TEST(the_first_of_two_largest_logits_is_the_prediction)
{
    static const float x[] = {1.0f, 1.0f}, w[] = {1.0f, 5.0f, 5.0f};
    static const int32_t targets[] = {1, 2};
    float loss[2], correct[2], work[64];
    struct head_loss_args a = {.dtype = DTYPE_F32,
                               .tokens = 2,
                               .width = 1,
                               .vocabulary = 3,
                               .chunk_rows = 1,
                               .x = x,
                               .w = w,
                               .targets = targets,
                               .loss = loss,
                               .correct = correct,
                               .work = work};
    ck_assert_int_eq(kernels_head_loss(ref, &a, NULL), MUSTER_OK);
    ck_assert(correct[0] == 1.0f && correct[1] == 0.0f);
}
END_TEST

START_TEST(norms_of_a_small_row_have_their_known_values)
{
    static const float x[] = {1.0f, 2.0f, 4.0f}, delta[] = {0.0f, 1.0f, 1.0f}, gain[] = {1.0f, 2.0f, 1.0f};
    static const float bias[] = {0.0f, 0.0f, 10.0f};
    float residual[3], y[3], mean, rstd;
    struct norm_args a = {.dtype = DTYPE_F32, .kind = NORM_LAYER, .tokens = 1, .width = 3, .x = x};
    a.delta = delta;
    a.residual = residual;
    a.gain = gain;
    a.bias = bias;
    a.y = y;
    a.mean = &mean;
    a.rstd = &rstd;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert(residual[0] == 1.0f && residual[1] == 3.0f && residual[2] == 5.0f && mean == 3.0f);
    assert_near((double)rstd, sqrt(3.0 / 8.0), 1e-7);
    assert_near((double)y[0], -sqrt(1.5), 1e-6);
    assert_near((double)y[1], 0.0, 1e-6);
    assert_near((double)y[2], 10.0 + sqrt(1.5), 1e-6);
    a.kind = NORM_RMS;
    a.bias = NULL;
    a.epsilon = 1.0f;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    assert_near((double)y[1], 6.0 / sqrt(35.0 / 3.0 + 1.0), 1e-6);
}
END_TEST

START_TEST(a_normalised_row_is_made_from_the_statistics_as_they_are_stored)
{
    enum { TOKENS = 12, WIDTH = 17 };
    static float x[TOKENS * WIDTH], gain[WIDTH], y[TOKENS * WIDTH], mean[TOKENS], rstd[TOKENS];
    fd_fill_random(x, TOKENS * WIDTH, 82);
    fd_fill_random(gain, WIDTH, 83);
    struct norm_args a = {.dtype = DTYPE_F32, .kind = NORM_LAYER, .epsilon = 1e-5f, .tokens = TOKENS};
    a.width = WIDTH;
    a.x = x;
    a.gain = gain;
    a.y = y;
    a.mean = mean;
    a.rstd = rstd;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    for (int e = 0; e < TOKENS * WIDTH; e++) {
        double h = ((double)x[e] - (double)mean[e / WIDTH]) * (double)rstd[e / WIDTH];
        ck_assert(y[e] == (float)(h * (double)gain[e % WIDTH]));
    }
}
END_TEST

START_TEST(rope_turns_pairs_half_a_head_apart_by_position_times_frequency)
{
    /* two heads' worth of row: query, key, value; positions 0 and 1 of each of two sequences */
    float qkv[4 * 12];
    fd_fill_constant(qkv, 48, 1.0f);
    struct rope_args a = {DTYPE_F32, 4, 2, 1, 1, 4, 16.0f, false, qkv};
    ck_assert_int_eq(kernels_rope(ref, &a, NULL), MUSTER_OK);
    for (int i = 0; i < 12; i++)
        ck_assert_msg(qkv[i] == 1.0f && qkv[24 + i] == 1.0f, "position 0 was turned");
    for (int head = 0; head < 2; head++) {
        const float *q = qkv + 12 + 4 * head;
        assert_near((double)q[0], cos(1.0) - sin(1.0), 1e-6);
        assert_near((double)q[2], cos(1.0) + sin(1.0), 1e-6);
        assert_near((double)q[1], cos(0.25) - sin(0.25), 1e-6);
        assert_near((double)q[3], cos(0.25) + sin(0.25), 1e-6);
    }
    for (int i = 8; i < 12; i++)
        ck_assert_msg(qkv[12 + i] == 1.0f, "a value head was turned");
}
END_TEST

START_TEST(attention_without_queries_averages_the_values_seen_so_far)
{
    /* 4 query heads on 2 key/value heads of width 2; value element = 100 kv_head + 10 position + c */
    enum { SEQUENCE = 3, ROW = 16 };
    static float qkv[SEQUENCE * ROW], y[SEQUENCE * 8], lse[4 * SEQUENCE];
    fd_fill_random(qkv, SEQUENCE * ROW, 81);
    for (int t = 0; t < SEQUENCE; t++) {
        fd_fill_constant(qkv + t * ROW, 8, 0.0f);
        for (int c = 0; c < 4; c++)
            qkv[t * ROW + 12 + c] = (float)(100 * (c / 2) + 10 * t + c % 2);
    }
    struct attention_args a = {.dtype = DTYPE_F32, .batch = 1, .sequence = SEQUENCE, .heads = 4};
    a.kv_heads = 2;
    a.head_width = 2;
    a.qkv = qkv;
    a.y = y;
    a.lse = lse;
    ck_assert_int_eq(kernels_attention_forward(ref, &a, NULL), MUSTER_OK);
    for (int t = 0; t < SEQUENCE; t++)
        for (int c = 0; c < 8; c++)
            assert_near((double)y[t * 8 + c], 100.0 * (c / 4) + 5.0 * t + c % 2, 1e-4);
    for (int h = 0; h < 4; h++)
        for (int t = 0; t < SEQUENCE; t++)
            assert_near((double)lse[h * SEQUENCE + t], log(t + 1.0), 1e-6);
}
END_TEST

START_TEST(attention_scores_are_scaled_by_the_root_of_the_head_width)
{
    /* one head of width 4, two positions: the second query scores 2·ln 3 and 0 before the scale of 1/2 */
    static float qkv[24], y[8], lse[2];
    qkv[12] = (float)log(9.0);
    qkv[4] = 1.0f;
    fd_fill_constant(qkv + 8, 4, 8.0f);
    struct attention_args a = {.dtype = DTYPE_F32, .batch = 1, .sequence = 2, .heads = 1, .kv_heads = 1};
    a.head_width = 4;
    a.qkv = qkv;
    a.y = y;
    a.lse = lse;
    ck_assert_int_eq(kernels_attention_forward(ref, &a, NULL), MUSTER_OK);
    assert_near((double)y[0], 8.0, 1e-6);
    assert_near((double)y[4], 6.0, 1e-5);
    assert_near((double)lse[1], log(4.0), 1e-6);
}
END_TEST

START_TEST(attention_dropout_keeps_the_elements_the_contract_names)
{
    enum { BATCH = 2, HEADS = 2, SEQUENCE = 5 };
    static float qkv[BATCH * SEQUENCE * 6], y[BATCH * SEQUENCE * HEADS], lse[BATCH * HEADS * SEQUENCE];
    for (int i = 0; i < BATCH * SEQUENCE; i++)
        for (int c = 0; c < 6; c++)
            qkv[i * 6 + c] = c < 4 ? 0.0f : 1.0f;
    struct attention_args a = {.dtype = DTYPE_F32, .batch = BATCH, .sequence = SEQUENCE, .heads = HEADS};
    a.kv_heads = 2;
    a.head_width = 1;
    a.qkv = qkv;
    a.y = y;
    a.lse = lse;
    a.dropout = 0.5f;
    a.key = rng_key_make(9, 8, 7, 6);
    ck_assert_int_eq(kernels_attention_forward(ref, &a, NULL), MUSTER_OK);
    for (int n = 0; n < BATCH * HEADS * SEQUENCE; n++) {
        int b = n / (HEADS * SEQUENCE), h = n / SEQUENCE % HEADS, i = n % SEQUENCE, kept = 0;
        for (int j = 0; j <= i; j++) {
            int e = n * SEQUENCE + j;
            kept += rng_uniform(rng_philox(a.key, 0, (uint64_t)e / 4).word[e % 4]) >= 0.5f;
        }
        assert_near((double)y[(b * SEQUENCE + i) * HEADS + h], 2.0 * kept / (i + 1.0), 1e-6);
    }
}
END_TEST

START_TEST(dropout_in_place_zeroes_the_elements_the_contract_names_and_scales_the_rest)
{
    enum { COUNT = 403 };
    static float x[COUNT];
    fd_fill_constant(x, COUNT, 3.0f);
    struct dropout_args a = {DTYPE_F32, COUNT, 0.25f, rng_key_make(1, 1, 2, 3), x, x};
    ck_assert_int_eq(kernels_dropout(ref, &a, NULL), MUSTER_OK);
    int kept = 0;
    for (int e = 0; e < COUNT; e++) {
        bool keep = rng_uniform(rng_philox(a.key, 0, (uint64_t)e / 4).word[e % 4]) >= 0.25f;
        ck_assert(x[e] == (keep ? 4.0f : 0.0f));
        kept += keep;
    }
    ck_assert_msg(kept > COUNT / 2 && kept < COUNT, "%d of %d kept", kept, COUNT);
}
END_TEST

START_TEST(embedding_adds_the_row_of_the_token_and_the_row_of_the_position)
{
    static const float tokens[] = {1.0f, 2.0f, 3.0f}, positions[] = {10.0f, 20.0f};
    static const int32_t ids[] = {2, 0, 1, 1};
    static const float expected[] = {13.0f, 21.0f, 12.0f, 22.0f};
    float y[4];
    struct embedding_args a = {.dtype = DTYPE_F32, .tokens = 4, .sequence = 2, .width = 1, .vocabulary = 3};
    a.ids = ids;
    a.token_table = tokens;
    a.position_table = positions;
    a.y = y;
    ck_assert_int_eq(kernels_embedding_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_mem_eq(y, expected, sizeof y);
    a.position_table = NULL;
    ck_assert_int_eq(kernels_embedding_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert(y[0] == 3.0f && y[3] == 2.0f);
}
END_TEST

/* ---- optimizers and vectors ---- */

START_TEST(adamw_follows_the_published_formula_for_five_steps)
{
    enum { COUNT = 7 };
    float param[COUNT], grad[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
    uint16_t narrow[COUNT];
    double p[COUNT], m2[COUNT] = {0}, v2[COUNT] = {0};
    fd_fill_random(param, COUNT, 111);
    for (int i = 0; i < COUNT; i++)
        p[i] = (double)param[i];
    struct adamw_args a = {COUNT, param, narrow, DTYPE_BF16, grad, m,         v,    0.5f,
                           0.01f, 0.9f,  0.95f,  1e-8f,      0.1f, {NULL, 0}, 0.0f, 0.0f};
    for (int step = 1; step <= 5; step++) {
        fd_fill_random(grad, COUNT, 112 + (uint64_t)step);
        a.bias_correction1 = (float)(1.0 - pow(0.9, step));
        a.bias_correction2 = (float)(1.0 - pow(0.95, step));
        ck_assert_int_eq(kernels_adamw(ref, &a, NULL), MUSTER_OK);
        for (int i = 0; i < COUNT; i++) {
            double g = 0.5 * (double)grad[i];
            p[i] *= 1.0 - 0.01 * 0.1;
            m2[i] += (1.0 - 0.9) * (g - m2[i]);
            v2[i] = 0.95 * v2[i] + (1.0 - 0.95) * g * g;
            double root = sqrt(v2[i]) / sqrt(1.0 - pow(0.95, step));
            p[i] -= 0.01 / (1.0 - pow(0.9, step)) * m2[i] / (root + 1e-8);
            assert_near((double)param[i], p[i], 2e-6);
            assert_near((double)m[i], m2[i], 1e-7);
            assert_near((double)v[i], v2[i], 1e-7);
            ck_assert_uint_eq(narrow[i], dtype_bf16_from_f32(param[i]));
        }
    }
}
END_TEST

/* Without a gradient only what decays moves. */
START_TEST(weight_decay_begins_and_ends_where_the_turns_say)
{
    static const int64_t turns[] = {0, 2, 5};
    static const bool decays[7] = {false, false, true, true, true, false, false};
    float param[2][7], grad[7] = {0}, first[7] = {0}, second[7] = {0};
    for (int i = 0; i < 14; i++)
        param[i / 7][i % 7] = 1.0f;
    struct adamw_args adamw = {.count = 7, .param = param[0], .grad = grad, .m = first, .v = second};
    adamw.epsilon = 1.0f, adamw.bias_correction1 = adamw.bias_correction2 = 1.0f;
    adamw.lr = 0.5f, adamw.weight_decay = 0.5f, adamw.decay = (struct update_decay){turns, 3};
    struct sgd_args sgd = {.count = 7, .param = param[1], .grad = grad, .momentum = first};
    sgd.lr = 0.5f, sgd.weight_decay = 0.5f, sgd.decay = adamw.decay;
    ck_assert_int_eq(kernels_adamw(ref, &adamw, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_sgd(ref, &sgd, NULL), MUSTER_OK);
    for (int i = 0; i < 14; i++)
        ck_assert(param[i / 7][i % 7] == (decays[i % 7] ? 0.75f : 1.0f));
    static const int64_t falling[] = {2, 2};
    adamw.decay = (struct update_decay){falling, 2};
    ck_assert_int_eq(kernels_adamw(ref, &adamw, NULL), MUSTER_ERR_INTERNAL);
}
END_TEST

START_TEST(sgd_follows_the_formula_with_and_without_nesterov)
{
    enum { COUNT = 5 };
    float param[COUNT], grad[COUNT], momentum[COUNT] = {0};
    uint16_t narrow[COUNT];
    double p[COUNT], velocity[COUNT] = {0};
    fd_fill_random(param, COUNT, 121);
    for (int i = 0; i < COUNT; i++)
        p[i] = (double)param[i];
    struct sgd_args a = {COUNT, param, narrow, DTYPE_BF16, grad,      momentum,
                         0.5f,  0.1f,  0.9f,   0.01f,      {NULL, 0}, _i == 1};
    for (int step = 0; step < 4; step++) {
        fd_fill_random(grad, COUNT, 122 + (uint64_t)step);
        ck_assert_int_eq(kernels_sgd(ref, &a, NULL), MUSTER_OK);
        for (int i = 0; i < COUNT; i++) {
            double g = (double)grad[i] / 2.0 + p[i] / 100.0;
            velocity[i] = 0.9 * velocity[i] + g;
            p[i] -= _i == 1 ? 0.1 * g + 0.09 * velocity[i] : 0.1 * velocity[i];
            assert_near((double)param[i], p[i], 1e-6);
            ck_assert_uint_eq(narrow[i], dtype_bf16_from_f32(param[i]));
        }
    }
}
END_TEST

START_TEST(vector_operations_do_what_their_names_say)
{
    float x[] = {3.0f, -4.0f, 1.00390625f}, y[] = {1.0f, 2.0f, 3.0f};
    uint16_t narrow[3];
    double sums[2] = {NAN, NAN};
    ck_assert_int_eq(kernels_sum_squares(ref, x, 3, 2, sums, NULL), MUSTER_OK);
    ck_assert(sums[0] == 25.0 && sums[1] == (double)x[2] * (double)x[2]);
    ck_assert_int_eq(kernels_add(ref, y, x, 2, NULL), MUSTER_OK);
    ck_assert(y[0] == 4.0f && y[1] == -2.0f && y[2] == 3.0f);
    ck_assert_int_eq(kernels_round_to(ref, DTYPE_BF16, narrow, x, 3, NULL), MUSTER_OK);
    ck_assert(dtype_f32_from_bf16(narrow[1]) == -4.0f && dtype_f32_from_bf16(narrow[2]) == 1.0f);
    ck_assert_int_eq(kernels_fill_zero(ref, y, 2 * sizeof *y, NULL), MUSTER_OK);
    ck_assert(y[0] == 0.0f && y[1] == 0.0f && y[2] == 3.0f);
}
END_TEST

static TCase *values_case(void)
{
    TCase *tc = tcase_create("known values");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, activations_have_their_known_values);
    tcase_add_test(tc, swiglu_of_one_and_two_is_two_times_the_sigmoid_of_one);
    tcase_add_test(tc, head_of_logits_one_two_three_gives_the_known_softmax);
    tcase_add_test(tc, the_first_of_two_largest_logits_is_the_prediction);
    tcase_add_test(tc, norms_of_a_small_row_have_their_known_values);
    tcase_add_test(tc, a_normalised_row_is_made_from_the_statistics_as_they_are_stored);
    tcase_add_test(tc, rope_turns_pairs_half_a_head_apart_by_position_times_frequency);
    tcase_add_test(tc, attention_without_queries_averages_the_values_seen_so_far);
    tcase_add_test(tc, attention_scores_are_scaled_by_the_root_of_the_head_width);
    tcase_add_test(tc, attention_dropout_keeps_the_elements_the_contract_names);
    tcase_add_test(tc, dropout_in_place_zeroes_the_elements_the_contract_names_and_scales_the_rest);
    tcase_add_test(tc, embedding_adds_the_row_of_the_token_and_the_row_of_the_position);
    return tc;
}

static TCase *update_case(void)
{
    TCase *tc = tcase_create("updates");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, adamw_follows_the_published_formula_for_five_steps);
    tcase_add_loop_test(tc, sgd_follows_the_formula_with_and_without_nesterov, 0, 2);
    tcase_add_test(tc, weight_decay_begins_and_ends_where_the_turns_say);
    tcase_add_test(tc, vector_operations_do_what_their_names_say);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("ref values");
    suite_add_tcase(suite, values_case());
    suite_add_tcase(suite, update_case());
    return suite_run(suite);
}
