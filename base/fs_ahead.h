/* SPDX-License-Identifier: MIT
 *
 * Large files, read by a thread that stays ahead of whoever uses the bytes, in few long requests; with
 * `direct` they go past the page cache where the file system allows it.
 */
#ifndef MUSTER_BASE_FS_AHEAD_H
#define MUSTER_BASE_FS_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/** The blocks of a file that are wanted, in order. */
struct fs_ahead_plan {
    const char *path;
    int64_t file_bytes;  /* the last block ends there */
    int64_t block_bytes; /* a multiple of 4096, at most FS_AHEAD_BYTES */
    const bool *wanted;  /* [blocks of the file] */
    bool direct;
};

enum { FS_AHEAD_BYTES = 8 << 20 }; /* of one request; three are held in memory */

struct fs_ahead;

/** Begins to read. \param plan  what it points to is used until the end \return IO names the file */
enum muster_status fs_ahead_open(const struct fs_ahead_plan *plan, struct fs_ahead **out,
                                 struct muster_error *err);
/**
 * The next wanted block, valid until the next call. \param index  out: which; -1 after the last
 * \param bytes  out: block_bytes, or less for the last of the file \return IO, or CORRUPT when the file ends
 * before; from then on always that
 */
enum muster_status fs_ahead_next(struct fs_ahead *ahead, int64_t *index, const void **data, int64_t *bytes,
                                 struct muster_error *err);
/** Stops reading and frees. Takes NULL. */
void fs_ahead_close(struct fs_ahead *ahead);

#endif
