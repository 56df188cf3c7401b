/* SPDX-License-Identifier: MIT
 *
 * How a run is watched, with a fake mpirun that says what it was given and itself sends the signals, so that
 * every event has its order and nothing waits for a clock: launch_run in this process, then the real binary.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/cli/launch.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

enum { LONG_MS = 600000 };

static struct launch_supervision supervision;
static struct launch_outcome outcome;
static struct text report, said;

static void read_into(const char *path, struct text *text)
{
    char *bytes;
    size_t count;
    text_clear(text);
    if (fs_file_read(path, 1 << 20, &bytes, &count, NULL) != MUSTER_OK)
        return;
    text_append(text, bytes, count);
    alloc_free(bytes);
}

/* A folder that holds mpirun and muster-worker, both fake; nothing else is in PATH. */
static void setup(void)
{
    char path[FS_PATH_MAX];
    program_folder_enter();
    program_copy(FAKE_MPIRUN, "mpirun");
    program_copy(FAKE_MPIRUN, "muster-worker");
    ck_assert_ptr_nonnull(getcwd(path, sizeof path));
    setenv("PATH", path, 1);
    setenv("TMPDIR", path, 1);
    strcat(path, "/report");
    setenv("FAKE_REPORT", path, 1);
    unsetenv("OMPI_MCA_btl");
    text_init(&report);
    text_init(&said);
    supervision =
        (struct launch_supervision){.repeat_ms = LONG_MS, .kill_after_ms = LONG_MS, .orphan_ms = LONG_MS};
}

static void teardown(void)
{
    text_release(&report);
    text_release(&said);
    program_folder_leave();
}

/* Runs what `script` says and returns the exit code. */
static int run_fake(const char *script)
{
    struct launch_options options = {
        .ranks = 2, .cores = 8, .worker = "./muster-worker", .job_path = "a.yaml"};
    struct launch_command command;
    struct muster_error err = {.text = ""};
    setenv("FAKE_PLAY", script, 1);
    ck_assert_int_eq(launch_command_build(&command, &options, &err), MUSTER_OK);
    supervision.err = fopen("said", "we");
    ck_assert_ptr_nonnull(supervision.err);
    enum muster_status status = launch_run(&command, &supervision, &outcome, &err);
    fclose(supervision.err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    launch_command_release(&command);
    read_into("report", &report);
    read_into("said", &said);
    return outcome.exit_code;
}

START_TEST(mpirun_gets_its_words_settings_no_input_and_a_group_of_its_own)
{
    ck_assert_int_eq(run_fake("exit:0"), 0);
    program_expect(&report,
                   "word 0: mpirun\nword 1: -n\nword 2: 2\nword 3: ./muster-worker\nword 4: a.yaml\n");
    program_expect(&report, "setting: OMPI_MCA_btl=self,vader\n");
    program_expect(&report, "setting: OMPI_MCA_plm_rsh_agent=/bin/sh\n"); /* no ssh is needed on one host */
    program_expect(&report, "stdin: /dev/null\n");
    program_expect(&report, "own group: 1\n");
    ck_assert_str_eq(said.data, "");
}
END_TEST

START_TEST(documented_exit_codes_pass_without_comment)
{
    ck_assert_int_eq(run_fake("exit:75"), 75);
    ck_assert_int_eq(run_fake("exit:2"), 2);
    ck_assert_str_eq(said.data, "");
}
END_TEST

START_TEST(every_other_end_has_a_cause)
{
    ck_assert_int_eq(run_fake("exit:137"), 1);
    ck_assert_str_eq(outcome.cause, "a rank was killed by signal 9 (mpirun returned 137)");
    ck_assert_int_eq(run_fake("exit:3"), 1);
    ck_assert_str_eq(outcome.cause, "the run failed (mpirun returned 3)");
    ck_assert_int_eq(run_fake("exit:205"), 1);
    ck_assert_str_eq(outcome.cause, "a host was lost (mpirun returned 205)");
    ck_assert_int_eq(run_fake("lost:0 exit:0"), 1);
    ck_assert(outcome.failed && outcome.host_lost);
    ck_assert_str_eq(outcome.cause, "a host was lost (mpirun returned 0)");
    ck_assert_int_eq(run_fake("raise:9"), 1);
    ck_assert_str_eq(outcome.cause, "mpirun was killed by signal 9 (Killed)");
}
END_TEST

START_TEST(a_killed_rank_is_named_and_its_last_words_stay)
{
    ck_assert_int_eq(run_fake("banner:0 exit:137"), 1);
    ck_assert_str_eq(said.data, "a rank's last words\n");
    ck_assert_str_eq(outcome.cause, "rank 3 on node07 was killed by signal 9 (mpirun returned 137)");
    ck_assert_int_eq(outcome.rank, 3);
    ck_assert_str_eq(outcome.host, "node07");
}
END_TEST

START_TEST(the_first_signal_asks_the_ranks_to_save)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    char script[64];
    for (int i = 0; i < 4; i++) {
        unlink("report");
        snprintf(script, sizeof script, "parent:%d await:%d exit:75", signals[i], SIGUSR1);
        ck_assert_int_eq(run_fake(script), 75);
        program_expect(&report, "got 10\n");
        ck_assert_ptr_null(strstr(report.data, "got 15"));
        program_expect(&said, "save a checkpoint");
    }
}
END_TEST

START_TEST(a_run_that_nobody_reads_saves_and_stops)
{
    char script[64];
    int ends[2], before = dup(STDOUT_FILENO);
    ck_assert_int_eq(pipe(ends), 0);
    close(ends[0]);
    snprintf(script, sizeof script, "await:%d parent:%d await:%d exit:75", SIGUSR1, SIGINT, SIGUSR1);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    int code = run_fake(script);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(ends[1]);
    ck_assert_int_eq(code, 75);
    ck_assert_int_eq(outcome.stops, 1); /* the Ctrl-C that ended the reader is not a second one */
    program_expect(&said, "nobody reads the output any more");
}
END_TEST

START_TEST(the_request_is_repeated_while_nothing_ends)
{
    supervision.repeat_ms = 10;
    ck_assert_int_eq(run_fake("parent:10 await:10 await:10 await:10 exit:75"), 75);
    ck_assert_ptr_null(strstr(report.data, "got 15"));
}
END_TEST

START_TEST(only_an_insisting_signal_ends_the_run)
{
    supervision.repeat_ms = 10; /* two repeats later the signals before them have been seen */
    ck_assert_int_eq(run_fake("parent:2 await:10 parent:10 parent:1 await:10 await:10 exit:75"), 75);
    ck_assert_ptr_null(strstr(report.data, "got 15"));
    supervision.repeat_ms = LONG_MS;
    ck_assert_int_eq(run_fake("parent:2 await:10 parent:15 await:15 exit:1"), 1);
    program_expect(&report, "got 10\ngot 15\n");
    ck_assert_str_eq(outcome.cause, "ended at once, as asked");
}
END_TEST

START_TEST(a_run_that_does_not_end_is_killed)
{
    supervision.kill_after_ms = 10;
    ck_assert_int_eq(run_fake("parent:15 await:10 parent:15 await:15 hang:0"), 1);
    ck_assert_str_eq(outcome.cause, "ended at once, as asked");
}
END_TEST

START_TEST(the_third_signal_does_not_wait)
{
    ck_assert_int_eq(run_fake("parent:2 await:10 parent:2 await:15 parent:2 hang:0"), 1);
    ck_assert_str_eq(outcome.cause, "ended at once, as asked");
}
END_TEST

START_TEST(a_stop_before_the_ranks_listen_is_resumable)
{
    ck_assert_int_eq(run_fake("parent:2 await:10 raise:10"), 75);
    program_expect(&said, "stopped before the first step");
    ck_assert_int_eq(run_fake("parent:2 await:10 exit:138"), 75);
    ck_assert_int_eq(run_fake("raise:10"), 1);
}
END_TEST

static void expect_orphan_ended(void)
{
    int orphan = 0;
    const char *line = strstr(report.data, "orphan ");
    ck_assert(line != NULL && sscanf(line, "orphan %d", &orphan) == 1);
    ck_assert(kill(orphan, 0) != 0 && errno == ESRCH);
}

START_TEST(a_rank_that_outlives_mpirun_is_ended)
{
    supervision.orphan_ms = 10;
    ck_assert_int_eq(run_fake("orphan:0 exit:1"), 1);
    expect_orphan_ended();
}
END_TEST

START_TEST(nobody_waits_for_the_ranks_of_an_mpirun_that_was_killed)
{
    ck_assert_int_eq(run_fake("orphan:0 raise:9"), 1);
    expect_orphan_ended();
}
END_TEST

/* Once the fake has left a child and was looked at with it, the child is killed. */
static enum launch_wish child_end(void *context)
{
    int *looks = context, child = 0;
    text_clear(&report);
    read_into("report", &report);
    const char *line = report.data != NULL ? strstr(report.data, "orphan ") : NULL;
    if (line != NULL && sscanf(line, "orphan %d\n", &child) == 1 && ++*looks == 2)
        kill(child, SIGKILL);
    return LAUNCH_GO_ON;
}

START_TEST(an_mpirun_that_does_not_end_after_its_ranks_is_killed)
{
    int looks = 0;
    supervision.ask = child_end;
    supervision.context = &looks;
    supervision.poll_ms = 20;
    supervision.empty_ms = 60;
    ck_assert_int_eq(run_fake("orphan:0 hang:0"), 1);
    ck_assert_str_eq(outcome.cause, "the ranks ended, but mpirun did not and was killed");
    ck_assert_int_ge(looks, 2);
}
END_TEST

/* When the fake waits for the second signal of its script, the first has been taken. */
static bool stuck_after_three_looks(void *context)
{
    int *looks = context;
    return ++looks[0] > 3;
}

static enum launch_wish count_ask(void *context)
{
    int *looks = context;
    looks[1]++;
    return LAUNCH_GO_ON;
}

START_TEST(a_stuck_mpirun_is_killed_after_a_stop_too_and_nothing_else_is_asked_then)
{
    int looks[2] = {0, 0};
    supervision.is_stuck = stuck_after_three_looks;
    supervision.ask = count_ask;
    supervision.context = looks;
    supervision.poll_ms = 100;
    ck_assert_int_eq(run_fake("parent:10 await:10 hang:0"), 1);
    ck_assert(outcome.hung);
    ck_assert_int_ge(looks[0], 4);
    ck_assert_int_lt(looks[1], looks[0]);
    ck_assert_int_eq(outcome.stops, 1);
}
END_TEST

START_TEST(signals_are_as_before_when_it_is_over)
{
    sigset_t before, after;
    sigprocmask(SIG_BLOCK, NULL, &before);
    run_fake("exit:0");
    sigprocmask(SIG_BLOCK, NULL, &after);
    ck_assert_int_eq(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    ck_assert_int_eq(sigismember(&after, SIGTERM), 0);
}
END_TEST

START_TEST(a_missing_mpirun_is_told_and_nothing_is_started)
{
    struct launch_options options = {.ranks = 1, .cores = 1, .worker = "w", .job_path = "a.yaml"};
    struct launch_command command;
    struct muster_error err;
    ck_assert_int_eq(unlink("mpirun"), 0);
    supervision.err = stderr;
    ck_assert_int_eq(launch_command_build(&command, &options, &err), MUSTER_OK);
    ck_assert_int_eq(launch_run(&command, &supervision, &outcome, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "mpirun was not found in PATH"));
    launch_command_release(&command);
}
END_TEST

/* The real binary beside a fake worker, in the folder of the test. */
static void run_binary(struct program_result *result, const char *script, const char *const *words)
{
    char program[FS_PATH_MAX], text[2001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    snprintf(program, sizeof program, "%s/muster", getenv("MUSTER_BIN"));
    program_copy(program, "muster");
    program_write("text.txt", text);
    program_write("job $(touch x); a.yaml",
                  "name: good\n"
                  "model: {type: gpt, num_layers: 1, hidden_size: 16, num_heads: 2, vocab_size: 256}\n"
                  "data: {format: bytes, train: text.txt, seq_len: 16}\n"
                  "train: {micro_batch_size: 1, global_batch_size: 4, max_steps: 10}\n"
                  "optimizer: {lr: 1e-3}\n");
    setenv("FAKE_PLAY", script, 1);
    program_run(result, words);
    read_into("report", &report);
}

START_TEST(the_program_starts_the_worker_beside_it_with_unharmed_words)
{
    struct program_result result;
    run_binary(&result, "parent:2 await:10 exit:75",
               (const char *const[]){"./muster", "run", "job $(touch x); a.yaml", "-n", "3", "--resume",
                                     "a;b", "--", "--tag-output", NULL});
    ck_assert_msg(result.exit_code == 75, "%d: %s", result.exit_code, result.err.data);
    program_expect(&result.out, "on 3 ranks");
    program_expect(&report, "word 3: --tag-output\nword 4: /");
    program_expect(&report,
                   "/muster-worker\nword 5: job $(touch x); a.yaml\nword 6: --resume\nword 7: a;b\n");
    program_expect(&result.err, "muster run: Interrupt: ");
    ck_assert(!fs_exists("x"));
    program_release(&result);
}
END_TEST

START_TEST(mpirun_does_not_outlive_a_killed_muster)
{
    struct program_result result;
    run_binary(&result, "parent:9 await:15 exit:0",
               (const char *const[]){"./muster", "run", "job $(touch x); a.yaml", NULL});
    ck_assert_int_eq(result.exit_code, 128 + SIGKILL);
    program_expect(&report, "got 15\n");
    program_release(&result);
}
END_TEST

START_TEST(generate_becomes_the_worker)
{
    struct program_result result;
    run_binary(&result, "exit:0",
               (const char *const[]){"./muster", "generate", "out/a b", "--prompt=--x $(y)", "--tokens", "7",
                                     "--temperature", "0.5", "--top-k", "3", "--seed", "11", NULL});
    ck_assert_msg(result.exit_code == 0, "%d: %s", result.exit_code, result.err.data);
    program_expect(&report,
                   "word 0: muster-worker\nword 1: --generate\nword 2: out/a b\nword 3: --prompt\n"
                   "word 4: --x $(y)\nword 5: --tokens\nword 6: 7\nword 7: --temperature\nword 8: 0.5\n"
                   "word 9: --top-k\nword 10: 3\nword 11: --seed\nword 12: 11\n");
    program_release(&result);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("launch");
    TCase *cases = tcase_create("launch");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, mpirun_gets_its_words_settings_no_input_and_a_group_of_its_own);
    tcase_add_test(cases, documented_exit_codes_pass_without_comment);
    tcase_add_test(cases, every_other_end_has_a_cause);
    tcase_add_test(cases, a_killed_rank_is_named_and_its_last_words_stay);
    tcase_add_test(cases, the_first_signal_asks_the_ranks_to_save);
    tcase_add_test(cases, a_run_that_nobody_reads_saves_and_stops);
    tcase_add_test(cases, the_request_is_repeated_while_nothing_ends);
    tcase_add_test(cases, only_an_insisting_signal_ends_the_run);
    tcase_add_test(cases, a_run_that_does_not_end_is_killed);
    tcase_add_test(cases, the_third_signal_does_not_wait);
    tcase_add_test(cases, a_stop_before_the_ranks_listen_is_resumable);
    tcase_add_test(cases, a_rank_that_outlives_mpirun_is_ended);
    tcase_add_test(cases, nobody_waits_for_the_ranks_of_an_mpirun_that_was_killed);
    tcase_add_test(cases, an_mpirun_that_does_not_end_after_its_ranks_is_killed);
    tcase_add_test(cases, a_stuck_mpirun_is_killed_after_a_stop_too_and_nothing_else_is_asked_then);
    tcase_add_test(cases, signals_are_as_before_when_it_is_over);
    tcase_add_test(cases, a_missing_mpirun_is_told_and_nothing_is_started);
    tcase_add_test(cases, the_program_starts_the_worker_beside_it_with_unharmed_words);
    tcase_add_test(cases, mpirun_does_not_outlive_a_killed_muster);
    tcase_add_test(cases, generate_becomes_the_worker);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
