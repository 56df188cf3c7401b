/* SPDX-License-Identifier: MIT
 *
 * Runs a program to its end and keeps what it said. No shell: words arrive as they are.
 */
#ifndef MUSTER_TESTS_PROGRAM_H
#define MUSTER_TESTS_PROGRAM_H

#include <stdbool.h>

#include "base/fs.h"
#include "base/text.h"

enum { PROGRAM_WORDS_MAX = 24 };

struct program_result {
    int exit_code; /* 128 + the signal that ended it */
    struct text out, err;
};

/** Ends with the end of both outputs, also when a descendant holds them. `words` ends with NULL. */
void program_run(struct program_result *result, const char *const *words);
/** As above with standard output to `out_fd` (kept open) instead of result->out. */
void program_run_to(struct program_result *result, int out_fd, const char *const *words);
void program_release(struct program_result *result);

/** `muster` with these words (up to NULL); fails the test, showing what was said, unless it ends with this exit
 * code. What `result` held before is released. */
void program_muster(struct program_result *result, int exit_code, const char *const *words);

/** A fresh folder that is the current one until program_folder_leave, which removes it. */
void program_folder_enter(void);
void program_folder_leave(void);

/** Fails the test, showing what was said, unless the text is there. */
void program_expect(const struct text *text, const char *words);
void program_write(const char *path, const char *content);
void program_copy(const char *from, const char *to);

#endif
