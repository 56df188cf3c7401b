/* SPDX-License-Identifier: MIT
 *
 * Words as a POSIX shell reads them back, for commands shown to a person and for scripts that Slurm runs.
 * muster itself never gives anything to a shell.
 */
#ifndef MUSTER_BASE_SHELL_WORD_H
#define MUSTER_BASE_SHELL_WORD_H

#include "base/text.h"

/** Adds `word` so that a shell reads exactly these bytes: as it is where nothing in it is special, otherwise
 * in single quotes. */
void shell_word_print(struct text *out, const char *word);

#endif
