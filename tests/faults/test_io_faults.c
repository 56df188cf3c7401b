/* SPDX-License-Identifier: MIT
 *
 * Every call of a save fails, once and for ever, with every error: the program lives on, the newest
 * acknowledged checkpoint loads, the reason names the file. Each case is a process of save_driver behind
 * io_shim. By default the errors take turns over the calls; MUSTER_CAMPAIGN=1 tries them all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/coordinator/ckpt_fixture.h"
#include "tests/suite.h"

enum { CALLS = 8, ERRORS = 5, OUTPUT_SIZE = 4096 };

static const char *const errors[ERRORS] = {"EIO", "ENOSPC", "EDQUOT", "EINTR", "SHORT"};
static char output[OUTPUT_SIZE];

/* Runs the driver with this fault; its exit code, and what it printed in `output`. */
static int driver_run(const char *action, const char *fault)
{
    char dir[64];
    int out[2], status;
    ck_assert(ckpt_fixture_folder(dir));
    ck_assert_int_eq(pipe(out), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        if (chdir(IO_SHIM_FOLDER) != 0) /* ld.so cuts LD_PRELOAD at spaces, which a full path may have */
            _exit(127);
        setenv("LD_PRELOAD", IO_SHIM, 1);
        setenv("MUSTER_IO_WATCH", dir, 1);
        setenv("MUSTER_IO_FAULT", fault, 1);
        execl(SAVE_DRIVER, "save_driver", action, dir, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(out[0], output + length, OUTPUT_SIZE - 1 - length)) > 0;)
        length += (size_t)got;
    output[length] = '\0';
    close(out[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(fs_remove_tree(dir, NULL), MUSTER_OK);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(every_failing_call_leaves_the_acknowledged_checkpoints)
{
    char names[CALLS][16], fault[192];
    int counts[CALLS], cases = 0, turn = 0;
    bool all = getenv("MUSTER_CAMPAIGN") != NULL;
    ck_assert_msg(driver_run("count", "none:1:EIO:once") == 0, "%s", output);
    const char *line = output;
    for (int i = 0; i < CALLS; i++) {
        ck_assert_int_eq(sscanf(line, "%15s %d", names[i], &counts[i]), 2);
        ck_assert_int_gt(counts[i], 0);
        line = strchr(line, '\n') + 1;
    }
    for (int call = 0; call < CALLS; call++) {
        for (int number = 1; number <= counts[call]; number++) {
            for (int error = 0; error < ERRORS; error++) {
                bool fits = strcmp(errors[error], "SHORT") != 0 || strcmp(names[call], "write") == 0;
                if (!fits || (!all && strcmp(names[call], "write") != 0 && error != turn++ / ERRORS % ERRORS))
                    continue;
                for (int ever = 0; ever < 2; ever++, cases++) {
                    if (ever && strcmp(errors[error], "EINTR") == 0 && (call == 1 || call == 6))
                        continue; /* asked again for ever: as the kernel would never do */
                    snprintf(fault, sizeof fault, "%s:%d:%s:%s", names[call], number, errors[error],
                             ever ? "ever" : "once");
                    ck_assert_msg(driver_run("faults", fault) == 0, "%s: %s", fault, output);
                }
            }
        }
    }
    printf("%d cases, 0 violations\n", cases);
    ck_assert_int_gt(cases, 50);
}
END_TEST

START_TEST(an_interrupted_or_short_write_is_no_failure)
{
    static const char *const faults[] = {"write:1:EINTR:once", "write:2:EINTR:once", "write:1:SHORT:ever",
                                         "fallocate:1:EINTR:once"};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        ck_assert_msg(driver_run("count", faults[i]) == 0 && strstr(output, "acknowledged") != NULL, "%s: %s",
                      faults[i], output);
    ck_assert(driver_run("count", "write:1:EIO:once") == 0 && strstr(output, "failed") != NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_faults");
    TCase *tcase = tcase_create("io_faults");
    tcase_add_test(tcase, every_failing_call_leaves_the_acknowledged_checkpoints);
    tcase_add_test(tcase, an_interrupted_or_short_write_is_no_failure);
    tcase_set_timeout(tcase, 0);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
