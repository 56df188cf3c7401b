/* SPDX-License-Identifier: MIT
 *
 * Who is slow, from made-up times.
 */
#include "worker/guard/straggler.h"
#include "tests/suite.h"

#include <stdlib.h>

enum { RANKS = 5, RANKS_MANY = 101 };

static struct straggler straggler;
static struct muster_error err;
static double median;

static void start(int ranks)
{
    ck_assert_int_eq(straggler_init(&straggler, ranks, &err), MUSTER_OK);
}

/* The first answer in so many steps. */
static int steps(const double *seconds, int count)
{
    int found = -1;
    for (int i = 0; i < count && found < 0; i++)
        found = straggler_step(&straggler, seconds, &median);
    return found;
}

START_TEST(a_slow_rank_is_named_after_fifty_steps_and_once)
{
    const double seconds[RANKS] = {1.0, 1.1, 1.6, 0.9, 1.0};
    start(RANKS);
    ck_assert_int_eq(steps(seconds, STRAGGLER_STEPS - 1), -1);
    ck_assert_int_eq(steps(seconds, 1), 2);
    ck_assert_double_eq(median, 1.0);
    ck_assert_int_eq(steps(seconds, 1000), -1);
    straggler_release(&straggler);
}
END_TEST

START_TEST(a_step_that_was_not_slow_takes_one_back)
{
    const double slow[RANKS] = {1, 1, 1, 1, 2}, fast[RANKS] = {1, 1, 1, 1, 1};
    start(RANKS);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(steps(slow, 1), -1);
        ck_assert_int_eq(steps(fast, 1), -1);
    }
    ck_assert_int_eq(steps(slow, STRAGGLER_STEPS - 1), -1);
    ck_assert_int_eq(steps(fast, 10), -1);
    ck_assert_int_eq(steps(slow, 10), -1);
    ck_assert_int_eq(steps(slow, 1), 4);
    straggler_release(&straggler);
}
END_TEST

START_TEST(one_of_two_can_be_slow_and_all_cannot)
{
    const double two[2] = {3.1, 2.0}, all[2] = {9.0, 9.0}, one[1] = {5.0};
    start(2);
    ck_assert_int_eq(steps(all, 100), -1);
    ck_assert_int_eq(steps(two, 100), 0);
    straggler_release(&straggler);
    start(1);
    ck_assert_int_eq(steps(one, 100), -1);
    straggler_release(&straggler);
}
END_TEST

START_TEST(two_slow_ranks_are_named_one_after_the_other)
{
    const double seconds[RANKS] = {2, 1, 1, 2, 1};
    start(RANKS);
    ck_assert_int_eq(steps(seconds, 100), 0);
    ck_assert_int_eq(steps(seconds, 1), 3);
    straggler_release(&straggler);
}
END_TEST

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

START_TEST(the_median_is_that_of_the_sorted_times)
{
    double seconds[RANKS_MANY], sorted[RANKS_MANY];
    srand(7);
    for (int count = 1; count <= RANKS_MANY; count++) {
        start(count);
        for (int i = 0; i < count; i++)
            sorted[i] = seconds[i] = rand() % 20; /* many are equal */
        qsort(sorted, (size_t)count, sizeof *sorted, double_compare);
        straggler_step(&straggler, seconds, &median);
        ck_assert_double_eq(median, sorted[(count - 1) / 2]);
        straggler_release(&straggler);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("straggler");
    tcase_add_test(tcase, a_slow_rank_is_named_after_fifty_steps_and_once);
    tcase_add_test(tcase, a_step_that_was_not_slow_takes_one_back);
    tcase_add_test(tcase, one_of_two_can_be_slow_and_all_cannot);
    tcase_add_test(tcase, two_slow_ranks_are_named_one_after_the_other);
    tcase_add_test(tcase, the_median_is_that_of_the_sorted_times);
    Suite *suite = suite_create("straggler");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
