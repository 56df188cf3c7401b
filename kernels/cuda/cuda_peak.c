/* SPDX-License-Identifier: MIT
 *
 * The multiply-add rate that a matrix product reaches on this device: square products of growing size until
 * one takes long enough to be timed well (or its runs have taken longer than anyone wants to wait), then the
 * best of a few runs. The matrices hold random numbers,
 * because constant ones draw less power and flatter the clock.
 */
#include "kernels/cuda/cuda_gemm.h"
#include "kernels/cuda/cuda_parts.h"

#include "base/alloc.h"
#include "base/clock.h"

enum { PEAK_EDGE_FIRST = 256, PEAK_EDGE_LAST = 8192, PEAK_RUNS = 5, PEAK_RANDOM = 65536 };
static const float peak_long_enough_ms = 1.0f;
static const double peak_patience_seconds = 0.05;

struct peak {
    struct kernels *k;
    enum dtype dtype;
    char *block; /* a, b and c of the largest edge */
    int64_t matrix_bytes;
    cudaEvent_t before, after;
};

/* Random numbers at the start of the block, then doubled until they fill a and b. */
static enum muster_status peak_fill(const struct peak *p, struct muster_error *err)
{
    const int64_t size = (int64_t)dtype_size(p->dtype), total = 2 * p->matrix_bytes;
    float *random = alloc_zeroed(PEAK_RANDOM, sizeof *random);
    if (random == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for random numbers");
    rng_normal_fill(rng_key_make(1, 0, 0, 0), 0, 0.0f, 1.0f, random, PEAK_RANDOM);
    for (int64_t i = 0; p->dtype != DTYPE_F32 && i < PEAK_RANDOM; i++)
        ((uint16_t *)random)[i] =
            p->dtype == DTYPE_BF16 ? dtype_bf16_from_f32(random[i]) : dtype_f16_from_f32(random[i]);
    enum muster_status status = cuda_copy_to_device(p->k, p->block, random, PEAK_RANDOM * size, err);
    for (int64_t done = PEAK_RANDOM * size; done < total && status == MUSTER_OK; done *= 2)
        status = cuda_copy_on_device(p->k, p->block + done, p->block,
                                     done < total - done ? done : total - done, err);
    alloc_free(random);
    return status;
}

static enum muster_status peak_run(const struct peak *p, int64_t edge, float *ms, struct muster_error *err)
{
    struct cuda_kernels *k = cuda_kernels_from(p->k);
    struct cuda_product product = {.in = p->dtype, .out = p->dtype, .transpose_b = true};
    product.m = product.n = product.k = edge;
    product.a = p->block, product.b = p->block + p->matrix_bytes, product.c = p->block + 2 * p->matrix_bytes;
    product.a_stride = product.b_stride = product.c_stride = edge;
    enum muster_status status = cuda_check(cudaEventRecord(p->before, k->stream), "time a product", err);
    if (status == MUSTER_OK)
        status = cuda_gemm_run(k, &product, err);
    if (status == MUSTER_OK)
        status = cuda_check(cudaEventRecord(p->after, k->stream), "time a product", err);
    if (status == MUSTER_OK)
        status = cuda_check(cudaEventSynchronize(p->after), "time a product", err);
    if (status == MUSTER_OK)
        status = cuda_check(cudaEventElapsedTime(ms, p->before, p->after), "time a product", err);
    return status;
}

/* The first run of an edge chooses the algorithm and loads its code, which can take longer than all the
 * others: it is not timed, and no reason to stop. */
static double peak_measure(const struct peak *p, struct muster_error *err)
{
    for (int64_t edge = PEAK_EDGE_FIRST;; edge *= 2) {
        float best = 0.0f, ms = 0.0f;
        if (peak_run(p, edge, &ms, err) != MUSTER_OK)
            return 0.0;
        const double started = clock_seconds();
        for (int run = 0; run < PEAK_RUNS; run++) {
            if (peak_run(p, edge, &ms, err) != MUSTER_OK)
                return 0.0;
            best = run == 0 || ms < best ? ms : best;
        }
        if (best >= peak_long_enough_ms || edge == PEAK_EDGE_LAST ||
            clock_seconds() - started > peak_patience_seconds)
            return best > 0.0f ? 2e3 * (double)edge * (double)edge * (double)edge / (double)best : 0.0;
    }
}

static enum muster_status peak_open(struct peak *p, struct muster_error *err)
{
    void *block = NULL;
    enum muster_status status = cuda_memory_allocate(p->k, 3 * p->matrix_bytes, &block, err);
    p->block = block;
    if (status == MUSTER_OK)
        status = cuda_check(cudaEventCreate(&p->before), "create an event", err);
    if (status == MUSTER_OK)
        status = cuda_check(cudaEventCreate(&p->after), "create an event", err);
    return status == MUSTER_OK ? peak_fill(p, err) : status;
}

static void peak_close(struct peak *p)
{
    if (p->before != NULL)
        (void)cudaEventDestroy(p->before);
    if (p->after != NULL)
        (void)cudaEventDestroy(p->after);
    (void)cudaFree(p->block);
}

double cuda_peak_flops(struct kernels *k, enum dtype dtype)
{
    struct peak p = {.k = k, .dtype = dtype};
    struct muster_error err = {0};
    double rate = 0.0;
    if ((k->dtypes & 1u << dtype) == 0)
        return 0.0;
    p.matrix_bytes = (int64_t)PEAK_EDGE_LAST * PEAK_EDGE_LAST * (int64_t)dtype_size(dtype);
    if (cuda_capture_refuse(k, "peak_flops", &err) == MUSTER_OK && peak_open(&p, &err) == MUSTER_OK)
        rate = peak_measure(&p, &err);
    peak_close(&p);
    return rate;
}
