/* SPDX-License-Identifier: MIT
 *
 * What a killed supervisor leaves: processes that carry the run's id, a launcher's session folder and its
 * segments. Those of another run stay.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/supervise/supervise_cleanup.h"
#include "coordinator/supervise/supervise_folder.h"
#include "tests/coordinator/program.h"
#include "tests/sleeper.h"
#include "tests/suite.h"

static char id[SUPERVISE_ID_SIZE];

static void setup(void)
{
    program_folder_enter();
    ck_assert_int_eq(fs_folder_create("run", NULL), MUSTER_OK);
    ck_assert_int_eq(supervise_run_id("run", id, NULL), MUSTER_OK);
}

static void teardown(void)
{
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

/* A process of the run whose id this is; it has its environment when this returns. */
static pid_t process_start(const char *run_id)
{
    char setting[SUPERVISE_ID_SIZE + 16];
    snprintf(setting, sizeof setting, "%s=%s", SUPERVISE_ID_ENVIRONMENT, run_id);
    return sleeper_start(setting);
}

START_TEST(processes_of_this_run_are_ended_and_no_others)
{
    int status;
    char other[SUPERVISE_ID_SIZE + 2];
    snprintf(other, sizeof other, "%s2", id);
    pid_t ours = process_start(id), theirs = process_start(other);
    ck_assert_int_eq(supervise_cleanup("run", id), 1);
    ck_assert_int_eq(waitpid(ours, &status, 0), ours);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_int_eq(waitpid(theirs, &status, WNOHANG), 0);
    kill(theirs, SIGKILL);
    waitpid(theirs, &status, 0);
    ck_assert_int_eq(supervise_cleanup("run", id), 0);
}
END_TEST

/* A session folder as Open MPI makes it, of job 7 of this process id, and a segment of that job. */
static void session_make(pid_t mpirun)
{
    struct utsname system;
    char top[512], path[1024];
    uname(&system);
    snprintf(top, sizeof top, "tmp/ompi.%s.%u/pid.%d", system.nodename, (unsigned)geteuid(), (int)mpirun);
    ck_assert_int_eq(fs_folder_create(top, NULL), MUSTER_OK);
    snprintf(path, sizeof path, "%s/contact.txt", top);
    program_write(path, "458752.0;tcp://127.0.0.1:1\n");
    ck_assert_int_eq(fs_folder_create("shm", NULL), MUSTER_OK);
    snprintf(path, sizeof path, "shm/vader_segment.%s.%u.70001.0", system.nodename, (unsigned)geteuid());
    program_write(path, "");
    program_write("shm/vader_segment.somebody.else", "");
}

static size_t entries_count(const char *folder)
{
    struct fs_list list;
    ck_assert_int_eq(fs_list_read(folder, &list, NULL), MUSTER_OK);
    size_t count = list.count;
    fs_list_release(&list);
    return count;
}

START_TEST(what_the_noted_launcher_left_is_removed_once_it_has_ended)
{
    struct supervise_launcher launcher;
    pid_t mpirun = process_start("another");
    supervise_launcher_here(&launcher, mpirun);
    strcpy(launcher.temporary, "tmp");
    strcpy(launcher.shared, "shm");
    session_make(mpirun);
    ck_assert_int_eq(supervise_launcher_write("run", 3, &launcher, NULL), MUSTER_OK);
    supervise_cleanup("run", id); /* the number is that of a living process: not ours to touch */
    ck_assert_uint_eq(entries_count("tmp"), 1);
    ck_assert_uint_eq(entries_count("shm"), 2);
    kill(mpirun, SIGKILL);
    waitpid(mpirun, NULL, 0);
    ck_assert_int_eq(supervise_launcher_write("run", 3, &launcher, NULL), MUSTER_OK);
    supervise_cleanup("run", id);
    ck_assert_uint_eq(entries_count("tmp"), 0);
    ck_assert_uint_eq(entries_count("shm"), 1);
    ck_assert(!supervise_launcher_read("run", 3, &launcher));
}
END_TEST

START_TEST(a_launcher_of_another_host_or_none_is_left_alone)
{
    struct supervise_launcher launcher;
    supervise_launcher_here(&launcher, 999999);
    strcpy(launcher.host, "elsewhere");
    strcpy(launcher.temporary, "tmp");
    strcpy(launcher.shared, "shm");
    session_make(999999);
    ck_assert_int_eq(supervise_cleanup("run", id), 0);
    ck_assert_int_eq(supervise_launcher_write("run", 3, &launcher, NULL), MUSTER_OK);
    ck_assert_int_eq(supervise_cleanup("run", id), 0);
    ck_assert_uint_eq(entries_count("tmp"), 1);
    program_write("run/launcher.4", "nonsense\n");
    ck_assert_int_eq(supervise_cleanup("run", id), 0);
    ck_assert_uint_eq(entries_count("tmp"), 1);
}
END_TEST

START_TEST(a_launch_forgets_its_own_launcher_and_not_that_of_a_newer_one)
{
    struct supervise_launcher launcher;
    supervise_launcher_here(&launcher, 999998);
    ck_assert_int_eq(supervise_launcher_write("run", 1, &launcher, NULL), MUSTER_OK);
    launcher.pid = 999999;
    ck_assert_int_eq(supervise_launcher_write("run", 2, &launcher, NULL), MUSTER_OK);
    supervise_launcher_forget("run", 1);
    ck_assert(!supervise_launcher_read("run", 1, &launcher));
    ck_assert(supervise_launcher_read("run", 2, &launcher));
    ck_assert_int_eq(launcher.pid, 999999);
    ck_assert_int_eq(supervise_launcher_epoch("launcher.12"), 12);
    ck_assert_int_eq(supervise_launcher_epoch("launcher.tmp"), -1);
    ck_assert_int_eq(supervise_launcher_epoch("epoch"), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_cleanup");
    TCase *cases = tcase_create("supervise_cleanup");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, processes_of_this_run_are_ended_and_no_others);
    tcase_add_test(cases, what_the_noted_launcher_left_is_removed_once_it_has_ended);
    tcase_add_test(cases, a_launch_forgets_its_own_launcher_and_not_that_of_a_newer_one);
    tcase_add_test(cases, a_launcher_of_another_host_or_none_is_left_alone);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
