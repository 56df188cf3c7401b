/* SPDX-License-Identifier: MIT
 *
 * The CPU back end judged by the reference, over shapes that are no multiple of anything, in fp32 and bf16,
 * on every instruction set this machine has; see compare.h for what each comparison checks. Layers and losses
 * are here, attention and updates in test_cpu_rest.c.
 */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "compare.h"
#include "tests/suite.h"

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};

/* fp32 sums of some hundred terms; one rounding to bf16, or two. */
static const double fp32_tolerance = 1e-5, bf16_tolerance = 0.008;

static double tolerance_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? fp32_tolerance : bf16_tolerance;
}

struct linear_shape {
    enum dtype dtype;
    int64_t tokens, in_width, out_width;
    enum activation activation;
    bool bias, pre;
};

/* The last three are cut into several tiles, down and across. */
static const int64_t linear_sizes[][3] = {{1, 1, 1},      {3, 5, 7},      {17, 33, 65},  {64, 64, 64},
                                          {100, 48, 31},  {129, 257, 19}, {500, 40, 90}, {40, 300, 770},
                                          {300, 24, 800}, {290, 700, 30}, {21, 700, 600}};

static struct linear_args linear_args_of(const struct linear_shape *s)
{
    return (struct linear_args){
        .dtype = s->dtype, .tokens = s->tokens, .in_width = s->in_width, .out_width = s->out_width};
}

static enum muster_status linear_forward_call(struct kernels *k, const void *shape, void *const data[],
                                              struct muster_error *err)
{
    const struct linear_shape *s = shape;
    struct linear_args a = linear_args_of(s);
    a.activation = s->activation;
    a.x = data[0], a.w = data[1], a.bias = data[2], a.pre = data[3], a.y = data[4];
    return kernels_linear_forward(k, &a, err);
}

static void linear_forward_compare(const struct linear_shape *s)
{
    const double tolerance = tolerance_of(s->dtype);
    const struct compare_array arrays[] = {
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->tokens * s->in_width},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->out_width * s->in_width},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->bias ? s->out_width : 0},
        {COMPARE_OUTPUT, s->dtype, s->pre ? s->tokens * s->out_width : 0, tolerance, 0, 0, NULL},
        {COMPARE_OUTPUT, s->dtype, s->tokens * s->out_width, tolerance, 0, 0, NULL},
    };
    char label[128];
    snprintf(label, sizeof label, "linear_forward %s %lldx%lldx%lld activation %d bias %d pre %d",
             dtype_name(s->dtype), (long long)s->tokens, (long long)s->in_width, (long long)s->out_width,
             (int)s->activation, s->bias, s->pre);
    compare_run(label, arrays, 5, linear_forward_call, s);
}

START_TEST(a_linear_layer_agrees_with_the_reference)
{
    static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_RELU};
    for (size_t size = 0; size < sizeof linear_sizes / sizeof *linear_sizes; size++) {
        for (int variant = 0; variant < 12; variant++) {
            struct linear_shape s = {.dtype = dtypes[variant % 2], .activation = activations[variant % 3]};
            s.tokens = linear_sizes[size][0];
            s.in_width = linear_sizes[size][1];
            s.out_width = linear_sizes[size][2];
            s.bias = variant / 2 % 2 == 0;
            s.pre = s.activation != ACTIVATION_NONE && variant >= 6;
            linear_forward_compare(&s);
        }
    }
}
END_TEST

static enum muster_status linear_input_call(struct kernels *k, const void *shape, void *const data[],
                                            struct muster_error *err)
{
    const struct linear_shape *s = shape;
    struct linear_args a = linear_args_of(s);
    a.input_activation = s->activation;
    a.dy = data[0], a.w = data[1], a.input_pre = data[2], a.dx = data[3];
    return kernels_linear_backward_input(k, &a, err);
}

START_TEST(the_gradient_of_a_linear_input_agrees_with_the_reference)
{
    static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_RELU};
    for (size_t size = 0; size < sizeof linear_sizes / sizeof *linear_sizes; size++) {
        for (int variant = 0; variant < 6; variant++) {
            struct linear_shape s = {.dtype = dtypes[variant % 2], .activation = activations[variant % 3]};
            s.tokens = linear_sizes[size][0];
            s.in_width = linear_sizes[size][1];
            s.out_width = linear_sizes[size][2];
            int64_t pre = variant < 4 ? s.tokens * s.in_width : 0;
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.out_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.out_width * s.in_width},
                {COMPARE_INPUT, s.dtype, pre, 0, -4, 4, NULL},
                {COMPARE_OUTPUT, s.dtype, s.tokens * s.in_width, tolerance_of(s.dtype), 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "linear_backward_input size %zu variant %d", size, variant);
            compare_run(label, arrays, 4, linear_input_call, &s);
        }
    }
}
END_TEST

static enum muster_status linear_weight_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    const struct linear_shape *s = shape;
    struct linear_args a = linear_args_of(s);
    a.dy = data[0], a.x = data[1], a.dw = data[2], a.dbias = data[3];
    return kernels_linear_backward_weight(k, &a, err);
}

START_TEST(the_gradient_of_linear_weights_is_added_and_agrees_with_the_reference)
{
    for (size_t size = 0; size < sizeof linear_sizes / sizeof *linear_sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            struct linear_shape s = {.dtype = dtypes[variant % 2]};
            s.tokens = linear_sizes[size][0];
            s.in_width = linear_sizes[size][1];
            s.out_width = linear_sizes[size][2];
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.out_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.in_width},
                {COMPARE_UPDATE, DTYPE_F32, s.out_width * s.in_width, fp32_tolerance, 0, 0, NULL},
                {COMPARE_UPDATE, DTYPE_F32, variant < 2 ? s.out_width : 0, fp32_tolerance, 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "linear_backward_weight size %zu variant %d", size, variant);
            compare_run(label, arrays, 4, linear_weight_call, &s);
        }
    }
}
END_TEST

START_TEST(a_fused_activation_gives_the_bits_of_the_separate_one)
{
    enum { TOKENS = 37, IN = 50, OUT = 411 };
    for (size_t d = 0; d < 2; d++) {
        static char x[TOKENS * IN * 4], w[OUT * IN * 4], pre[TOKENS * OUT * 4], y[TOKENS * OUT * 4],
            again[TOKENS * OUT * 4];
        static float random[OUT * IN];
        const int64_t size = (int64_t)dtype_size(dtypes[d]);
        rng_uniform_fill(rng_key_make(5, 0, 0, 0), -1.0f, 1.0f, random, OUT * IN);
        for (int64_t i = 0; i < OUT * IN; i++) {
            uint16_t half = dtype_bf16_from_f32(random[i]);
            const void *value = dtypes[d] == DTYPE_F32 ? (void *)&random[i] : (void *)&half;
            memcpy(w + i * size, value, (size_t)size);
            if (i < TOKENS * IN)
                memcpy(x + i * size, value, (size_t)size);
        }
        struct linear_args a = {.dtype = dtypes[d], .tokens = TOKENS, .in_width = IN, .out_width = OUT};
        a.activation = ACTIVATION_GELU_TANH, a.x = x, a.w = w, a.pre = pre, a.y = y;
        ck_assert_int_eq(kernels_linear_forward(compare_subject(), &a, NULL), MUSTER_OK);
        struct activation_args f = {.dtype = dtypes[d], .count = TOKENS * OUT};
        f.activation = ACTIVATION_GELU_TANH, f.pre = pre, f.y = again;
        ck_assert_int_eq(kernels_activation_forward(compare_subject(), &f, NULL), MUSTER_OK);
        ck_assert_mem_eq(y, again, (size_t)(TOKENS * OUT * size));
    }
}
END_TEST

START_TEST(only_the_first_call_of_a_shape_allocates)
{
    static uint16_t x[40 * 24], w[56 * 24], y[40 * 56];
    static float dw[56 * 24];
    struct linear_args a = {.dtype = DTYPE_BF16, .tokens = 40, .in_width = 24, .out_width = 56};
    a.x = x, a.w = w, a.y = y, a.dy = y, a.dw = dw;
    int64_t calls = 0;
    for (int round = 0; round < 100; round++) {
        calls = round == 1 ? alloc_call_count() : calls;
        ck_assert_int_eq(kernels_linear_forward(compare_subject(), &a, NULL), MUSTER_OK);
        ck_assert_int_eq(kernels_linear_backward_weight(compare_subject(), &a, NULL), MUSTER_OK);
    }
    ck_assert_int_eq(alloc_call_count(), calls);
}
END_TEST

struct activation_shape {
    enum dtype dtype;
    int64_t count;
    enum activation activation;
};

static enum muster_status activation_call(struct kernels *k, const void *shape, void *const data[],
                                          struct muster_error *err)
{
    const struct activation_shape *s = shape;
    struct activation_args a = {.dtype = s->dtype, .count = s->count, .activation = s->activation};
    a.pre = data[0], a.y = data[1], a.dy = data[2], a.dx = data[3];
    enum muster_status status = kernels_activation_forward(k, &a, err);
    return status == MUSTER_OK ? kernels_activation_backward(k, &a, err) : status;
}

START_TEST(activations_agree_with_the_reference_over_their_whole_range)
{
    static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_RELU};
    static const double ranges[] = {0.01, 3.0, 30.0, 1e30};
    for (int variant = 0; variant < 24; variant++) {
        struct activation_shape s = {dtypes[variant % 2], 33333, activations[variant % 3]};
        double range = ranges[variant / 6];
        const struct compare_array arrays[] = {
            {COMPARE_INPUT, s.dtype, s.count, 0, -range, range, NULL},
            {COMPARE_OUTPUT, s.dtype, s.count, s.dtype == DTYPE_F32 ? 1e-6 : 0.008, 0, 0, NULL},
            {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.count},
            {COMPARE_OUTPUT, s.dtype, s.count, s.dtype == DTYPE_F32 ? 2e-6 : 0.008, 0, 0, NULL},
        };
        compare_run("activation", arrays, 4, activation_call, &s);
    }
}
END_TEST

START_TEST(infinity_and_nan_pass_through_the_activations)
{
    const float pre[3] = {INFINITY, NAN, -100.0f};
    float y[3];
    struct activation_args a = {.dtype = DTYPE_F32, .count = 3, .activation = ACTIVATION_GELU_TANH};
    a.pre = pre, a.y = y;
    ck_assert_int_eq(kernels_activation_forward(compare_subject(), &a, NULL), MUSTER_OK);
    ck_assert(isinf(y[0]) && y[0] > 0.0f);
    ck_assert(isnan(y[1]));
    ck_assert(y[2] == 0.0f);
    const float gate_up[2] = {NAN, 1.0f};
    struct swiglu_args s = {.dtype = DTYPE_F32, .tokens = 1, .width = 1, .gate_up = gate_up, .y = y};
    ck_assert_int_eq(kernels_swiglu_forward(compare_subject(), &s, NULL), MUSTER_OK);
    ck_assert(isnan(y[0]));
}
END_TEST

struct norm_shape {
    enum dtype dtype;
    enum norm_kind kind;
    int64_t tokens, width;
    bool delta, statistics, bias, accumulate;
};

static enum muster_status norm_forward_call(struct kernels *k, const void *shape, void *const data[],
                                            struct muster_error *err)
{
    const struct norm_shape *s = shape;
    struct norm_args a = {.dtype = s->dtype, .kind = s->kind, .epsilon = 1e-5f};
    a.tokens = s->tokens, a.width = s->width;
    a.x = data[0], a.delta = data[1], a.gain = data[2], a.bias = data[3];
    a.residual = data[4], a.y = data[5], a.mean = data[6], a.rstd = data[7];
    return kernels_norm_forward(k, &a, err);
}

static enum muster_status norm_backward_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    const struct norm_shape *s = shape;
    struct norm_args a = {.dtype = s->dtype, .kind = s->kind, .epsilon = 1e-5f};
    a.tokens = s->tokens, a.width = s->width, a.accumulate = s->accumulate;
    a.residual = data[0], a.gain = data[1], a.mean = data[2], a.rstd = data[3], a.dy = data[4];
    a.dresidual = data[5], a.dgain = data[6], a.dbias = data[7];
    return kernels_norm_backward(k, &a, err);
}

static const int64_t norm_sizes[][2] = {{1, 1}, {3, 7}, {20, 16}, {33, 65}, {100, 130}, {530, 48}, {5, 999}};

static struct norm_shape norm_shape_of(size_t size, int variant)
{
    struct norm_shape s = {.dtype = dtypes[variant % 2], .kind = variant < 4 ? NORM_LAYER : NORM_RMS};
    s.tokens = norm_sizes[size][0], s.width = norm_sizes[size][1];
    s.delta = s.statistics = s.accumulate = variant / 2 % 2 == 0;
    s.bias = s.kind == NORM_LAYER && s.delta;
    return s;
}

START_TEST(norms_agree_with_the_reference)
{
    for (size_t size = 0; size < sizeof norm_sizes / sizeof *norm_sizes; size++) {
        for (int variant = 0; variant < 8; variant++) {
            struct norm_shape s = norm_shape_of(size, variant);
            int64_t count = s.tokens * s.width, rows = s.statistics ? s.tokens : 0;
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
                {COMPARE_INPUT, s.dtype, s.delta ? count : 0, 0, -1, 3, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.bias ? s.width : 0},
                {COMPARE_OUTPUT, s.dtype, s.delta ? count : 0, tolerance_of(s.dtype), 0, 0, NULL},
                {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL},
                {COMPARE_OUTPUT, DTYPE_F32, s.kind == NORM_LAYER ? rows : 0, fp32_tolerance, 0, 0, NULL},
                {COMPARE_OUTPUT, DTYPE_F32, rows, fp32_tolerance, 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "norm_forward size %zu variant %d", size, variant);
            compare_run(label, arrays, 8, norm_forward_call, &s);
        }
    }
}
END_TEST

START_TEST(norm_gradients_agree_with_the_reference)
{
    for (size_t size = 0; size < sizeof norm_sizes / sizeof *norm_sizes; size++) {
        for (int variant = 0; variant < 8; variant++) {
            struct norm_shape s = norm_shape_of(size, variant);
            int64_t count = s.tokens * s.width;
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.width},
                {COMPARE_INPUT, DTYPE_F32, s.kind == NORM_LAYER ? s.tokens : 0, 0, -0.1, 0.1, NULL},
                {COMPARE_INPUT, DTYPE_F32, s.tokens, 0, 0.5, 2, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
                {s.accumulate ? COMPARE_UPDATE : COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0,
                 NULL},
                {COMPARE_UPDATE, DTYPE_F32, s.width, fp32_tolerance, 0, 0, NULL},
                {COMPARE_UPDATE, DTYPE_F32, s.bias ? s.width : 0, fp32_tolerance, 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "norm_backward size %zu variant %d", size, variant);
            compare_run(label, arrays, 8, norm_backward_call, &s);
        }
    }
}
END_TEST

struct head_shape {
    enum dtype dtype;
    int64_t tokens, width, vocabulary, chunk_rows;
    bool bias, gradient;
};

static enum muster_status head_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    const struct head_shape *s = shape;
    struct head_loss_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.vocabulary = s->vocabulary, a.chunk_rows = s->chunk_rows, a.gradient_scale = 0.25f;
    a.x = data[0], a.w = data[1], a.bias = data[2], a.targets = data[3];
    a.loss = data[4], a.correct = data[5], a.dx = data[6], a.dw = data[7], a.dbias = data[8];
    a.work = data[9];
    return kernels_head_loss(k, &a, err);
}

static void head_compare(const struct head_shape *s)
{
    const double tolerance = s->dtype == DTYPE_F32 ? fp32_tolerance : 0.012;
    const int64_t weights = s->vocabulary * s->width;
    const struct compare_array arrays[] = {
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->tokens * s->width},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = weights},
        {.role = COMPARE_INPUT, .dtype = s->dtype, .count = s->bias ? s->vocabulary : 0},
        {COMPARE_INPUT, DTYPE_I32, s->tokens, 0, -1, (double)s->vocabulary, NULL},
        {COMPARE_OUTPUT, DTYPE_F32, s->tokens, fp32_tolerance, 0, 0, NULL},
        {COMPARE_OUTPUT, DTYPE_F32, s->bias ? s->tokens : 0, 0, 0, 0, NULL},
        {COMPARE_OUTPUT, s->dtype, s->gradient ? s->tokens * s->width : 0, tolerance, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, s->gradient ? weights : 0, tolerance, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, s->gradient && s->bias ? s->vocabulary : 0, tolerance, 0, 0, NULL},
        {.role = COMPARE_WORK,
         .dtype = DTYPE_BF16,
         .count = ops_head_loss_bytes(s->dtype, s->chunk_rows, s->vocabulary) / 2},
    };
    char label[96];
    snprintf(label, sizeof label, "head_loss %s vocabulary %lld chunk %lld", dtype_name(s->dtype),
             (long long)s->vocabulary, (long long)s->chunk_rows);
    compare_run(label, arrays, 10, head_call, s);
}

START_TEST(the_head_and_its_loss_agree_with_the_reference)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1},      {5, 3, 4, 2},       {20, 33, 65, 7},
                                       {64, 16, 100, 64}, {30, 24, 1037, 16}, {9, 130, 33, 100}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 6; variant++) {
            struct head_shape s = {dtypes[variant % 2], sizes[size][0], sizes[size][1], sizes[size][2],
                                   sizes[size][3],      variant < 4,    variant != 2};
            head_compare(&s);
        }
    }
}
END_TEST

START_TEST(of_equal_logits_only_the_first_counts_as_largest)
{
    enum { VOCABULARY = 40 };
    static const int32_t targets[3] = {3, 20, 21};
    float x[3] = {1.0f, 1.0f, 1.0f}, w[VOCABULARY] = {0}, loss[3], correct[3], work[3 * VOCABULARY + 16];
    w[20] = w[21] = 5.0f;
    struct head_loss_args a = {.dtype = DTYPE_F32, .tokens = 3, .width = 1, .vocabulary = VOCABULARY};
    a.chunk_rows = 3, a.x = x, a.w = w, a.targets = targets, a.loss = loss, a.correct = correct;
    a.work = work;
    ck_assert_int_eq(kernels_head_loss(compare_subject(), &a, NULL), MUSTER_OK);
    ck_assert(correct[0] == 0.0f);
    ck_assert(correct[1] == 1.0f);
    ck_assert(correct[2] == 0.0f);
}
END_TEST

START_TEST(a_nan_among_the_logits_makes_the_loss_nan)
{
    enum { VOCABULARY = 40 };
    static const int32_t target = 3;
    float x = 1.0f, w[VOCABULARY] = {0}, loss, work[VOCABULARY + 16];
    w[5] = NAN;
    struct head_loss_args a = {.dtype = DTYPE_F32, .tokens = 1, .width = 1, .vocabulary = VOCABULARY};
    a.chunk_rows = 1, a.x = &x, a.w = w, a.targets = &target, a.loss = &loss, a.work = work;
    ck_assert_int_eq(kernels_head_loss(compare_subject(), &a, NULL), MUSTER_OK);
    ck_assert(isnan(loss));
}
END_TEST

START_TEST(an_unknown_instruction_set_is_refused)
{
    struct kernels *k = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(kernels_cpu_create(1, "sse9", NULL, 0, &k, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(k);
    ck_assert_ptr_nonnull(strstr(err.text, "sse9"));
}
END_TEST

START_TEST(too_little_scratch_is_an_error_not_a_crash)
{
    struct kernels *k = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(kernels_cpu_create(1, NULL, NULL, 0, &k, &err), MUSTER_OK);
    float qkv[3] = {0}, y, lse;
    struct attention_args a = {.dtype = DTYPE_F32, .batch = 1, .sequence = 1, .heads = 1, .kv_heads = 1};
    a.head_width = 1, a.qkv = qkv, a.y = &y, a.lse = &lse;
    ck_assert_int_eq(kernels_attention_forward(k, &a, &err), MUSTER_ERR_INTERNAL);
    kernels_destroy(k);
}
END_TEST

START_TEST(creation_survives_failing_allocations)
{
    int64_t live = alloc_live_count();
    for (int64_t n = 1; n <= 2; n++) {
        struct kernels *k = NULL;
        struct muster_error err = {0};
        alloc_fail_nth(n);
        ck_assert_int_eq(kernels_cpu_create(2, NULL, NULL, 0, &k, &err), MUSTER_ERR_NO_MEMORY);
        alloc_fail_nth(0);
        ck_assert_ptr_null(k);
    }
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

static Suite *cpu_suite(void)
{
    Suite *suite = suite_create("cpu");
    TCase *layers = tcase_create("layers");
    tcase_add_unchecked_fixture(layers, compare_open, compare_close);
    tcase_add_test(layers, a_linear_layer_agrees_with_the_reference);
    tcase_add_test(layers, the_gradient_of_a_linear_input_agrees_with_the_reference);
    tcase_add_test(layers, the_gradient_of_linear_weights_is_added_and_agrees_with_the_reference);
    tcase_add_test(layers, a_fused_activation_gives_the_bits_of_the_separate_one);
    tcase_add_test(layers, only_the_first_call_of_a_shape_allocates);
    tcase_add_test(layers, activations_agree_with_the_reference_over_their_whole_range);
    tcase_add_test(layers, infinity_and_nan_pass_through_the_activations);
    tcase_add_test(layers, norms_agree_with_the_reference);
    tcase_add_test(layers, norm_gradients_agree_with_the_reference);
    tcase_add_test(layers, the_head_and_its_loss_agree_with_the_reference);
    tcase_add_test(layers, a_nan_among_the_logits_makes_the_loss_nan);
    tcase_add_test(layers, of_equal_logits_only_the_first_counts_as_largest);
    suite_add_tcase(suite, layers);
    TCase *creation = tcase_create("creation");
    tcase_add_test(creation, an_unknown_instruction_set_is_refused);
    tcase_add_test(creation, too_little_scratch_is_an_error_not_a_crash);
    tcase_add_test(creation, creation_survives_failing_allocations);
    suite_add_tcase(suite, creation);
    return suite;
}

int main(void)
{
    return suite_run(cpu_suite());
}
