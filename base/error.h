/* SPDX-License-Identifier: MIT
 *
 * How every part of muster reports what went wrong. A status says what to do about it; the text says what
 * happened. The first function that knows the cause fills the error once; callers pass it up untouched.
 * Nothing here allocates, prints or exits: only the two main.c files do.
 */
#ifndef MUSTER_BASE_ERROR_H
#define MUSTER_BASE_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum muster_status {
    MUSTER_OK = 0,
    MUSTER_ERR_BAD_INPUT,   /* a job file, argument or data set a person must correct */
    MUSTER_ERR_UNSUPPORTED, /* a valid request this build or back end cannot serve; nothing was started */
    MUSTER_ERR_NO_MEMORY,   /* planning error: the machine is too small */
    MUSTER_ERR_IO,          /* a system call failed; the text names it and the file */
    MUSTER_ERR_NO_SPACE,    /* ENOSPC or EDQUOT: go on without, keep what is there */
    MUSTER_ERR_CORRUPT,     /* stored bytes are not what was written: use an older copy */
    MUSTER_ERR_PEER,        /* another rank failed or disagrees: restart */
    MUSTER_ERR_NUMERIC,     /* NaN or infinity where a number is needed */
    MUSTER_ERR_CANCELLED,   /* stopped by a signal or time limit, resumable */
    MUSTER_ERR_FENCED,      /* a newer launch of this run exists: end, and change nothing */
    MUSTER_ERR_INTERNAL,    /* a bug in muster */
};

enum {
    MUSTER_EXIT_DONE = 0,
    MUSTER_EXIT_FAILED = 1,
    MUSTER_EXIT_BAD_INPUT = 2,
    MUSTER_EXIT_RESUMABLE = 75,
    MUSTER_EXIT_LOST = 76 /* another rank is lost: start again from the last checkpoint */
};

struct muster_error {
    enum muster_status status;
    char text[1024];
    bool agreed; /* the ranks have compared notes: all of them hold this error */
};

/**
 * Records the cause and returns `status`, so that `return muster_error_set(err, …)` reads well.
 * \param err  may be NULL; an error already recorded there is overwritten,
 * and the new one is this rank's alone until the ranks have agreed on it.
 */
enum muster_status muster_error_set(struct muster_error *err, enum muster_status status, const char *format,
                                    ...) __attribute__((format(printf, 3, 4)));

/**
 * As muster_error_set for a failed system call: appends ": " and strerror(errno_value); ENOSPC and EDQUOT
 * become MUSTER_ERR_NO_SPACE, everything else MUSTER_ERR_IO.
 */
enum muster_status muster_error_set_errno(struct muster_error *err, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** A short fixed name such as "bad input"; never NULL. */
const char *muster_status_name(enum muster_status status);

/** The documented process exit code for a status: 0, 1, 2 or 75. */
int muster_status_exit_code(enum muster_status status);

#ifdef __cplusplus
}
#endif
#endif
