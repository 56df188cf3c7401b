/* SPDX-License-Identifier: MIT
 *
 * The rest of the CUDA back end's table through the plug-in, one or two shapes an operation: that each entry
 * is the operation it says, on a device as well as under emulation. What is hard about each kernel is tested
 * in test_cuda_kernels.c.
 */
#include <stdio.h>

#include "tests/cuda/tolerance.h"
#include "tests/kernels/compare.h"
#include "tests/suite.h"

enum { ROWS = 33, WIDTH = 72, COUNT = ROWS * WIDTH, VOCABULARY = 50, SEQUENCE = 11, DTYPES = 3 };

struct table_shape {
    enum dtype dtype;
    bool variant;
};

#define TABLE_CALL(operation, args_type, body)                                                               \
    static enum muster_status operation##_call(struct kernels *k, const void *shape, void *const data[],     \
                                               struct muster_error *err)                                     \
    {                                                                                                        \
        const struct table_shape *s = shape;                                                                 \
        struct args_type a = {.dtype = s->dtype};                                                            \
        body;                                                                                                \
        return kernels_##operation(k, &a, err);                                                              \
    }

TABLE_CALL(embedding_forward, embedding_args,
           (a.tokens = ROWS, a.sequence = SEQUENCE, a.width = WIDTH, a.vocabulary = VOCABULARY,
            a.ids = data[0], a.token_table = data[1], a.position_table = data[2], a.y = data[3]))
TABLE_CALL(embedding_backward, embedding_args,
           (a.tokens = ROWS, a.sequence = SEQUENCE, a.width = WIDTH, a.vocabulary = VOCABULARY,
            a.ids = data[0], a.dy = data[1], a.dtoken_table = data[2], a.dposition_table = data[3]))
TABLE_CALL(activation_forward, activation_args,
           (a.count = COUNT, a.activation = s->variant ? ACTIVATION_GELU_TANH : ACTIVATION_RELU,
            a.pre = data[0], a.y = data[1]))
TABLE_CALL(activation_backward, activation_args,
           (a.count = COUNT, a.activation = s->variant ? ACTIVATION_GELU_TANH : ACTIVATION_RELU,
            a.pre = data[0], a.dy = data[1], a.dx = data[2]))
TABLE_CALL(norm_forward, norm_args,
           (a.kind = s->variant ? NORM_RMS : NORM_LAYER, a.epsilon = 1e-5f, a.tokens = ROWS, a.width = WIDTH,
            a.x = data[0], a.delta = data[1], a.residual = data[2], a.gain = data[3], a.bias = data[4],
            a.y = data[5], a.mean = data[6], a.rstd = data[7]))
TABLE_CALL(norm_backward, norm_args,
           (a.kind = s->variant ? NORM_RMS : NORM_LAYER, a.epsilon = 1e-5f, a.tokens = ROWS, a.width = WIDTH,
            a.residual = data[0], a.gain = data[1], a.mean = data[2], a.rstd = data[3], a.dy = data[4],
            a.dresidual = data[5], a.dgain = data[6], a.dbias = data[7], a.accumulate = true))
TABLE_CALL(rope, rope_args,
           (a.tokens = ROWS, a.sequence = SEQUENCE, a.heads = 5, a.kv_heads = 2, a.head_width = 8,
            a.base = 1e4f, a.inverse = s->variant, a.qkv = data[0]))
TABLE_CALL(swiglu_forward, swiglu_args,
           (a.tokens = ROWS, a.width = WIDTH / 2, a.gate_up = data[0], a.y = data[1]))
TABLE_CALL(swiglu_backward, swiglu_args,
           (a.tokens = ROWS, a.width = WIDTH / 2, a.gate_up = data[0], a.dy = data[1], a.dgate_up = data[2]))
TABLE_CALL(dropout, dropout_args,
           (a.count = COUNT, a.p = 0.25f, a.key = rng_key_make(3, 1, 4, 1), a.x = data[0], a.y = data[1]))

static enum muster_status adamw_call(struct kernels *k, const void *shape, void *const data[],
                                     struct muster_error *err)
{
    const struct table_shape *s = shape;
    struct adamw_args a = {.count = COUNT, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->dtype, a.m = data[3], a.v = data[4], a.grad_scale = 0.7f, a.lr = 0.01f;
    a.beta1 = 0.9f, a.beta2 = 0.95f, a.epsilon = 0.05f, a.weight_decay = 0.1f;
    a.bias_correction1 = 0.271f, a.bias_correction2 = 0.142625f;
    return kernels_adamw(k, &a, err);
}

static enum muster_status sgd_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    const struct table_shape *s = shape;
    struct sgd_args a = {.count = COUNT, .param = data[0], .param_rounded = data[1], .grad = data[2]};
    a.rounded_dtype = s->dtype, a.momentum = data[3], a.grad_scale = 0.7f, a.lr = 0.01f, a.mu = 0.9f;
    a.weight_decay = 0.1f, a.nesterov = s->variant;
    return kernels_sgd(k, &a, err);
}

static enum muster_status round_to_call(struct kernels *k, const void *shape, void *const data[],
                                        struct muster_error *err)
{
    const struct table_shape *s = shape;
    return kernels_round_to(k, s->dtype, data[1], data[0], COUNT, err);
}

static enum muster_status add_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err)
{
    (void)shape;
    return kernels_add(k, data[0], data[1], COUNT, err);
}

static enum muster_status fill_zero_call(struct kernels *k, const void *shape, void *const data[],
                                         struct muster_error *err)
{
    (void)shape;
    return kernels_fill_zero(k, data[0], COUNT * 4, err);
}

static enum muster_status copy_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    (void)shape;
    return kernels_copy_on_device(k, data[1], data[0], COUNT * 4, err);
}

#define IN(type, n)                                                                                          \
    {                                                                                                        \
        .role = COMPARE_INPUT, .dtype = (type), .count = (n)                                                 \
    }
#define IN_RANGE(type, n, from, to)                                                                          \
    {                                                                                                        \
        .role = COMPARE_INPUT, .dtype = (type), .count = (n), .low = (from), .high = (to)                    \
    }
#define OUT(type, n, t)                                                                                      \
    {                                                                                                        \
        .role = COMPARE_OUTPUT, .dtype = (type), .count = (n), .tolerance = (t)                              \
    }
#define UPDATE(type, n, t)                                                                                   \
    {                                                                                                        \
        .role = COMPARE_UPDATE, .dtype = (type), .count = (n), .tolerance = (t)                              \
    }
#define RUN(operation, shape, ...)                                                                           \
    do {                                                                                                     \
        const struct compare_array arrays[] = {__VA_ARGS__};                                                 \
        char label[96];                                                                                      \
        snprintf(label, sizeof label, "%s %s variant %d", #operation, dtype_name((shape)->dtype),            \
                 (shape)->variant);                                                                          \
        compare_run(label, arrays, (int)(sizeof arrays / sizeof *arrays), operation##_call, shape);          \
    } while (0)

static struct table_shape table_shape_of(int i)
{
    return (struct table_shape){tolerance_dtypes[i % DTYPES], i / DTYPES};
}

START_TEST(embeddings_agree_with_the_reference)
{
    const struct table_shape s = table_shape_of(_i);
    const int64_t positions = s.variant ? SEQUENCE * WIDTH : 0;
    RUN(embedding_forward, &s, IN_RANGE(DTYPE_I32, ROWS, 0, VOCABULARY), IN(s.dtype, VOCABULARY * WIDTH),
        IN(s.dtype, positions), OUT(s.dtype, COUNT, tolerance_of(s.dtype)));
    RUN(embedding_backward, &s, IN_RANGE(DTYPE_I32, ROWS, 0, VOCABULARY), IN(s.dtype, COUNT),
        UPDATE(DTYPE_F32, VOCABULARY * WIDTH, 2e-5), UPDATE(DTYPE_F32, positions, 2e-5));
}
END_TEST

START_TEST(activations_agree_with_the_reference)
{
    const struct table_shape s = table_shape_of(_i);
    RUN(activation_forward, &s, IN_RANGE(s.dtype, COUNT, -6, 6), OUT(s.dtype, COUNT, tolerance_of(s.dtype)));
    RUN(activation_backward, &s, IN_RANGE(s.dtype, COUNT, -6, 6), IN(s.dtype, COUNT),
        OUT(s.dtype, COUNT, tolerance_of(s.dtype)));
    RUN(swiglu_forward, &s, IN_RANGE(s.dtype, COUNT, -6, 6), OUT(s.dtype, COUNT / 2, tolerance_of(s.dtype)));
    RUN(swiglu_backward, &s, IN_RANGE(s.dtype, COUNT, -6, 6), IN(s.dtype, COUNT / 2),
        OUT(s.dtype, COUNT, tolerance_of(s.dtype)));
    RUN(dropout, &s, IN(s.dtype, COUNT), OUT(s.dtype, COUNT, tolerance_of(s.dtype)));
}
END_TEST

START_TEST(norms_agree_with_the_reference)
{
    const struct table_shape s = table_shape_of(_i);
    const double tolerance = 2.0 * tolerance_of(s.dtype);
    const int64_t bias = s.variant ? 0 : WIDTH, means = s.variant ? 0 : ROWS;
    RUN(norm_forward, &s, IN(s.dtype, COUNT), IN(s.dtype, COUNT), OUT(s.dtype, COUNT, tolerance),
        IN(s.dtype, WIDTH), IN(s.dtype, bias), OUT(s.dtype, COUNT, tolerance), OUT(DTYPE_F32, means, 2e-5),
        OUT(DTYPE_F32, ROWS, 2e-5));
    RUN(norm_backward, &s, IN(s.dtype, COUNT), IN(s.dtype, WIDTH), IN(DTYPE_F32, means),
        IN_RANGE(DTYPE_F32, ROWS, 1, 2), IN(s.dtype, COUNT), UPDATE(s.dtype, COUNT, tolerance),
        UPDATE(DTYPE_F32, WIDTH, 2e-5), UPDATE(DTYPE_F32, bias, 2e-5));
}
END_TEST

START_TEST(rotary_positions_agree_with_the_reference)
{
    const struct table_shape s = table_shape_of(_i);
    RUN(rope, &s, UPDATE(s.dtype, ROWS * 9 * 8, tolerance_of(s.dtype)));
}
END_TEST

START_TEST(updates_and_sums_agree_with_the_reference)
{
    const struct table_shape s = table_shape_of(_i);
    const int64_t rounded = s.dtype == DTYPE_F32 ? 0 : COUNT;
    const struct compare_array second = {COMPARE_UPDATE, DTYPE_F32, COUNT, 2e-6, 0, 1, NULL};
    RUN(adamw, &s, UPDATE(DTYPE_F32, COUNT, 2e-6), OUT(s.dtype, rounded, tolerance_of(s.dtype)),
        IN(DTYPE_F32, COUNT), UPDATE(DTYPE_F32, COUNT, 2e-6), second);
    RUN(sgd, &s, UPDATE(DTYPE_F32, COUNT, 2e-6), OUT(s.dtype, rounded, tolerance_of(s.dtype)),
        IN(DTYPE_F32, COUNT), UPDATE(DTYPE_F32, COUNT, 2e-6));
    RUN(add, &s, UPDATE(DTYPE_F32, COUNT, 0), IN(DTYPE_F32, COUNT));
    RUN(fill_zero, &s, OUT(DTYPE_F32, COUNT, 0));
    RUN(copy, &s, IN(DTYPE_F32, COUNT), OUT(DTYPE_F32, COUNT, 0));
    if (rounded > 0)
        RUN(round_to, &s, IN(DTYPE_F32, COUNT), OUT(s.dtype, COUNT, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_table");
    TCase *table = tcase_create("table");
    tcase_add_unchecked_fixture(table, compare_open, compare_close);
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, embeddings_agree_with_the_reference, 0, 2 * DTYPES);
    tcase_add_loop_test(table, activations_agree_with_the_reference, 0, 2 * DTYPES);
    tcase_add_loop_test(table, norms_agree_with_the_reference, 0, 2 * DTYPES);
    tcase_add_loop_test(table, rotary_positions_agree_with_the_reference, 0, 2 * DTYPES);
    tcase_add_loop_test(table, updates_and_sums_agree_with_the_reference, 0, 2 * DTYPES);
    suite_add_tcase(suite, table);
    return suite_run(suite);
}
