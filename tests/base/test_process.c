/* SPDX-License-Identifier: MIT
 *
 * What is known of other processes, seen from their parent: this one.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "tests/sleeper.h"
#include "tests/suite.h"

START_TEST(children_are_counted_until_they_have_ended_and_told_apart_by_what_they_were_started_with)
{
    char one[] = "RANKS=1", two[] = "RANKS=12", name[16];
    siginfo_t info;
    ck_assert_int_eq(process_children_count(getpid(), NULL), 0);
    pid_t first = sleeper_start(one), second = sleeper_start(two);
    ck_assert_int_eq(process_children_count(getpid(), NULL), 2);
    ck_assert_int_eq(process_children_count(getpid(), "RANKS=1"), 1);
    ck_assert_int_eq(process_children_count(getpid(), "RANKS="), 0);
    ck_assert(process_has_setting(second, two) && !process_has_setting(second, one));
    process_name(first, name);
    ck_assert_str_eq(name, "sleep");
    ck_assert(!process_has_ended(first));
    kill(first, SIGKILL);
    waitid(P_PID, (id_t)first, &info, WEXITED | WNOWAIT); /* ended, and not asked after yet */
    ck_assert(process_has_ended(first));
    ck_assert_int_eq(process_children_count(getpid(), NULL), 1);
    ck_assert_int_eq(process_children_count(getpid(), "RANKS=1"), 0);
    kill(second, SIGKILL);
    waitpid(first, NULL, 0);
    waitpid(second, NULL, 0);
    ck_assert(process_has_ended(first));
    ck_assert_int_eq(process_children_count(getpid(), NULL), 0);
    process_name(first, name);
    ck_assert_str_eq(name, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("process");
    TCase *cases = tcase_create("process");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases,
                   children_are_counted_until_they_have_ended_and_told_apart_by_what_they_were_started_with);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
