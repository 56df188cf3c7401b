/* SPDX-License-Identifier: MIT
 *
 * The CPU back end judged by the reference, continued from test_cpu.c: attention, positions, embeddings,
 * dropout and the operations on the flat parameter space.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>

#include "compare.h"

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};

static double tolerance_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 1e-5 : 0.008;
}

struct attention_shape {
    enum dtype dtype;
    int64_t batch, sequence, heads, kv_heads, head_width;
    float dropout;
};

static struct attention_args attention_args_of(const struct attention_shape *s)
{
    struct attention_args a = {.dtype = s->dtype, .batch = s->batch, .sequence = s->sequence};
    a.heads = s->heads, a.kv_heads = s->kv_heads, a.head_width = s->head_width, a.dropout = s->dropout;
    a.key = rng_key_make(7, 0, 0, 0);
    return a;
}

static enum muster_status attention_forward_call(struct kernels *k, const void *shape, void *const data[],
                                                 struct muster_error *err)
{
    struct attention_args a = attention_args_of(shape);
    a.qkv = data[0], a.y = data[1], a.lse = data[2];
    return kernels_attention_forward(k, &a, err);
}

static enum muster_status attention_backward_call(struct kernels *k, const void *shape, void *const data[],
                                                  struct muster_error *err)
{
    struct attention_args a = attention_args_of(shape);
    a.qkv = data[0], a.y = data[1], a.lse = data[2], a.dy = data[3], a.dqkv = data[4];
    return kernels_attention_backward(k, &a, err);
}

/* Sequences on both sides of a block border; heads narrower and wider than a vector, even and odd. */
static const int64_t attention_sizes[][5] = {{1, 1, 1, 1, 1},    {2, 5, 3, 3, 7},    {1, 64, 2, 1, 16},
                                             {2, 65, 4, 2, 24},  {1, 130, 3, 1, 64}, {1, 33, 2, 2, 80},
                                             {3, 17, 6, 2, 128}, {1, 200, 1, 1, 33}};

static struct attention_shape attention_shape_of(size_t size, int variant)
{
    const int64_t *n = attention_sizes[size];
    struct attention_shape s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], n[4], 0.0f};
    s.dropout = variant < 2 ? 0.0f : 0.3f;
    return s;
}

START_TEST(attention_agrees_with_the_reference)
{
    for (size_t size = 0; size < sizeof attention_sizes / sizeof *attention_sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            struct attention_shape s = attention_shape_of(size, variant);
            int64_t rows = s.batch * s.sequence, width = s.heads * s.head_width;
            const struct compare_array arrays[] = {
                {COMPARE_INPUT, s.dtype, rows * (width + 2 * s.kv_heads * s.head_width), 0, -2, 2, NULL},
                {COMPARE_OUTPUT, s.dtype, rows * width, tolerance_of(s.dtype), 0, 0, NULL},
                {COMPARE_OUTPUT, DTYPE_F32, rows * s.heads, 1e-5, 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "attention_forward size %zu variant %d", size, variant);
            compare_run(label, arrays, 3, attention_forward_call, &s);
        }
    }
}
END_TEST

START_TEST(attention_gradients_agree_with_the_reference)
{
    for (size_t size = 0; size < sizeof attention_sizes / sizeof *attention_sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            struct attention_shape s = attention_shape_of(size, variant);
            int64_t rows = s.batch * s.sequence, width = s.heads * s.head_width;
            int64_t packed = rows * (width + 2 * s.kv_heads * s.head_width);
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = packed},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = rows * width},
                {COMPARE_INPUT, DTYPE_F32, rows * s.heads, 0, 2, 6, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = rows * width},
                {COMPARE_OUTPUT, s.dtype, packed, tolerance_of(s.dtype), 0, 0, NULL},
            };
            char label[64];
            snprintf(label, sizeof label, "attention_backward size %zu variant %d", size, variant);
            compare_run(label, arrays, 5, attention_backward_call, &s);
        }
    }
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
        {1, 1, 1, 1, 2}, {12, 4, 3, 1, 10}, {70, 35, 2, 2, 64}, {5, 9, 1, 1, 34}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            const int64_t *n = sizes[size];
            struct rope_shape s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], n[4], variant < 2};
            const struct compare_array arrays[] = {{COMPARE_UPDATE, s.dtype, n[0] * (n[2] + 2 * n[3]) * n[4],
                                                    tolerance_of(s.dtype), 0, 0, NULL}};
            compare_run("rope", arrays, 1, rope_call, &s);
        }
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

START_TEST(embeddings_and_their_gradients_agree_with_the_reference)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1}, {24, 8, 70, 5}, {60, 20, 48, 100}, {9, 3, 200, 2}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            const int64_t *n = sizes[size];
            struct embedding_shape s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], variant < 2};
            int64_t positions = s.positions ? s.sequence * s.width : 0;
            const struct compare_array forward[] = {
                {COMPARE_INPUT, DTYPE_I32, s.tokens, 0, 0, (double)s.vocabulary, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.vocabulary * s.width},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = positions},
                {COMPARE_OUTPUT, s.dtype, s.tokens * s.width, 1e-7, 0, 0, NULL},
            };
            compare_run("embedding_forward", forward, 4, embedding_forward_call, &s);
            const struct compare_array backward[] = {
                {COMPARE_INPUT, DTYPE_I32, s.tokens, 0, 0, (double)s.vocabulary, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.tokens * s.width},
                {COMPARE_UPDATE, DTYPE_F32, s.vocabulary * s.width, 1e-5, 0, 0, NULL},
                {COMPARE_UPDATE, DTYPE_F32, positions, 1e-5, 0, 0, NULL},
            };
            compare_run("embedding_backward", backward, 4, embedding_backward_call, &s);
        }
    }
}
END_TEST

struct rows_shape {
    enum dtype dtype;
    int64_t tokens, width;
};

static enum muster_status swiglu_forward_call(struct kernels *k, const void *shape, void *const data[],
                                              struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.gate_up = data[0], a.y = data[1];
    return kernels_swiglu_forward(k, &a, err);
}

static enum muster_status swiglu_backward_call(struct kernels *k, const void *shape, void *const data[],
                                               struct muster_error *err)
{
    const struct rows_shape *s = shape;
    struct swiglu_args a = {.dtype = s->dtype, .tokens = s->tokens, .width = s->width};
    a.gate_up = data[0], a.dy = data[1], a.dgate_up = data[2];
    return kernels_swiglu_backward(k, &a, err);
}

START_TEST(swiglu_and_its_gradient_agree_with_the_reference)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 17}, {40, 100}};
    for (size_t size = 0; size < 3; size++) {
        for (size_t d = 0; d < 2; d++) {
            struct rows_shape s = {dtypes[d], sizes[size][0], sizes[size][1]};
            int64_t count = s.tokens * s.width;
            const struct compare_array forward[] = {
                {COMPARE_INPUT, s.dtype, 2 * count, 0, -9, 9, NULL},
                {COMPARE_OUTPUT, s.dtype, count, tolerance_of(s.dtype), 0, 0, NULL}};
            compare_run("swiglu_forward", forward, 2, swiglu_forward_call, &s);
            const struct compare_array backward[] = {
                {COMPARE_INPUT, s.dtype, 2 * count, 0, -9, 9, NULL},
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = count},
                {COMPARE_OUTPUT, s.dtype, 2 * count, tolerance_of(s.dtype), 0, 0, NULL}};
            compare_run("swiglu_backward", backward, 3, swiglu_backward_call, &s);
        }
    }
}
END_TEST

struct dropout_shape {
    enum dtype dtype;
    int64_t count;
    float p;
};

static enum muster_status dropout_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct dropout_shape *s = shape;
    struct dropout_args a = {s->dtype, s->count, s->p, rng_key_make(3, 1, 4, 1), data[0], data[1]};
    return kernels_dropout(k, &a, err);
}

START_TEST(dropout_drops_what_the_reference_drops)
{
    static const int64_t counts[] = {1, 7, 257, 40001};
    for (size_t n = 0; n < 4; n++) {
        for (int variant = 0; variant < 4; variant++) {
            struct dropout_shape s = {dtypes[variant % 2], counts[n], variant < 2 ? 0.1f : 0.0f};
            const struct compare_array arrays[] = {
                {.role = COMPARE_INPUT, .dtype = s.dtype, .count = s.count},
                {COMPARE_OUTPUT, s.dtype, s.count, tolerance_of(s.dtype), 0, 0, NULL}};
            compare_run("dropout", arrays, 2, dropout_call, &s);
        }
    }
}
END_TEST

struct update_shape {
    int64_t count;
    bool bf16, nesterov;
};

static enum muster_status adamw_call(struct kernels *k, const void *shape, void *const data[],
                                     struct muster_error *err)
{
    const struct update_shape *s = shape;
    struct adamw_args a = {.count = s->count,
                           .param = data[0],
                           .param_rounded = data[1],
                           .rounded_dtype = DTYPE_BF16,
                           .grad = data[2]};
    a.m = data[3], a.v = data[4], a.grad_scale = 0.7f, a.lr = 0.01f, a.beta1 = 0.9f, a.beta2 = 0.95f;
    a.epsilon = 0.05f, a.weight_decay = 0.1f, a.bias_correction1 = 0.271f, a.bias_correction2 = 0.142625f;
    return kernels_adamw(k, &a, err);
}

static enum muster_status sgd_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct update_shape *s = shape;
    struct sgd_args a = {.count = s->count,
                         .param = data[0],
                         .param_rounded = data[1],
                         .rounded_dtype = DTYPE_BF16,
                         .grad = data[2]};
    a.momentum = data[3], a.grad_scale = 0.7f, a.lr = 0.01f, a.mu = 0.9f, a.weight_decay = 0.1f;
    a.nesterov = s->nesterov;
    return kernels_sgd(k, &a, err);
}

START_TEST(the_optimizers_agree_with_the_reference)
{
    static const int64_t counts[] = {1, 15, 16, 1000, 140001};
    for (size_t n = 0; n < 5; n++) {
        for (int variant = 0; variant < 2; variant++) {
            struct update_shape s = {counts[n], variant == 0, variant == 0};
            const struct compare_array arrays[] = {
                {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 0, NULL},
                {COMPARE_OUTPUT, DTYPE_BF16, s.bf16 ? s.count : 0, 0.004, 0, 0, NULL},
                {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = s.count},
                {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 0, NULL},
                {COMPARE_UPDATE, DTYPE_F32, s.count, 1e-6, 0, 1, NULL},
            };
            compare_run("adamw", arrays, 5, adamw_call, &s);
            compare_run("sgd", arrays, 4, sgd_call, &s);
        }
    }
}
END_TEST

/* A shard may begin anywhere: the same elements must become the same bits. */
START_TEST(an_update_cut_in_two_gives_the_same_bits)
{
    enum { COUNT = 1003, CUT = 389 };
    static float param[2][COUNT], grad[COUNT], m[2][COUNT], v[2][COUNT];
    rng_uniform_fill(rng_key_make(1, 0, 0, 0), -1.0f, 1.0f, grad, COUNT);
    for (int way = 0; way < 2; way++) {
        rng_uniform_fill(rng_key_make(2, 0, 0, 0), -1.0f, 1.0f, param[way], COUNT);
        rng_uniform_fill(rng_key_make(3, 0, 0, 0), -1.0f, 1.0f, m[way], COUNT);
        rng_uniform_fill(rng_key_make(4, 0, 0, 0), 0.0f, 1.0f, v[way], COUNT);
    }
    struct update_shape whole = {COUNT, false, false}, first = {CUT, false, false};
    struct update_shape second = {COUNT - CUT, false, false};
    struct kernels *k = compare_subject();
    void *const all[] = {param[0], NULL, grad, m[0], v[0]}, *const start[] = {param[1], NULL, grad, m[1],
                                                                              v[1]};
    void *const rest[] = {param[1] + CUT, NULL, grad + CUT, m[1] + CUT, v[1] + CUT};
    ck_assert_int_eq(adamw_call(k, &whole, all, NULL), MUSTER_OK);
    ck_assert_int_eq(adamw_call(k, &first, start, NULL), MUSTER_OK);
    ck_assert_int_eq(adamw_call(k, &second, rest, NULL), MUSTER_OK);
    ck_assert_mem_eq(param[0], param[1], sizeof param[0]);
    ck_assert_mem_eq(m[0], m[1], sizeof m[0]);
    ck_assert_mem_eq(v[0], v[1], sizeof v[0]);
}
END_TEST

static enum muster_status add_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    return kernels_add(k, data[0], data[1], *(const int64_t *)shape, err);
}

static enum muster_status cast_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    return kernels_round_to(k, DTYPE_BF16, data[0], data[1], *(const int64_t *)shape, err);
}

static enum muster_status cast_f16_call(struct kernels *k, const void *shape, void *const data[],
                                        struct muster_error *err)
{
    return kernels_round_to(k, DTYPE_F16, data[0], data[1], *(const int64_t *)shape, err);
}

static enum muster_status zero_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    return kernels_fill_zero(k, data[0], *(const int64_t *)shape * 4, err);
}

START_TEST(sums_casts_and_zeros_are_exact)
{
    static const int64_t counts[] = {1, 15, 33, 150001};
    for (size_t n = 0; n < 4; n++) {
        const struct compare_array sum[] = {{.role = COMPARE_UPDATE, .dtype = DTYPE_F32, .count = counts[n]},
                                            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = counts[n]}};
        compare_run("add", sum, 2, add_call, &counts[n]);
        const struct compare_array cast[] = {
            {.role = COMPARE_OUTPUT, .dtype = DTYPE_BF16, .count = counts[n]},
            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = counts[n]}};
        compare_run("cast_bf16", cast, 2, cast_call, &counts[n]);
        const struct compare_array half[] = {{.role = COMPARE_OUTPUT, .dtype = DTYPE_F16, .count = counts[n]},
                                             {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = counts[n]}};
        compare_run("cast_fp16", half, 2, cast_f16_call, &counts[n]);
        const struct compare_array zero[] = {
            {.role = COMPARE_OUTPUT, .dtype = DTYPE_F32, .count = counts[n]}};
        compare_run("fill_zero", zero, 1, zero_call, &counts[n]);
    }
}
END_TEST

START_TEST(special_values_are_cast_as_everywhere)
{
    static const float values[7] = {INFINITY, -INFINITY, NAN, 3.4e38f, 1e-40f, -0.0f, 1.00390625f};
    static const int64_t count = 7;
    const struct compare_array cast[] = {{.role = COMPARE_OUTPUT, .dtype = DTYPE_BF16, .count = count},
                                         {COMPARE_INPUT, DTYPE_F32, count, 0, 0, 0, values}};
    compare_run("cast_bf16", cast, 2, cast_call, &count);
}
END_TEST

enum { SQUARES_SUMS = 3 };

struct squares_shape {
    int64_t count, chunk;
};

/* The sums are doubles; each is compared through three floats that hold it. */
static enum muster_status squares_call(struct kernels *k, const void *shape, void *const data[],
                                       struct muster_error *err)
{
    const struct squares_shape *squares = shape;
    double sums[SQUARES_SUMS] = {0};
    enum muster_status status = kernels_sum_squares(k, data[0], squares->count, squares->chunk, sums, err);
    float *parts = data[1];
    for (int i = 0; i < SQUARES_SUMS; i++, parts += 3) {
        parts[0] = (float)sums[i];
        parts[1] = (float)(sums[i] - (double)parts[0]);
        parts[2] = (float)(sums[i] - (double)parts[0] - (double)parts[1]);
    }
    return status;
}

START_TEST(the_sums_of_squares_agree_with_the_reference)
{
    static const struct squares_shape shapes[] = {
        {1, 1}, {17, 7}, {65536, 65536}, {3072, 1024}, {300007, 131072}};
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        const struct compare_array arrays[] = {
            {.role = COMPARE_INPUT, .dtype = DTYPE_F32, .count = shapes[n].count},
            {COMPARE_OUTPUT, DTYPE_F32, 3 * SQUARES_SUMS, 1e-7, 0, 0, NULL}};
        compare_run("sum_squares", arrays, 2, squares_call, &shapes[n]);
    }
}
END_TEST

static Suite *cpu_rest_suite(void)
{
    Suite *suite = suite_create("cpu_rest");
    TCase *rest = tcase_create("rest");
    tcase_add_unchecked_fixture(rest, compare_open, compare_close);
    tcase_add_test(rest, attention_agrees_with_the_reference);
    tcase_add_test(rest, attention_gradients_agree_with_the_reference);
    tcase_add_test(rest, rotary_positions_agree_with_the_reference);
    tcase_add_test(rest, embeddings_and_their_gradients_agree_with_the_reference);
    tcase_add_test(rest, swiglu_and_its_gradient_agree_with_the_reference);
    tcase_add_test(rest, dropout_drops_what_the_reference_drops);
    tcase_add_test(rest, the_optimizers_agree_with_the_reference);
    tcase_add_test(rest, an_update_cut_in_two_gives_the_same_bits);
    tcase_add_test(rest, sums_casts_and_zeros_are_exact);
    tcase_add_test(rest, special_values_are_cast_as_everywhere);
    tcase_add_test(rest, the_sums_of_squares_agree_with_the_reference);
    suite_add_tcase(suite, rest);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(cpu_rest_suite());
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}
