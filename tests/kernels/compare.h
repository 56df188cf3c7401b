/* SPDX-License-Identifier: MIT
 *
 * One operation on two back ends: the same random inputs, poisoned outputs, and a look past the end of every
 * array. A test lists the arrays of an operation once and says how to call it; who judges whom, and on how
 * many threads, is decided here.
 */
#ifndef MUSTER_TESTS_KERNELS_COMPARE_H
#define MUSTER_TESTS_KERNELS_COMPARE_H

#include "kernels/kernels.h"

enum compare_role {
    COMPARE_INPUT,  /* random, must stay as it is */
    COMPARE_OUTPUT, /* filled with NaN before the call */
    COMPARE_UPDATE, /* random before the call, changed by it */
    COMPARE_WORK,   /* filled with NaN, not compared */
};

enum { COMPARE_ARRAYS_MAX = 12 };

struct compare_array {
    enum compare_role role;
    enum dtype dtype;
    int64_t count;      /* 0 gives a NULL pointer */
    double tolerance;   /* share of the value and of the array's root mean square */
    double low, high;   /* range of random values; both 0: [-1, 1) */
    const void *values; /* contents to use instead of random ones, or NULL */
};

/** Calls the operation on `k` with the arrays' data; `shape` is the test's own. */
typedef enum muster_status (*compare_call)(struct kernels *k, const void *shape, void *const data[],
                                           struct muster_error *err);

/** Creates the judge and the back ends under test; the first is run on several numbers of threads. */
void compare_open(void);
void compare_close(void);

/** The judge, and the back end under test on one thread. */
struct kernels *compare_judge(void);
struct kernels *compare_subject(void);

/**
 * Runs the operation on the judge and on every back end under test, and fails the test with `label` and the
 * first element that is further off than its tolerance, differs between numbers of threads, or was touched
 * without being an output.
 */
void compare_run(const char *label, const struct compare_array *arrays, int array_count, compare_call call,
                 const void *shape);

#endif
