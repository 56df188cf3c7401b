/* SPDX-License-Identifier: MIT
 *
 * Data files for tests, written byte by byte into a fresh folder, so that what a reader sees does not depend
 * on the code under test.
 */
#ifndef MUSTER_TESTS_DATA_FILES_H
#define MUSTER_TESTS_DATA_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/data/dataset.h"

/** Setup and teardown of a test case. */
void data_folder_create(void);
void data_folder_remove(void);

/** The path of `name` in the folder; eight at a time stay valid. */
char *data_path(const char *name);

/** Files keep the order of `bytes`; folders in `name` are made. */
void data_write(const char *name, const void *bytes, size_t count);
void data_write_gzip(const char *name, const void *bytes, size_t count);

/** `count` tokens of `width` bytes, little-endian, after a header of `words` 32-bit words (llm.c: 256). */
void data_write_tokens(const char *name, int words, const int32_t *header, int width, int64_t count,
                       const uint32_t *tokens);
/** As above with tokens first, first + 1, … */
void data_write_ramp(const char *name, int width, int64_t count, uint32_t first);

/** An IDX header and payload into `out`; returns the bytes. */
size_t data_idx(unsigned char *out, uint32_t magic, int dimensions, const uint32_t *sizes,
                const unsigned char *payload, size_t payload_bytes);

/** `count` images of 2 · 3 pixels (image i, pixel j is 6 i + j, mod 256) and labels i % 10. */
void data_write_images(const char *images_name, const char *labels_name, int count, bool gzip);

/** One list of `count` sources (at most 8), each a path; valid until the next call. */
struct job_sources data_sources(int count, char *const *paths);
struct job_sources data_source(char *path);

#endif
