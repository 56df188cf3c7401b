/* SPDX-License-Identifier: MIT
 *
 * Stands in for mpirun and for muster-worker in tests. It appends its words and settings to the file named by
 * FAKE_REPORT and then does what FAKE_PLAY says, one "verb:number" after another:
 *
 *   parent:N  sends signal N to its parent        await:N   waits for signal N and reports it
 *   raise:N   dies of signal N                    exit:N    ends
 *   orphan:0  leaves a child that hears nothing   banner:0  says what mpirun says of a killed rank
 *   lost:0    says what mpirun 5.0 says of a lost host
 *   hang:0    waits for SIGKILL
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static FILE *report;

static void introduce(int argc, char **argv)
{
    char stdin_path[64] = "";
    ssize_t length = readlink("/proc/self/fd/0", stdin_path, sizeof stdin_path - 1);
    for (int i = 0; i < argc; i++)
        fprintf(report, "word %d: %s\n", i, argv[i]);
    for (char **setting = environ; *setting != NULL; setting++) {
        if (strncmp(*setting, "OMPI_", 5) == 0)
            fprintf(report, "setting: %s\n", *setting);
    }
    fprintf(report, "stdin: %.*s\n", (int)length, stdin_path);
    fprintf(report, "own group: %d\n", getpgrp() == getpid());
}

static void await(const sigset_t *set, int number)
{
    int got = 0;
    while (got != number && sigwait(set, &got) == 0) {
        fprintf(report, "got %d\n", got);
        fflush(report);
    }
}

static void orphan_leave(const sigset_t *set)
{
    fflush(report);
    if (fork() == 0) {
        int got;
        setpgid(0, 0);
        fprintf(report, "orphan %d\n", (int)getpid());
        fflush(report);
        kill(getppid(), SIGUSR2);
        for (;;)
            sigwait(set, &got);
    }
    await(set, SIGUSR2); /* it has reported itself */
}

static void play(const sigset_t *set, const char *verb, int number)
{
    if (strcmp(verb, "parent") == 0) {
        kill(getppid(), number);
    } else if (strcmp(verb, "await") == 0) {
        await(set, number);
    } else if (strcmp(verb, "raise") == 0) {
        signal(number, SIG_DFL);
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, number);
        raise(number);
        sigprocmask(SIG_UNBLOCK, &one, NULL);
    } else if (strcmp(verb, "orphan") == 0) {
        orphan_leave(set);
    } else if (strcmp(verb, "banner") == 0) {
        fputs("a rank's last words\n"
              "--------------------------------------------------------------------------\n"
              "mpirun noticed that process rank 3 with PID 0 on node node07 exited on signal 9 (Killed).\n"
              "--------------------------------------------------------------------------\n",
              stderr);
    } else if (strcmp(verb, "lost") == 0) {
        fputs("--------------------------------------------------------------------------\n"
              "PRTE has lost communication with a remote daemon.\n"
              "--------------------------------------------------------------------------\n",
              stderr);
    } else if (strcmp(verb, "hang") == 0) {
        await(set, -1);
    } else if (strcmp(verb, "exit") == 0) {
        exit(number);
    }
}

int main(int argc, char **argv)
{
    const char *path = getenv("FAKE_REPORT"), *words = getenv("FAKE_PLAY");
    char verb[16];
    int number, length;
    sigset_t set;
    report = path != NULL ? fopen(path, "ae") : NULL;
    if (report == NULL)
        return 99;
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    introduce(argc, argv);
    fflush(report);
    while (words != NULL && sscanf(words, " %15[a-z]:%d%n", verb, &number, &length) == 2) {
        play(&set, verb, number);
        words += length;
    }
    return 0;
}
