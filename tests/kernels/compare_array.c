/* SPDX-License-Identifier: MIT
 *
 * See compare_array.h. Check writes a message for every assertion that holds, so loops over elements call it
 * only for one that does not.
 */
#include "compare_array.h"

#include <check.h>
#include <math.h>

#include "base/alloc.h"

enum { COMPARE_GUARD_BYTE = 0xa5 };

size_t compare_array_bytes(const struct compare_array *array)
{
    return (size_t)array->count * dtype_size(array->dtype);
}

static double compare_array_value(const struct compare_array *array, const void *data, int64_t i)
{
    if (array->dtype == DTYPE_BF16)
        return (double)dtype_f32_from_bf16(((const uint16_t *)data)[i]);
    if (array->dtype == DTYPE_F16)
        return (double)dtype_f32_from_f16(((const uint16_t *)data)[i]);
    return array->dtype == DTYPE_F32 ? (double)((const float *)data)[i] : (double)((const int32_t *)data)[i];
}

static void compare_array_set(const struct compare_array *array, void *data, int64_t i, float value)
{
    if (array->dtype == DTYPE_F32)
        ((float *)data)[i] = value;
    else if (array->dtype == DTYPE_BF16)
        ((uint16_t *)data)[i] = dtype_bf16_from_f32(value);
    else if (array->dtype == DTYPE_F16)
        ((uint16_t *)data)[i] = dtype_f16_from_f32(value);
    else
        ((int32_t *)data)[i] = (int32_t)floorf(value);
}

static void compare_array_fill_random(const struct compare_array *array, void *data, struct rng_key key)
{
    const double low = array->low < array->high ? array->low : -1.0;
    const double high = array->low < array->high ? array->high : 1.0;
    float *values = alloc_zeroed((size_t)array->count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    rng_uniform_fill(key, (float)low, (float)high, values, (uint64_t)array->count);
    for (int64_t i = 0; i < array->count; i++)
        compare_array_set(array, data, i, values[i]);
    alloc_free(values);
}

void compare_array_fill(const struct compare_array *array, void *data, uint64_t seed, int which)
{
    const size_t bytes = compare_array_bytes(array);
    memset(data, 0xff, bytes);
    memset((char *)data + bytes, COMPARE_GUARD_BYTE, COMPARE_GUARD);
    if (array->role == COMPARE_OUTPUT || array->role == COMPARE_WORK)
        return;
    if (array->values != NULL)
        memcpy(data, array->values, bytes);
    else
        compare_array_fill_random(array, data, rng_key_make(seed, (uint64_t)which, 0, 0));
}

void compare_array_guard_check(const char *label, const struct compare_array *array, const void *data,
                               int which)
{
    const unsigned char *guard = (const unsigned char *)data + compare_array_bytes(array);
    for (int at = 0; at < COMPARE_GUARD; at++)
        if (guard[at] != COMPARE_GUARD_BYTE)
            ck_abort_msg("%s: array %d was written past its end", label, which);
}

void compare_array_close_enough(const char *label, const struct compare_array *array, const void *expected,
                                const void *got, int which)
{
    double square = 0.0;
    for (int64_t i = 0; i < array->count; i++)
        square += pow(compare_array_value(array, expected, i), 2.0);
    const double size = isfinite(square) ? sqrt(square / (double)array->count) : 0.0;
    for (int64_t i = 0; i < array->count; i++) {
        double wanted = compare_array_value(array, expected, i), value = compare_array_value(array, got, i);
        bool same = wanted == value || (isnan(wanted) && isnan(value)) ||
                    fabs(wanted - value) <= array->tolerance * (fabs(wanted) + size);
        if (!same)
            ck_abort_msg("%s: array %d element %lld is %.9g, the judge says %.9g (size %.3g)", label, which,
                         (long long)i, value, wanted, size);
    }
}

void compare_array_same_bits(const char *label, const struct compare_array *array, const void *expected,
                             const void *got, int which)
{
    const unsigned char *a = expected, *b = got;
    for (size_t i = 0; i < compare_array_bytes(array); i++)
        if (a[i] != b[i])
            ck_abort_msg("%s: array %d byte %zu differs", label, which, i);
}
