/* SPDX-License-Identifier: MIT
 *
 * Whom a supervisor blames for the end of a launch, from what the ranks wrote and what the launcher saw.
 */
#include "base/alloc.h"
#include "base/event_log.h"
#include "coordinator/supervise/supervise_events.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static void teardown(void)
{
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

static void event_add(const char *kind, int64_t epoch, int rank, const char *text)
{
    const struct event event = {
        .kind = kind, .epoch = epoch, .rank = rank, .host = "node07", .step = 3, .text = text};
    ck_assert_int_eq(event_log_append(".", &event, NULL), MUSTER_OK);
}

static void must_blame(int killed, int rank, const char *text)
{
    struct supervise_witness witness;
    ck_assert(supervise_events_cause(".", 0, 2, killed, &witness));
    ck_assert_int_eq(witness.rank, rank);
    ck_assert_str_eq(witness.host, "node07");
    ck_assert_str_eq(witness.text, text);
}

START_TEST(the_first_of_this_launch_that_can_end_one_is_the_cause)
{
    struct supervise_witness witness;
    ck_assert(!supervise_events_cause(".", 0, 2, -1, &witness));
    event_add("death", 1, 4, "an older launch");
    event_add("straggler", 2, 3, "slow");
    ck_assert(!supervise_events_cause(".", 0, 2, -1, &witness));
    event_add("stopped", 2, 1, "first");
    event_add("death", 2, 0, "second");
    must_blame(-1, 1, "first");
    ck_assert(!supervise_events_cause(".", event_log_size("."), 2, -1, &witness));
}
END_TEST

/* On a busy host: rank 0 is ended by the launcher before its watchdog has told of rank 1, and rank 2 tells of
 * rank 0. */
START_TEST(who_was_killed_first_is_the_launchers_to_say)
{
    struct supervise_witness witness;
    event_add("death", 2, 0, "rank 0 died");
    ck_assert(!supervise_events_cause(".", 0, 2, 1, &witness));
    must_blame(-1, 0, "rank 0 died");
    event_add("death", 2, 1, "rank 1 died");
    must_blame(1, 1, "rank 1 died");
}
END_TEST

START_TEST(a_rank_that_stopped_is_the_cause_whoever_was_killed_then)
{
    event_add("stopped", 2, 2, "rank 2 stopped");
    must_blame(0, 2, "rank 2 stopped");
}
END_TEST

START_TEST(a_death_of_this_launch_is_the_end_of_it)
{
    event_add("death", 1, 1, "an older launch");
    ck_assert(!supervise_events_end(".", 0, 2));
    int64_t before = event_log_size(".");
    event_add("death", 2, 1, "this one");
    ck_assert(supervise_events_end(".", before, 2));
    ck_assert(!supervise_events_end(".", event_log_size("."), 2));
}
END_TEST

/* With `fault.on_nan: skip` the ranks go on. */
START_TEST(a_number_that_went_wrong_can_be_the_cause_and_need_not_be_the_end)
{
    event_add("straggler", 2, 1, "slow");
    event_add("nan", 2, 1, "not a number");
    ck_assert(!supervise_events_end(".", 0, 2));
    must_blame(-1, 1, "not a number");
    event_add("stopped", 2, 1, "stopped");
    ck_assert(supervise_events_end(".", 0, 2));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_events");
    TCase *cases = tcase_create("supervise_events");
    tcase_add_checked_fixture(cases, program_folder_enter, teardown);
    tcase_add_test(cases, the_first_of_this_launch_that_can_end_one_is_the_cause);
    tcase_add_test(cases, who_was_killed_first_is_the_launchers_to_say);
    tcase_add_test(cases, a_rank_that_stopped_is_the_cause_whoever_was_killed_then);
    tcase_add_test(cases, a_death_of_this_launch_is_the_end_of_it);
    tcase_add_test(cases, a_number_that_went_wrong_can_be_the_cause_and_need_not_be_the_end);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
