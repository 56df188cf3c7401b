/* SPDX-License-Identifier: MIT
 *
 * The heap door: its counters, its failures on request, and the corners where the C library differs.
 */
#include "base/alloc.h"
#include "tests/suite.h"

#include <pthread.h>
#include <string.h>

START_TEST(live_blocks_are_counted_up_and_down)
{
    int64_t live = alloc_live_count();
    void *a = alloc_zeroed(3, 5), *b = alloc_aligned(100, 64), *d = alloc_resize(NULL, 4, 4);
    char *c = alloc_text("abc");
    ck_assert(a != NULL && b != NULL && c != NULL && d != NULL);
    ck_assert_int_eq(alloc_live_count(), live + 4);
    d = alloc_resize(d, 4000, 4);
    ck_assert_int_eq(alloc_live_count(), live + 4);
    alloc_free(a);
    alloc_free(b);
    alloc_free(c);
    alloc_free(d);
    alloc_free(NULL);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(calls_are_counted_and_free_is_not_one)
{
    int64_t calls = alloc_call_count();
    void *a = alloc_zeroed(1, 1);
    a = alloc_resize(a, 2, 2);
    void *b = alloc_aligned(1, 16);
    char *c = alloc_text("");
    alloc_free(a);
    alloc_free(b);
    alloc_free(c);
    ck_assert_int_eq(alloc_call_count(), calls + 4);
}
END_TEST

START_TEST(blocks_are_zeroed_and_aligned)
{
    static const unsigned char zeros[4096];
    for (size_t alignment = 16; alignment <= 4096; alignment *= 2) {
        unsigned char *block = alloc_aligned(1000, alignment);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % alignment, 0);
        ck_assert_mem_eq(block, zeros, 1000);
        memset(block, 0xff, 1000); /* so that the next block is not zero by luck */
        alloc_free(block);
    }
    unsigned char *block = alloc_zeroed(10, 100);
    ck_assert_ptr_nonnull(block);
    ck_assert_mem_eq(block, zeros, 1000);
    alloc_free(block);
}
END_TEST

START_TEST(zero_bytes_give_a_pointer)
{
    int64_t live = alloc_live_count();
    void *a = alloc_zeroed(0, 8), *b = alloc_aligned(0, 64), *c = alloc_resize(NULL, 0, 1);
    ck_assert(a != NULL && b != NULL && c != NULL);
    c = alloc_resize(c, 0, 8);
    ck_assert_ptr_nonnull(c);
    alloc_free(a);
    alloc_free(b);
    alloc_free(c);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_product_that_overflows_gives_null)
{
    ck_assert_ptr_null(alloc_zeroed(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(alloc_resize(NULL, SIZE_MAX / 2 + 2, 2)); /* wraps to 2 bytes */
    char *old = alloc_text("kept");
    ck_assert_ptr_null(alloc_resize(old, SIZE_MAX / 2 + 2, 2));
    ck_assert_str_eq(old, "kept");
    alloc_free(old);
}
END_TEST

START_TEST(the_nth_call_fails_once)
{
    int64_t live = alloc_live_count();
    for (int n = 1; n <= 5; n++) {
        alloc_fail_nth(n);
        for (int call = 1; call <= 8; call++) {
            void *block = call % 3 == 0   ? alloc_aligned(8, 16)
                          : call % 3 == 1 ? alloc_zeroed(8, 1)
                                          : alloc_resize(NULL, 8, 1);
            ck_assert_int_eq(block == NULL, call == n);
            alloc_free(block);
        }
    }
    alloc_fail_nth(1);
    ck_assert_ptr_null(alloc_text("x"));
    alloc_fail_nth(1);
    alloc_fail_nth(0);
    void *block = alloc_zeroed(1, 1);
    ck_assert_ptr_nonnull(block);
    alloc_free(block);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_resize_that_fails_leaves_the_old_block)
{
    char *block = alloc_text("kept");
    alloc_fail_nth(1);
    ck_assert_ptr_null(alloc_resize(block, 100, 1));
    ck_assert_str_eq(block, "kept");
    block = alloc_resize(block, 100000, 1);
    ck_assert_ptr_nonnull(block);
    ck_assert_str_eq(block, "kept");
    alloc_free(block);
}
END_TEST

enum { THREAD_COUNT = 4, CALLS_PER_THREAD = 20000 };

static void *allocate_many(void *failed_count)
{
    for (int i = 0; i < CALLS_PER_THREAD; i++) {
        void *block = alloc_zeroed(1, 16);
        *(int *)failed_count += block == NULL;
        alloc_free(block);
    }
    return NULL;
}

START_TEST(threads_lose_no_count_and_exactly_one_call_fails)
{
    int64_t live = alloc_live_count(), calls = alloc_call_count();
    pthread_t threads[THREAD_COUNT];
    int failed_count[THREAD_COUNT] = {0}, failed_total = 0;
    alloc_fail_nth(CALLS_PER_THREAD);
    for (int i = 0; i < THREAD_COUNT; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, allocate_many, &failed_count[i]), 0);
    for (int i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
        failed_total += failed_count[i];
    }
    ck_assert_int_eq(failed_total, 1);
    ck_assert_int_eq(alloc_live_count(), live);
    ck_assert_int_eq(alloc_call_count(), calls + THREAD_COUNT * CALLS_PER_THREAD);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alloc");
    TCase *cases = tcase_create("alloc");
    tcase_add_test(cases, live_blocks_are_counted_up_and_down);
    tcase_add_test(cases, calls_are_counted_and_free_is_not_one);
    tcase_add_test(cases, blocks_are_zeroed_and_aligned);
    tcase_add_test(cases, zero_bytes_give_a_pointer);
    tcase_add_test(cases, a_product_that_overflows_gives_null);
    tcase_add_test(cases, the_nth_call_fails_once);
    tcase_add_test(cases, a_resize_that_fails_leaves_the_old_block);
    tcase_add_test(cases, threads_lose_no_count_and_exactly_one_call_fails);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
