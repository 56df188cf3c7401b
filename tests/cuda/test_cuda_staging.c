/* SPDX-License-Identifier: MIT
 *
 * Copies against the laziest runtime there can be: work put on the stream is done only when somebody waits
 * for it, and then no more of it than was waited for. What a copy forgets to wait for is wrong here every
 * time, where a device would usually be fast enough. Only what cuda_staging.c and cuda_memory.c call is here.
 */
#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_parts.h"
#include "tests/suite.h"

enum { LAZY_WORK_MAX = 4096 };

struct lazy_copy {
    void *to;
    const void *from;
    size_t bytes;
};

static struct {
    struct lazy_copy work[LAZY_WORK_MAX];
    int put, done;
    bool fail; /* the next copy is refused */
} lazy;

/* An event is how much work was put before it. */
struct CUevent_st {
    int put;
};

static void lazy_do(int until)
{
    for (; lazy.done < until; lazy.done++) {
        struct lazy_copy *c = &lazy.work[lazy.done];
        memmove(c->to, c->from, c->bytes);
    }
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    (void)stream;
    if (lazy.fail)
        return cudaErrorIllegalAddress;
    ck_assert_int_lt(lazy.put, LAZY_WORK_MAX);
    lazy.work[lazy.put++] = (struct lazy_copy){to, from, bytes};
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = alloc_zeroed(1, sizeof **event);
    return *event != NULL ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    alloc_free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)stream;
    event->put = lazy.put;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    lazy_do(event->put);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **block, size_t bytes, unsigned flags)
{
    (void)flags;
    *block = alloc_zeroed(bytes, 1);
    return *block != NULL ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *block)
{
    alloc_free(block);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **block, size_t bytes)
{
    return cudaHostAlloc(block, bytes, 0);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = *total_bytes = SIZE_MAX;
    return cudaSuccess;
}

cudaError_t cudaFree(void *block)
{
    return cudaFreeHost(block);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    (void)to;
    (void)value;
    (void)bytes;
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    (void)device;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

enum muster_status cuda_check(cudaError_t result, const char *operation, struct muster_error *err)
{
    if (result == cudaSuccess)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "%s", operation);
}

enum muster_status cuda_capture_refuse(struct kernels *k, const char *operation, struct muster_error *err)
{
    (void)k;
    (void)operation;
    (void)err;
    return MUSTER_OK;
}

enum muster_status cuda_synchronise(struct kernels *k, struct muster_error *err)
{
    (void)k;
    (void)err;
    lazy_do(lazy.put);
    return MUSTER_OK;
}

static struct cuda_kernels subject;

static void open_subject(void)
{
    memset(&lazy, 0, sizeof lazy);
    memset(&subject, 0, sizeof subject);
    ck_assert_int_eq(cuda_staging_create(&subject.staging, NULL), MUSTER_OK);
}

static void close_subject(void)
{
    cuda_staging_destroy(subject.staging);
    ck_assert_int_eq(alloc_live_count(), 0);
}

/* Pieces of all sizes, together several times the ring, from one array that is overwritten after each. */
START_TEST(many_copies_from_reused_memory_arrive_as_they_were)
{
    enum { COPIES = 1500, LARGEST = 60000 };
    static unsigned char host[LARGEST];
    unsigned char *device = alloc_zeroed((size_t)COPIES * LARGEST, 1);
    ck_assert_ptr_nonnull(device);
    for (int c = 0; c < COPIES; c++) {
        const int64_t bytes = 1 + (int64_t)c * 7919 % LARGEST;
        memset(host, c % 251 + 1, (size_t)bytes);
        ck_assert_int_eq(cuda_copy_to_device(&subject.base, device + (size_t)c * LARGEST, host, bytes, NULL),
                         MUSTER_OK);
    }
    ck_assert_int_lt(lazy.done, lazy.put); /* it really waited for no more than it had to */
    lazy_do(lazy.put);
    for (int c = 0; c < COPIES; c++) {
        const int64_t bytes = 1 + (int64_t)c * 7919 % LARGEST;
        for (int64_t i = 0; i < LARGEST; i++)
            if (device[(size_t)c * LARGEST + (size_t)i] != (i < bytes ? c % 251 + 1 : 0))
                ck_abort_msg("copy %d byte %lld is wrong", c, (long long)i);
    }
    alloc_free(device);
}
END_TEST

START_TEST(a_large_array_arrives_whole_though_the_ring_is_small)
{
    const int64_t count = (50 << 20) / 4 + 7;
    uint32_t *host = alloc_zeroed((size_t)count, 4), *device = alloc_zeroed((size_t)count, 4);
    ck_assert(host != NULL && device != NULL);
    for (int64_t i = 0; i < count; i++)
        host[i] = (uint32_t)i;
    ck_assert_int_eq(cuda_copy_to_device(&subject.base, device, host, count * 4, NULL), MUSTER_OK);
    memset(host, 0, (size_t)count * 4);
    lazy_do(lazy.put);
    for (int64_t i = 0; i < count; i++)
        if (device[i] != (uint32_t)i)
            ck_abort_msg("element %lld is %u", (long long)i, device[i]);
    alloc_free(host);
    alloc_free(device);
}
END_TEST

START_TEST(a_copy_to_the_host_waits_and_a_later_one_does_not)
{
    int device = 42, now = 0, later = 0;
    ck_assert_int_eq(cuda_copy_to_host_later(&subject.base, &later, &device, sizeof device, NULL), MUSTER_OK);
    ck_assert_int_eq(later, 0);
    ck_assert_int_eq(cuda_copy_to_host(&subject.base, &now, &device, sizeof device, NULL), MUSTER_OK);
    ck_assert_int_eq(now, 42);
    ck_assert_int_eq(later, 42);
}
END_TEST

START_TEST(a_copy_that_fails_says_which)
{
    struct muster_error err = {0};
    int device = 0, host = 1;
    lazy.fail = true;
    ck_assert_int_eq(cuda_copy_to_device(&subject.base, &device, &host, sizeof host, &err),
                     MUSTER_ERR_INTERNAL);
    ck_assert_str_eq(err.text, "copy_to_device");
    ck_assert_int_eq(cuda_copy_to_host(&subject.base, &host, &device, sizeof host, &err),
                     MUSTER_ERR_INTERNAL);
    ck_assert_str_eq(err.text, "copy_to_host");
}
END_TEST

START_TEST(a_ring_without_memory_is_an_error_and_leaks_nothing)
{
    for (int n = 1; n <= 5; n++) {
        struct muster_error err = {0};
        struct cuda_staging *none = NULL;
        const int64_t live = alloc_live_count();
        alloc_fail_nth(n);
        ck_assert_int_ne(cuda_staging_create(&none, &err), MUSTER_OK);
        ck_assert_ptr_null(none);
        ck_assert(err.text[0] != '\0');
        ck_assert_int_eq(alloc_live_count(), live);
    }
    alloc_fail_nth(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_staging");
    TCase *copies = tcase_create("copies");
    tcase_add_checked_fixture(copies, open_subject, close_subject);
    tcase_set_timeout(copies, 0);
    tcase_add_test(copies, many_copies_from_reused_memory_arrive_as_they_were);
    tcase_add_test(copies, a_large_array_arrives_whole_though_the_ring_is_small);
    tcase_add_test(copies, a_copy_to_the_host_waits_and_a_later_one_does_not);
    tcase_add_test(copies, a_copy_that_fails_says_which);
    tcase_add_test(copies, a_ring_without_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(suite, copies);
    return suite_run(suite);
}
