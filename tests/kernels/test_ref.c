/* SPDX-License-Identifier: MIT
 *
 * Finite differences judge every backward rule of the reference back end, which then judges all others.
 * Shapes are odd on purpose; outputs start as NaN, accumulated gradients start at 1.
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

/* ---- embedding ---- */

static double embedding_objective(void *context)
{
    const struct embedding_args *a = context;
    ck_assert_int_eq(kernels_embedding_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->tokens * a->width);
}

START_TEST(embedding_gradients_are_the_slopes_of_both_tables)
{
    static float tokens[ROOM], positions[ROOM], y[ROOM], dy[ROOM], dtokens[ROOM], dpositions[ROOM];
    static const int32_t ids[] = {4, 0, 4, 2, 4, 0, 3};
    struct embedding_args a = {DTYPE_F32, 7, 3, 5, 6, ids, tokens, positions, y, dy, dtokens, dpositions};
    fd_fill_random(tokens, 30, 1);
    fd_fill_random(positions, 15, 2);
    fd_fill_random(dy, 35, 3);
    fd_fill_constant(dtokens, 30, 1.0f);
    fd_fill_constant(dpositions, 15, 1.0f);
    ck_assert_int_eq(kernels_embedding_backward(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {embedding_objective, &a};
    fd_check(&problem, tokens, dtokens, 30, 1.0f, "dtoken_table");
    fd_check(&problem, positions, dpositions, 15, 1.0f, "dposition_table");
}
END_TEST

/* ---- linear ---- */

struct linear_case {
    int64_t tokens, in_width, out_width;
};

static const struct linear_case linear_cases[] = {{3, 5, 7}, {1, 1, 1}, {9, 2, 3}, {2, 13, 4}};

struct linear_arrays {
    float pre[ROOM], x[ROOM], w[ROOM], bias[ROOM], y[ROOM], dy[ROOM], dx[ROOM], dw[ROOM], dbias[ROOM];
};

static struct linear_args linear_setup(struct linear_arrays *m, const struct linear_case *shape)
{
    fd_fill_random(m->x, ROOM, 11);
    fd_fill_random(m->w, ROOM, 12);
    fd_fill_random(m->bias, ROOM, 13);
    fd_fill_random(m->dy, ROOM, 14);
    fd_fill_constant(m->y, ROOM, NAN);
    fd_fill_constant(m->dx, ROOM, NAN);
    fd_fill_constant(m->dw, ROOM, 1.0f);
    fd_fill_constant(m->dbias, ROOM, 1.0f);
    struct linear_args a = {.dtype = DTYPE_F32,
                            .tokens = shape->tokens,
                            .in_width = shape->in_width,
                            .out_width = shape->out_width,
                            .x = m->x,
                            .w = m->w,
                            .bias = m->bias,
                            .y = m->y,
                            .dy = m->dy,
                            .dx = m->dx,
                            .dw = m->dw,
                            .dbias = m->dbias};
    return a;
}

/* x is the activation of input_pre where that is given. */
static double linear_objective(void *context)
{
    const struct linear_args *a = context;
    if (a->input_pre != NULL) {
        struct activation_args activation = {.dtype = a->dtype,
                                             .count = a->tokens * a->in_width,
                                             .activation = a->input_activation,
                                             .pre = a->input_pre,
                                             .y = (void *)a->x};
        ck_assert_int_eq(kernels_activation_forward(ref, &activation, NULL), MUSTER_OK);
    }
    ck_assert_int_eq(kernels_linear_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->tokens * a->out_width);
}

START_TEST(linear_gradients_are_the_slopes_of_input_weight_and_bias)
{
    static struct linear_arrays m;
    const struct linear_case *shape = &linear_cases[_i];
    struct linear_args a = linear_setup(&m, shape);
    ck_assert_int_eq(kernels_linear_backward_input(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_linear_backward_weight(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {linear_objective, &a};
    fd_check(&problem, m.x, m.dx, shape->tokens * shape->in_width, 0.0f, "dx");
    fd_check(&problem, m.w, m.dw, shape->out_width * shape->in_width, 1.0f, "dw");
    fd_check(&problem, m.bias, m.dbias, shape->out_width, 1.0f, "dbias");
}
END_TEST

static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_RELU};

/* Values at least 0.3 from 0, where ReLU has no slope to compare with. */
static void fill_away_from_zero(float *values, int64_t count)
{
    fd_fill_random(values, count, 15);
    for (int64_t i = 0; i < count; i++)
        values[i] += values[i] < 0.0f ? -0.3f : 0.3f;
}

START_TEST(input_gradient_goes_through_the_activation_that_made_the_input)
{
    static struct linear_arrays m;
    for (size_t n = 0; n < sizeof activations / sizeof *activations; n++) {
        struct linear_args a = linear_setup(&m, &linear_cases[_i]);
        fill_away_from_zero(m.pre, ROOM);
        a.input_pre = m.pre;
        a.input_activation = activations[n];
        ck_assert_int_eq(kernels_linear_backward_input(ref, &a, NULL), MUSTER_OK);
        struct fd_problem problem = {linear_objective, &a};
        fd_check(&problem, m.pre, m.dx, a.tokens * a.in_width, 0.0f, "dx");
    }
}
END_TEST

static double activation_objective(void *context)
{
    const struct activation_args *a = context;
    ck_assert_int_eq(kernels_activation_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->count);
}

START_TEST(activation_gradients_are_the_slopes_of_the_activation)
{
    static float pre[ROOM], y[ROOM], dy[ROOM], dx[ROOM];
    struct activation_args a = {DTYPE_F32, 37, activations[_i], pre, y, dy, dx};
    fill_away_from_zero(pre, 37);
    fd_fill_random(dy, 37, 16);
    fd_fill_constant(dx, ROOM, NAN);
    ck_assert_int_eq(kernels_activation_backward(ref, &a, NULL), MUSTER_OK);
    ck_assert(isnan(dx[37]));
    struct fd_problem problem = {activation_objective, &a};
    fd_check(&problem, pre, dx, 37, 0.0f, "dx");
}
END_TEST

/* ---- norm ---- */

struct norm_case {
    enum norm_kind kind;
    int64_t tokens, width;
    bool delta, accumulate;
};

static const struct norm_case norm_cases[] = {
    {NORM_LAYER, 3, 7, false, false}, {NORM_LAYER, 4, 5, true, true}, {NORM_LAYER, 1, 11, true, false},
    {NORM_RMS, 3, 7, false, true},    {NORM_RMS, 5, 3, true, false},
};

struct norm_arrays {
    float x[ROOM], delta[ROOM], residual[ROOM], gain[ROOM], bias[ROOM], y[ROOM], mean[ROOM], rstd[ROOM];
    float dy[ROOM], dresidual[ROOM], dgain[ROOM], dbias[ROOM];
};

static double norm_objective(void *context)
{
    const struct norm_args *a = context;
    ck_assert_int_eq(kernels_norm_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->tokens * a->width);
}

static struct norm_args norm_setup(struct norm_arrays *m, const struct norm_case *shape)
{
    bool layer = shape->kind == NORM_LAYER;
    fd_fill_random(m->x, ROOM, 21);
    fd_fill_random(m->delta, ROOM, 22);
    fd_fill_random(m->gain, ROOM, 23);
    fd_fill_random(m->bias, ROOM, 24);
    fd_fill_random(m->dy, ROOM, 25);
    fd_fill_constant(m->residual, ROOM, NAN);
    fd_fill_constant(m->dresidual, ROOM, shape->accumulate ? 1.0f : NAN);
    fd_fill_constant(m->dgain, ROOM, 1.0f);
    fd_fill_constant(m->dbias, ROOM, 1.0f);
    struct norm_args a = {.dtype = DTYPE_F32,
                          .kind = shape->kind,
                          .epsilon = 1e-5f,
                          .tokens = shape->tokens,
                          .width = shape->width,
                          .x = m->x,
                          .delta = shape->delta ? m->delta : NULL,
                          .residual = shape->delta ? m->residual : m->x,
                          .gain = m->gain,
                          .bias = layer ? m->bias : NULL,
                          .y = m->y,
                          .mean = layer ? m->mean : NULL,
                          .rstd = m->rstd,
                          .dy = m->dy,
                          .dresidual = m->dresidual,
                          .accumulate = shape->accumulate,
                          .dgain = m->dgain,
                          .dbias = layer ? m->dbias : NULL};
    return a;
}

START_TEST(norm_gradients_are_the_slopes_of_input_delta_gain_and_bias)
{
    static struct norm_arrays m;
    const struct norm_case *shape = &norm_cases[_i];
    struct norm_args a = norm_setup(&m, shape);
    const int64_t count = a.tokens * a.width;
    const float start = shape->accumulate ? 1.0f : 0.0f;
    ck_assert_int_eq(kernels_norm_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_norm_backward(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {norm_objective, &a};
    fd_check(&problem, m.x, m.dresidual, count, start, "dresidual by x");
    if (shape->delta)
        fd_check(&problem, m.delta, m.dresidual, count, start, "dresidual by delta");
    fd_check(&problem, m.gain, m.dgain, a.width, 1.0f, "dgain");
    if (a.bias != NULL)
        fd_check(&problem, m.bias, m.dbias, a.width, 1.0f, "dbias");
}
END_TEST

/* ---- rope ---- */

struct rope_problem {
    struct rope_args a;
    float x[ROOM], y[ROOM], dy[ROOM];
    int64_t count;
};

static double rope_objective(void *context)
{
    struct rope_problem *p = context;
    memcpy(p->y, p->x, sizeof p->y);
    ck_assert_int_eq(kernels_rope(ref, &p->a, NULL), MUSTER_OK);
    return fd_dot(p->dy, p->y, p->count);
}

START_TEST(turning_back_is_the_gradient_of_turning)
{
    static struct rope_problem p;
    static float dx[ROOM];
    struct rope_args a = {DTYPE_F32, 6, 3, 3, 1, 4, 100.0f, false, p.y};
    p.a = a;
    p.count = 6 * 5 * 4;
    fd_fill_random(p.x, p.count, 31);
    fd_fill_random(p.dy, p.count, 32);
    memcpy(dx, p.dy, sizeof dx);
    a.inverse = true;
    a.qkv = dx;
    ck_assert_int_eq(kernels_rope(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {rope_objective, &p};
    fd_check(&problem, p.x, dx, p.count, 0.0f, "dqkv");
}
END_TEST

/* ---- attention ---- */

struct attention_case {
    int64_t batch, sequence, heads, kv_heads, head_width;
    float dropout;
};

static const struct attention_case attention_cases[] = {
    {1, 1, 1, 1, 1, 0.0f}, {2, 5, 1, 1, 3, 0.0f}, {1, 7, 3, 3, 2, 0.0f},
    {2, 5, 4, 2, 3, 0.0f}, {1, 6, 3, 1, 5, 0.3f}, {2, 4, 2, 2, 3, 0.5f},
};

static double attention_objective(void *context)
{
    const struct attention_args *a = context;
    ck_assert_int_eq(kernels_attention_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->batch * a->sequence * a->heads * a->head_width);
}

START_TEST(attention_gradients_are_the_slopes_of_queries_keys_and_values)
{
    static float qkv[ROOM], y[ROOM], lse[ROOM], dy[ROOM], dqkv[ROOM];
    const struct attention_case *s = &attention_cases[_i];
    struct attention_args a = {.dtype = DTYPE_F32,
                               .batch = s->batch,
                               .sequence = s->sequence,
                               .heads = s->heads,
                               .kv_heads = s->kv_heads,
                               .head_width = s->head_width,
                               .qkv = qkv,
                               .y = y,
                               .lse = lse,
                               .dropout = s->dropout,
                               .key = rng_key_make(5, 6, 7, 8),
                               .dy = dy,
                               .dqkv = dqkv};
    const int64_t count = s->batch * s->sequence * (s->heads + 2 * s->kv_heads) * s->head_width;
    fd_fill_random(qkv, count, 41);
    fd_fill_random(dy, ROOM, 42);
    fd_fill_constant(y, ROOM, NAN);
    fd_fill_constant(dqkv, ROOM, NAN);
    ck_assert_int_eq(kernels_attention_forward(ref, &a, NULL), MUSTER_OK);
    ck_assert_int_eq(kernels_attention_backward(ref, &a, NULL), MUSTER_OK);
    ck_assert(isnan(dqkv[count]));
    struct fd_problem problem = {attention_objective, &a};
    fd_check(&problem, qkv, dqkv, count, 0.0f, "dqkv");
}
END_TEST

/* ---- swiglu, dropout ---- */

static double swiglu_objective(void *context)
{
    const struct swiglu_args *a = context;
    ck_assert_int_eq(kernels_swiglu_forward(ref, a, NULL), MUSTER_OK);
    return fd_dot(a->dy, a->y, a->tokens * a->width);
}

START_TEST(swiglu_gradients_are_the_slopes_of_gate_and_up)
{
    static float gate_up[ROOM], y[ROOM], dy[ROOM], dgate_up[ROOM];
    struct swiglu_args a = {DTYPE_F32, 5, 7, gate_up, y, dy, dgate_up};
    fd_fill_random(gate_up, 70, 51);
    fd_fill_random(dy, 35, 52);
    fd_fill_constant(dgate_up, 70, NAN);
    for (int64_t i = 0; i < 70; i++)
        gate_up[i] *= 3.0f;
    ck_assert_int_eq(kernels_swiglu_backward(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {swiglu_objective, &a};
    fd_check(&problem, gate_up, dgate_up, 70, 0.0f, "dgate_up");
}
END_TEST

struct dropout_problem {
    struct dropout_args forward;
    const float *dy;
};

static double dropout_objective(void *context)
{
    const struct dropout_problem *p = context;
    ck_assert_int_eq(kernels_dropout(ref, &p->forward, NULL), MUSTER_OK);
    return fd_dot(p->dy, p->forward.y, p->forward.count);
}

START_TEST(dropout_of_a_gradient_is_the_gradient_of_dropout)
{
    static float x[ROOM], y[ROOM], dy[ROOM], dx[ROOM];
    struct rng_key key = rng_key_make(1, 2, 3, 4);
    struct dropout_problem p = {{DTYPE_F32, 103, 0.4f, key, x, y}, dy};
    struct dropout_args back = {DTYPE_F32, 103, 0.4f, key, dy, dx};
    fd_fill_random(x, 103, 61);
    fd_fill_random(dy, 103, 62);
    ck_assert_int_eq(kernels_dropout(ref, &back, NULL), MUSTER_OK);
    struct fd_problem problem = {dropout_objective, &p};
    fd_check(&problem, x, dx, 103, 0.0f, "dx");
}
END_TEST

/* ---- head and loss ---- */

struct head_problem {
    struct head_loss_args a;
    float work[ROOM];
};

static double head_objective(void *context)
{
    struct head_problem *p = context;
    struct head_loss_args evaluation = p->a;
    evaluation.dx = NULL;
    ck_assert_int_eq(kernels_head_loss(ref, &evaluation, NULL), MUSTER_OK);
    double sum = 0.0;
    for (int64_t t = 0; t < p->a.tokens; t++)
        sum += (double)p->a.loss[t] * (double)p->a.gradient_scale;
    return sum;
}

START_TEST(head_gradients_are_the_slopes_of_the_scaled_loss)
{
    static struct head_problem p;
    static float x[ROOM], w[ROOM], bias[ROOM], loss[ROOM], correct[ROOM], dx[ROOM], dw[ROOM], dbias[ROOM];
    static const int32_t targets[] = {3, -1, 0, 8, 3};
    const int64_t tokens = 5, width = 4, vocabulary = 9;
    struct head_loss_args a = {.dtype = DTYPE_F32,
                               .tokens = tokens,
                               .width = width,
                               .vocabulary = vocabulary,
                               .chunk_rows = 2,
                               .x = x,
                               .w = w,
                               .bias = _i == 0 ? bias : NULL,
                               .targets = targets,
                               .loss = loss,
                               .correct = correct,
                               .gradient_scale = 0.75f,
                               .dx = dx,
                               .dw = dw,
                               .dbias = _i == 0 ? dbias : NULL,
                               .work = p.work};
    fd_fill_random(x, ROOM, 71);
    fd_fill_random(w, ROOM, 72);
    fd_fill_random(bias, ROOM, 73);
    fd_fill_constant(dx, ROOM, NAN);
    fd_fill_constant(dw, ROOM, 1.0f);
    fd_fill_constant(dbias, ROOM, 1.0f);
    p.a = a;
    ck_assert_int_eq(kernels_head_loss(ref, &a, NULL), MUSTER_OK);
    struct fd_problem problem = {head_objective, &p};
    fd_check(&problem, x, dx, tokens * width, 0.0f, "dx");
    fd_check(&problem, w, dw, vocabulary * width, 1.0f, "dw");
    if (a.bias != NULL)
        fd_check(&problem, bias, dbias, vocabulary, 1.0f, "dbias");
    ck_assert_msg(dw[vocabulary * width] == 1.0f, "a padding row of dw was touched");
}
END_TEST

#define CASE_COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

int main(void)
{
    Suite *suite = suite_create("ref");
    TCase *tc = tcase_create("finite differences");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, embedding_gradients_are_the_slopes_of_both_tables);
    tcase_add_loop_test(tc, linear_gradients_are_the_slopes_of_input_weight_and_bias, 0,
                        CASE_COUNT(linear_cases));
    tcase_add_loop_test(tc, input_gradient_goes_through_the_activation_that_made_the_input, 0,
                        CASE_COUNT(linear_cases));
    tcase_add_loop_test(tc, activation_gradients_are_the_slopes_of_the_activation, 0, 3);
    tcase_add_loop_test(tc, norm_gradients_are_the_slopes_of_input_delta_gain_and_bias, 0,
                        CASE_COUNT(norm_cases));
    tcase_add_test(tc, turning_back_is_the_gradient_of_turning);
    tcase_add_loop_test(tc, attention_gradients_are_the_slopes_of_queries_keys_and_values, 0,
                        CASE_COUNT(attention_cases));
    tcase_add_test(tc, swiglu_gradients_are_the_slopes_of_gate_and_up);
    tcase_add_test(tc, dropout_of_a_gradient_is_the_gradient_of_dropout);
    tcase_add_loop_test(tc, head_gradients_are_the_slopes_of_the_scaled_loss, 0, 2);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
