/* SPDX-License-Identifier: MIT
 *
 * Whole histories of deaths, judged without a process and without a clock.
 */
#include <string.h>

#include "coordinator/supervise/supervise_policy.h"
#include "tests/suite.h"

static const struct supervise_limits limits = {.max_restarts = 8, .give_up_after = 5, .backoff_s = 1.0};
static struct supervise_history history;

static struct supervise_verdict die(int64_t saved_step, bool has_trained)
{
    const struct supervise_death death = {saved_step, has_trained};
    return supervise_judge(&limits, &history, &death);
}

START_TEST(a_run_that_gets_on_is_restarted_at_once_until_the_budget_is_spent)
{
    supervise_history_init(&history, -1);
    for (int i = 1; i <= 8; i++) {
        struct supervise_verdict verdict = die(10 * i, true);
        ck_assert(verdict.restart && verdict.delay_s == 0.0);
        ck_assert_int_eq(history.restarts, i);
    }
    struct supervise_verdict verdict = die(90, true);
    ck_assert(!verdict.restart);
    ck_assert_str_eq(verdict.why, "all 8 restarts are used up");
}
END_TEST

START_TEST(without_a_new_checkpoint_it_waits_longer_and_longer_and_gives_up)
{
    static const double delays_s[] = {0, 1, 2, 4};
    supervise_history_init(&history, 40);
    for (int i = 0; i < 4; i++) {
        struct supervise_verdict verdict = die(40, true);
        ck_assert(verdict.restart && verdict.delay_s == delays_s[i]);
    }
    struct supervise_verdict verdict = die(40, true);
    ck_assert(!verdict.restart);
    ck_assert_str_eq(verdict.why, "it died 5 times in a row without a new checkpoint");
}
END_TEST

START_TEST(a_new_checkpoint_forgives_what_was_before)
{
    supervise_history_init(&history, -1);
    for (int i = 0; i < 4; i++)
        die(-1, true);
    struct supervise_verdict verdict = die(5, true);
    ck_assert(verdict.restart && verdict.delay_s == 0.0);
    ck_assert_int_eq(history.fruitless, 0);
}
END_TEST

START_TEST(an_older_checkpoint_than_before_is_no_progress)
{
    supervise_history_init(&history, 100);
    die(90, true); /* the newest turned out damaged */
    ck_assert_int_eq(history.fruitless, 1);
    die(95, true); /* but from there on it gets on */
    ck_assert_int_eq(history.fruitless, 0);
}
END_TEST

START_TEST(what_never_trained_is_given_up_sooner)
{
    supervise_history_init(&history, 100);
    ck_assert(die(100, false).restart);
    ck_assert(die(100, false).restart);
    struct supervise_verdict verdict = die(100, false);
    ck_assert(!verdict.restart);
    ck_assert_str_eq(verdict.why, "it died 3 times and never finished a step");
}
END_TEST

START_TEST(the_wait_stays_below_a_minute)
{
    const struct supervise_limits patient = {.max_restarts = 1000, .give_up_after = 1000, .backoff_s = 1.0};
    const struct supervise_death death = {1, true};
    supervise_history_init(&history, 1);
    for (int i = 0; i < 900; i++) {
        struct supervise_verdict verdict = supervise_judge(&patient, &history, &death);
        ck_assert(verdict.restart && verdict.delay_s <= 60.0 && verdict.delay_s >= 0.0);
    }
}
END_TEST

START_TEST(a_budget_of_none_means_none)
{
    const struct supervise_limits strict = {.max_restarts = 0, .give_up_after = 5};
    const struct supervise_death death = {1, true};
    supervise_history_init(&history, -1);
    ck_assert(!supervise_judge(&strict, &history, &death).restart);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_policy");
    TCase *cases = tcase_create("supervise_policy");
    tcase_add_test(cases, a_run_that_gets_on_is_restarted_at_once_until_the_budget_is_spent);
    tcase_add_test(cases, without_a_new_checkpoint_it_waits_longer_and_longer_and_gives_up);
    tcase_add_test(cases, a_new_checkpoint_forgives_what_was_before);
    tcase_add_test(cases, an_older_checkpoint_than_before_is_no_progress);
    tcase_add_test(cases, what_never_trained_is_given_up_sooner);
    tcase_add_test(cases, the_wait_stays_below_a_minute);
    tcase_add_test(cases, a_budget_of_none_means_none);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
