/* SPDX-License-Identifier: MIT
 *
 * How a moment is written down, and that the monotonic clock never runs backwards.
 */
#include "base/clock.h"
#include "tests/suite.h"

START_TEST(a_moment_is_written_in_utc_with_milliseconds)
{
    char text[25];
    clock_format_utc(0, text, sizeof text);
    ck_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
    clock_format_utc(1709251199123, text, sizeof text);
    ck_assert_str_eq(text, "2024-02-29T23:59:59.123Z");
    clock_format_utc(1769903999007, text, sizeof text);
    ck_assert_str_eq(text, "2026-01-31T23:59:59.007Z");
}
END_TEST

START_TEST(a_moment_before_1970_is_written_right)
{
    char text[25];
    clock_format_utc(-1, text, sizeof text);
    ck_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
}
END_TEST

START_TEST(a_moment_out_of_range_is_a_text_that_fits)
{
    char text[25];
    clock_format_utc(INT64_MAX, text, sizeof text);
    ck_assert_str_ne(text, "");
    clock_format_utc(INT64_MIN, text, sizeof text);
    ck_assert_str_ne(text, "");
}
END_TEST

START_TEST(the_monotonic_clock_does_not_go_back)
{
    int64_t before = clock_monotonic_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_monotonic_ns();
        ck_assert_int_ge(now, before);
        before = now;
    }
    double seconds = clock_seconds();
    ck_assert(seconds >= (double)before * 1e-9 && seconds < (double)before * 1e-9 + 3600);
}
END_TEST

START_TEST(the_unix_clock_counts_milliseconds)
{
    int64_t now = clock_unix_ms(); /* between the years 2020 and 2200 */
    ck_assert_int_gt(now, 1577836800000);
    ck_assert_int_lt(now, 7258118400000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *cases = tcase_create("clock");
    tcase_add_test(cases, a_moment_is_written_in_utc_with_milliseconds);
    tcase_add_test(cases, a_moment_before_1970_is_written_right);
    tcase_add_test(cases, a_moment_out_of_range_is_a_text_that_fits);
    tcase_add_test(cases, the_monotonic_clock_does_not_go_back);
    tcase_add_test(cases, the_unix_clock_counts_milliseconds);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
