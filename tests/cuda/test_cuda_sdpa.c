/* SPDX-License-Identifier: MIT
 *
 * Plans of cuDNN for attention, built for devices that are only described (the values are from their data
 * sheets), with a driver that does nothing (fake_libcuda.c). That the library takes our graphs is tested, and
 * what can be read from the plans; what they compute takes a GPU.
 */
#ifdef TEST_WITH_CUDNN
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda_sdpa_plan.c" /* the library's descriptors are its secret */
#include "tests/cuda/sdpa_code.h"
#include "tests/suite.h"

struct device {
    const char *name;
    int version, multiprocessors, shared_bytes, l2_bytes;
};

enum { A100, H100, H200, RTX3090, RTX4090, B200, DEVICES };

static const struct device devices[DEVICES] = {{"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 41943040},
                                               {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800},
                                               {"NVIDIA H200", 900, 132, 232448, 62914560},
                                               {"NVIDIA GeForce RTX 3090", 860, 82, 101376, 6291456},
                                               {"NVIDIA GeForce RTX 4090", 890, 128, 101376, 75497472},
                                               {"NVIDIA B200", 1000, 148, 232448, 132120576}};

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
                                    .y_stride = a->heads * a->head_width};
}

/* Builds both directions; the gradient's work memory must be what the planner reserves. */
static void plans_of(cudnnBackendDescriptor_t device, enum dtype dtype, const struct ops_attention_shape *a)
{
    for (int backward = 0; backward < 2; backward++) {
        const struct cuda_sdpa_shape shape = shape_of(dtype, backward, a);
        struct muster_error err = {0};
        struct cuda_sdpa_plan *plan = NULL;
        ck_assert_msg(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err) == MUSTER_OK, "%s", err.text);
        ck_assert(cuda_sdpa_plan_engine(plan) >= 0);
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
    {2, 1024, 12, 12, 64}, {1, 2048, 32, 8, 128}, {2, 129, 4, 2, 72}, {1, 17, 3, 3, 64}, {3, 1000, 4, 1, 80},
    {1, 130, 2, 2, 256},   {1, 513, 6, 2, 128},   {1, 200, 4, 4, 64}, {2, 77, 2, 1, 96}};

/* A plan takes the library half a second: each shape goes to one device and one dtype. */
START_TEST(forward_and_backward_plans_are_made)
{
    static const struct {
        int device;
        enum dtype dtype;
    } where[] = {{H100, DTYPE_BF16}, {H100, DTYPE_BF16},    {H100, DTYPE_BF16},
                 {A100, DTYPE_BF16}, {H200, DTYPE_F16},     {H200, DTYPE_BF16},
                 {A100, DTYPE_F16},  {RTX3090, DTYPE_BF16}, {RTX4090, DTYPE_F16}};
    cudnnBackendDescriptor_t device = described(&devices[where[_i].device]);
    plans_of(device, where[_i].dtype, &shapes[_i]);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

START_TEST(a_plan_does_not_need_its_shape_afterwards_and_is_not_made_twice_differently)
{
    cudnnBackendDescriptor_t device = described(&devices[H100]);
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

/* Where the whole is too much at once, a slice of it; T², so the longest are one head at a time. */
START_TEST(a_slice_of_a_long_sequence_keeps_to_the_planned_work_memory)
{
    static const struct ops_attention_shape whole[] = {{1, 8192, 32, 8, 128}, {1, 32768, 32, 8, 128}};
    const struct ops_attention_shape *a = &whole[_i];
    const struct ops_attention_slice slice = ops_attention_slice(a);
    const struct ops_attention_shape part = {
        slice.batch, a->sequence, slice.kv_heads * (a->heads / a->kv_heads), slice.kv_heads, a->head_width};
    cudnnBackendDescriptor_t device = described(&devices[H100]);
    struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, true, &part);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    shape.qkv_stride = (a->heads + 2 * a->kv_heads) * a->head_width;
    shape.y_stride = a->heads * a->head_width;
    ck_assert_msg(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err) == MUSTER_OK, "%s", err.text);
    const int64_t bytes =
        cuda_sdpa_plan_workspace_bytes(plan) + 256 + 4 * part.batch * part.heads * part.sequence;
    ck_assert_msg(bytes <= slice.bytes, "%lld bytes of work memory, %lld planned", (long long)bytes,
                  (long long)slice.bytes);
    cuda_sdpa_plan_destroy(plan);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

/* A width that no engine has; a gradient that Ampere has none for. */
START_TEST(a_shape_without_an_engine_is_unsupported)
{
    static const struct ops_attention_shape odd[] = {{1, 64, 2, 2, 20}, {1, 200, 2, 2, 160}};
    cudnnBackendDescriptor_t device = described(&devices[_i == 0 ? H100 : A100]);
    const struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, _i == 1, &odd[_i]);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_null(plan);
    ck_assert_msg(strstr(err.text, _i == 0 ? "width 20" : "width 160") != NULL, "%s", err.text);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

/* What the library writes of a plan, zero-terminated; the caller's. */
static char *text_of(const struct cuda_sdpa_plan *plan)
{
    enum { TEXT_MAX = 4 << 20 };
    int64_t length = 0;
    char *text = alloc_zeroed(TEXT_MAX, 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(cudnnBackendGetAttribute(plan->execution, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                              CUDNN_TYPE_CHAR, TEXT_MAX - 1, &length, text),
                     CUDNN_STATUS_SUCCESS);
    return text;
}

static int64_t alignment_of(const char *text, int name)
{
    static const char key[] = "\"ptrAlignment\":";
    char tensor[32];
    snprintf(tensor, sizeof tensor, "{\"name\":\"%d\",", name);
    const char *found = strstr(text, tensor);
    found = found != NULL ? strstr(found, key) : NULL;
    return found != NULL ? strtoll(found + sizeof key - 1, NULL, 10) : 0;
}

struct tensor {
    int64_t name, sizes[4], strides[4];
};

static bool tensor_read(cudnnBackendDescriptor_t tensor, cudnnBackendAttributeName_t name, int64_t count,
                        int64_t *values)
{
    int64_t got = 0;
    return cudnnBackendGetAttribute(tensor, name, CUDNN_TYPE_INT64, count, &got, values) ==
               CUDNN_STATUS_SUCCESS &&
           got == count;
}

/* Descriptor number i of the graph; false where it is no tensor. */
static bool tensor_at(const struct cuda_sdpa_plan *plan, int i, struct tensor *t)
{
    cudnnBackendDescriptor_t tensor = plan->graph.made[i];
    return tensor_read(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &t->name) &&
           tensor_read(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, t->sizes) &&
           tensor_read(tensor, CUDNN_ATTR_TENSOR_STRIDES, 4, t->strides);
}

/* As cudnn-frontend declares them, which is all that the library's maker tests. */
START_TEST(keys_are_turned_back_where_they_lie_and_rows_are_packed)
{
    static const struct ops_attention_shape odd = {2, 77, 6, 2, 96};
    cudnnBackendDescriptor_t device = described(&devices[A100]);
    const struct cuda_sdpa_shape s = shape_of(DTYPE_BF16, true, &odd);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    struct tensor t;
    int keys = 0, rows = 0;
    ck_assert_msg(cuda_sdpa_plan_create(NULL, device, &s, &plan, &err) == MUSTER_OK, "%s", err.text);
    for (int i = 0; i < plan->graph.made_count; i++) {
        if (!tensor_at(plan, i, &t))
            continue;
        if (t.name >= SDPA_NAMES && t.sizes[1] == s.kv_heads) {
            keys++;
            ck_assert(t.sizes[2] == s.sequence && t.strides[0] == s.sequence * s.qkv_stride);
            ck_assert(t.strides[1] == s.head_width && t.strides[2] == s.qkv_stride && t.strides[3] == 1);
        } else if (t.name == SDPA_LSE || t.name == SDPA_ROW_SUMS) {
            rows++;
            ck_assert(t.strides[0] == s.heads * s.sequence && t.strides[1] == s.sequence);
            ck_assert_int_eq(t.strides[2], 1);
        }
    }
    ck_assert(keys == 1 && rows == 2);
    cuda_sdpa_plan_destroy(plan);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

/* Memory that ran out when a kernel was loaded, say: other ranks have the engine, so this one may not go on
 * without. */
START_TEST(a_failure_is_not_taken_for_a_shape_without_an_engine)
{
    int *load_result = dlsym(RTLD_DEFAULT, "fake_libcuda_load_result");
    ck_assert_ptr_nonnull(load_result);
    cudnnBackendDescriptor_t device = described(&devices[H100]);
    const struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, false, &shapes[7]);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    *load_result = 2;
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err), MUSTER_ERR_INTERNAL);
    ck_assert_msg(strstr(err.text, "cuLibraryLoadData") != NULL, "%s", err.text);
    *load_result = 0;
    ck_assert_int_eq(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err), MUSTER_OK);
    cuda_sdpa_plan_destroy(plan);
    cudnnBackendDestroyDescriptor(device);
}
END_TEST

/* The same bits on every run need sums in one order. The plan is also asked what it assumes of addresses. */
START_TEST(the_code_of_a_gradient_adds_nothing_to_memory_out_of_order)
{
    static const int where[] = {A100, H100, RTX4090, B200};
    cudnnBackendDescriptor_t device = described(&devices[where[_i]]);
    const struct cuda_sdpa_shape shape = shape_of(DTYPE_BF16, true, &shapes[_i % 2 == 0 ? 6 : 7]);
    struct cuda_sdpa_plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_msg(cuda_sdpa_plan_create(NULL, device, &shape, &plan, &err) == MUSTER_OK, "%s", err.text);
    char *text = text_of(plan);
    const struct sdpa_code_counts counts = sdpa_code_count(text);
    ck_assert_msg(counts.instructions > 500, "no code was found: %d instructions", counts.instructions);
    ck_assert_msg(counts.reductions == 0, "%s: %d additions to memory", devices[where[_i]].name,
                  counts.reductions);
    ck_assert_int_eq(alignment_of(text, SDPA_LSE), cuda_sdpa_rows_alignment(&shape));
    ck_assert_int_eq(alignment_of(text, SDPA_ROW_SUMS), cuda_sdpa_rows_alignment(&shape));
    ck_assert_int_eq(alignment_of(text, SDPA_DQ), 16);
    alloc_free(text);
    cuda_sdpa_plan_destroy(plan);
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
    tcase_add_loop_test(plans, a_slice_of_a_long_sequence_keeps_to_the_planned_work_memory, 0, 2);
    tcase_add_loop_test(plans, a_shape_without_an_engine_is_unsupported, 0, 2);
    tcase_add_test(plans, keys_are_turned_back_where_they_lie_and_rows_are_packed);
    tcase_add_test(plans, a_failure_is_not_taken_for_a_shape_without_an_engine);
    tcase_add_loop_test(plans, the_code_of_a_gradient_adds_nothing_to_memory_out_of_order, 0, 4);
    suite_add_tcase(suite, plans);
    return suite_run(suite);
}
#else
int main(void)
{
    return 77; /* built without cuDNN */
}
#endif
