/* SPDX-License-Identifier: MIT
 *
 * Every region is asked from the back end with a guard behind it, so that the fixture serves back ends whose
 * memory the host cannot read.
 */
#include "tests/worker/engine_fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_plugin.h"
#include "tests/golden/golden.h"

enum {
    ENGINE_GUARD_BYTES = 512,
    ENGINE_GUARD = 0xa5,
    ENGINE_POISON = 0xff,
    ENGINE_SEED = 11,
    ENGINE_STEP = 7
};

static void engine_must(enum muster_status status, const struct muster_error *err)
{
    ck_assert_msg(status == MUSTER_OK, "%s", err->text);
}

static void *engine_host_block(int64_t count, int64_t size)
{
    void *block = calloc((size_t)(count > 0 ? count : 1), (size_t)size);
    ck_assert_ptr_nonnull(block);
    return block;
}

static void region_fill(struct kernels *kernels, void *device, int value, int64_t bytes)
{
    struct muster_error err = {0};
    char *host = engine_host_block(bytes, 1);
    memset(host, value, (size_t)bytes);
    engine_must(kernels_copy_to_device(kernels, device, host, bytes, &err), &err);
    free(host);
}

static void region_init(struct engine_region *region, struct kernels *kernels, int64_t bytes)
{
    struct muster_error err = {0};
    void *block = NULL;
    engine_must(kernels_memory_allocate(kernels, bytes + ENGINE_GUARD_BYTES, &block, &err), &err);
    region->block = block;
    region->bytes = bytes;
    region_fill(kernels, region->block + bytes, ENGINE_GUARD, ENGINE_GUARD_BYTES);
}

static void region_release(struct engine_region *region, struct kernels *kernels, const char *name)
{
    struct muster_error err = {0};
    unsigned char guard[ENGINE_GUARD_BYTES];
    engine_must(kernels_copy_to_host(kernels, guard, region->block + region->bytes, sizeof guard, &err),
                &err);
    for (int i = 0; i < ENGINE_GUARD_BYTES; i++)
        ck_assert_msg(guard[i] == ENGINE_GUARD, "byte %d behind the %s was written", i, name);
    kernels_memory_free(kernels, region->block, region->bytes + ENGINE_GUARD_BYTES);
}

static void engine_create_kernels(struct engine *engine, const struct engine_options *options, int threads)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    const struct cuda_kernels_options first = {.device = 0};
    switch (options->backend) {
    case ENGINE_REF:
        engine_must(kernels_ref_create(NULL, 0, &engine->kernels, &err), &err);
        break;
    case ENGINE_PLUGIN:
        engine_must(cuda_plugin_open(&plugin, &err), &err);
        engine_must(plugin->kernels_create(&first, &engine->kernels, &err), &err);
        break;
    default:
        engine_must(kernels_cpu_create(threads, NULL, NULL, 0, &engine->kernels, &err), &err);
    }
}

static void engine_start_backend(struct engine *engine, const struct engine_options *options)
{
    struct muster_error err = {0};
    int threads = options->threads ? options->threads : 1;
    engine_create_kernels(engine, options, threads);
    engine->scratch_bytes = options->backend == ENGINE_PLUGIN ? graph_device_scratch_bytes(engine->graph)
                                                              : graph_scratch_bytes(engine->graph, threads);
    engine_must(kernels_memory_allocate(engine->kernels, engine->scratch_bytes, &engine->scratch, &err),
                &err);
    region_fill(engine->kernels, engine->scratch, ENGINE_POISON, engine->scratch_bytes);
    engine->kernels->scratch = engine->scratch;
    engine->kernels->scratch_bytes = engine->scratch_bytes;
}

static void engine_feed(struct engine *engine, int tensor, const void *values)
{
    struct muster_error err = {0};
    engine_must(kernels_copy_to_device(engine->kernels, executor_tensor(engine->executor, tensor), values,
                                       engine->graph->tensors[tensor].bytes, &err),
                &err);
}

void engine_feed_ids(struct engine *engine, const int32_t *ids)
{
    engine_feed(engine, engine->graph->ids, ids);
}

/* In bf16; released with free. */
static uint16_t *engine_rounded(const float *values, int64_t count)
{
    uint16_t *rounded = engine_host_block(count, sizeof *rounded);
    for (int64_t i = 0; i < count; i++)
        rounded[i] = dtype_bf16_from_f32(values[i]);
    return rounded;
}

static void engine_feed_pixels(struct engine *engine)
{
    const struct graph_tensor *tensor = &engine->graph->tensors[engine->graph->pixels];
    float *pixels = engine_host_block(tensor->count, sizeof *pixels);
    golden_fill_pixels(pixels, tensor->count);
    if (engine->graph->compute_dtype == DTYPE_BF16) {
        uint16_t *rounded = engine_rounded(pixels, tensor->count);
        engine_feed(engine, engine->graph->pixels, rounded);
        free(rounded);
    } else {
        engine_feed(engine, engine->graph->pixels, pixels);
    }
    free(pixels);
}

static void engine_feed_golden(struct engine *engine)
{
    const struct graph *graph = engine->graph;
    int32_t *values = engine_host_block(graph->tokens, sizeof *values);
    golden_fill_targets(graph->config.vocab_size, values, graph->tokens);
    engine_feed(engine, graph->targets, values);
    if (graph->ids != GRAPH_NONE) {
        golden_fill_integers("ids", graph->config.vocab_size, values, graph->tokens);
        engine_feed(engine, graph->ids, values);
    } else {
        engine_feed_pixels(engine);
    }
    free(values);
}

void engine_publish(struct engine *engine)
{
    struct muster_error err = {0};
    if (engine->graph->compute_dtype == DTYPE_F32) {
        engine_must(kernels_copy_to_device(engine->kernels, engine->params.block, engine->master,
                                           engine->params.bytes, &err),
                    &err);
        return;
    }
    uint16_t *rounded = engine_rounded(engine->master, engine->flat_count);
    engine_must(
        kernels_copy_to_device(engine->kernels, engine->params.block, rounded, engine->params.bytes, &err),
        &err);
    free(rounded);
}

void engine_init(struct engine *engine, const struct engine_options *options)
{
    struct muster_error err = {0};
    memset(engine, 0, sizeof *engine);
    int64_t micro_batch_size = 3; /* as record.py */
    engine_must(model_build(&options->config, micro_batch_size, options->dtype, options->recompute,
                            options->backend == ENGINE_PLUGIN, &engine->graph, &err),
                &err);
    const struct graph *graph = engine->graph;
    engine->flat_count = graph->param_elements;
    engine_start_backend(engine, options);
    region_init(&engine->params, engine->kernels, engine->flat_count * (int64_t)dtype_size(options->dtype));
    region_init(&engine->activations, engine->kernels, graph->arena_bytes);
    region_init(&engine->inputs, engine->kernels, graph->input_bytes);
    region_init(&engine->gradients, engine->kernels, engine->flat_count * (int64_t)sizeof(float));
    struct executor_memory memory = {
        .params = engine->params.block,
        .activations = engine->activations.block,
        .inputs = engine->inputs.block,
    };
    engine_must(executor_create(graph, engine->kernels, &memory, &engine->executor, &err), &err);
    engine->master = engine_host_block(engine->flat_count, sizeof *engine->master);
    for (int i = 0; i < graph->param_count; i++)
        golden_fill_param(&graph->params[i], engine->master + graph->params[i].offset);
    engine_publish(engine);
    engine_feed_golden(engine);
}

void engine_release(struct engine *engine)
{
    region_release(&engine->params, engine->kernels, "weights");
    region_release(&engine->activations, engine->kernels, "activations");
    region_release(&engine->inputs, engine->kernels, "inputs");
    region_release(&engine->gradients, engine->kernels, "gradients");
    executor_destroy(engine->executor);
    kernels_memory_free(engine->kernels, engine->scratch, engine->scratch_bytes);
    kernels_destroy(engine->kernels);
    graph_destroy(engine->graph);
    free(engine->master);
}

void engine_step(struct engine *engine, const struct executor_step *step)
{
    struct muster_error err = {0};
    region_fill(engine->kernels, engine->activations.block, ENGINE_POISON, engine->activations.bytes);
    engine_must(executor_run(engine->executor, step, &err), &err);
    engine_must(kernels_synchronise(engine->kernels, &err), &err);
}

void engine_gradients_zero(struct engine *engine)
{
    struct muster_error err = {0};
    engine_must(kernels_fill_zero(engine->kernels, engine->gradients.block, engine->gradients.bytes, &err),
                &err);
}

struct executor_step engine_training_step(const struct engine *engine, int slot)
{
    return (struct executor_step){
        .seed = ENGINE_SEED,
        .step = ENGINE_STEP,
        .slot = slot,
        .gradient_scale = (float)(1.0 / (double)engine->graph->tokens),
        .gradients = (float *)(void *)engine->gradients.block,
    };
}

void engine_train(struct engine *engine, int slot)
{
    struct executor_step step = engine_training_step(engine, slot);
    engine_gradients_zero(engine);
    engine_step(engine, &step);
}

void engine_evaluate(struct engine *engine)
{
    struct executor_step step = {.seed = ENGINE_SEED, .step = ENGINE_STEP};
    engine_step(engine, &step);
}

float *engine_gradients_copy(const struct engine *engine)
{
    struct muster_error err = {0};
    float *gradients = engine_host_block(engine->flat_count, sizeof *gradients);
    engine_must(kernels_copy_to_host(engine->kernels, gradients, engine->gradients.block,
                                     engine->gradients.bytes, &err),
                &err);
    return gradients;
}

float *engine_losses_copy(const struct engine *engine)
{
    struct muster_error err = {0};
    const struct graph_tensor *tensor = &engine->graph->tensors[engine->graph->loss];
    float *losses = engine_host_block(tensor->count, sizeof *losses);
    engine_must(kernels_copy_to_host(engine->kernels, losses,
                                     executor_tensor(engine->executor, engine->graph->loss), tensor->bytes,
                                     &err),
                &err);
    return losses;
}

float *engine_logits_copy(const struct engine *engine)
{
    struct muster_error err = {0};
    int64_t columns = engine->graph->config.vocab_size, rows = engine->graph->tokens;
    int64_t size = (int64_t)dtype_size(engine->graph->compute_dtype);
    struct engine_region row;
    region_init(&row, engine->kernels, columns * size);
    float *logits = engine_host_block(rows * columns, sizeof *logits);
    uint16_t *rounded = engine_host_block(columns, sizeof *rounded);
    for (int64_t t = 0; t < rows; t++) {
        void *host = size == 4 ? (void *)(logits + t * columns) : rounded;
        engine_must(executor_logits(engine->executor, t, row.block, &err), &err);
        engine_must(kernels_synchronise(engine->kernels, &err), &err);
        engine_must(kernels_copy_to_host(engine->kernels, host, row.block, row.bytes, &err), &err);
        for (int64_t c = 0; size == 2 && c < columns; c++)
            logits[t * columns + c] = dtype_f32_from_bf16(rounded[c]);
    }
    region_release(&row, engine->kernels, "logits");
    free(rounded);
    return logits;
}

double engine_mean_loss(const struct engine *engine)
{
    float *losses = engine_losses_copy(engine);
    double sum = 0.0;
    for (int64_t t = 0; t < engine->graph->tokens; t++)
        sum += (double)losses[t];
    free(losses);
    return sum / (double)engine->graph->tokens;
}
