/* SPDX-License-Identifier: MIT
 *
 * Texts that grow under memory failure, numbers at the borders of their units, and what a number is not.
 */
#include "base/text.h"

#include "base/alloc.h"
#include "tests/suite.h"

#include <float.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

START_TEST(a_text_grows_and_is_always_terminated)
{
    struct text text;
    char expected[2001] = "";
    text_init(&text);
    ck_assert_str_eq(text.data, "");
    for (int i = 0; i < 200; i++) {
        text_print(&text, "%04d,", i);
        text_append(&text, "abcdeXX", 5);
        snprintf(expected + 10 * i, sizeof expected - (size_t)(10 * i), "%04d,abcde", i);
        ck_assert_str_eq(text.data, expected);
        ck_assert_uint_eq(text.length, strlen(expected));
    }
    ck_assert(!text.failed);
    text_release(&text);
}
END_TEST

START_TEST(a_text_may_hold_zero_bytes_and_empty_pieces)
{
    struct text text;
    text_init(&text);
    text_append(&text, NULL, 0);
    ck_assert_str_eq(text.data, "");
    text_append(&text, "a\0b", 3);
    text_print(&text, "%s", "");
    ck_assert_uint_eq(text.length, 3);
    ck_assert_mem_eq(text.data, "a\0b", 4);
    text_release(&text);
}
END_TEST

START_TEST(a_released_or_cleared_text_is_empty_and_usable)
{
    int64_t live = alloc_live_count();
    struct text text;
    text_init(&text);
    text_clear(&text);
    text_append(&text, "abc", 3);
    text_clear(&text);
    ck_assert_str_eq(text.data, "");
    ck_assert_uint_eq(text.length, 0);
    text_append(&text, "de", 2);
    ck_assert_str_eq(text.data, "de");
    text_release(&text);
    ck_assert_str_eq(text.data, "");
    text_append(&text, "f", 1);
    ck_assert_str_eq(text.data, "f");
    text_release(&text);
    text_release(&text);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_text_without_memory_keeps_what_it_has_and_says_so_for_good)
{
    struct text text;
    text_init(&text);
    alloc_fail_nth(1);
    text_append(&text, "abc", 3);
    ck_assert(text.failed);
    ck_assert_str_eq(text.data, "");
    text_clear(&text);
    ck_assert(!text.failed);
    text_append(&text, "abc", 3);
    char long_piece[1000];
    memset(long_piece, 'x', sizeof long_piece);
    alloc_fail_nth(1);
    text_append(&text, long_piece, sizeof long_piece);
    ck_assert(text.failed);
    text_append(&text, "d", 1);
    text_print(&text, "d");
    ck_assert_str_eq(text.data, "abc");
    ck_assert_uint_eq(text.length, 3);
    text_clear(&text);
    text_append(&text, "abc", 3);
    text_append(&text, "x", SIZE_MAX - 1); /* the sum wraps */
    ck_assert(text.failed);
    ck_assert_str_eq(text.data, "abc");
    text_release(&text);
}
END_TEST

START_TEST(distance_counts_edits_and_swapped_neighbours)
{
    ck_assert_int_eq(text_distance("", ""), 0);
    ck_assert_int_eq(text_distance("", "abc"), 3);
    ck_assert_int_eq(text_distance("abc", ""), 3);
    ck_assert_int_eq(text_distance("learning_rate", "learning_rate"), 0);
    ck_assert_int_eq(text_distance("kitten", "sitting"), 3);
    ck_assert_int_eq(text_distance("warmup", "wramup"), 1);
    ck_assert_int_eq(text_distance("ab", "ba"), 1);
    ck_assert_int_eq(text_distance("steps", "step"), 1);
    ck_assert_int_eq(text_distance("Seed", "sEED"), 0);
    ck_assert_int_eq(text_distance("abcd", "wxyz"), 4);
}
END_TEST

START_TEST(distance_is_symmetric_and_far_for_long_names)
{
    char name64[65], name63[64];
    memset(name64, 'a', 64);
    memset(name63, 'b', 63);
    name64[64] = name63[63] = '\0';
    ck_assert_int_eq(text_distance(name64, "a"), 64);
    ck_assert_int_eq(text_distance("a", name64), 64);
    ck_assert_int_eq(text_distance(name63, name63), 0);
    ck_assert_int_eq(text_distance(name63, name64 + 1), 63);
    ck_assert_int_eq(text_distance("sunday", "saturday"), text_distance("saturday", "sunday"));
}
END_TEST

START_TEST(the_nearest_name_is_suggested_only_when_near)
{
    static const char *const names[] = {"learning_rate", "lr", "seed", "save_interval", "steps", "step"};
    ck_assert_str_eq(text_nearest("learning_rat", names, 6), "learning_rate");
    ck_assert_str_eq(text_nearest("lerning-rat", names, 6), "learning_rate");
    ck_assert_str_eq(text_nearest("save_intervall", names, 6), "save_interval");
    ck_assert_str_eq(text_nearest("sede", names, 6), "seed");
    ck_assert_str_eq(text_nearest("step", names, 6), "step");
    ck_assert_str_eq(text_nearest("steps", names, 6), "steps"); /* though "step" is near enough and later */
    ck_assert_ptr_null(text_nearest("optimizer", names, 6));
    ck_assert_ptr_null(text_nearest("seedling", names, 6)); /* 4 edits, 3 allowed */
    ck_assert_ptr_null(text_nearest("seed", names, 0));
}
END_TEST

static const char *bytes_text(int64_t bytes)
{
    static char out[16];
    text_format_bytes(out, sizeof out, bytes);
    return out;
}

START_TEST(bytes_read_like_a_person_writes_them)
{
    ck_assert_str_eq(bytes_text(0), "0 B");
    ck_assert_str_eq(bytes_text(512), "512 B");
    ck_assert_str_eq(bytes_text(1023), "1023 B");
    ck_assert_str_eq(bytes_text(1024), "1.00 KiB");
    ck_assert_str_eq(bytes_text(1610612736), "1.50 GiB");
    ck_assert_str_eq(bytes_text(1024 * 1024 - 1), "1.00 MiB");
    ck_assert_str_eq(bytes_text(-2048), "-2.00 KiB");
    ck_assert_str_eq(bytes_text(INT64_MAX), "8.00 EiB");
    ck_assert_str_eq(bytes_text(INT64_MIN), "-8.00 EiB");
}
END_TEST

static const char *count_text(double count)
{
    static char out[16];
    text_format_count(out, sizeof out, count);
    return out;
}

START_TEST(counts_read_like_a_person_writes_them)
{
    ck_assert_str_eq(count_text(0), "0");
    ck_assert_str_eq(count_text(950), "950");
    ck_assert_str_eq(count_text(0.25), "0.25");
    ck_assert_str_eq(count_text(12.34), "12.3");
    ck_assert_str_eq(count_text(124439808), "124.4M");
    ck_assert_str_eq(count_text(1.5e9), "1.50B");
    ck_assert_str_eq(count_text(999999), "1.00M");
    ck_assert_str_eq(count_text(1000), "1.00K");
    ck_assert_str_eq(count_text(9996), "10.0K");
    ck_assert_str_eq(count_text(-1500), "-1.50K");
    ck_assert_str_eq(count_text(2.5e12), "2.50T");
    ck_assert_str_eq(count_text(3e20), "3e+20");
    ck_assert_uint_lt(strlen(count_text(-DBL_MAX)), 15);
    ck_assert_ptr_nonnull(strstr(count_text(0.0 / 0.0), "nan"));
}
END_TEST

static const char *duration_text(double seconds)
{
    static char out[24];
    text_format_duration(out, sizeof out, seconds);
    return out;
}

START_TEST(durations_read_like_a_clock)
{
    ck_assert_str_eq(duration_text(3.44), "3.4 s");
    ck_assert_str_eq(duration_text(0), "0.0 s");
    ck_assert_str_eq(duration_text(59.97), "00:01:00");
    ck_assert_str_eq(duration_text(7384), "02:03:04");
    ck_assert_str_eq(duration_text(86399.7), "1d 00:00:00");
    ck_assert_str_eq(duration_text(93784), "1d 02:03:04");
    ck_assert_str_eq(duration_text(-5), "-5.0 s");
    ck_assert_str_eq(duration_text(9.9e12), "114583333d 08:00:00");
    ck_assert_str_eq(duration_text(1.0 / 0.0), "forever");
}
END_TEST

START_TEST(whole_numbers_are_parsed_to_their_limits)
{
    int64_t value = 0;
    ck_assert(text_parse_int64("0", &value) && value == 0);
    ck_assert(text_parse_int64("-17", &value) && value == -17);
    ck_assert(text_parse_int64("+17", &value) && value == 17);
    ck_assert(text_parse_int64("007", &value) && value == 7);
    ck_assert(text_parse_int64("1_000_000", &value) && value == 1000000);
    ck_assert(text_parse_int64("9223372036854775807", &value) && value == INT64_MAX);
    ck_assert(text_parse_int64("-9223372036854775808", &value) && value == INT64_MIN);
}
END_TEST

START_TEST(what_is_not_a_whole_number_is_refused)
{
    static const char *const wrong[] = {"",
                                        "-",
                                        "+",
                                        " 1",
                                        "1 ",
                                        "1.0",
                                        "1e3",
                                        "0x10",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "_1",
                                        "1__",
                                        "1__0",
                                        "1_",
                                        "-_1",
                                        "--1",
                                        "+-1",
                                        "abc",
                                        "1a",
                                        "99999999999999999999",
                                        "_",
                                        "1\n",
                                        "\t1",
                                        "1_\n",
                                        "१",
                                        "1,000"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int64_t value = 42;
        ck_assert_msg(!text_parse_int64(wrong[i], &value), "accepted \"%s\"", wrong[i]);
        ck_assert_int_eq(value, 42);
    }
}
END_TEST

START_TEST(decimal_numbers_are_parsed_exactly)
{
    double value = 0;
    ck_assert(text_parse_double("0.1", &value) && value == 0.1);
    ck_assert(text_parse_double("-1.5e-3", &value) && value == -1.5e-3);
    ck_assert(text_parse_double("+3E+2", &value) && value == 300);
    ck_assert(text_parse_double(".5", &value) && value == 0.5);
    ck_assert(text_parse_double("5.", &value) && value == 5);
    ck_assert(text_parse_double("1_000.000_5", &value) && value == 1000.0005);
    ck_assert(text_parse_double("1e1_0", &value) && value == 1e10);
    ck_assert(text_parse_double("1.7976931348623157e308", &value) && value == DBL_MAX);
    ck_assert(text_parse_double("1e-999", &value) && value == 0);
}
END_TEST

START_TEST(what_is_not_a_decimal_number_is_refused)
{
    static const char *const wrong[] = {"",     ".",     "-",        "e5",    "1e",    "1e+",    " 1",
                                        "1 ",   "inf",   "nan",      "0x1p3", "1e999", "-1e999", "1,5",
                                        "1._5", "1_.5",  "_1.5",     "1.5_",  "1e_5",  "1.2.3",  "1f",
                                        "--1",  "1e5.0", "infinity", "+.e1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        double value = 42;
        ck_assert_msg(!text_parse_double(wrong[i], &value), "accepted \"%s\"", wrong[i]);
        ck_assert(value == 42);
    }
}
END_TEST

START_TEST(a_length_of_time_is_read_in_seconds_or_with_units)
{
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"90", 90}, {"1.5", 1.5}, {"90s", 90}, {"1h30m", 5400}, {"2d", 172800}, {"1d2h3m4s", 93784}};
    static const char *const wrong[] = {"-1",   "",     "h",       "1h30", "30m1h",
                                        "1h1h", "1.5h", "1:30:00", "5 m",  "1w"};
    double value;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(text_parse_duration(good[i].text, &value) && value == good[i].seconds, "%s",
                      good[i].text);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(!text_parse_duration(wrong[i], &value), "accepted \"%s\"", wrong[i]);
}
END_TEST

START_TEST(a_number_longer_than_any_sensible_one_is_refused_not_overrun)
{
    static char digits[100001];
    double value = 42;
    int64_t whole = 42;
    memset(digits, '0', sizeof digits - 1);
    ck_assert(!text_parse_double(digits, &value) && value == 42);
    ck_assert(!text_parse_int64(digits, &whole) && whole == 42);
    digits[511] = '\0';
    ck_assert(text_parse_double(digits, &value) && value == 0);
    ck_assert(text_parse_int64(digits, &whole) && whole == 0);
}
END_TEST

START_TEST(a_locale_with_a_decimal_comma_changes_nothing)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "cs_CZ.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (setlocale(LC_ALL, names[i]) == NULL)
            continue; /* not installed here */
        double value = 0;
        bool parsed = text_parse_double("1.5", &value), comma = text_parse_double("1,5", &value);
        setlocale(LC_ALL, "C");
        ck_assert(parsed && value == 1.5 && !comma);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *cases = tcase_create("text");
    tcase_add_test(cases, a_text_grows_and_is_always_terminated);
    tcase_add_test(cases, a_text_may_hold_zero_bytes_and_empty_pieces);
    tcase_add_test(cases, a_released_or_cleared_text_is_empty_and_usable);
    tcase_add_test(cases, a_text_without_memory_keeps_what_it_has_and_says_so_for_good);
    tcase_add_test(cases, distance_counts_edits_and_swapped_neighbours);
    tcase_add_test(cases, distance_is_symmetric_and_far_for_long_names);
    tcase_add_test(cases, the_nearest_name_is_suggested_only_when_near);
    tcase_add_test(cases, bytes_read_like_a_person_writes_them);
    tcase_add_test(cases, counts_read_like_a_person_writes_them);
    tcase_add_test(cases, durations_read_like_a_clock);
    tcase_add_test(cases, whole_numbers_are_parsed_to_their_limits);
    tcase_add_test(cases, what_is_not_a_whole_number_is_refused);
    tcase_add_test(cases, decimal_numbers_are_parsed_exactly);
    tcase_add_test(cases, what_is_not_a_decimal_number_is_refused);
    tcase_add_test(cases, a_length_of_time_is_read_in_seconds_or_with_units);
    tcase_add_test(cases, a_number_longer_than_any_sensible_one_is_refused_not_overrun);
    tcase_add_test(cases, a_locale_with_a_decimal_comma_changes_nothing);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
