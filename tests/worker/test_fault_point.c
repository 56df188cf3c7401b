/* SPDX-License-Identifier: MIT
 *
 * What a fault does to a process is seen from outside, in a child; what it returns is seen here.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "worker/fault_point.h"
#include "tests/suite.h"

static char folder[] = "/tmp/muster-fault-XXXXXX";
static char once[64];

static void setup(void)
{
    strcpy(folder, "/tmp/muster-fault-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(once, sizeof once, "%s/once", folder);
    setenv("OMPI_COMM_WORLD_RANK", "2", 1);
    unsetenv("MUSTER_FAULT_ONCE");
    log_console_level_set(LOG_SILENT);
}

static void teardown(void)
{
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

static enum muster_status arm(const char *fault)
{
    setenv("MUSTER_FAULT", fault, 1);
    return fault_point_init(NULL);
}

/* The wait status of a child that reaches "here" so often. */
static int child_status(const char *fault, int times)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL); /* Check's handler ends the whole process group */
        if (arm(fault) != MUSTER_OK)
            _exit(98);
        for (int i = 0; i < times; i++) {
            fault_point("there");
            fault_point("here");
        }
        _exit(99);
    }
    ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
    if (WIFSTOPPED(status)) {
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
    }
    return status;
}

START_TEST(a_fault_comes_at_its_place_rank_and_hit)
{
    int status = child_status("here:2:3:kill", 3);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_int_eq(WEXITSTATUS(child_status("here:2:3:kill", 2)), 99);
    ck_assert_int_eq(WEXITSTATUS(child_status("here:1:1:kill", 2)), 99);
    ck_assert_int_eq(WEXITSTATUS(child_status("elsewhere:2:1:kill", 2)), 99);
    ck_assert_int_eq(WEXITSTATUS(child_status("", 2)), 99);
}
END_TEST

START_TEST(each_action_ends_or_stops_a_process_in_its_own_way)
{
    ck_assert_int_eq(WTERMSIG(child_status("here:2:1:segv", 1)), SIGSEGV);
    ck_assert_int_eq(WTERMSIG(child_status("here:2:1:abort", 1)), SIGABRT);
    ck_assert_int_eq(WTERMSIG(child_status("here:2:1:term", 1)), SIGTERM);
    ck_assert_int_eq(WTERMSIG(child_status("here:2:1:usr1", 1)), SIGUSR1);
    int status = child_status("here:2:1:exit0", 1);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = child_status("here:2:1:stop", 1);
    ck_assert(WIFSTOPPED(status));
}
END_TEST

static bool usr1_take(void)
{
    sigset_t set;
    struct timespec no_time = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return sigtimedwait(&set, NULL, &no_time) == SIGUSR1;
}

/* This process is the supervisor, its child mpirun, and the child's child the rank. */
START_TEST(a_fault_for_mpirun_or_the_supervisor_goes_to_the_parent_or_its_parent)
{
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &before);
    for (int of_supervisor = 0; of_supervisor < 2; of_supervisor++) {
        int status;
        pid_t mpirun = fork();
        if (mpirun == 0) {
            child_status(of_supervisor ? "here:2:1:usr1@supervisor" : "here:2:1:usr1@mpirun", 1);
            _exit(usr1_take());
        }
        ck_assert_int_eq(waitpid(mpirun, &status, 0), mpirun);
        ck_assert_int_eq(WEXITSTATUS(status), !of_supervisor);
        ck_assert_int_eq(usr1_take(), of_supervisor);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}
END_TEST

START_TEST(a_marked_fault_gives_way_to_the_next_of_the_list)
{
    static const char list[] = "here:2:1:segv,here:2:2:abort,here:0:1:kill,here:2:1:exit0";
    setenv("MUSTER_FAULT_ONCE", once, 1);
    ck_assert_int_eq(WTERMSIG(child_status(list, 2)), SIGSEGV);
    ck_assert_int_eq(WTERMSIG(child_status(list, 2)), SIGABRT);
    ck_assert_int_eq(WEXITSTATUS(child_status(list, 2)), 99); /* rank 0's turn */
    ck_assert_int_eq(fs_file_size(once), 2);
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    ck_assert_int_eq(WTERMSIG(child_status(list, 2)), SIGKILL);
    setenv("OMPI_COMM_WORLD_RANK", "2", 1);
    ck_assert_int_eq(WEXITSTATUS(child_status(list, 2)), 0);
    ck_assert_int_eq(WEXITSTATUS(child_status(list, 2)), 99); /* all have fired */
}
END_TEST

START_TEST(where_a_failure_can_be_returned_it_is)
{
    struct muster_error err = {.text = ""};
    ck_assert_int_eq(arm("read:2:2:eio"), MUSTER_OK);
    ck_assert_int_eq(fault_point_status("read", &err), MUSTER_OK);
    ck_assert_int_eq(fault_point_status("read", &err), MUSTER_ERR_IO);
    ck_assert_str_eq(err.text, "fault point read: Input/output error");
    ck_assert_int_eq(fault_point_status("read", &err), MUSTER_OK);
    ck_assert_int_eq(arm("read:2:1:oom"), MUSTER_OK);
    ck_assert_int_eq(fault_point_status("read", &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_int_eq(arm("read:2:1:oom"), MUSTER_OK);
    fault_point("read");
    void *memory = alloc_zeroed(1, 1), *more = alloc_zeroed(1, 1);
    ck_assert(memory == NULL && more != NULL);
    alloc_free(more);
}
END_TEST

START_TEST(a_fault_that_cannot_be_read_is_refused)
{
    static const char *const bad[] = {"here",
                                      "here:2:1",
                                      ":2:1:kill",
                                      "here:x:1:kill",
                                      "here:2:1:explode",
                                      "here:2:1:kill:5",
                                      "here:2:1:kill@",
                                      "here:2:1:oom@mpirun",
                                      "here:2:1:kill@moon"};
    struct muster_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("MUSTER_FAULT", bad[i], 1);
        ck_assert_int_eq(fault_point_init(&err), MUSTER_ERR_BAD_INPUT);
        ck_assert_ptr_nonnull(strstr(err.text, bad[i]));
    }
}
END_TEST

START_TEST(every_collective_is_a_fault_point)
{
    static const char *const names[] = {"barrier",  "broadcast",      "all_gather",
                                        "exchange", "reduce_scatter", "all_reduce"};
    for (int i = 0; i < 6; i++) {
        char text[64];
        struct comm *comm;
        float one = 1.0f;
        int64_t count = 1, bytes = sizeof one;
        const void *send = &one;
        void *receive = &one;
        snprintf(text, sizeof text, "%s:2:1:oom", names[i]);
        ck_assert_int_eq(arm(text), MUSTER_OK);
        ck_assert_int_eq(comm_loopback_create(&comm, NULL), MUSTER_OK);
        fault_point_collectives(comm);
        ck_assert_int_eq(comm_barrier(comm, NULL), MUSTER_OK);
        ck_assert_int_eq(comm_broadcast(comm, &one, bytes, 0, NULL), MUSTER_OK);
        ck_assert_int_eq(comm_all_gather(comm, &one, &bytes, NULL), MUSTER_OK);
        ck_assert_int_eq(comm_exchange(comm, &send, &bytes, &receive, &bytes, NULL), MUSTER_OK);
        ck_assert_int_eq(comm_reduce_scatter_f32(comm, &one, &count, &one, NULL), MUSTER_OK);
        ck_assert_int_eq(comm_all_reduce_f32(comm, &one, 1, NULL), MUSTER_OK);
        comm_destroy(comm);
        ck_assert_msg(alloc_zeroed(1, 1) == NULL, "no fault in %s", names[i]);
        ck_assert_int_eq(alloc_live_count(), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault_point");
    TCase *cases = tcase_create("fault_point");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_fault_comes_at_its_place_rank_and_hit);
    tcase_add_test(cases, each_action_ends_or_stops_a_process_in_its_own_way);
    tcase_add_test(cases, a_fault_for_mpirun_or_the_supervisor_goes_to_the_parent_or_its_parent);
    tcase_add_test(cases, a_marked_fault_gives_way_to_the_next_of_the_list);
    tcase_add_test(cases, where_a_failure_can_be_returned_it_is);
    tcase_add_test(cases, a_fault_that_cannot_be_read_is_refused);
    tcase_add_test(cases, every_collective_is_a_fault_point);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
