/* SPDX-License-Identifier: MIT
 *
 * The whole engine against PyTorch: logits, losses, every gradient and the first steps of three optimizers,
 * on each back end, compared with numbers recorded by tests/golden/record.py. In fp32 a tensor may differ by
 * 1e-5 of its largest value. In bf16 the engine is compared with the same fp32 numbers, so the bound there is
 * that of the format: 8 bits of mantissa over some ten rounded operations in a row.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/golden/golden.h"
#include "tests/model/model_cases.h"
#include "tests/worker/engine_fixture.h"
#include "tests/suite.h"

enum { CASES = 3 * ENGINE_BACKEND_COUNT, STEPS = 5 };

static const double fp32_bound = 1e-5;
static const double bf16_bound = 0.03; /* of a tensor's norm */
/* Adam divides a gradient by its own size: a rounding error moves a weight whose gradient is tiny as far as a
 * real one would. */
static const double adamw_bound = 1e-4;

static void case_init(struct engine *engine, struct golden *golden, int i, enum dtype dtype)
{
    enum model_type type = (enum model_type)(i % 3);
    struct engine_options options = {
        .backend = (enum engine_backend)(i / 3), .config = model_case_config(type), .dtype = dtype};
    engine_init(engine, &options);
    golden_open(golden, type);
}

static void case_release(struct engine *engine, struct golden *golden)
{
    engine_release(engine);
    golden_release(golden);
}

/* Largest difference over largest expected value. */
static double difference_max(const float *values, const float *expected, int64_t count)
{
    double difference = 0.0, largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double here = fabs((double)values[i] - (double)expected[i]);
        difference = here <= difference ? difference : here; /* a NaN is taken */
        largest = fmax(largest, fabs((double)expected[i]));
    }
    return difference / largest;
}

/* Norm of the difference over the norm of what is expected. */
static double difference_norm(const float *values, const float *expected, int64_t count)
{
    double difference = 0.0, norm = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double here = (double)values[i] - (double)expected[i];
        difference += here * here;
        norm += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / norm);
}

static void check_bound(const struct golden *golden, const char *name, const float *values, int64_t count,
                        double (*difference_of)(const float *, const float *, int64_t), double bound)
{
    double difference = difference_of(values, golden_values(golden, name, count), count);
    ck_assert_msg(difference <= bound, "%s differs by %.3g, allowed are %.3g", name, difference, bound);
}

static void check_tensor(const struct golden *golden, const char *name, const float *values, int64_t count,
                         enum dtype dtype)
{
    if (dtype == DTYPE_F32)
        check_bound(golden, name, values, count, difference_max, fp32_bound);
    else
        check_bound(golden, name, values, count, difference_norm, bf16_bound);
}

static void check_forward(const struct engine *engine, const struct golden *golden, enum dtype dtype)
{
    const struct graph *graph = engine->graph;
    float *logits = engine_logits_copy(engine);
    float *losses = engine_losses_copy(engine);
    check_tensor(golden, "logits", logits, graph->tokens * graph->config.vocab_size, dtype);
    check_tensor(golden, "loss", losses, graph->tokens, dtype);
    float mean = (float)engine_mean_loss(engine);
    check_tensor(golden, "loss.mean", &mean, 1, dtype);
    free(logits);
    free(losses);
}

static void check_gradients(const struct engine *engine, const struct golden *golden, enum dtype dtype)
{
    float *gradients = engine_gradients_copy(engine);
    for (int i = 0; i < engine->graph->param_count; i++) {
        const struct graph_param *param = &engine->graph->params[i];
        char name[2 * GRAPH_NAME_MAX];
        snprintf(name, sizeof name, "grad.%s", param->name);
        check_tensor(golden, name, gradients + param->offset, param->count, dtype);
    }
    free(gradients);
}

START_TEST(logits_and_losses_are_those_of_pytorch)
{
    struct engine engine;
    struct golden golden;
    case_init(&engine, &golden, _i, DTYPE_F32);
    engine_evaluate(&engine);
    check_forward(&engine, &golden, DTYPE_F32);
    case_release(&engine, &golden);
}
END_TEST

START_TEST(gradients_are_those_of_pytorch)
{
    struct engine engine;
    struct golden golden;
    case_init(&engine, &golden, _i, DTYPE_F32);
    engine_train(&engine, 0);
    float mean = (float)engine_mean_loss(&engine);
    check_tensor(&golden, "loss.mean", &mean, 1, DTYPE_F32);
    check_gradients(&engine, &golden, DTYPE_F32);
    case_release(&engine, &golden);
}
END_TEST

START_TEST(bf16_stays_near_pytorch_in_fp32)
{
    struct engine engine;
    struct golden golden;
    case_init(&engine, &golden, _i, DTYPE_BF16);
    engine_evaluate(&engine);
    check_forward(&engine, &golden, DTYPE_BF16);
    engine_train(&engine, 0);
    check_gradients(&engine, &golden, DTYPE_BF16);
    case_release(&engine, &golden);
}
END_TEST

START_TEST(hits_are_counted_where_the_target_has_the_largest_logit)
{
    struct engine engine;
    struct golden golden;
    case_init(&engine, &golden, _i, DTYPE_F32);
    int64_t rows = engine.graph->tokens, columns = engine.graph->config.vocab_size;
    const float *logits = golden_values(&golden, "logits", rows * columns);
    int32_t *best = calloc((size_t)rows, sizeof *best);
    float *correct = calloc((size_t)rows, sizeof *correct);
    ck_assert(best && correct);
    for (int64_t t = 0; t < rows; t++)
        for (int32_t c = 0; c < columns; c++)
            if (logits[t * columns + c] > logits[t * columns + best[t]])
                best[t] = c;
    best[1] = (best[1] + 1) % (int32_t)columns;
    struct muster_error err = {0};
    const struct graph *graph = engine.graph;
    kernels_copy_to_device(engine.kernels, executor_tensor(engine.executor, graph->targets), best,
                           graph->tensors[graph->targets].bytes, &err);
    engine_evaluate(&engine);
    kernels_copy_to_host(engine.kernels, correct, executor_tensor(engine.executor, graph->correct),
                         graph->tensors[graph->correct].bytes, &err);
    for (int64_t t = 0; t < rows; t++)
        ck_assert_float_eq(correct[t], t == 1 ? 0.0f : 1.0f);
    free(best);
    free(correct);
    case_release(&engine, &golden);
}
END_TEST

/* ---- optimizers: the constants of record.py ---- */

enum trajectory { TRAJECTORY_ADAMW, TRAJECTORY_SGD, TRAJECTORY_NESTEROV, TRAJECTORY_COUNT };

static const char *const trajectory_names[] = {"adamw", "sgd", "nesterov"};

struct optimizer_state {
    struct engine_region master, first, second; /* memory of the back end */
};

static void state_region(struct engine *engine, struct engine_region *region, const float *values)
{
    struct muster_error err = {0};
    void *block = NULL;
    region->bytes = engine->flat_count * (int64_t)sizeof(float);
    ck_assert_int_eq(kernels_memory_allocate(engine->kernels, region->bytes, &block, &err), MUSTER_OK);
    region->block = block;
    enum muster_status status =
        values ? kernels_copy_to_device(engine->kernels, region->block, values, region->bytes, &err)
               : kernels_fill_zero(engine->kernels, region->block, region->bytes, &err);
    ck_assert_int_eq(status, MUSTER_OK);
}

static float *state_floats(const struct engine_region *region, int64_t offset)
{
    return (float *)(void *)region->block + offset;
}

static enum muster_status update_adamw(struct engine *engine, const struct optimizer_state *state,
                                       const struct graph_param *param, int step, float scale)
{
    struct muster_error err = {0};
    struct adamw_args args = {
        .count = param->count,
        .param = state_floats(&state->master, param->offset),
        .grad = state_floats(&engine->gradients, param->offset),
        .m = state_floats(&state->first, param->offset),
        .v = state_floats(&state->second, param->offset),
        .grad_scale = scale,
        .lr = 0.01f,
        .beta1 = 0.875f,
        .beta2 = 0.9375f,
        .epsilon = 1e-8f,
        .weight_decay = param->decay ? 0.125f : 0.0f,
        .bias_correction1 = (float)(1.0 - pow(0.875, step + 1)),
        .bias_correction2 = (float)(1.0 - pow(0.9375, step + 1)),
    };
    return kernels_adamw(engine->kernels, &args, &err);
}

static enum muster_status update_sgd(struct engine *engine, const struct optimizer_state *state,
                                     const struct graph_param *param, bool nesterov, float scale)
{
    struct muster_error err = {0};
    struct sgd_args args = {
        .count = param->count,
        .param = state_floats(&state->master, param->offset),
        .grad = state_floats(&engine->gradients, param->offset),
        .momentum = state_floats(&state->first, param->offset),
        .grad_scale = scale,
        .lr = 0.125f,
        .mu = 0.875f,
        .weight_decay = param->decay ? 0.125f : 0.0f,
        .nesterov = nesterov,
    };
    return kernels_sgd(engine->kernels, &args, &err);
}

/* Clips as PyTorch does, updates every parameter, publishes the new weights; returns the norm before. */
static double trajectory_update(struct engine *engine, const struct optimizer_state *state,
                                enum trajectory kind, int step)
{
    struct muster_error err = {0};
    double squares = 0.0, clip = engine->graph->config.type == MODEL_MLP ? 0.625 : 0.5;
    ck_assert_int_eq(kernels_sum_squares(engine->kernels, state_floats(&engine->gradients, 0),
                                         engine->flat_count, engine->flat_count, &squares, &err),
                     MUSTER_OK);
    double norm = sqrt(squares);
    float scale = (float)fmin(1.0, clip / (norm + 1e-6));
    for (int i = 0; i < engine->graph->param_count; i++) {
        const struct graph_param *param = &engine->graph->params[i];
        enum muster_status status =
            kind == TRAJECTORY_ADAMW ? update_adamw(engine, state, param, step, scale)
                                     : update_sgd(engine, state, param, kind == TRAJECTORY_NESTEROV, scale);
        ck_assert_int_eq(status, MUSTER_OK);
    }
    ck_assert_int_eq(
        kernels_copy_to_host(engine->kernels, engine->master, state->master.block, state->master.bytes, &err),
        MUSTER_OK);
    engine_publish(engine);
    return norm;
}

static void check_trajectory(struct engine *engine, const struct golden *golden, enum trajectory kind)
{
    char name[32];
    float losses[STEPS + 1], norms[STEPS];
    struct optimizer_state state;
    state_region(engine, &state.master, engine->master);
    state_region(engine, &state.first, NULL);
    state_region(engine, &state.second, NULL);
    for (int step = 0; step < STEPS; step++) {
        engine_train(engine, step);
        losses[step] = (float)engine_mean_loss(engine);
        norms[step] = (float)trajectory_update(engine, &state, kind, step);
    }
    engine_evaluate(engine);
    losses[STEPS] = (float)engine_mean_loss(engine);
    double bound = kind == TRAJECTORY_ADAMW ? adamw_bound : fp32_bound;
    snprintf(name, sizeof name, "%s.loss", trajectory_names[kind]);
    check_bound(golden, name, losses, STEPS + 1, difference_max, bound);
    snprintf(name, sizeof name, "%s.norm", trajectory_names[kind]);
    check_bound(golden, name, norms, STEPS, difference_max, bound);
    kernels_memory_free(engine->kernels, state.master.block, state.master.bytes);
    kernels_memory_free(engine->kernels, state.first.block, state.first.bytes);
    kernels_memory_free(engine->kernels, state.second.block, state.second.bytes);
}

START_TEST(five_steps_of_an_optimizer_lead_where_pytorch_goes)
{
    struct engine engine;
    struct golden golden;
    case_init(&engine, &golden, _i / TRAJECTORY_COUNT, DTYPE_F32);
    check_trajectory(&engine, &golden, (enum trajectory)(_i % TRAJECTORY_COUNT));
    case_release(&engine, &golden);
}
END_TEST

int main(void)
{
    TCase *numbers = tcase_create("golden numbers");
    tcase_set_timeout(numbers, 0);
    tcase_add_loop_test(numbers, logits_and_losses_are_those_of_pytorch, 0, CASES);
    tcase_add_loop_test(numbers, gradients_are_those_of_pytorch, 0, CASES);
    tcase_add_loop_test(numbers, bf16_stays_near_pytorch_in_fp32, 0, CASES);
    tcase_add_loop_test(numbers, hits_are_counted_where_the_target_has_the_largest_logit, 0, CASES);
    tcase_add_loop_test(numbers, five_steps_of_an_optimizer_lead_where_pytorch_goes, 0,
                        CASES * TRAJECTORY_COUNT);
    Suite *suite = suite_create("golden");
    suite_add_tcase(suite, numbers);
    return suite_run(suite);
}
