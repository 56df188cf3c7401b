/* SPDX-License-Identifier: MIT
 *
 * The whole engine against itself: recompute, threads, and evaluation must not change a bit; dropout must be
 * a function of (seed, step, slot) and of nothing else; gradients with dropout must be the slope of the loss.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/golden/golden.h"
#include "tests/model/model_cases.h"
#include "tests/worker/engine_fixture.h"
#include "tests/suite.h"

static struct engine_options options_of(enum model_type type, enum engine_backend backend, enum dtype dtype,
                                        double dropout)
{
    struct engine_options options = {.backend = backend, .config = model_case_config(type), .dtype = dtype};
    options.config.dropout = dropout;
    return options;
}

/* What one training micro-step leaves behind. */
struct outcome {
    int64_t flat_count, rows;
    float *gradients, *losses;
};

static struct outcome outcome_of(const struct engine_options *options, int slot)
{
    struct engine engine;
    engine_init(&engine, options);
    engine_train(&engine, slot);
    struct outcome outcome = {engine.flat_count, engine.graph->tokens, engine_gradients_copy(&engine),
                              engine_losses_copy(&engine)};
    engine_release(&engine);
    return outcome;
}

static void outcome_release(struct outcome *outcome)
{
    free(outcome->gradients);
    free(outcome->losses);
}

static bool floats_same(const float *a, const float *b, int64_t count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static bool outcome_same(const struct outcome *a, const struct outcome *b)
{
    ck_assert_int_eq(a->flat_count, b->flat_count);
    return floats_same(a->gradients, b->gradients, a->flat_count) &&
           floats_same(a->losses, b->losses, a->rows);
}

static void check_finite(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(isfinite(values[i]), "value %lld is %g", (long long)i, (double)values[i]);
}

/* Two transformers × back ends × dtypes × dropout. */
START_TEST(recompute_changes_no_bit)
{
    struct engine_options options =
        options_of(_i % 2 ? MODEL_LLAMA : MODEL_GPT, (enum engine_backend)(_i / 2 % ENGINE_BACKEND_COUNT),
                   _i / 4 % 2 ? DTYPE_BF16 : DTYPE_F32, _i / 8 ? 0.25 : 0.0);
    struct outcome none = outcome_of(&options, 3);
    check_finite(none.gradients, none.flat_count);
    for (int mode = RECOMPUTE_SELECTIVE; mode <= RECOMPUTE_FULL; mode++) {
        options.recompute = (enum recompute)mode;
        struct outcome again = outcome_of(&options, 3);
        ck_assert_msg(outcome_same(&none, &again), "recompute mode %d gives other bits", mode);
        outcome_release(&again);
    }
    outcome_release(&none);
}
END_TEST

START_TEST(the_number_of_threads_changes_no_bit)
{
    struct engine_options options = options_of((enum model_type)(_i % 3), ENGINE_CPU,
                                               _i / 3 % 2 ? DTYPE_BF16 : DTYPE_F32, _i / 6 ? 0.25 : 0.0);
    struct outcome one = outcome_of(&options, 0);
    options.threads = 3;
    struct outcome three = outcome_of(&options, 0);
    ck_assert(outcome_same(&one, &three));
    outcome_release(&one);
    outcome_release(&three);
}
END_TEST

START_TEST(dropout_depends_on_the_slot_and_repeats)
{
    struct engine_options options =
        options_of((enum model_type)(_i % 3), (enum engine_backend)(_i / 3), DTYPE_F32, 0.25);
    struct outcome first = outcome_of(&options, 0), again = outcome_of(&options, 0);
    struct outcome other = outcome_of(&options, 1);
    ck_assert(outcome_same(&first, &again));
    ck_assert(!floats_same(first.losses, other.losses, first.rows));
    outcome_release(&first);
    outcome_release(&again);
    outcome_release(&other);
}
END_TEST

START_TEST(dropout_depends_on_seed_and_step)
{
    struct engine_options options = options_of(MODEL_GPT, ENGINE_CPU, DTYPE_F32, 0.25);
    struct engine engine;
    engine_init(&engine, &options);
    struct executor_step step = {.gradient_scale = 1.0f,
                                 .gradients = (float *)(void *)engine.gradients.block};
    double losses[3];
    for (int i = 0; i < 3; i++) {
        step.seed = i == 1;
        step.step = i == 2;
        engine_step(&engine, &step);
        losses[i] = engine_mean_loss(&engine);
    }
    ck_assert(losses[0] != losses[1] && losses[0] != losses[2] && losses[1] != losses[2]);
    engine_release(&engine);
}
END_TEST

START_TEST(evaluation_drops_nothing_and_ignores_recompute)
{
    enum model_type type = (enum model_type)(_i % 3);
    float *expected = NULL;
    int64_t rows = 0;
    for (int variant = 0; variant < 4; variant++) {
        struct engine_options options =
            options_of(type, (enum engine_backend)(_i / 3), DTYPE_BF16, variant ? 0.25 : 0.0);
        options.recompute = (enum recompute)(variant ? variant - 1 : 0);
        struct engine engine;
        engine_init(&engine, &options);
        engine_evaluate(&engine);
        float *losses = engine_losses_copy(&engine);
        rows = engine.graph->tokens;
        if (expected)
            ck_assert_msg(floats_same(expected, losses, rows), "variant %d", variant);
        free(expected);
        expected = losses;
        engine_release(&engine);
    }
    check_finite(expected, rows);
    free(expected);
}
END_TEST

START_TEST(without_dropout_training_and_evaluation_see_the_same_loss)
{
    struct engine_options options =
        options_of((enum model_type)(_i % 3), (enum engine_backend)(_i / 3), DTYPE_F32, 0.0);
    struct engine engine;
    engine_init(&engine, &options);
    engine_evaluate(&engine);
    float *evaluated = engine_losses_copy(&engine);
    engine_train(&engine, 0);
    float *trained = engine_losses_copy(&engine);
    ck_assert(floats_same(evaluated, trained, engine.graph->tokens));
    free(evaluated);
    free(trained);
    engine_release(&engine);
}
END_TEST

/* The last token of the first sequence is changed: only that position may notice. */
START_TEST(a_token_changes_no_loss_before_it_and_none_of_another_sample)
{
    struct engine_options options =
        options_of(_i % 2 ? MODEL_LLAMA : MODEL_GPT, (enum engine_backend)(_i / 2), DTYPE_F32, 0.0);
    struct engine engine;
    engine_init(&engine, &options);
    int64_t rows = engine.graph->tokens, changed = options.config.seq_len - 1;
    int32_t *ids = calloc((size_t)rows, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    engine_evaluate(&engine);
    float *before = engine_losses_copy(&engine);
    golden_fill_integers("ids", options.config.vocab_size, ids, rows);
    ids[changed] = (ids[changed] + 1) % (int32_t)options.config.vocab_size;
    engine_feed_ids(&engine, ids);
    engine_evaluate(&engine);
    float *after = engine_losses_copy(&engine);
    for (int64_t t = 0; t < rows; t++)
        ck_assert_msg((before[t] == after[t]) == (t != changed), "position %lld", (long long)t);
    free(ids);
    free(before);
    free(after);
    engine_release(&engine);
}
END_TEST

START_TEST(gradients_of_two_slots_add_up_and_gaps_stay_zero)
{
    struct engine_options options =
        options_of((enum model_type)(_i % 3), (enum engine_backend)(_i / 3), DTYPE_F32, 0.25);
    struct outcome first = outcome_of(&options, 0), second = outcome_of(&options, 1);
    struct engine engine;
    engine_init(&engine, &options);
    engine_train(&engine, 0);
    struct executor_step step = {.seed = 11,
                                 .step = 7,
                                 .slot = 1,
                                 .gradient_scale = (float)(1.0 / (double)engine.graph->tokens),
                                 .gradients = (float *)(void *)engine.gradients.block};
    engine_step(&engine, &step);
    float *sum = engine_gradients_copy(&engine);
    for (int i = 0; i < engine.graph->param_count; i++) {
        const struct graph_param *param = &engine.graph->params[i];
        for (int64_t e = param->offset; e < param->offset + param->count; e++) {
            double expected = (double)first.gradients[e] + (double)second.gradients[e];
            ck_assert_msg(fabs((double)sum[e] - expected) <= 1e-6, "%s", param->name);
            sum[e] = 0.0f;
        }
    }
    for (int64_t e = 0; e < engine.flat_count; e++)
        ck_assert_msg(sum[e] == 0.0f, "element %lld belongs to no parameter", (long long)e);
    free(sum);
    engine_release(&engine);
    outcome_release(&first);
    outcome_release(&second);
}
END_TEST

START_TEST(a_step_asks_the_heap_for_nothing)
{
    struct engine_options options =
        options_of((enum model_type)(_i % 3), ENGINE_CPU, _i / 3 ? DTYPE_BF16 : DTYPE_F32, 0.25);
    options.threads = 3;
    struct engine engine;
    engine_init(&engine, &options);
    engine_train(&engine, 0);
    int64_t calls = alloc_call_count();
    engine_train(&engine, 1);
    engine_evaluate(&engine);
    ck_assert_int_eq(alloc_call_count(), calls);
    engine_release(&engine);
}
END_TEST

START_TEST(an_executor_that_finds_no_memory_says_so)
{
    struct engine_options options = options_of(MODEL_GPT, ENGINE_REF, DTYPE_F32, 0.0);
    struct engine engine;
    engine_init(&engine, &options);
    int64_t live = alloc_live_count();
    for (int n = 1; n <= 2; n++) {
        struct executor_memory memory = {0};
        struct executor *executor = NULL;
        struct muster_error err = {0};
        alloc_fail_nth(n);
        ck_assert_int_eq(executor_create(engine.graph, engine.kernels, &memory, &executor, &err),
                         MUSTER_ERR_NO_MEMORY);
        alloc_fail_nth(0);
        ck_assert_ptr_null(executor);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    executor_destroy(NULL);
    engine_release(&engine);
}
END_TEST

/* ---- finite differences through the whole model, masks held by the key ---- */

static void direction_fill(const struct graph_param *param, double *direction)
{
    for (int64_t i = 0; i < param->count; i++)
        direction[i] = (double)(golden_mixed("direction", param->offset + i) >> 8) * 0x1p-23 - 1.0;
}

static double loss_along(struct engine *engine, const struct graph_param *param, const float *start,
                         const double *direction, double distance)
{
    for (int64_t i = 0; i < param->count; i++)
        engine->master[param->offset + i] = (float)((double)start[i] + distance * direction[i]);
    engine_publish(engine);
    engine_train(engine, 5);
    return engine_mean_loss(engine);
}

/* Central differences of fourth order along one direction in the space of one parameter. A ReLU has kinks:
 * steps short enough not to cross one leave more rounding error in the difference. */
static void check_slope(struct engine *engine, const struct graph_param *param, const float *gradients)
{
    const bool kinks = engine->graph->config.type == MODEL_MLP;
    const double step = kinks ? 3e-4 : 4e-3, tolerance = kinks ? 3e-4 : 5e-5;
    double *direction = calloc((size_t)param->count, sizeof *direction);
    float *start = calloc((size_t)param->count, sizeof *start);
    ck_assert(direction && start);
    memcpy(start, engine->master + param->offset, (size_t)param->count * sizeof *start);
    direction_fill(param, direction);
    double near = loss_along(engine, param, start, direction, step) -
                  loss_along(engine, param, start, direction, -step);
    double far = loss_along(engine, param, start, direction, 2 * step) -
                 loss_along(engine, param, start, direction, -2 * step);
    double slope = (8.0 * near - far) / (12.0 * step), given = 0.0, size = 0.0;
    for (int64_t i = 0; i < param->count; i++) {
        given += (double)gradients[param->offset + i] * direction[i];
        size += (double)gradients[param->offset + i] * (double)gradients[param->offset + i];
    }
    memcpy(engine->master + param->offset, start, (size_t)param->count * sizeof *start);
    ck_assert_msg(fabs(given - slope) <= tolerance * (1.0 + 10.0 * sqrt(size)),
                  "%s: the gradient says %.7g, differences %.7g", param->name, given, slope);
    free(direction);
    free(start);
}

START_TEST(with_dropout_the_gradient_is_the_slope_of_the_loss)
{
    struct engine_options options = options_of((enum model_type)_i, ENGINE_REF, DTYPE_F32, 0.25);
    options.recompute = RECOMPUTE_SELECTIVE;
    struct engine engine;
    engine_init(&engine, &options);
    engine_train(&engine, 5);
    float *gradients = engine_gradients_copy(&engine);
    for (int i = 0; i < engine.graph->param_count; i++)
        check_slope(&engine, &engine.graph->params[i], gradients);
    free(gradients);
    engine_release(&engine);
}
END_TEST

int main(void)
{
    TCase *bits = tcase_create("bits");
    tcase_set_timeout(bits, 0);
    tcase_add_loop_test(bits, recompute_changes_no_bit, 0, 8 * ENGINE_BACKEND_COUNT);
    tcase_add_loop_test(bits, the_number_of_threads_changes_no_bit, 0, 12);
    tcase_add_loop_test(bits, dropout_depends_on_the_slot_and_repeats, 0, 3 * ENGINE_BACKEND_COUNT);
    tcase_add_test(bits, dropout_depends_on_seed_and_step);
    tcase_add_loop_test(bits, evaluation_drops_nothing_and_ignores_recompute, 0, 3 * ENGINE_BACKEND_COUNT);
    tcase_add_loop_test(bits, without_dropout_training_and_evaluation_see_the_same_loss, 0,
                        3 * ENGINE_BACKEND_COUNT);
    tcase_add_loop_test(bits, a_token_changes_no_loss_before_it_and_none_of_another_sample, 0,
                        2 * ENGINE_BACKEND_COUNT);
    TCase *rest = tcase_create("gradients and memory");
    tcase_set_timeout(rest, 0);
    tcase_add_loop_test(rest, gradients_of_two_slots_add_up_and_gaps_stay_zero, 0, 3 * ENGINE_BACKEND_COUNT);
    tcase_add_loop_test(rest, a_step_asks_the_heap_for_nothing, 0, 6);
    tcase_add_test(rest, an_executor_that_finds_no_memory_says_so);
    tcase_add_loop_test(rest, with_dropout_the_gradient_is_the_slope_of_the_loss, 0, 3);
    Suite *suite = suite_create("engine");
    suite_add_tcase(suite, bits);
    suite_add_tcase(suite, rest);
    return suite_run(suite);
}
