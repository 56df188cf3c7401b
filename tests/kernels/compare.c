/* SPDX-License-Identifier: MIT
 *
 * See compare.h. The back ends under test are the CPU one with the best instruction set of this machine on 1,
 * 2 and 3 threads, which must agree in every bit, and its other instruction sets on 2 threads.
 */
#include "compare.h"

#include <check.h>
#include <stdio.h>

#include "compare_array.h"

#include "base/alloc.h"

enum { COMPARE_SUBJECTS_MAX = 5, COMPARE_SAME_BITS = 3, COMPARE_SCRATCH = 24 << 20 };

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
        compare_array_guard_check(label, &arrays[i], got[i], i);
        if (arrays[i].role == COMPARE_INPUT)
            compare_array_same_bits(label, &arrays[i], judged[i], got[i], i);
        else if (arrays[i].role != COMPARE_WORK)
            compare_array_close_enough(label, &arrays[i], judged[i], got[i], i);
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
                compare_array_same_bits(where, &arrays[i], first[i], data[i], i);
        }
        if (s > 0)
            compare_arrays_release(array_count, got);
    }
    compare_arrays_release(array_count, first);
    compare_arrays_release(array_count, judged);
}
