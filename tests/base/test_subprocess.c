/* SPDX-License-Identifier: MIT
 *
 * Short commands: their words, outputs and ends, several at once, and what is left of one that does not end.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/shell_word.h"
#include "base/subprocess.h"
#include "tests/suite.h"

enum { LONG_MS = 60000, AT_ONCE = 20 };

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

START_TEST(words_arrive_as_they_are_and_outputs_come_back_apart)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process,
                    WORDS("sh", "-c", "printf '%s|' \"$@\"; cat; echo no >&2", "x", "a b", "$(id)", "'"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_OK);
    ck_assert_str_eq(process.out.data, "a b|$(id)|'|");
    ck_assert_str_eq(process.err.data, "no\n");
    subprocess_release(&process);
}
END_TEST

START_TEST(a_failure_is_told_with_its_last_words)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process, WORDS("sh", "-c", "echo first >&2; echo last >&2; exit 7"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_ERR_IO);
    ck_assert_str_eq(err.text, "sh failed (exit code 7): last");
    subprocess_release(&process);
    subprocess_init(&process, WORDS("sh", "-c", "kill -9 $$"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_ERR_IO);
    ck_assert_int_eq(process.exit_code, 128 + SIGKILL);
    subprocess_release(&process);
}
END_TEST

START_TEST(a_program_that_is_not_there_is_unsupported)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process, WORDS("no-such-program"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_str_eq(err.text, "no-such-program was not found in PATH");
    subprocess_release(&process);
}
END_TEST

/* The pid that a command printed first. */
static pid_t printed_pid(const struct subprocess *process)
{
    long pid = strtol(process->out.data, NULL, 10);
    ck_assert_int_gt(pid, 1);
    return (pid_t)pid;
}

START_TEST(a_command_that_does_not_end_is_ended_with_what_it_started)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process,
                    WORDS("sh", "-c", "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 9; done'; :"));
    ck_assert_int_eq(subprocess_run(&process, 500, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "did not answer"));
    ck_assert(process.timed_out);
    for (pid_t pid = printed_pid(&process); kill(pid, 0) == 0;)
        usleep(1000); /* killed; init has yet to take it */
    subprocess_release(&process);
}
END_TEST

START_TEST(a_child_left_with_the_output_open_is_not_waited_for)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process, WORDS("sh", "-c", "sleep 1000 & echo $!"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_OK);
    for (pid_t pid = printed_pid(&process); kill(pid, 0) == 0;)
        usleep(1000);
    subprocess_release(&process);
}
END_TEST

START_TEST(many_run_at_once_and_none_blocks_another)
{
    struct subprocess processes[AT_ONCE];
    char numbers[AT_ONCE][8];
    const char *words[AT_ONCE][6];
    for (int i = 0; i < AT_ONCE; i++) {
        snprintf(numbers[i], sizeof numbers[i], "%d", i);
        memcpy(words[i], WORDS("sh", "-c", "head -c 300000 /dev/zero; exit $0", numbers[i]),
               5 * sizeof words[i][0]);
        subprocess_init(&processes[i], words[i]);
    }
    subprocess_run_all(processes, AT_ONCE, LONG_MS);
    for (int i = 0; i < AT_ONCE; i++) {
        ck_assert_int_eq(processes[i].exit_code, i);
        ck_assert_int_eq((int)processes[i].out.length, 300000);
        subprocess_release(&processes[i]);
    }
}
END_TEST

START_TEST(more_run_at_once_than_the_limit_on_descriptors_has_room_for)
{
    static struct subprocess processes[2 * AT_ONCE];
    struct rlimit before, after, few;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 3 * AT_ONCE, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < 2 * AT_ONCE; i++)
        subprocess_init(&processes[i], WORDS("cat", "/dev/stdin"));
    subprocess_run_all(processes, 2 * AT_ONCE, LONG_MS);
    getrlimit(RLIMIT_NOFILE, &after);
    setrlimit(RLIMIT_NOFILE, &before);
    ck_assert_uint_eq(after.rlim_cur, few.rlim_cur);
    for (int i = 0; i < 2 * AT_ONCE; i++) {
        ck_assert_int_eq(processes[i].start_errno, 0);
        ck_assert_int_eq(processes[i].exit_code, 0);
        subprocess_release(&processes[i]);
    }
}
END_TEST

START_TEST(endless_output_is_cut_and_does_not_stop_the_command)
{
    struct subprocess process;
    struct muster_error err;
    subprocess_init(&process, WORDS("head", "-c", "8000000", "/dev/zero"));
    ck_assert_int_eq(subprocess_run(&process, LONG_MS, &err), MUSTER_OK);
    ck_assert_int_le((int)process.out.length, SUBPROCESS_BYTES_MAX);
    ck_assert_int_gt((int)process.out.length, SUBPROCESS_BYTES_MAX / 2);
    subprocess_release(&process);
}
END_TEST

START_TEST(a_shell_reads_a_quoted_word_back)
{
    static const char *const hard[] = {"",   "plain", "a b", "it's", "$(touch x) `y`", "\"\\\n*?~#!;&|<>",
                                       "-n", "'''"};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        struct text command;
        struct subprocess process;
        text_init(&command);
        text_print(&command, "printf %%s ");
        shell_word_print(&command, hard[i]);
        subprocess_init(&process, WORDS("sh", "-c", command.data));
        ck_assert_int_eq(subprocess_run(&process, LONG_MS, NULL), MUSTER_OK);
        ck_assert_str_eq(process.out.data, hard[i]);
        subprocess_release(&process);
        text_release(&command);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("subprocess");
    TCase *cases = tcase_create("subprocess");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, words_arrive_as_they_are_and_outputs_come_back_apart);
    tcase_add_test(cases, a_failure_is_told_with_its_last_words);
    tcase_add_test(cases, a_program_that_is_not_there_is_unsupported);
    tcase_add_test(cases, a_command_that_does_not_end_is_ended_with_what_it_started);
    tcase_add_test(cases, a_child_left_with_the_output_open_is_not_waited_for);
    tcase_add_test(cases, many_run_at_once_and_none_blocks_another);
    tcase_add_test(cases, more_run_at_once_than_the_limit_on_descriptors_has_room_for);
    tcase_add_test(cases, endless_output_is_cut_and_does_not_stop_the_command);
    tcase_add_test(cases, a_shell_reads_a_quoted_word_back);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
