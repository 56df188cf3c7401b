/* SPDX-License-Identifier: MIT
 *
 * Whole models on the plug-in named by MUSTER_CUDA_PLUGIN against the reference: losses and gradients of one
 * micro-step, for every model, precision, recompute mode, with and without dropout. Memory is poisoned and
 * guarded by the fixture. A step repeats to the last bit, from a recording too, whole or from stop to stop.
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

/* The back end's own calls, with what is recorded counted. */
static const struct kernels_ops *whole;
static struct kernels_ops watched;
static int recorded_count, run_count, freed_count, failing; /* failing: the recording that does, from 1 */

static enum muster_status end_counted(struct kernels *k, void **recorded, struct muster_error *err)
{
    enum muster_status status = whole->capture_end(k, recorded, err);
    ck_assert_int_eq(status, MUSTER_OK);
    if (++recorded_count != failing)
        return status;
    whole->capture_free(k, *recorded);
    *recorded = NULL;
    freed_count++;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "a library waited");
}

static enum muster_status run_counted(struct kernels *k, void *recorded, struct muster_error *err)
{
    run_count++;
    return whole->capture_run(k, recorded, err);
}

static void free_counted(struct kernels *k, void *recorded)
{
    freed_count++;
    whole->capture_free(k, recorded);
}

static void engine_watch(struct engine *engine, int failing_recording)
{
    whole = engine->kernels->ops;
    watched = *whole;
    watched.capture_end = end_counted;
    watched.capture_run = run_counted;
    watched.capture_free = free_counted;
    engine->kernels->ops = &watched;
    recorded_count = run_count = freed_count = 0;
    failing = failing_recording;
}

static float *gradients_of(struct engine *engine, const struct executor_step *step)
{
    engine_gradients_zero(engine);
    engine_step(engine, step);
    return engine_gradients_copy(engine);
}

/* Whether the gradients of such a step are these. */
static void step_must_give(struct engine *engine, const struct executor_step *step, const float *wanted)
{
    float *found = gradients_of(engine, step);
    ck_assert_mem_eq(found, wanted, (size_t)engine->flat_count * sizeof *found);
    free(found);
}

START_TEST(a_recording_that_fails_is_done_without)
{
    struct engine_options options = options_at(0, ENGINE_PLUGIN);
    struct engine engine;
    engine_init(&engine, &options);
    engine_watch(&engine, 1);
    struct executor_step step = engine_training_step(&engine, 3);
    log_console_level_set(LOG_SILENT);
    float *wanted = gradients_of(&engine, &step);
    for (int again = 0; again < 2; again++)
        step_must_give(&engine, &step, wanted);
    log_console_level_set(LOG_WARN);
    ck_assert_int_eq(recorded_count, 1);
    free(wanted);
    engine_release(&engine);
}
END_TEST

enum { STOPS_MAX = 1024, STOP_THIS = 2, STOP_OTHER = 5 };

/* Who acts at stops. That it may wait there shows that nothing is being recorded. */
struct stops {
    struct engine *engine;
    unsigned char marks[STOPS_MAX];
    int from;               /* the first stop */
    int last, count, begun; /* of the pass: the last operation stopped at, stops, run_count at its begin */
    bool recorded;          /* all segments of the pass are */
};

static enum muster_status stops_before(void *context, int op, struct muster_error *err)
{
    struct stops *stops = context;
    ck_assert(stops->marks[op] & STOP_THIS);
    ck_assert_int_gt(op, stops->last);
    if (stops->recorded) /* all before the operation was started, and nothing else */
        ck_assert_int_eq(run_count - stops->begun, stops->count + (stops->from > 0));
    stops->last = op;
    stops->count++;
    return kernels_synchronise(stops->engine->kernels, err);
}

/* A stop before every `each`-th operation from `from` on; others stop before the rest. */
static struct stops stops_make(struct engine *engine, int from, int each)
{
    struct stops stops = {.engine = engine, .from = from};
    ck_assert_int_lt(engine->graph->op_count, STOPS_MAX);
    for (int op = 0; op < engine->graph->op_count; op++)
        stops.marks[op] = op >= from && (op - from) % each == 0 ? STOP_THIS : STOP_OTHER;
    return stops;
}

static void stops_begin(struct stops *stops, bool recorded)
{
    stops->last = -1;
    stops->count = 0;
    stops->begun = run_count;
    stops->recorded = recorded;
}

static struct executor_step stops_step(struct engine *engine, struct stops *stops)
{
    struct executor_step step = engine_training_step(engine, 3);
    step.before = stops_before;
    step.before_context = stops;
    step.stops = stops->marks;
    step.stop_for = STOP_THIS | 8;
    return step;
}

START_TEST(a_micro_step_with_stops_is_recorded_from_stop_to_stop)
{
    struct engine_options options = options_at(0, ENGINE_PLUGIN);
    options.config = model_case_config((enum model_type)(_i % 3));
    options.recompute = (enum recompute)(_i % 2 * 2);
    struct engine engine;
    engine_init(&engine, &options);
    engine_train(&engine, 3);
    float *wanted = engine_gradients_copy(&engine);
    engine_watch(&engine, 0);
    struct stops stops = stops_make(&engine, _i % 4, 1 + _i * _i);
    struct rank_progress progress = {0};
    struct executor_step step = stops_step(&engine, &stops);
    step.progress = &progress;
    for (int pass = 0; pass < 4; pass++) {
        stops_begin(&stops, pass > 0);
        step_must_give(&engine, &step, wanted);
        int segments = stops.count + (stops.from > 0);
        ck_assert_int_gt(segments, 1);
        ck_assert_int_eq(recorded_count, pass > 0 ? segments : 0);
        ck_assert_int_eq(run_count, pass * segments);
        /* what is watched is every operation and two phases, in a recording too */
        ck_assert_int_eq(progress.moves, (pass + 1) * (engine.graph->op_count + 2));
        ck_assert_int_eq(progress.phase, RANK_PHASE_BACKWARD);
    }
    engine_release(&engine);
    ck_assert_int_eq(freed_count, recorded_count);
    free(wanted);
}
END_TEST

START_TEST(a_segment_that_cannot_be_recorded_is_launched_as_is_all_after_it)
{
    struct engine_options options = options_at(0, ENGINE_PLUGIN);
    struct engine engine;
    engine_init(&engine, &options);
    engine_train(&engine, 3);
    float *wanted = engine_gradients_copy(&engine);
    engine_watch(&engine, 3);
    struct stops stops = stops_make(&engine, 0, 7);
    struct executor_step step = stops_step(&engine, &stops);
    log_console_level_set(LOG_SILENT);
    for (int pass = 0; pass < 3; pass++) {
        stops_begin(&stops, false);
        step_must_give(&engine, &step, wanted);
    }
    log_console_level_set(LOG_WARN);
    ck_assert_int_eq(recorded_count, 3);
    ck_assert_int_eq(run_count, 2);
    engine_release(&engine);
    ck_assert_int_eq(freed_count, recorded_count);
    free(wanted);
}
END_TEST

/* Micro-steps that differ in one thing: the loss scale, who stops, and where gradients are added to. */
START_TEST(what_was_recorded_is_run_for_the_same_micro_step_only)
{
    static const int order[] = {0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2, 3, 3, 3, 0, 2, 3};
    struct engine_options options = options_at(0, ENGINE_PLUGIN);
    struct engine engine;
    engine_init(&engine, &options);
    struct stops stops = stops_make(&engine, 3, 11);
    struct executor_step step = stops_step(&engine, &stops), steps[4] = {step, step, step, step};
    int64_t *places = calloc((size_t)engine.graph->param_count, sizeof *places), place = 0;
    ck_assert_ptr_nonnull(places);
    for (int i = engine.graph->param_count - 1; i >= 0; i--) { /* the last comes first */
        places[i] = place;
        place += engine.graph->params[i].count;
    }
    steps[1].gradient_scale *= 2.0f;
    steps[2].stop_for = 0;
    steps[3].gradient_place = places;
    float *wanted[4];
    for (int i = 0; i < 4; i++) {
        stops_begin(&stops, false);
        wanted[i] = gradients_of(&engine, &steps[i]);
    }
    engine_watch(&engine, 0);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        stops_begin(&stops, false);
        step_must_give(&engine, &steps[order[i]], wanted[order[i]]);
    }
    int segments = (engine.graph->op_count - 3 + 10) / 11 + 1;
    ck_assert_int_eq(recorded_count, 4 * segments + 1);
    engine_release(&engine);
    ck_assert_int_eq(freed_count, recorded_count);
    for (int i = 0; i < 4; i++)
        free(wanted[i]);
    free(places);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_engine");
    TCase *tcase = tcase_create("cuda_engine");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, a_micro_step_is_the_reference_s, 0, MODEL_VARIANT_COUNT);
    tcase_add_test(tcase, a_recording_that_fails_is_done_without);
    tcase_add_loop_test(tcase, a_micro_step_with_stops_is_recorded_from_stop_to_stop, 0, 6);
    tcase_add_test(tcase, a_segment_that_cannot_be_recorded_is_launched_as_is_all_after_it);
    tcase_add_test(tcase, what_was_recorded_is_run_for_the_same_micro_step_only);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
