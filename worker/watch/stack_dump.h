/* SPDX-License-Identifier: MIT
 *
 * Where every thread of this process is, written to a file: the last thing a rank does when the job ends
 * because of another rank. A signal makes each thread note its own call chain; one thread writes them down.
 * Only for processes about to end: a handler that interrupts oneDNN's generated code spoils memory
 * (worker/stop_signal.h).
 */
#ifndef MUSTER_WORKER_STACK_DUMP_H
#define MUSTER_WORKER_STACK_DUMP_H

#include "base/error.h"

/** Loads what unwinding needs and takes the signal (SIGRTMIN + 6), once a process; the calling thread's
 * handler gets a stack of its own. */
void stack_dump_prepare(void);

/**
 * Appends the call chain of every thread but the calling one: name, state as in /proc, then a line a frame,
 * "PROGRAM(+OFFSET)" for `addr2line -f -e PROGRAM OFFSET`. Allocates nothing. A thread that does not answer
 * in a quarter of a second is said not to; the whole takes two seconds at most.
 */
void stack_dump_write(int fd);

#endif
