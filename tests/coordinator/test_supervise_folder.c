/* SPDX-License-Identifier: MIT
 *
 * How a supervisor knows that a launch has come as far as its first step, whatever clock the files' times are
 * of.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "coordinator/supervise/supervise_folder.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static void teardown(void)
{
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

static void plan_write(int64_t unix_s)
{
    const struct timespec times[] = {{.tv_sec = unix_s}, {.tv_sec = unix_s}};
    ck_assert_int_eq(fs_file_write("./plan.json", "{}", 2, NULL), MUSTER_OK);
    ck_assert_int_eq(utimensat(AT_FDCWD, "plan.json", times, 0), 0);
}

START_TEST(a_launch_has_started_once_its_ranks_have_written_the_plan)
{
    struct supervise_plan before;
    supervise_plan_look(".", &before);
    ck_assert(!supervise_launch_has_started(".", &before));
    plan_write(1700000000);
    ck_assert(supervise_launch_has_started(".", &before));
    supervise_plan_look(".", &before);
    ck_assert(!supervise_launch_has_started(".", &before));
}
END_TEST

START_TEST(a_clock_that_was_set_back_hides_no_start)
{
    struct supervise_plan before;
    plan_write(1700000000);
    supervise_plan_look(".", &before);
    plan_write(1600000000);
    ck_assert(supervise_launch_has_started(".", &before));
    supervise_plan_look(".", &before);
    plan_write(1600000000); /* a coarse clock that stands still */
    ck_assert(supervise_launch_has_started(".", &before));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_folder");
    TCase *cases = tcase_create("supervise_folder");
    tcase_add_checked_fixture(cases, program_folder_enter, teardown);
    tcase_add_test(cases, a_launch_has_started_once_its_ranks_have_written_the_plan);
    tcase_add_test(cases, a_clock_that_was_set_back_hides_no_start);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
