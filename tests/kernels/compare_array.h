/* SPDX-License-Identifier: MIT
 *
 * One array of a comparison: filled before a call, looked at after it. What the runners of compare.h on
 * different machinery (host back ends, device memory) share.
 */
#ifndef MUSTER_TESTS_KERNELS_COMPARE_ARRAY_H
#define MUSTER_TESTS_KERNELS_COMPARE_ARRAY_H

#include "compare.h"

enum { COMPARE_GUARD = 64 };

/** Bytes without the guard. */
size_t compare_array_bytes(const struct compare_array *array);

/**
 * Makes `data` (the array's bytes and COMPARE_GUARD more) what it is before a call: random by (seed, which),
 * or the given values, or NaN; and a pattern in the guard.
 */
void compare_array_fill(const struct compare_array *array, void *data, uint64_t seed, int which);

/** Fails the test when the guard behind `data` is not what compare_array_fill made it. */
void compare_array_guard_check(const char *label, const struct compare_array *array, const void *data,
                               int which);

/** Fails the test when an element is further from the expected one than the array's tolerance. */
void compare_array_close_enough(const char *label, const struct compare_array *array, const void *expected,
                                const void *got, int which);

/** Fails the test when a byte differs. */
void compare_array_same_bits(const char *label, const struct compare_array *array, const void *expected,
                             const void *got, int which);

#endif
