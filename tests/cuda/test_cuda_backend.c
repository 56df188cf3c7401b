/* SPDX-License-Identifier: MIT
 *
 * The CUDA back end through the plug-in, judged by the reference: what is made of matrix products, and
 * attention. compare_device.c says what each comparison checks (guards, same bits every time and from a
 * recording); the remaining operations are in test_cuda_table.c, memory and order in test_cuda_memory.c.
 */
#include <stdio.h>

#include "kernels/cuda/cuda_plugin.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/cases.h"
#include "tests/suite.h"

struct linear_shape {
    enum dtype dtype;
    int64_t tokens, in_width, out_width;
    enum activation activation;
    bool bias, pre;
};

/* Widths that are and are not multiples of 8 and 16, so that fused epilogues and the ways around them are
 * taken; the last has sums that are worth splitting, and none of them is a multiple of 64. */
static const int64_t linear_sizes[][3] = {{1, 1, 1},    {3, 5, 7},    {17, 33, 65},
                                          {24, 16, 40}, {50, 48, 24}, {66, 72, 80}};
enum { LINEAR_SIZES = sizeof linear_sizes / sizeof *linear_sizes };
static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_RELU};

static struct linear_shape linear_shape_of(size_t size, int variant)
{
    const int64_t *n = linear_sizes[size];
    return (struct linear_shape){.dtype = tolerance_dtypes[variant % 3],
                                 .tokens = n[0],
                                 .in_width = n[1],
                                 .out_width = n[2],
                                 .activation = activations[variant / 3 % 3],
                                 .bias = variant / 9 % 2 == 0,
                                 .pre = variant / 18 == 0};
}

static struct linear_args linear_args_of(const struct linear_shape *s)
{
    return (struct linear_args){
        .dtype = s->dtype, .tokens = s->tokens, .in_width = s->in_width, .out_width = s->out_width};
}

static void label_of(char label[96], const char *operation, size_t size, int variant)
{
    snprintf(label, 96, "%s size %zu variant %d", operation, size, variant);
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

START_TEST(a_linear_layer_agrees_with_the_reference)
{
    for (size_t size = 0; size < LINEAR_SIZES; size++) {
        for (int variant = 0; variant < 36; variant++) {
            const struct linear_shape s = linear_shape_of(size, variant);
            const double tolerance = tolerance_of(s.dtype);
            const int64_t pre = s.pre && s.activation != ACTIVATION_NONE ? s.tokens * s.out_width : 0;
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.in_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.out_width * s.in_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.bias ? s.out_width : 0},
                {COMPARE_OUTPUT, s.dtype, pre, tolerance, 0, 0, NULL},
                {COMPARE_OUTPUT, s.dtype, s.tokens * s.out_width, tolerance, 0, 0, NULL},
            };
            char label[96];
            label_of(label, "linear_forward", size, variant);
            compare_run(label, arrays, 5, linear_forward_call, &s);
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
    for (size_t size = 0; size < LINEAR_SIZES; size++) {
        for (int variant = 0; variant < 36; variant++) {
            const struct linear_shape s = linear_shape_of(size, variant);
            const bool gelu = s.pre && s.activation == ACTIVATION_GELU_TANH;
            const double tolerance = gelu ? tolerance_gelu_slope(s.dtype) : tolerance_of(s.dtype);
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.out_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.out_width * s.in_width},
                {COMPARE_INPUT, s.dtype, s.pre ? s.tokens * s.in_width : 0, 0, -4, 4, NULL},
                {COMPARE_OUTPUT, s.dtype, s.tokens * s.in_width, tolerance, 0, 0, NULL},
            };
            char label[96];
            label_of(label, "linear_backward_input", size, variant);
            compare_run(label, arrays, 4, linear_input_call, &s);
        }
    }
}
END_TEST

static enum muster_status linear_weight_call(struct kernels *k, const void *shape, void *const data[],
                                             struct muster_error *err)
{
    struct linear_args a = linear_args_of(shape);
    a.dy = data[0], a.x = data[1], a.dw = data[2], a.dbias = data[3];
    return kernels_linear_backward_weight(k, &a, err);
}

START_TEST(the_gradient_of_linear_weights_is_added_and_agrees_with_the_reference)
{
    for (size_t size = 0; size < LINEAR_SIZES; size++) {
        for (int variant = 0; variant < 18; variant++) {
            const struct linear_shape s = linear_shape_of(size, variant);
            const double tolerance = tolerance_of(DTYPE_F32);
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.out_width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.in_width},
                {COMPARE_UPDATE, DTYPE_F32, s.out_width * s.in_width, tolerance, 0, 0, NULL},
                {COMPARE_UPDATE, DTYPE_F32, s.bias ? s.out_width : 0, tolerance, 0, 0, NULL},
            };
            char label[96];
            label_of(label, "linear_backward_weight", size, variant);
            compare_run(label, arrays, 4, linear_weight_call, &s);
        }
    }
}
END_TEST

/* The library's sums where it has them, ours where it has none, where it would take another kind of kernel
 * for them, where it refuses at the last moment, and where the row does not fit behind the work memory. */
START_TEST(row_sums_come_with_the_product_where_that_costs_nothing)
{
    static const struct {
        int64_t out_width, in_width, spare;
        bool fused;
    } cases[] = {{64, 48, 256, true},  {88, 24, 352, true},  {64, 48, 252, false},  {60, 48, 256, false},
                 {72, 48, 512, false}, {64, 45, 256, false}, {640, 48, 2560, true}, {640, 48, 2559, false}};
    struct kernels *k = compare_subject();
    const int64_t scratch_bytes = k->scratch_bytes;
    int *fused = cuda_plugin_symbol("cublaslt_standin_row_sums");
    for (int variant = 0; variant < 3; variant++) {
        const struct linear_shape s = {.dtype = tolerance_dtypes[variant],
                                       .tokens = 50,
                                       .in_width = cases[_i].in_width,
                                       .out_width = cases[_i].out_width};
        const struct compare_array arrays[] = {
            {COMPARE_INPUT, s.dtype, s.tokens * s.out_width, 0, -1, 1, NULL},
            {COMPARE_INPUT, s.dtype, s.tokens * s.in_width, 0, -1, 1, NULL},
            {COMPARE_UPDATE, DTYPE_F32, s.out_width * s.in_width, tolerance_of(DTYPE_F32), 0, 0, NULL},
            {COMPARE_UPDATE, DTYPE_F32, s.out_width, tolerance_of(DTYPE_F32), 0, 0, NULL},
        };
        const int before = fused != NULL ? *fused : 0;
        k->scratch_bytes = OPS_GEMM_WORKSPACE_BYTES + cases[_i].spare;
        compare_run("row sums", arrays, 4, linear_weight_call, &s);
        k->scratch_bytes = scratch_bytes;
        if (fused != NULL)
            ck_assert_int_eq(*fused - before, cases[_i].fused ? 3 : 0);
    }
}
END_TEST

/* Deep sums of positive numbers that are no multiple of 64: a split that forgets the rest loses 8 terms,
 * which is more than all rounding. */
START_TEST(a_deep_sum_leaves_nothing_out)
{
    static const int64_t depths[] = {8648, 11528};
    const int64_t width = _i / 4 ? 8 : 1;
    const struct linear_shape s = {.dtype = tolerance_dtypes[1 + _i % 2],
                                   .tokens = depths[_i / 2 % 2],
                                   .in_width = width,
                                   .out_width = width};
    const int64_t count = s.tokens * width;
    const struct compare_array arrays[] = {
        {COMPARE_INPUT, s.dtype, count, 0, 0.5, 1.5, NULL},
        {COMPARE_INPUT, s.dtype, count, 0, 0.5, 1.5, NULL},
        {COMPARE_UPDATE, DTYPE_F32, width * width, 2e-4, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, 0, 0, 0, 0, NULL},
    };
    compare_run("a deep sum", arrays, 4, linear_weight_call, &s);
}
END_TEST

/* Random numbers of a dtype in device memory. */
static void *device_random(struct kernels *k, enum dtype dtype, int64_t count, uint64_t seed)
{
    static float values[64 * 96];
    static char rounded[sizeof values];
    struct muster_error err = {0};
    void *block = NULL;
    const int64_t bytes = count * (int64_t)dtype_size(dtype);
    rng_uniform_fill(rng_key_make(seed, 0, 0, 0), -2.0f, 2.0f, values, (uint64_t)count);
    memcpy(rounded, values, sizeof values);
    for (int64_t i = 0; dtype != DTYPE_F32 && i < count; i++)
        ((uint16_t *)rounded)[i] =
            dtype == DTYPE_BF16 ? dtype_bf16_from_f32(values[i]) : dtype_f16_from_f32(values[i]);
    ck_assert_int_eq(kernels_memory_allocate(k, bytes, &block, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_device(k, block, rounded, bytes, &err), MUSTER_OK);
    return block;
}

enum { SAME_TOKENS = 37, SAME_IN = 24, SAME_OUT = 88 };

/* y of the layer with pre stored, of the layer without, and of the stored pre activated again. */
static void the_same_three_ways(struct kernels *k, enum dtype dtype, enum activation activation)
{
    static char y[3][SAME_TOKENS * SAME_OUT * 4];
    struct muster_error err = {0};
    const int64_t bytes = SAME_TOKENS * SAME_OUT * (int64_t)dtype_size(dtype);
    void *x = device_random(k, dtype, SAME_TOKENS * SAME_IN, 1),
         *w = device_random(k, dtype, SAME_OUT * SAME_IN, 2);
    void *bias = device_random(k, dtype, SAME_OUT, 3),
         *pre = device_random(k, dtype, SAME_TOKENS * SAME_OUT, 4);
    void *out = device_random(k, dtype, SAME_TOKENS * SAME_OUT, 5);
    struct linear_args a = {
        .dtype = dtype, .tokens = SAME_TOKENS, .in_width = SAME_IN, .out_width = SAME_OUT};
    a.activation = activation, a.x = x, a.w = w, a.bias = bias, a.pre = pre, a.y = out;
    ck_assert_int_eq(kernels_linear_forward(k, &a, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_host(k, y[0], out, bytes, &err), MUSTER_OK);
    struct activation_args f = {.dtype = dtype, .count = SAME_TOKENS * SAME_OUT};
    f.activation = activation, f.pre = pre, f.y = out;
    ck_assert_int_eq(kernels_activation_forward(k, &f, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_host(k, y[1], out, bytes, &err), MUSTER_OK);
    a.pre = NULL;
    ck_assert_int_eq(kernels_linear_forward(k, &a, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_host(k, y[2], out, bytes, &err), MUSTER_OK);
    ck_assert_mem_eq(y[0], y[1], (size_t)bytes);
    ck_assert_mem_eq(y[0], y[2], (size_t)bytes);
    void *blocks[] = {x, w, bias, pre, out};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        kernels_memory_free(k, blocks[i], 0);
}

START_TEST(recomputing_an_activation_gives_the_bits_that_the_layer_gave)
{
    for (int d = 0; d < 3; d++)
        for (int i = 1; i < 3; i++)
            the_same_three_ways(compare_subject(), tolerance_dtypes[d], activations[i]);
}
END_TEST

struct head_shape {
    enum dtype dtype;
    int64_t tokens, width, vocabulary, chunk_rows;
    bool gradient, bias, correct;
    const int32_t *targets; /* random where NULL */
    const float *dw;
};

static enum muster_status head_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    const struct head_shape *s = shape;
    struct head_loss_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.vocabulary = s->vocabulary, a.chunk_rows = s->chunk_rows, a.gradient_scale = 0.5f;
    a.x = data[0], a.w = data[1], a.bias = data[2], a.targets = data[3], a.loss = data[4],
    a.correct = data[5];
    a.dx = data[6], a.dw = data[7], a.dbias = data[8], a.work = data[9];
    return kernels_head_loss(k, &a, err);
}

static void head_compare(const struct head_shape *s, const char *label)
{
    /* logits of a large vocabulary are rounded to 16 bits, and so is their gradient */
    const bool rough = s->dtype != DTYPE_F32;
    const double loss = rough && s->vocabulary > 4095 ? 1e-3 : 2e-5, gradient = rough ? 0.008 : 2e-5;
    const struct compare_array arrays[] = {
        {COMPARE_INPUT, s->dtype, s->tokens * s->width, 0, -1, 1, NULL},
        {COMPARE_INPUT, s->dtype, s->vocabulary * s->width, 0, -1, 1, NULL},
        {COMPARE_INPUT, s->dtype, s->bias ? s->vocabulary : 0, 0, -1, 1, NULL},
        {COMPARE_INPUT, DTYPE_I32, s->tokens, 0, -1, (double)s->vocabulary, s->targets},
        {COMPARE_OUTPUT, DTYPE_F32, s->tokens, loss, 0, 0, NULL},
        {COMPARE_OUTPUT, DTYPE_F32, s->correct ? s->tokens : 0, 0, 0, 0, NULL},
        {COMPARE_OUTPUT, s->dtype, s->gradient ? s->tokens * s->width : 0, gradient, 0, 0, NULL},
        {COMPARE_UPDATE, DTYPE_F32, s->gradient ? s->vocabulary * s->width : 0, gradient, 0, 0, s->dw},
        {COMPARE_UPDATE, DTYPE_F32, s->gradient && s->bias ? s->vocabulary : 0, gradient, 0, 0, NULL},
        {.role = COMPARE_WORK,
         .dtype = DTYPE_F32,
         .count = ops_head_loss_bytes(s->dtype, s->chunk_rows, s->vocabulary) / 4},
    };
    compare_run(label, arrays, 10, head_call, s);
}

/* Chunks that divide the rows and that do not, one row, all rows; vocabularies of no convenient size. */
static const int64_t head_sizes[][4] = {{1, 1, 2, 1}, {7, 5, 10, 3}, {33, 24, 101, 16}, {20, 16, 64, 20}};

START_TEST(the_head_and_its_loss_agree_with_the_reference)
{
    for (size_t size = 0; size < sizeof head_sizes / sizeof *head_sizes; size++) {
        for (int variant = 0; variant < 12; variant++) {
            const int64_t *n = head_sizes[size];
            const struct head_shape s = {.dtype = tolerance_dtypes[variant % 3],
                                         .tokens = n[0],
                                         .width = n[1],
                                         .vocabulary = n[2],
                                         .chunk_rows = n[3],
                                         .gradient = variant / 3 % 2 == 0,
                                         .bias = variant / 6 == 0,
                                         .correct = true};
            char label[96];
            label_of(label, "head_loss", size, variant);
            head_compare(&s, label);
        }
    }
}
END_TEST

/* 16-bit logits tie, so which of them is the largest is not compared. What a class that is no target adds is
 * small: it is seen because the sums start from nothing, and the last classes, which fill no tile, are
 * targets. */
START_TEST(the_head_of_a_large_vocabulary_agrees_with_the_reference)
{
    enum { CLASSES = 4099, WIDTH = 8 };
    static const int32_t targets[] = {4098, 4096, 0, 4095, 63, -1, 128, 2047, 4097};
    static const float nothing[CLASSES * WIDTH];
    for (int variant = 0; variant < 6; variant++) {
        const struct head_shape s = {.dtype = tolerance_dtypes[variant % 3],
                                     .tokens = 9,
                                     .width = WIDTH,
                                     .vocabulary = CLASSES,
                                     .chunk_rows = 4,
                                     .gradient = true,
                                     .bias = variant / 3 == 0,
                                     .targets = targets,
                                     .dw = nothing};
        char label[96];
        label_of(label, "head_loss of a large vocabulary", 0, variant);
        head_compare(&s, label);
    }
}
END_TEST

/* Forward and backward in one call: the gradient is a gradient only where y and the log-sum-exp fit. */
static enum muster_status attention_both_call(struct kernels *k, const void *shape, void *const data[],
                                              struct muster_error *err)
{
    struct attention_args a = case_attention_args(shape);
    a.qkv = data[0], a.y = data[1], a.lse = data[2], a.dy = data[3], a.dqkv = data[4];
    enum muster_status status = kernels_attention_forward(k, &a, err);
    return status == MUSTER_OK ? kernels_attention_backward(k, &a, err) : status;
}

/* The last four are shapes that cuDNN has engines for. */
static const int64_t attention_sizes[][5] = {{1, 1, 1, 1, 1},   {2, 5, 3, 3, 7},   {1, 33, 4, 2, 20},
                                             {1, 64, 2, 1, 16}, {2, 40, 4, 2, 64}, {1, 70, 2, 2, 128},
                                             {1, 192, 2, 1, 64}};

static struct case_attention attention_shape_of(size_t size, int variant)
{
    const int64_t *n = attention_sizes[size];
    return (struct case_attention){tolerance_dtypes[variant % 3], n[0], n[1], n[2], n[3], n[4],
                                   variant < 3 ? 0.0f : 0.3f};
}

START_TEST(attention_agrees_with_the_reference)
{
    for (size_t size = 0; size < sizeof attention_sizes / sizeof *attention_sizes; size++) {
        for (int variant = 0; variant < 6; variant++) {
            const struct case_attention s = attention_shape_of(size, variant);
            const int64_t rows = s.batch * s.sequence, width = s.heads * s.head_width;
            const int64_t packed = rows * (width + 2 * s.kv_heads * s.head_width);
            const struct compare_array arrays[] = {
                {COMPARE_INPUT, s.dtype, packed, 0, -2, 2, NULL},
                {COMPARE_OUTPUT, s.dtype, rows * width, tolerance_attention(s.dtype), 0, 0, NULL},
                {COMPARE_OUTPUT, DTYPE_F32, rows * s.heads, 2e-5, 0, 0, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = rows * width},
                {COMPARE_OUTPUT, s.dtype, packed, tolerance_attention_gradient(s.dtype), 0, 0, NULL},
            };
            char label[96];
            label_of(label, "attention forward", size, variant);
            compare_run(label, arrays, 3, case_attention_forward, &s);
            label_of(label, "attention forward and backward", size, variant);
            compare_run(label, arrays, 5, attention_both_call, &s);
        }
    }
}
END_TEST

/* Every score is about -120, so that exp(0 - log-sum-exp) overflows for a key that is not there. cuDNN
 * before 9.26 lets that into gradients of such lengths where the mask is not causal (pytorch issue 196678).
 * What all keys have in common multiplies the rounding of a row's gradients, whose sum is nothing: it is as
 * small as it can be.
 */
START_TEST(scores_far_below_zero_have_a_gradient)
{
    enum { LENGTH = 192, HEADS = 2, WIDTH = 64, PACKED = LENGTH * 3 * HEADS * WIDTH };
    static float noise[PACKED];
    static uint16_t qkv[PACKED];
    const struct case_attention s = {DTYPE_BF16, 1, LENGTH, HEADS, HEADS, WIDTH, 0.0f};
    rng_uniform_fill(rng_key_make(5, 0, 0, 0), -0.5f, 0.5f, noise, PACKED);
    for (int i = 0; i < PACKED; i++) {
        const int part = i / WIDTH / HEADS % 3; /* query, key or value */
        qkv[i] = dtype_bf16_from_f32(noise[i] + (part == 0 ? 3.875f : part == 1 ? -3.875f : 0.0f));
    }
    const struct compare_array arrays[] = {
        {.role = COMPARE_INPUT, .dtype = DTYPE_BF16, .count = PACKED, .values = qkv},
        {COMPARE_OUTPUT, DTYPE_BF16, PACKED / 3, tolerance_attention(DTYPE_BF16), 0, 0, NULL},
        {COMPARE_OUTPUT, DTYPE_F32, LENGTH * HEADS, 2e-5, 0, 0, NULL},
        {.role = COMPARE_INPUT, .dtype = DTYPE_BF16, .count = PACKED / 3},
        {COMPARE_OUTPUT, DTYPE_BF16, PACKED, tolerance_attention_gradient(DTYPE_BF16), 0, 0, NULL},
    };
    compare_run("attention far below zero", arrays, 5, attention_both_call, &s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_backend");
    TCase *products = tcase_create("products");
    tcase_add_unchecked_fixture(products, compare_open, compare_close);
    tcase_set_timeout(products, 0);
    tcase_add_test(products, a_linear_layer_agrees_with_the_reference);
    tcase_add_test(products, the_gradient_of_a_linear_input_agrees_with_the_reference);
    tcase_add_test(products, the_gradient_of_linear_weights_is_added_and_agrees_with_the_reference);
    tcase_add_loop_test(products, row_sums_come_with_the_product_where_that_costs_nothing, 0, 8);
    tcase_add_loop_test(products, a_deep_sum_leaves_nothing_out, 0, 8);
    tcase_add_test(products, recomputing_an_activation_gives_the_bits_that_the_layer_gave);
    tcase_add_test(products, the_head_and_its_loss_agree_with_the_reference);
    tcase_add_test(products, the_head_of_a_large_vocabulary_agrees_with_the_reference);
    tcase_add_test(products, attention_agrees_with_the_reference);
    tcase_add_test(products, scores_far_below_zero_have_a_gradient);
    suite_add_tcase(suite, products);
    return suite_run(suite);
}
