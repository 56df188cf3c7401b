/* SPDX-License-Identifier: MIT
 *
 * Plans of cuDNN for attention, built for devices that are only described (the values are from their data
 * sheets), with a driver that does nothing (fake_libcuda.c). That the library takes our graphs is tested;
 * what they compute takes a GPU.
 */
#ifdef TEST_WITH_CUDNN
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda_sdpa.h"
#include "tests/suite.h"

struct device {
    const char *name;
    int version, multiprocessors, shared_bytes, l2_bytes;
};

static const struct device devices[] = {{"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 41943040},
                                        {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800},
                                        {"NVIDIA H200", 900, 132, 232448, 62914560}};

static cudnnBackendDescriptor_t described(const struct device *device)
{
    char text[2048];
    cudnnBackendDescriptor_t properties = NULL;
    int length = snprintf(
        text, sizeof text,
        "{\"deviceName\": \"%s\", \"deviceVer\": %d, \"multiProcessorCount\": %d, "
        "\"maxSharedMemoryPerBlockOptin\": %d, \"l2CacheSize\": %d, \"maxSharedMemoryPerBlock\": 49152, "
        "\"reservedSharedMemoryPerBlock\": 1024, \"maxGridSize\": [2147483647, 65535, 65535], "
        "\"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": 65536, \"maxRegistersPerSM\": 65536, "
        "\"warpSize\": 32, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, "
        "\"pciDeviceId\": 9013, \"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": "
        "85899345920, "
        "\"smClockRateKHz\": 1980000, \"memClockRateKHz\": 3201000, \"cudaDeviceId\": 0, \"driverVer\": "
        "13000}",
        device->name, device->version, device->multiprocessors, device->shared_bytes, device->l2_bytes);
    ck_assert_int_eq(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &properties),
                     CUDNN_STATUS_SUCCESS);
    ck_assert_int_eq(cudnnBackendSetAttribute(properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                              CUDNN_TYPE_CHAR, length, text),
                     CUDNN_STATUS_SUCCESS);
    ck_assert_int_eq(cudnnBackendFinalize(properties), CUDNN_STATUS_SUCCESS);
    return properties;
}

static struct cuda_sdpa_shape shape_of(enum dtype dtype, bool backward, const struct ops_attention_shape *a)
{
    return (struct cuda_sdpa_shape){.dtype = dtype,
                                    .backward = backward,
                                    .batch = a->batch,
                                    .sequence = a->sequence,
                                    .heads = a->heads,
                                    .kv_heads = a->kv_heads,
                                    .head_width = a->head_width,
                                    .qkv_stride = (a->heads + 2 * a->kv_heads) * a->head_width,
                                    .y_stride = a->heads * a->head_width,
                                    .lse_stride = a->heads * a->sequence};
}

/* Builds both directions; the gradient's work memory must be what the planner reserves. */
static void plans_of(cudnnBackendDescriptor_t device, enum dtype dtype, const struct ops_attention_shape *a)
{
    for (int backward = 0; backward < 2; backward++) {
        const struct cuda_sdpa_shape shape = shape_of(dtype, backward, a);
        struct muster_error err = {0};
        struct cuda_sdpa_plan *plan = NULL;
        ck_assert_msg(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err) == MUSTER_OK, "%s", err.text);
        /* the form that sums in a fixed order shows by the half of the scores' gradient that it keeps */
        if (backward)
            ck_assert(cuda_sdpa_plan_workspace_bytes(plan) >=
                      2 * a->batch * a->heads * a->sequence * a->sequence);
        int64_t bytes = cuda_sdpa_plan_workspace_bytes(plan) + 256 + 4 * a->batch * a->heads * a->sequence;
        struct ops_attention_slice slice = ops_attention_slice(a);
        ck_assert(slice.batch == a->batch && slice.kv_heads == a->kv_heads);
        if (bytes > slice.bytes)
            ck_abort_msg("%lld bytes of work memory, %lld planned", (long long)bytes, (long long)slice.bytes);
        cuda_sdpa_plan_destroy(plan);
    }
}

/* {batch, sequence, heads, kv_heads, head_width}: usual ones, a group of heads, odd lengths and widths. */
static const struct ops_attention_shape shapes[] = {
    {2, 1024, 12, 12, 64}, {1, 2048, 32, 8, 128}, {2, 129, 4, 2, 72}, {1, 17, 3, 3, 64}, {3, 1000, 4, 1, 80}};

/* A plan takes the library half a second: each shape goes to one device and one dtype. */
START_TEST(forward_and_backward_plans_are_made)
{
    static const struct {
        int device;
        enum dtype dtype;
    } where[] = {{1, DTYPE_BF16}, {1, DTYPE_BF16}, {1, DTYPE_BF16}, {0, DTYPE_BF16}, {2, DTYPE_F16}};
    cudnnBackendDescriptor_t device = described(&devices[where[_i].device]);
    plans_of(device, where[_i].dtype, &shapes[_i]);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

START_TEST(a_plan_does_not_need_its_shape_afterwards_and_is_not_made_twice_differently)
{
    cudnnBackendDescriptor_t device = described(&devices[1]);
    struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, true, &shapes[3]);
    struct cuda_sdpa_plan *first = NULL, *second = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &first, &err), MUSTER_OK);
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &second, &err), MUSTER_OK);
    memset(&shape, 0xff, sizeof shape);
    ck_assert(cuda_sdpa_plan_workspace_bytes(first) == cuda_sdpa_plan_workspace_bytes(second));
    cuda_sdpa_plan_destroy(first);
    cuda_sdpa_plan_destroy(second);
    cuda_sdpa_plan_destroy(NULL);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

START_TEST(a_shape_without_an_engine_is_unsupported)
{
    static const struct ops_attention_shape odd = {1, 64, 2, 2, 20};
    cudnnBackendDescriptor_t device = described(&devices[1]);
    const struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, false, &odd);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_null(plan);
    ck_assert_msg(strstr(err.text, "width 20") != NULL, "%s", err.text);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

int main(void)
{
    const char *driver = getenv("MUSTER_TEST_FAKE_DRIVER");
    if (driver == NULL || dlopen(driver, RTLD_NOW | RTLD_GLOBAL) == NULL) {
        printf("MUSTER_TEST_FAKE_DRIVER names no driver: run this through ctest\n");
        return 1;
    }
    Suite *suite = suite_create("cuda_sdpa");
    TCase *plans = tcase_create("plans");
    tcase_set_timeout(plans, 0);
    tcase_add_loop_test(plans, forward_and_backward_plans_are_made, 0, (int)(sizeof shapes / sizeof *shapes));
    tcase_add_test(plans, a_plan_does_not_need_its_shape_afterwards_and_is_not_made_twice_differently);
    tcase_add_test(plans, a_shape_without_an_engine_is_unsupported);
    suite_add_tcase(suite, plans);
    return suite_run(suite);
}
#else
int main(void)
{
    return 77; /* built without cuDNN */
}
#endif
