/* SPDX-License-Identifier: MIT
 *
 * Every instance is a thread with a back end and memory of its own. They start each window together, so that
 * what is measured with several of them is measured while all are busy.
 */
#include "worker/measure/measure.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/measure/measure_cases.h"

enum { MEASURE_BATCH_DEVICE = 16, MEASURE_FILL_FLOATS = 1 << 20, MEASURE_NOTHINGS = 64 };

static const struct measure_shape shape_cpu = {
    .tokens = 1024,
    .sequence = 256,
    .width = 768,
    .hidden = 3072,
    .heads = 12,
    .stream_count = 2 << 20,
    .pool_bytes = 96 << 20,
    .attention_block = MEASURE_BLOCK_CPU,
};
static const struct measure_shape shape_device = {
    .tokens = 8192,
    .sequence = 1024,
    .width = 2048,
    .hidden = 8192,
    .heads = 16,
    .stream_count = 32 << 20,
    .pool_bytes = (int64_t)2 << 30,
    .attention_block = MEASURE_BLOCK_DEVICE,
};

struct measure_run {
    const struct measure_setup *setup;
    const struct measure_shape *shape;
    pthread_barrier_t barrier; /* of the instances, before each window */
    pthread_mutex_t gate;
    bool cancelled; /* under the gate */
};

/* One thread's work and what it found. */
struct measure_worker {
    struct measure_run *run;
    pthread_t thread;
    struct measure_instance instance;
    void *scratch;
    float *fill; /* host memory: what the pool is filled with */
    struct machine_rates rates;
    enum muster_status status;
    struct muster_error err;
};

static int64_t scratch_bytes(const struct measure_run *run)
{
    const struct measure_shape *shape = run->shape;
    if (run->setup->plugin != NULL) {
        const struct ops_device_limits limits = {
            .tokens = shape->tokens,
            .row_width_max = shape->hidden,
            .vocabulary = shape->hidden,
            .heads = shape->heads,
            .attention = {shape->tokens / shape->sequence, shape->sequence, shape->heads, shape->heads,
                          shape->width / shape->heads},
        };
        return ops_device_scratch_bytes(&limits);
    }
    const struct ops_limits limits = {run->setup->threads, shape->hidden, shape->sequence,
                                      shape->width / shape->heads};
    return ops_scratch_bytes(&limits);
}

static enum muster_status worker_open(struct measure_worker *worker, struct muster_error *err)
{
    const struct measure_setup *setup = worker->run->setup;
    struct measure_instance *instance = &worker->instance;
    const struct cuda_kernels_options options = {.device = setup->device};
    void *pool = NULL;
    instance->shape = worker->run->shape;
    enum muster_status status =
        setup->plugin != NULL ? setup->plugin->kernels_create(&options, &instance->kernels, err)
                              : kernels_cpu_create(setup->threads, NULL, NULL, 0, &instance->kernels, err);
    if (status)
        return status;
    int64_t bytes = scratch_bytes(worker->run);
    status = kernels_memory_allocate(instance->kernels, bytes, &worker->scratch, err);
    if (!status)
        status = kernels_memory_allocate(instance->kernels, instance->shape->pool_bytes, &pool, err);
    instance->pool = pool;
    instance->kernels->scratch = worker->scratch;
    instance->kernels->scratch_bytes = bytes;
    worker->fill = alloc_zeroed(MEASURE_FILL_FLOATS, sizeof *worker->fill);
    if (!status && worker->fill == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to measure with");
    if (status)
        return status;
    rng_uniform_fill(rng_key_make(1, 0, 0, 0), -0.05f, 0.05f, worker->fill, MEASURE_FILL_FLOATS);
    return MUSTER_OK;
}

static void worker_close(struct measure_worker *worker)
{
    struct kernels *kernels = worker->instance.kernels;
    if (kernels != NULL) {
        kernels_memory_free(kernels, worker->instance.pool, worker->run->shape->pool_bytes);
        kernels_memory_free(kernels, worker->scratch, scratch_bytes(worker->run));
    }
    kernels_destroy(kernels);
    alloc_free(worker->fill);
}

/* Small random numbers of the type in the whole pool. */
static enum muster_status pool_fill(struct measure_worker *worker, enum dtype dtype, struct muster_error *err)
{
    struct measure_instance *instance = &worker->instance;
    int64_t block = MEASURE_FILL_FLOATS * (int64_t)sizeof(float), total = instance->shape->pool_bytes;
    enum muster_status status = MUSTER_OK;
    uint16_t *halves = NULL;
    const void *source = worker->fill;
    if (dtype != DTYPE_F32) {
        halves = alloc_zeroed(2 * MEASURE_FILL_FLOATS, sizeof *halves);
        if (halves == NULL)
            return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to measure with");
        for (int64_t i = 0; i < 2 * MEASURE_FILL_FLOATS; i++) {
            float value = worker->fill[i % MEASURE_FILL_FLOATS];
            halves[i] = dtype == DTYPE_BF16 ? dtype_bf16_from_f32(value) : dtype_f16_from_f32(value);
        }
        source = halves;
    }
    for (int64_t at = 0; at < total && !status; at += block)
        status = kernels_copy_to_device(instance->kernels, instance->pool + at, source,
                                        total - at < block ? total - at : block, err);
    alloc_free(halves);
    return status;
}

/* Runs the case for one window; all instances begin together. \return amount a second */
static enum muster_status window_run(struct measure_worker *worker, const struct measure_case *item,
                                     enum dtype dtype, double *rate, struct muster_error *err)
{
    struct measure_instance *instance = &worker->instance;
    int batch = worker->run->setup->plugin != NULL ? MEASURE_BATCH_DEVICE : 1;
    enum muster_status status = MUSTER_OK;
    double done = 0.0, elapsed = 0.0;
    pthread_barrier_wait(&worker->run->barrier);
    double started = clock_seconds();
    while (status == MUSTER_OK && elapsed < worker->run->setup->window_s) {
        for (int i = 0; i < batch && status == MUSTER_OK; i++) {
            double amount = 0.0;
            status = item->run(instance, dtype, &amount, err);
            done += amount;
        }
        if (status == MUSTER_OK)
            status = kernels_synchronise(instance->kernels, err);
        elapsed = clock_seconds() - started;
    }
    *rate = done / elapsed;
    return status;
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The second best window: what disturbs a window makes it slower, and the best may have been lucky. A failed
 * instance goes on through the windows, so that no other waits for it for ever. */
static double case_rate(struct measure_worker *worker, const struct measure_case *item, enum dtype dtype)
{
    double rates[MEASURE_WINDOWS_MAX] = {0.0}, unused;
    int windows = worker->run->setup->windows;
    if (worker->status == MUSTER_OK)
        worker->status = item->run(&worker->instance, dtype, &unused, &worker->err); /* chooses algorithms */
    for (int window = 0; window < windows; window++) {
        if (worker->status != MUSTER_OK)
            pthread_barrier_wait(&worker->run->barrier);
        else
            worker->status = window_run(worker, item, dtype, &rates[window], &worker->err);
    }
    qsort(rates, (size_t)windows, sizeof *rates, by_size);
    return rates[windows > 1 ? windows - 2 : 0];
}

/* Cases of a kind weigh alike: the harmonic mean, as of equal amounts of work done one after the other. */
static double kind_rate(struct measure_worker *worker, enum machine_rate_kind kind, enum dtype dtype)
{
    double inverse = 0.0;
    int count = 0;
    if (worker->status == MUSTER_OK)
        worker->status = pool_fill(worker, dtype, &worker->err);
    for (int i = 0; i < measure_case_count; i++) {
        const struct measure_case *item = &measure_cases[i];
        if (item->kind != kind || (dtype != DTYPE_F32 && !item->half))
            continue;
        double rate = case_rate(worker, item, dtype);
        inverse += rate > 0.0 ? 1.0 / rate : 0.0;
        count++;
    }
    return inverse > 0.0 ? count / inverse / worker->run->setup->threads : 0.0;
}

static double operation_seconds(struct measure_worker *worker)
{
    double best = 1.0;
    for (int window = 0; window < worker->run->setup->windows && worker->status == MUSTER_OK; window++) {
        double started = clock_seconds();
        for (int i = 0; i < MEASURE_NOTHINGS && worker->status == MUSTER_OK; i++)
            worker->status = measure_run_nothing(&worker->instance, &worker->err);
        if (worker->status == MUSTER_OK)
            worker->status = kernels_synchronise(worker->instance.kernels, &worker->err);
        double seconds = (clock_seconds() - started) / MEASURE_NOTHINGS;
        best = seconds < best ? seconds : best;
    }
    return best;
}

/* All instances go through the same cases, also one that has failed: the others wait for it. */
static void worker_measure(struct measure_worker *worker)
{
    const struct measure_setup *setup = worker->run->setup;
    struct machine_rates *rates = &worker->rates;
    const struct kernels *kernels = worker->instance.kernels;
    unsigned dtypes = 1u << DTYPE_F32 | 1u << DTYPE_BF16; /* of the CPU */
    if (setup->plugin != NULL)
        dtypes = kernels != NULL ? kernels->dtypes : 0u;
    for (int i = 0; i < MACHINE_DTYPES; i++) {
        enum dtype dtype = (enum dtype)i;
        if ((dtypes & 1u << dtype) == 0)
            continue;
        if (worker->status == MUSTER_OK)
            rates->peak[i] = kernels_peak_flops(worker->instance.kernels, dtype) / setup->threads;
        rates->matrix[i] = kind_rate(worker, MACHINE_MATRIX, dtype);
        rates->attention_forward[i] = kind_rate(worker, MACHINE_ATTENTION_FORWARD, dtype);
        rates->attention_backward[i] = kind_rate(worker, MACHINE_ATTENTION_BACKWARD, dtype);
        rates->rows[i] = kind_rate(worker, MACHINE_ROWS, dtype);
        rates->activation[i] = kind_rate(worker, MACHINE_ACTIVATION, dtype);
    }
    rates->stream = kind_rate(worker, MACHINE_STREAM, DTYPE_F32);
    rates->operation_s = operation_seconds(worker);
}

static void *worker_run(void *argument)
{
    struct measure_worker *worker = argument;
    pthread_mutex_lock(&worker->run->gate);
    bool cancelled = worker->run->cancelled;
    pthread_mutex_unlock(&worker->run->gate);
    if (cancelled)
        return NULL;
    worker->status = worker_open(worker, &worker->err);
    worker_measure(worker);
    worker_close(worker);
    return NULL;
}

/* Four digits: more were not measured. */
static double rounded(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.4g", value);
    return strtod(text, NULL);
}

/* The mean of the instances, which share the machine evenly. machine_rates is doubles throughout. */
static void rates_average(const struct measure_worker *workers, int count, struct machine_rates *rates)
{
    double *sum = (double *)rates;
    memset(rates, 0, sizeof *rates);
    for (int i = 0; i < count; i++) {
        const double *one = (const double *)&workers[i].rates;
        for (size_t k = 0; k < sizeof *rates / sizeof *sum; k++)
            sum[k] += one[k] / count;
    }
    for (size_t k = 0; k < sizeof *rates / sizeof *sum; k++)
        sum[k] = rounded(sum[k]);
}

/* Threads wait at the gate until all are there; when one cannot be had, none begins. */
static enum muster_status workers_run(struct measure_run *run, struct measure_worker *workers,
                                      struct muster_error *err)
{
    int count = run->setup->instances, made = 0;
    pthread_mutex_lock(&run->gate);
    for (; made < count; made++) {
        workers[made].run = run;
        if (pthread_create(&workers[made].thread, NULL, worker_run, &workers[made]) != 0)
            break;
    }
    run->cancelled = made < count || pthread_barrier_init(&run->barrier, NULL, (unsigned)count) != 0;
    pthread_mutex_unlock(&run->gate);
    for (int i = 0; i < made; i++)
        pthread_join(workers[i].thread, NULL);
    if (run->cancelled)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d threads to measure with", count);
    pthread_barrier_destroy(&run->barrier);
    return MUSTER_OK;
}

enum muster_status measure_rates(const struct measure_setup *setup, struct machine_rates *rates,
                                 struct muster_error *err)
{
    struct measure_run run = {.setup = setup, .gate = PTHREAD_MUTEX_INITIALIZER};
    run.shape = setup->plugin != NULL ? &shape_device : &shape_cpu;
    struct measure_worker *workers = alloc_zeroed((size_t)setup->instances, sizeof *workers);
    if (workers == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to measure with");
    enum muster_status status = workers_run(&run, workers, err);
    for (int i = 0; i < setup->instances && status == MUSTER_OK; i++) {
        status = workers[i].status;
        if (status && err != NULL)
            *err = workers[i].err;
    }
    if (status == MUSTER_OK)
        rates_average(workers, setup->instances, rates);
    alloc_free(workers);
    return status;
}
