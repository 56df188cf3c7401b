/* SPDX-License-Identifier: MIT
 *
 * Which words of the ranks mean that nothing goes on after them.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/event_log.h"
#include "coordinator/supervise/supervise_events.h"
#include "tests/suite.h"

static char folder[64];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/muster-events.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, EVENT_LOG_NAME);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void say(const char *kind, int64_t epoch)
{
    struct muster_error err;
    const struct event event = {.kind = kind, .epoch = epoch, .rank = 1, .step = -1, .text = kind};
    ck_assert_int_eq(event_log_append(folder, &event, &err), MUSTER_OK);
}

START_TEST(a_death_of_this_launch_is_the_end)
{
    say("death", 2);
    ck_assert(!supervise_events_end(folder, 0, 3));
    int64_t before = event_log_size(folder);
    say("death", 3);
    ck_assert(supervise_events_end(folder, before, 3));
    ck_assert(!supervise_events_end(folder, event_log_size(folder), 3));
}
END_TEST

/* With `fault.on_nan: skip` the ranks go on. */
START_TEST(a_number_that_went_wrong_can_be_the_cause_and_need_not_be_the_end)
{
    struct supervise_witness witness;
    say("straggler", 3);
    say("nan", 3);
    ck_assert(!supervise_events_end(folder, 0, 3));
    ck_assert(supervise_events_cause(folder, 0, 3, &witness));
    ck_assert_str_eq(witness.text, "nan");
    say("stopped", 3);
    ck_assert(supervise_events_end(folder, 0, 3));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_events");
    TCase *cases = tcase_create("supervise_events");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_death_of_this_launch_is_the_end);
    tcase_add_test(cases, a_number_that_went_wrong_can_be_the_cause_and_need_not_be_the_end);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
