/* SPDX-License-Identifier: MIT
 *
 * An .npz file: a zip archive of uncompressed .npy arrays, written front to back in one pass. Sizes and
 * offsets beyond 4 GiB, and more than 65,534 arrays, go to ZIP64 records.
 * Formats: numpy.lib.format version 1.0; PKWARE APPNOTE.TXT 6.3.3, sections 4.3 and 4.5.3.
 */
#ifndef MUSTER_COORDINATOR_NPZ_WRITE_H
#define MUSTER_COORDINATOR_NPZ_WRITE_H

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"

struct npz_writer {
    struct fs_writer file;
    struct text directory; /* the archive's, written at the end */
    int64_t array_count;
    int64_t zip64_from; /* sizes and offsets from here on go to ZIP64 records; only tests lower it */
};

/** \param bytes  about how long the file will be, to reserve the space */
enum muster_status npz_writer_open(struct npz_writer *writer, const char *path, int64_t bytes,
                                   struct muster_error *err);

/** One fp32 array in C order, NAME.npy in the archive. An empty shape is a scalar. */
enum muster_status npz_writer_add(struct npz_writer *writer, const char *name, const int64_t *shape,
                                  int dim_count, const float *values, int64_t count,
                                  struct muster_error *err);

/** Writes the directory and commits the file durably. */
enum muster_status npz_writer_finish(struct npz_writer *writer, struct muster_error *err);

/** Removes what was written; safe after finish and after a failed open. */
void npz_writer_abort(struct npz_writer *writer);

#endif
