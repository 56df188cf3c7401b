/* SPDX-License-Identifier: MIT
 *
 * Readers that open folders need files: one folder in memory for the whole process, its files written anew
 * for every input.
 */
#ifndef MUSTER_TESTS_FUZZ_FOLDER_H
#define MUSTER_TESTS_FUZZ_FOLDER_H

#include <stddef.h>
#include <stdint.h>

/** The folder; removed when the process ends. */
const char *fuzz_folder(void);

/** FOLDER/name with these bytes, or not there when `data` is NULL. */
void fuzz_folder_write(const char *name, const void *data, size_t bytes);

/** Ends the process, which is a finding, unless `kept`. */
void fuzz_promise(int kept);

#endif
