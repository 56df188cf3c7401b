/* SPDX-License-Identifier: MIT
 *
 * What a disk may hold after a crash, from the recorded calls of a program (io_shim.h). The promises of POSIX
 * and no more: bytes last once their file was synced, names once their folder was. Everything else may be
 * there or not, each on its own; data that was not synced may be there in parts of 512 bytes, the rest zeros.
 */
#ifndef MUSTER_TESTS_CRASH_MODEL_H
#define MUSTER_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_model;

/** Syncs that the model is to overlook, to see that a check notices what they are for. */
struct crash_options {
    bool ignore_file_syncs, ignore_folder_syncs;
};

/** \param root  the folder that was watched; its own entry always lasts. NULL when the record cannot be read.
 */
struct crash_model *crash_model_open(const char *record, const char *root);
void crash_model_close(struct crash_model *model);

/** Calls and marks in the record. */
int crash_model_count(const struct crash_model *model);

/** The value of the last mark before call `at`; -1 when there is none. */
int64_t crash_model_mark(const struct crash_model *model, int at);

/** Writes one state that a crash just before call `at` may leave into the empty folder `folder`; which one,
 * `seed` decides. False when the files cannot be written. */
bool crash_model_state(const struct crash_model *model, int at, uint64_t seed,
                       const struct crash_options *options, const char *folder);

#endif
