/* SPDX-License-Identifier: MIT
 *
 * Before MPI has started nobody watches: Open MPI 4.1 takes a rank that ends with 0 before another one of its
 * host has reached MPI_Init for a program that has nothing to do with MPI, and the others wait for it for
 * ever. So two ranks of a host, while they wait there, look whether the launcher still has as many ranks here
 * as it was to start.
 */
#ifndef MUSTER_WORKER_START_WATCH_H
#define MUSTER_WORKER_START_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct start_watch {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool runs, over;
    pid_t launcher;
    int expected;     /* ranks on this host */
    char setting[64]; /* that they alone have in their environment */
    int looks_max;    /* with somebody missing, in a row */
    void (*lost)(const char *text);
};

/**
 * Watches from a thread of its own until start_watch_end, where the launcher (mpirun, or its daemon on this
 * host) says how many ranks it starts here; otherwise does nothing. When some have been missing for two
 * seconds, calls `lost` from there with what a person should read; it ends the process.
 */
void start_watch_begin(struct start_watch *watch, void (*lost)(const char *text));
void start_watch_end(struct start_watch *watch);

#endif
