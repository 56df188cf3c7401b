/* SPDX-License-Identifier: MIT
 *
 * When a bucket may start its reduction, seen from the gradients themselves: a step is run operation by
 * operation, and the operation that changed a bucket last is what bucket_order must have said. And which
 * buckets an operation reads: a step whose weights come only when bucket_order says so computes what it
 * always does.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/model/model_cases.h"
#include "tests/worker/engine_fixture.h"
#include "tests/suite.h"
#include "coordinator/plan/bucket_order.h"

enum { BUCKETS = 9 };

struct watch {
    const struct plan *plan;
    const float *gradients;
    float *before;            /* the gradients after the operation before */
    int last_change[BUCKETS]; /* the last operation that changed a bucket */
};

/* Before operation `op`: what has changed is the work of the one before. */
static enum muster_status watch_before(void *context, int op, struct muster_error *err)
{
    (void)err;
    struct watch *watch = context;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        struct plan_range range = watch->plan->buckets[bucket];
        size_t bytes = (size_t)(range.end - range.begin) * sizeof(float);
        if (memcmp(watch->before + range.begin, watch->gradients + range.begin, bytes) != 0)
            watch->last_change[bucket] = op - 1;
        memcpy(watch->before + range.begin, watch->gradients + range.begin, bytes);
    }
    return MUSTER_OK;
}

/* Buckets from the end of the flat space to its beginning, cut where no parameter begins. */
static void buckets_cut(struct plan_range *buckets, int64_t flat_count)
{
    int64_t end = flat_count;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        int64_t begin = bucket == BUCKETS - 1 ? 0 : end - flat_count / BUCKETS;
        buckets[bucket] = (struct plan_range){begin, end};
        end = begin;
    }
}

/* The engine of case `number` of 9 (three models, three kinds of recomputing), and what a plan says of its
 * buckets. */
static struct plan engine_in_buckets(struct engine *engine, int number, struct plan_range *buckets)
{
    struct engine_options options = {.backend = ENGINE_REF,
                                     .config = model_case_config((enum model_type)(number % 3)),
                                     .dtype = DTYPE_F32,
                                     .recompute = (enum recompute)(number / 3)};
    engine_init(engine, &options);
    buckets_cut(buckets, engine->flat_count);
    return (struct plan){.graph = engine->graph, .buckets = buckets, .bucket_count = BUCKETS};
}

START_TEST(a_bucket_is_complete_after_exactly_the_operation_that_is_named)
{
    struct engine engine;
    struct plan_range buckets[BUCKETS];
    struct plan plan = engine_in_buckets(&engine, _i, buckets);
    int said[BUCKETS];
    bucket_order_fill(&plan, said);

    engine_gradients_zero(&engine);
    struct watch watch = {.plan = &plan, .gradients = (const float *)engine.gradients.block};
    watch.before = calloc((size_t)engine.flat_count, sizeof(float));
    ck_assert_ptr_nonnull(watch.before);
    struct executor_step step = {.seed = 1,
                                 .gradient_scale = 1.0f,
                                 .gradients = (float *)engine.gradients.block,
                                 .before = watch_before,
                                 .before_context = &watch};
    struct muster_error err = {0};
    engine_step(&engine, &step);
    watch_before(&watch, engine.graph->op_count, &err);
    int latest = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        latest = watch.last_change[bucket] > latest ? watch.last_change[bucket] : latest;
        ck_assert_msg(said[bucket] == latest, "bucket %d: operation %d is named, %d was the last", bucket,
                      said[bucket], latest);
    }
    ck_assert_int_lt(said[0], said[BUCKETS - 1]); /* or nothing could overlap */
    free(watch.before);
    engine_release(&engine);
}
END_TEST

struct arrival {
    const struct plan *plan;
    const float *source; /* the weights of the flat space */
    float *weights;      /* where operations read them; what has not come is not a number */
    int *first_read;     /* [op_count] */
    int there;           /* buckets from here on have come */
    int late;            /* arrivals after the first operation */
};

static enum muster_status arrival_before(void *context, int op, struct muster_error *err)
{
    (void)err;
    struct arrival *arrival = context;
    while (arrival->there > arrival->first_read[op]) {
        struct plan_range range = arrival->plan->buckets[--arrival->there];
        memcpy(arrival->weights + range.begin, arrival->source + range.begin,
               (size_t)(range.end - range.begin) * sizeof(float));
        arrival->late += op > 0;
    }
    return MUSTER_OK;
}

START_TEST(an_operation_reads_no_bucket_above_the_one_that_is_named)
{
    struct engine engine;
    struct plan_range buckets[BUCKETS];
    struct plan plan = engine_in_buckets(&engine, _i, buckets);
    engine_train(&engine, 0);
    float *wanted = engine_gradients_copy(&engine);

    size_t bytes = (size_t)engine.flat_count * sizeof(float);
    struct arrival arrival = {.plan = &plan,
                              .source = engine.master,
                              .weights = (float *)engine.params.block,
                              .first_read = calloc((size_t)engine.graph->op_count, sizeof(int)),
                              .there = BUCKETS};
    ck_assert_ptr_nonnull(arrival.first_read);
    bucket_order_fill_reads(&plan, arrival.first_read);
    memset(arrival.weights, 0xff, bytes);
    engine_gradients_zero(&engine);
    struct executor_step step = engine_training_step(&engine, 0);
    step.before = arrival_before;
    step.before_context = &arrival;
    engine_step(&engine, &step);
    float *found = engine_gradients_copy(&engine);
    ck_assert_mem_eq(found, wanted, bytes);
    ck_assert_int_gt(arrival.late, BUCKETS / 2); /* or nothing could overlap */
    free(found);
    free(wanted);
    free(arrival.first_read);
    engine_release(&engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bucket_order");
    TCase *tcase = tcase_create("bucket_order");
    tcase_add_loop_test(tcase, a_bucket_is_complete_after_exactly_the_operation_that_is_named, 0, 9);
    tcase_add_loop_test(tcase, an_operation_reads_no_bucket_above_the_one_that_is_named, 0, 9);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
