/* SPDX-License-Identifier: MIT
 *
 * A process for others to look at.
 */
#ifndef MUSTER_TESTS_SLEEPER_H
#define MUSTER_TESTS_SLEEPER_H

#include <check.h>
#include <fcntl.h>
#include <unistd.h>

/** A child that sleeps for 1000 seconds and has nothing in its environment but this, which is there when it
 * returns. */
static inline pid_t sleeper_start(char *setting)
{
    char word[] = "1000", *argv[] = {"sleep", word, NULL}, *environment[] = {setting, NULL};
    int told[2];
    ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        execvpe("sleep", argv, environment);
        _exit(127);
    }
    close(told[1]);
    ck_assert_int_eq(read(told[0], word, 1), 0); /* closed by the exec */
    close(told[0]);
    return child;
}

#endif
