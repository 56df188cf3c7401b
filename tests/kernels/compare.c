/* SPDX-License-Identifier: MIT
 *
 * See compare.h. The back ends under test are the CPU one with the best instruction set of this machine on 1,
 * 2 and 3 threads, which must agree in every bit, and its other instruction sets on 2 threads. Check writes a
 * message for every assertion that holds, so loops over elements call it only for one that does not.
 */
#include "compare.h"

#include <check.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"

enum { COMPARE_SUBJECTS_MAX = 5, COMPARE_SAME_BITS = 3, COMPARE_GUARD = 64, COMPARE_SCRATCH = 24 << 20 };

static struct {
    struct kernels *judge;
    struct kernels *subject[COMPARE_SUBJECTS_MAX];
    void *scratch;
    int subjects;
    uint64_t seed;
} compare;

static void compare_subject_add(int threads, const char *isa)
{
    struct muster_error err = {0};
    struct kernels *k = NULL;
    enum muster_status status = kernels_cpu_create(threads, isa, compare.scratch, COMPARE_SCRATCH, &k, &err);
    if (isa != NULL && status == MUSTER_ERR_BAD_INPUT)
        return; /* not on this machine */
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    compare.subject[compare.subjects++] = k;
}

void compare_open(void)
{
    struct muster_error err = {0};
    compare.subjects = 0;
    compare.seed = 1;
    compare.scratch = alloc_aligned(COMPARE_SCRATCH, 64);
    ck_assert_ptr_nonnull(compare.scratch);
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &compare.judge, &err), MUSTER_OK);
    compare_subject_add(1, NULL);
    compare_subject_add(2, NULL);
    compare_subject_add(3, NULL);
    compare_subject_add(2, "avx2");
    compare_subject_add(2, "baseline");
}

void compare_close(void)
{
    for (int i = 0; i < compare.subjects; i++)
        kernels_destroy(compare.subject[i]);
    kernels_destroy(compare.judge);
    alloc_free(compare.scratch);
}

struct kernels *compare_judge(void)
{
    return compare.judge;
}

struct kernels *compare_subject(void)
{
    return compare.subject[0];
}

static double compare_value(const struct compare_array *array, const void *data, int64_t i)
{
    if (array->dtype == DTYPE_BF16)
        return (double)dtype_f32_from_bf16(((const uint16_t *)data)[i]);
    return array->dtype == DTYPE_F32 ? (double)((const float *)data)[i] : (double)((const int32_t *)data)[i];
}

static size_t compare_bytes(const struct compare_array *array)
{
    return (size_t)array->count * dtype_size(array->dtype);
}

static void compare_fill_random(const struct compare_array *array, void *data, uint64_t which)
{
    const double low = array->low < array->high ? array->low : -1.0;
    const double high = array->low < array->high ? array->high : 1.0;
    float *values = alloc_zeroed((size_t)array->count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    rng_uniform_fill(rng_key_make(compare.seed, which, 0, 0), (float)low, (float)high, values,
                     (uint64_t)array->count);
    for (int64_t i = 0; i < array->count; i++) {
        if (array->dtype == DTYPE_F32)
            ((float *)data)[i] = values[i];
        else if (array->dtype == DTYPE_BF16)
            ((uint16_t *)data)[i] = dtype_bf16_from_f32(values[i]);
        else
            ((int32_t *)data)[i] = (int32_t)floor((double)values[i]);
    }
    alloc_free(values);
}

/* The arrays as they are before a call, each with a guard behind it. */
static void compare_arrays_create(const struct compare_array *arrays, int array_count, void *data[])
{
    for (int i = 0; i < array_count; i++) {
        data[i] = NULL;
        if (arrays[i].count == 0)
            continue;
        size_t bytes = compare_bytes(&arrays[i]);
        data[i] = alloc_aligned(bytes + COMPARE_GUARD, 64);
        ck_assert_ptr_nonnull(data[i]);
        memset(data[i], 0xff, bytes);
        memset((char *)data[i] + bytes, 0xa5, COMPARE_GUARD);
        if (arrays[i].role == COMPARE_OUTPUT || arrays[i].role == COMPARE_WORK)
            continue;
        if (arrays[i].values != NULL)
            memcpy(data[i], arrays[i].values, bytes);
        else
            compare_fill_random(&arrays[i], data[i], (uint64_t)i);
    }
}

static void compare_arrays_release(int array_count, void *data[])
{
    for (int i = 0; i < array_count; i++)
        alloc_free(data[i]);
}

static void compare_guard_check(const char *label, const struct compare_array *array, const void *data, int i)
{
    const unsigned char *guard = (const unsigned char *)data + compare_bytes(array);
    for (int at = 0; at < COMPARE_GUARD; at++)
        if (guard[at] != 0xa5)
            ck_abort_msg("%s: array %d was written past its end", label, i);
}

static void compare_close_enough(const char *label, const struct compare_array *array, const void *expected,
                                 const void *got, int which)
{
    double square = 0.0;
    for (int64_t i = 0; i < array->count; i++)
        square += pow(compare_value(array, expected, i), 2.0);
    const double size = isfinite(square) ? sqrt(square / (double)array->count) : 0.0;
    for (int64_t i = 0; i < array->count; i++) {
        double wanted = compare_value(array, expected, i), value = compare_value(array, got, i);
        bool same = wanted == value || (isnan(wanted) && isnan(value)) ||
                    fabs(wanted - value) <= array->tolerance * (fabs(wanted) + size);
        if (!same)
            ck_abort_msg("%s: array %d element %lld is %.9g, the judge says %.9g (size %.3g)", label, which,
                         (long long)i, value, wanted, size);
    }
}

static void compare_same_bits(const char *label, const struct compare_array *array, const void *expected,
                              const void *got, int which)
{
    const unsigned char *a = expected, *b = got;
    for (size_t i = 0; i < compare_bytes(array); i++)
        if (a[i] != b[i])
            ck_abort_msg("%s: array %d byte %zu differs", label, which, i);
}

/* Creates the arrays and calls the operation on them. */
static void compare_call_once(const char *label, const struct compare_array *arrays, int array_count,
                              compare_call call, const void *shape, struct kernels *k, void *data[])
{
    struct muster_error err = {0};
    compare_arrays_create(arrays, array_count, data);
    enum muster_status status = call(k, shape, data, &err);
    ck_assert_msg(status == MUSTER_OK, "%s on %s: %s", label, k->numerics, err.text);
}

static void compare_outcome(const char *label, const struct compare_array *arrays, int array_count,
                            void *const judged[], void *const got[])
{
    for (int i = 0; i < array_count; i++) {
        if (arrays[i].count == 0)
            continue;
        compare_guard_check(label, &arrays[i], got[i], i);
        if (arrays[i].role == COMPARE_INPUT)
            compare_same_bits(label, &arrays[i], judged[i], got[i], i);
        else if (arrays[i].role != COMPARE_WORK)
            compare_close_enough(label, &arrays[i], judged[i], got[i], i);
    }
}

void compare_run(const char *label, const struct compare_array *arrays, int array_count, compare_call call,
                 const void *shape)
{
    void *judged[COMPARE_ARRAYS_MAX], *first[COMPARE_ARRAYS_MAX], *got[COMPARE_ARRAYS_MAX];
    char where[256];
    compare.seed++;
    compare_call_once(label, arrays, array_count, call, shape, compare.judge, judged);
    for (int s = 0; s < compare.subjects; s++) {
        struct kernels *k = compare.subject[s];
        void **data = s == 0 ? first : got;
        snprintf(where, sizeof where, "%s on %s, %d threads", label, k->numerics, k->threads);
        compare_call_once(label, arrays, array_count, call, shape, k, data);
        compare_outcome(where, arrays, array_count, judged, data);
        for (int i = 0; s > 0 && s < COMPARE_SAME_BITS && i < array_count; i++) {
            if (arrays[i].count > 0 && arrays[i].role != COMPARE_WORK)
                compare_same_bits(where, &arrays[i], first[i], data[i], i);
        }
        if (s > 0)
            compare_arrays_release(array_count, got);
    }
    compare_arrays_release(array_count, first);
    compare_arrays_release(array_count, judged);
}
