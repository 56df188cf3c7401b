/* SPDX-License-Identifier: MIT
 *
 * compare.h for the CUDA back end: the plug-in named by MUSTER_CUDA_PLUGIN (the emulated one in CTest, the
 * real one on a machine with a GPU) against the reference. Arrays live in device memory with a guard behind
 * each; every operation is called three times, the last time from a recording, and must give the same bits.
 * Guards are looked at after the first call; before each the scratch block is filled with NaN as far as these
 * shapes use it, from its start and behind the libraries' work memory, so that nothing rests on what a call
 * left there.
 */
#include "tests/kernels/compare.h"

#include <check.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_plugin.h"
#include "tests/kernels/compare_array.h"

enum { COMPARE_SCRATCH = 48 << 20, COMPARE_SCRATCH_POISONED = 2 << 20 };

static struct {
    struct kernels *judge, *subject;
    void *scratch, *poison;
    uint64_t seed;
} compare;

static void compare_ok(enum muster_status status, const struct muster_error *err, const char *label)
{
    if (status != MUSTER_OK)
        ck_abort_msg("%s: %s", label, err->text);
}

void compare_open(void)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    const struct cuda_kernels_options options = {.device = 0};
    compare.seed = 1;
    compare_ok(kernels_ref_create(NULL, 0, &compare.judge, &err), &err, "the judge");
    compare_ok(cuda_plugin_open(&plugin, &err), &err, "the plug-in");
    compare_ok(plugin->kernels_create(&options, &compare.subject, &err), &err, "the back end");
    compare_ok(kernels_memory_allocate(compare.subject, COMPARE_SCRATCH, &compare.scratch, &err), &err,
               "scratch");
    compare.poison = alloc_aligned(COMPARE_SCRATCH_POISONED, 64);
    ck_assert_ptr_nonnull(compare.poison);
    memset(compare.poison, 0xff, COMPARE_SCRATCH_POISONED);
    compare.subject->scratch = compare.scratch;
    compare.subject->scratch_bytes = COMPARE_SCRATCH;
}

void compare_close(void)
{
    kernels_memory_free(compare.subject, compare.scratch, COMPARE_SCRATCH);
    kernels_destroy(compare.subject);
    kernels_destroy(compare.judge);
    alloc_free(compare.poison);
}

struct kernels *compare_judge(void)
{
    return compare.judge;
}

struct kernels *compare_subject(void)
{
    return compare.subject;
}

/* The arrays as they are before a call, each with a guard behind it. */
static void compare_arrays_create(const struct compare_array *arrays, int array_count, void *data[])
{
    for (int i = 0; i < array_count; i++) {
        data[i] = NULL;
        if (arrays[i].count == 0)
            continue;
        data[i] = alloc_aligned(compare_array_bytes(&arrays[i]) + COMPARE_GUARD, 64);
        ck_assert_ptr_nonnull(data[i]);
        compare_array_fill(&arrays[i], data[i], compare.seed, i);
    }
}

static void compare_arrays_release(int array_count, void *data[])
{
    for (int i = 0; i < array_count; i++)
        alloc_free(data[i]);
}

/* Copies arrays and guards between host and device. */
static void compare_move(const char *label, const struct compare_array *arrays, int array_count, void *host[],
                         void *device[], bool up)
{
    struct muster_error err = {0};
    for (int i = 0; i < array_count; i++) {
        const int64_t bytes = (int64_t)compare_array_bytes(&arrays[i]) + COMPARE_GUARD;
        if (host[i] == NULL)
            continue;
        compare_ok(up ? kernels_copy_to_device(compare.subject, device[i], host[i], bytes, &err)
                      : kernels_copy_to_host(compare.subject, host[i], device[i], bytes, &err),
                   &err, label);
    }
}

static void compare_device_create(const struct compare_array *arrays, int array_count, void *device[])
{
    struct muster_error err = {0};
    for (int i = 0; i < array_count; i++) {
        device[i] = NULL;
        if (arrays[i].count > 0)
            compare_ok(kernels_memory_allocate(compare.subject,
                                               (int64_t)compare_array_bytes(&arrays[i]) + COMPARE_GUARD,
                                               &device[i], &err),
                       &err, "device memory");
    }
}

static void compare_device_release(const struct compare_array *arrays, int array_count, void *device[])
{
    for (int i = 0; i < array_count; i++)
        kernels_memory_free(compare.subject, device[i],
                            (int64_t)compare_array_bytes(&arrays[i]) + COMPARE_GUARD);
}

static void compare_poison(const char *label)
{
    struct muster_error err = {0};
    for (int64_t at = 0; at <= OPS_GEMM_WORKSPACE_BYTES; at += OPS_GEMM_WORKSPACE_BYTES)
        compare_ok(kernels_copy_to_device(compare.subject, (char *)compare.scratch + at, compare.poison,
                                          COMPARE_SCRATCH_POISONED, &err),
                   &err, label);
}

/* Calls from a recording: nothing may have happened before it is run. */
static void compare_record(const char *label, const struct compare_array *arrays, int array_count,
                           compare_call call, const void *shape, void *before[], void *device[])
{
    struct kernels *k = compare.subject;
    struct muster_error err = {0};
    void *recorded = NULL, *seen[COMPARE_ARRAYS_MAX];
    compare_ok(kernels_capture_begin(k, &err), &err, label);
    compare_ok(call(k, shape, device, &err), &err, label);
    compare_ok(kernels_capture_end(k, &recorded, &err), &err, label);
    compare_arrays_create(arrays, array_count, seen);
    compare_move(label, arrays, array_count, seen, device, false);
    for (int i = 0; i < array_count; i++)
        if (seen[i] != NULL)
            compare_array_same_bits(label, &arrays[i], before[i], seen[i], i);
    compare_arrays_release(array_count, seen);
    compare_ok(kernels_capture_run(k, recorded, &err), &err, label);
    compare_ok(kernels_synchronise(k, &err), &err, label);
    kernels_capture_free(k, recorded);
}

static void compare_judged(const char *label, const struct compare_array *arrays, int array_count,
                           void *const before[], void *const judged[], void *const got[])
{
    for (int i = 0; i < array_count; i++) {
        if (got[i] == NULL)
            continue;
        compare_array_guard_check(label, &arrays[i], got[i], i);
        if (arrays[i].role == COMPARE_INPUT)
            compare_array_same_bits(label, &arrays[i], before[i], got[i], i);
        else if (arrays[i].role != COMPARE_WORK)
            compare_array_close_enough(label, &arrays[i], judged[i], got[i], i);
    }
}

enum { COMPARE_FIRST, COMPARE_AGAIN, COMPARE_RECORDED, COMPARE_PASSES };

void compare_run(const char *label, const struct compare_array *arrays, int array_count, compare_call call,
                 const void *shape)
{
    void *before[COMPARE_ARRAYS_MAX], *judged[COMPARE_ARRAYS_MAX], *device[COMPARE_ARRAYS_MAX];
    void *got[COMPARE_PASSES][COMPARE_ARRAYS_MAX];
    struct muster_error err = {0};
    compare.seed++;
    compare_arrays_create(arrays, array_count, before);
    compare_arrays_create(arrays, array_count, judged);
    compare_device_create(arrays, array_count, device);
    compare_ok(call(compare.judge, shape, judged, &err), &err, label);
    for (int pass = COMPARE_FIRST; pass < COMPARE_PASSES; pass++) {
        compare_arrays_create(arrays, array_count, got[pass]);
        compare_move(label, arrays, array_count, before, device, true);
        compare_poison(label);
        if (pass == COMPARE_RECORDED)
            compare_record(label, arrays, array_count, call, shape, before, device);
        else
            compare_ok(call(compare.subject, shape, device, &err), &err, label);
        compare_move(label, arrays, array_count, got[pass], device, false);
        for (int i = 0; pass != COMPARE_FIRST && i < array_count; i++)
            if (got[pass][i] != NULL && arrays[i].role != COMPARE_WORK)
                compare_array_same_bits(label, &arrays[i], got[COMPARE_FIRST][i], got[pass][i], i);
    }
    compare_judged(label, arrays, array_count, before, judged, got[COMPARE_FIRST]);
    compare_device_release(arrays, array_count, device);
    for (int pass = COMPARE_FIRST; pass < COMPARE_PASSES; pass++)
        compare_arrays_release(array_count, got[pass]);
    compare_arrays_release(array_count, judged);
    compare_arrays_release(array_count, before);
}
