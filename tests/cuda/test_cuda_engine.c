/* SPDX-License-Identifier: MIT
 *
 * Whole models on the plug-in named by MUSTER_CUDA_PLUGIN against the reference: losses and gradients of one
 * micro-step, for every model, precision, recompute mode, with and without dropout. Memory is poisoned and
 * guarded by the fixture. A step repeats to the last bit, from a recording too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/model/model_cases.h"
#include "tests/worker/engine_fixture.h"
#include "tests/suite.h"

struct outcome {
    int64_t flat_count, rows;
    float *gradients, *losses;
};

static struct engine_options options_at(int i, enum engine_backend backend)
{
    struct model_variant variant = model_variant_at(i);
    struct engine_options options = {.backend = backend,
                                     .config = model_case_config(variant.type),
                                     .dtype = variant.dtype,
                                     .recompute = variant.recompute};
    options.config.dropout = variant.dropout;
    return options;
}

static struct outcome outcome_take(struct engine *engine)
{
    engine_train(engine, 3);
    return (struct outcome){engine->flat_count, engine->graph->tokens, engine_gradients_copy(engine),
                            engine_losses_copy(engine)};
}

static void outcome_release(struct outcome *outcome)
{
    free(outcome->gradients);
    free(outcome->losses);
}

/* The distance of two vectors over the length of the wanted one. */
static double distance(const float *found, const float *wanted, int64_t count)
{
    double apart = 0.0, length = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double difference = (double)found[i] - (double)wanted[i];
        apart += difference * difference;
        length += (double)wanted[i] * (double)wanted[i];
    }
    return sqrt(apart / length);
}

START_TEST(a_micro_step_is_the_reference_s)
{
    struct engine_options judge_options = options_at(_i, ENGINE_REF);
    struct engine_options options = options_at(_i, ENGINE_PLUGIN);
    struct engine judge, engine;
    engine_init(&judge, &judge_options);
    engine_init(&engine, &options);
    struct outcome wanted = outcome_take(&judge), found = outcome_take(&engine);
    bool single = options.dtype == DTYPE_F32;
    double loss = distance(found.losses, wanted.losses, wanted.rows);
    ck_assert_msg(loss < (single ? 1e-6 : 4e-3), "losses differ by %g", loss);
    for (int i = 0; i < engine.graph->param_count; i++) {
        const struct graph_param *param = &engine.graph->params[i];
        double gradient =
            distance(found.gradients + param->offset, wanted.gradients + param->offset, param->count);
        ck_assert_msg(gradient < (single ? 1e-5 : 4e-2), "gradients of %s differ by %g", param->name,
                      gradient);
    }
    for (int again = 0; again < 2; again++) {
        struct outcome repeated = outcome_take(&engine);
        size_t bytes = (size_t)found.flat_count * sizeof(float);
        ck_assert_int_eq(memcmp(repeated.gradients, found.gradients, bytes), 0);
        ck_assert_int_eq(memcmp(repeated.losses, found.losses, (size_t)found.rows * sizeof(float)), 0);
        outcome_release(&repeated);
    }
    outcome_release(&wanted);
    outcome_release(&found);
    engine_release(&engine);
    engine_release(&judge);
}
END_TEST

static const struct kernels_ops *whole;
static int capture_count;

static enum muster_status capture_end_fails(struct kernels *k, void **recorded, struct muster_error *err)
{
    capture_count++;
    ck_assert_int_eq(whole->capture_end(k, recorded, err), MUSTER_OK);
    whole->capture_free(k, *recorded);
    *recorded = NULL;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "a library waited");
}

START_TEST(a_recording_that_fails_is_done_without)
{
    struct engine_options options = options_at(0, ENGINE_PLUGIN);
    struct engine engine;
    engine_init(&engine, &options);
    whole = engine.kernels->ops;
    struct kernels_ops ops = *whole;
    ops.capture_end = capture_end_fails;
    engine.kernels->ops = &ops;
    log_console_level_set(LOG_SILENT);
    struct outcome first = outcome_take(&engine);
    for (int again = 0; again < 2; again++) {
        struct outcome repeated = outcome_take(&engine);
        size_t bytes = (size_t)first.flat_count * sizeof(float);
        ck_assert_int_eq(memcmp(repeated.gradients, first.gradients, bytes), 0);
        outcome_release(&repeated);
    }
    log_console_level_set(LOG_WARN);
    ck_assert_int_eq(capture_count, 1);
    engine.kernels->ops = whole;
    outcome_release(&first);
    engine_release(&engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_engine");
    TCase *tcase = tcase_create("cuda_engine");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, a_micro_step_is_the_reference_s, 0, MODEL_VARIANT_COUNT);
    tcase_add_test(tcase, a_recording_that_fails_is_done_without);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
