/* SPDX-License-Identifier: MIT
 *
 * compare.h for our own CUDA kernels alone, under emulation: no plug-in, no libraries, only the few entries
 * of the table that are kernels. Each operation runs several times on the same arrays: again, with blocks and
 * threads in other orders, and with all arrays or each one alone moved off its alignment by one element; all
 * of them must give the same bits. The first run is watched for races (emulation/cuda_race.h).
 */
#include "tests/kernels/compare.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cudart_standin.h"
#include "kernels/cuda/cuda_internal.h"
#include "tests/kernels/compare_array.h"

enum { COMPARE_SCRATCH = 4 << 20 };

/* `shifted`: a bit for each array that is moved. After these runs one for each array alone. */
static const struct {
    const char *order;
    unsigned shifted;
} compare_runs[] = {{"forward", 0}, {"forward", 0}, {"reverse", 0}, {"12345", 0}, {"reverse", ~0u}};
enum { COMPARE_RUNS = sizeof compare_runs / sizeof *compare_runs };

static struct {
    struct kernels *judge;
    struct cuda_kernels subject;
    uint64_t seed;
} compare;

enum muster_status cuda_check(cudaError_t result, const char *operation, struct muster_error *err)
{
    if (result == cudaSuccess)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "%s: %s %s", operation, cudaGetErrorString(result),
                            cuda_standin_fault());
}

static enum muster_status compare_allocate_host(struct kernels *k, int64_t bytes, void **block,
                                                struct muster_error *err)
{
    (void)k;
    return cuda_check(cudaMallocHost(block, (size_t)bytes), "allocate", err);
}

static void compare_free_host(struct kernels *k, void *block, int64_t bytes)
{
    (void)k;
    (void)bytes;
    cudaFreeHost(block);
}

static const struct kernels_ops compare_ops = {
    .name = "cuda kernels",
    .embedding_forward = cuda_embedding_forward,
    .embedding_backward = cuda_embedding_backward,
    .activation_forward = cuda_activation_forward,
    .activation_backward = cuda_activation_backward,
    .norm_forward = cuda_norm_forward,
    .norm_backward = cuda_norm_backward,
    .rope = cuda_rope,
    .attention_forward = cuda_attention_forward_plain,
    .attention_backward = cuda_attention_backward_plain,
    .swiglu_forward = cuda_swiglu_forward,
    .swiglu_backward = cuda_swiglu_backward,
    .dropout = cuda_dropout,
    .adamw = cuda_adamw,
    .sgd = cuda_sgd,
    .sum_squares = cuda_sum_squares,
    .add = cuda_add,
    .round_to = cuda_round_to,
    .memory_allocate_host = compare_allocate_host,
    .memory_free_host = compare_free_host,
};

void compare_open(void)
{
    struct kernels *base = &compare.subject.base;
    compare.seed = 1;
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &compare.judge, NULL), MUSTER_OK);
    *base = (struct kernels){.ops = &compare_ops, .threads = 1, .numerics = "emulated"};
    base->dtypes = 1u << DTYPE_F32 | 1u << DTYPE_BF16 | 1u << DTYPE_F16;
    base->scratch_bytes = COMPARE_SCRATCH;
    ck_assert_int_eq(cudaMalloc(&base->scratch, COMPARE_SCRATCH), cudaSuccess);
    ck_assert_int_eq(cudaStreamCreate(&compare.subject.stream), cudaSuccess);
}

void compare_close(void)
{
    cudaFree(compare.subject.base.scratch);
    cudaStreamDestroy(compare.subject.stream);
    kernels_destroy(compare.judge);
    ck_assert_int_eq(cuda_standin_live(), 0);
}

struct kernels *compare_judge(void)
{
    return compare.judge;
}

struct kernels *compare_subject(void)
{
    return &compare.subject.base;
}

/* Where array i lies in its block: after one element, so that no group of 16 bytes is aligned, or not. */
static size_t compare_shift(const struct compare_array *arrays, int i, unsigned shifted)
{
    return shifted >> i & 1 ? dtype_size(arrays[i].dtype) : 0;
}

static void compare_create(const struct compare_array *arrays, int array_count, bool device, unsigned shifted,
                           void *data[])
{
    for (int i = 0; i < array_count; i++) {
        const size_t shift = compare_shift(arrays, i, shifted);
        void *block = NULL;
        data[i] = NULL;
        if (arrays[i].count == 0)
            continue;
        if (device)
            cudaMalloc(&block, compare_array_bytes(&arrays[i]) + COMPARE_GUARD + shift);
        else
            block = alloc_zeroed(compare_array_bytes(&arrays[i]) + COMPARE_GUARD + shift, 1);
        ck_assert_ptr_nonnull(block);
        data[i] = (char *)block + shift;
        compare_array_fill(&arrays[i], data[i], compare.seed, i);
    }
}

static void compare_release(const struct compare_array *arrays, int array_count, bool device,
                            unsigned shifted, void *data[])
{
    for (int i = 0; i < array_count; i++) {
        if (data[i] == NULL)
            continue;
        char *block = (char *)data[i] - compare_shift(arrays, i, shifted);
        if (device)
            cudaFree(block);
        else
            alloc_free(block);
    }
}

static void compare_call_on(struct kernels *k, const char *label, compare_call call, const void *shape,
                            void *data[])
{
    struct muster_error err = {0};
    enum muster_status status = call(k, shape, data, &err);
    if (status != MUSTER_OK)
        ck_abort_msg("%s on %s: %s", label, k->numerics, err.text);
}

/* The first run against the judge, the others against the first. */
static void compare_outcome(const char *label, const struct compare_array *arrays, int array_count, int run,
                            void *const judged[], void *const first[], void *const got[])
{
    for (int i = 0; i < array_count; i++) {
        if (got[i] == NULL)
            continue;
        compare_array_guard_check(label, &arrays[i], got[i], i);
        if (arrays[i].role == COMPARE_INPUT)
            compare_array_same_bits(label, &arrays[i], judged[i], got[i], i);
        else if (arrays[i].role != COMPARE_WORK && run == 0)
            compare_array_close_enough(label, &arrays[i], judged[i], got[i], i);
        else if (arrays[i].role != COMPARE_WORK)
            compare_array_same_bits(label, &arrays[i], first[i], got[i], i);
    }
}

void compare_run(const char *label, const struct compare_array *arrays, int array_count, compare_call call,
                 const void *shape)
{
    void *judged[COMPARE_ARRAYS_MAX] = {NULL}, *first[COMPARE_ARRAYS_MAX] = {NULL}, *got[COMPARE_ARRAYS_MAX];
    compare.seed++;
    compare_create(arrays, array_count, false, 0, judged);
    compare_call_on(compare.judge, label, call, shape, judged);
    for (int run = 0; run < COMPARE_RUNS + array_count; run++) {
        char where[256];
        void **data = run == 0 ? first : got;
        const int alone = run - COMPARE_RUNS;
        const char *order = alone < 0 ? compare_runs[run].order : "forward";
        const unsigned shifted = alone < 0 ? compare_runs[run].shifted : 1u << alone;
        if (alone >= 0 && arrays[alone].count == 0)
            continue;
        snprintf(where, sizeof where, "%s, order %s, shifted %#x", label, order, shifted);
        setenv("MUSTER_EMULATION_ORDER", order, 1);
        cuda_standin_watch(run == 0);
        memset(compare.subject.base.scratch, 0xff, COMPARE_SCRATCH);
        compare_create(arrays, array_count, true, shifted, data);
        compare_call_on(compare_subject(), where, call, shape, data);
        compare_outcome(where, arrays, array_count, run, judged, first, data);
        if (run > 0)
            compare_release(arrays, array_count, true, shifted, data);
    }
    compare_release(arrays, array_count, true, 0, first);
    compare_release(arrays, array_count, false, 0, judged);
}
