/* SPDX-License-Identifier: MIT
 *
 * Time is an argument: a run of hours is decided here in no time.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/time_limit.h"
#include "tests/suite.h"

static const char *started, *slurm_end;

static char *lookup(const char *name)
{
    if (strcmp(name, "MUSTER_STARTED_MS") == 0)
        return (char *)started;
    return strcmp(name, "SLURM_JOB_END_TIME") == 0 ? (char *)slurm_end : NULL;
}

static void setup(void)
{
    started = slurm_end = NULL;
}

/* Borders every `step_s` from `now_s` on; when the last step ends. */
static double last_border(struct time_limit *limit, double now_s, double step_s)
{
    for (int i = 0; i < 1000000; i++, now_s += step_s) {
        if (time_limit_border(limit, now_s))
            return now_s + step_s;
    }
    return -1;
}

START_TEST(without_a_limit_there_is_always_time)
{
    struct time_limit limit;
    time_limit_init(&limit, 0, lookup, 1e9);
    ck_assert(last_border(&limit, 1e9, 1000) < 0);
}
END_TEST

START_TEST(the_last_step_and_a_save_fit_before_the_end)
{
    static const double steps_s[] = {0.01, 1, 60, 300};
    for (int i = 0; i < 4; i++) {
        struct time_limit limit;
        time_limit_init(&limit, 3600, lookup, 1e9);
        time_limit_saved(&limit, 20);
        double end_s = last_border(&limit, 1e9, steps_s[i]);
        ck_assert_msg(end_s > 0 && end_s + 20 < 1e9 + 3600, "step %g", steps_s[i]);
        ck_assert_msg(end_s > 1e9 + 3600 - 4 * steps_s[i] - 2 * 20 - 2, "step %g: far too early", steps_s[i]);
    }
}
END_TEST

START_TEST(the_time_counts_from_the_first_launch)
{
    struct time_limit limit;
    started = "1000000000000";
    time_limit_init(&limit, 3600, lookup, 1e9 + 3000);
    ck_assert(limit.end_s == 1e9 + 3600);
    ck_assert(!time_limit_border(&limit, 1e9 + 3000));
    time_limit_init(&limit, 3600, lookup, 1e9 + 4000);
    ck_assert(time_limit_border(&limit, 1e9 + 4000)); /* a restart after the end */
}
END_TEST

START_TEST(slurms_limit_counts_where_it_comes_first)
{
    struct time_limit limit;
    slurm_end = "1000000100";
    time_limit_init(&limit, 0, lookup, 1e9);
    ck_assert(limit.end_s == 1e9 + 100);
    time_limit_init(&limit, 50, lookup, 1e9);
    ck_assert(limit.end_s == 1e9 + 50);
    time_limit_init(&limit, 500, lookup, 1e9);
    ck_assert(limit.end_s == 1e9 + 100);
    slurm_end = "soon";
    time_limit_init(&limit, 500, lookup, 1e9);
    ck_assert(limit.end_s == 1e9 + 500);
}
END_TEST

START_TEST(before_a_save_was_measured_a_share_of_the_limit_is_kept_for_it)
{
    struct time_limit limit;
    time_limit_init(&limit, 100, lookup, 1e9);
    ck_assert(time_limit_margin(&limit) == 6);
    time_limit_init(&limit, 1e6, lookup, 1e9);
    ck_assert(time_limit_margin(&limit) == 31);
    time_limit_saved(&limit, 100);
    ck_assert(time_limit_margin(&limit) == 201);
}
END_TEST

START_TEST(one_slow_step_is_forgotten_in_time)
{
    struct time_limit limit;
    time_limit_init(&limit, 1e6, lookup, 1e9);
    time_limit_border(&limit, 1e9);
    time_limit_border(&limit, 1e9 + 500);
    ck_assert(limit.longest_s == 500);
    for (int i = 1; i <= 1000; i++)
        time_limit_border(&limit, 1e9 + 500 + i);
    ck_assert(limit.longest_s < 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("time_limit");
    TCase *cases = tcase_create("time_limit");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_add_test(cases, without_a_limit_there_is_always_time);
    tcase_add_test(cases, the_last_step_and_a_save_fit_before_the_end);
    tcase_add_test(cases, the_time_counts_from_the_first_launch);
    tcase_add_test(cases, slurms_limit_counts_where_it_comes_first);
    tcase_add_test(cases, before_a_save_was_measured_a_share_of_the_limit_is_kept_for_it);
    tcase_add_test(cases, one_slow_step_is_forgotten_in_time);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
