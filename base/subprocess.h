/* SPDX-License-Identifier: MIT
 *
 * Short commands whose words matter (sbatch, squeue, ssh, gnuplot): several at once, from argv arrays, with
 * one deadline for all. Not for the ranks of a run, which are watched in their own way.
 */
#ifndef MUSTER_BASE_SUBPROCESS_H
#define MUSTER_BASE_SUBPROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/text.h"

enum { SUBPROCESS_BYTES_MAX = 1 << 20 }; /* kept of each output; what is beyond is read and dropped */

struct subprocess {
    const char *const *argv; /* ends with NULL; the program is looked for in PATH */
    struct text out, err;    /* what it said */
    int exit_code;           /* 128 + the signal that ended it */
    int start_errno;         /* why it could not be started, or 0 */
    bool timed_out;          /* and was killed, with its process group */
    pid_t pid;
    int fds[2]; /* its standard output and error; -1 = closed */
};

/** Prepares one command; nothing is started. */
void subprocess_init(struct subprocess *process, const char *const *argv);
void subprocess_release(struct subprocess *process);

/**
 * Starts all, with nothing on standard input, and returns when all have ended or the deadline has passed. No
 * process of theirs is left in their process groups then.
 */
void subprocess_run_all(struct subprocess *processes, int count, int timeout_ms);

/**
 * Runs one command that must succeed. UNSUPPORTED when there is no such program; otherwise
 * exit codes other than 0 and timeouts give
 * IO, with the last line of what the command said.
 */
enum muster_status subprocess_run(struct subprocess *process, int timeout_ms, struct muster_error *err);

/** The last line of a command's words that is not empty, without its newline, into `line`. */
void subprocess_last_line(const struct text *text, char *line, size_t size);

#endif
