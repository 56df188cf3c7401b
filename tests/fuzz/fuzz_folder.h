/* SPDX-License-Identifier: MIT
 *
 * Readers that open folders need files: one folder in memory for the whole process, its files rewritten in
 * place for every input, because making a file costs more than reading it.
 */
#ifndef MUSTER_TESTS_FUZZ_FOLDER_H
#define MUSTER_TESTS_FUZZ_FOLDER_H

#include <stddef.h>
#include <stdint.h>

/** The folder; removed when the process ends. */
const char *fuzz_folder(void);

/** FOLDER/name with these bytes, or not there when `data` is NULL. `name` is a constant. */
void fuzz_folder_write(const char *name, const void *data, size_t bytes);

#endif
