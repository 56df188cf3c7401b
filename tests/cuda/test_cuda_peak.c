/* SPDX-License-Identifier: MIT
 *
 * The rate of matrix products on a described device: how long a product takes there, and how long the host
 * waits the first time that one of its size is asked for (the library loads its code then, which on a real
 * device takes longer than all products of a measurement). Only what cuda_peak.c calls is here.
 */
#include <string.h>

#include "base/clock.h"
#include "kernels/cuda/cuda_gemm.h"
#include "kernels/cuda/cuda_parts.h"
#include "tests/suite.h"

static struct {
    double rate, start_ms,
        load_s; /* of a product: FLOP/s, and what each costs besides; of a size: its code */
    double host_s, device_ms;
    int64_t edge, products;
} device;

struct CUevent_st {
    double at_ms;
};

double clock_seconds(void)
{
    return device.host_s;
}

enum muster_status cuda_gemm_run(struct cuda_kernels *k, const struct cuda_product *p,
                                 struct muster_error *err)
{
    const double ms = device.start_ms + 2e3 * (double)p->m * (double)p->n * (double)p->k / device.rate;
    (void)k;
    (void)err;
    device.host_s += p->m != device.edge ? device.load_s : 0.0;
    device.edge = p->m;
    device.products++;
    device.host_s += ms / 1e3;
    device.device_ms += ms;
    return MUSTER_OK;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    static struct CUevent_st events[2];
    static int next;
    *event = &events[next++ % 2];
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    event->at_ms = 0.0;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)stream;
    event->at_ms = device.device_ms;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    *ms = (float)(end->at_ms - start->at_ms);
    return cudaSuccess;
}

cudaError_t cudaFree(void *block)
{
    (void)block;
    return cudaSuccess;
}

enum muster_status cuda_check(cudaError_t result, const char *operation, struct muster_error *err)
{
    return result == cudaSuccess ? MUSTER_OK : muster_error_set(err, MUSTER_ERR_INTERNAL, "%s", operation);
}

enum muster_status cuda_capture_refuse(struct kernels *k, const char *operation, struct muster_error *err)
{
    (void)k;
    (void)operation;
    (void)err;
    return MUSTER_OK;
}

enum muster_status cuda_memory_allocate(struct kernels *k, int64_t bytes, void **block,
                                        struct muster_error *err)
{
    static char anywhere;
    (void)k;
    (void)bytes;
    (void)err;
    *block = &anywhere;
    return MUSTER_OK;
}

enum muster_status cuda_copy_to_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                       struct muster_error *err)
{
    (void)k;
    (void)to;
    (void)from;
    (void)bytes;
    (void)err;
    return MUSTER_OK;
}

enum muster_status cuda_copy_on_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                       struct muster_error *err)
{
    return cuda_copy_to_device(k, to, from, bytes, err);
}

static double measured(double rate, double start_ms, double load_s)
{
    struct cuda_kernels k = {.base.dtypes = 1u << DTYPE_BF16};
    memset(&device, 0, sizeof device);
    device.rate = rate, device.start_ms = start_ms, device.load_s = load_s;
    return cuda_peak_flops(&k.base, DTYPE_BF16);
}

START_TEST(loading_the_code_of_a_product_does_not_end_the_measurement)
{
    const double rate = measured(7e14, 0.01, 0.3);
    ck_assert_msg(rate > 0.95 * 7e14 && rate < 7.01e14, "%g", rate);
}
END_TEST

START_TEST(a_slow_device_is_not_waited_for)
{
    const double rate = measured(1e9, 0.01, 0.0);
    ck_assert_msg(rate > 0.95 * 1e9 && rate < 1.01e9, "%g", rate);
    ck_assert_int_le(device.products, 6);
}
END_TEST

int main(void)
{
    TCase *peak = tcase_create("peak");
    tcase_add_test(peak, loading_the_code_of_a_product_does_not_end_the_measurement);
    tcase_add_test(peak, a_slow_device_is_not_waited_for);
    Suite *suite = suite_create("cuda_peak");
    suite_add_tcase(suite, peak);
    return suite_run(suite);
}
