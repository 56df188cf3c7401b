/* SPDX-License-Identifier: MIT
 *
 * Large durable files. What is handed in, in pieces of any size, leaves in few large writes that are aligned
 * in the file and in memory, by a thread of their own while the caller fills the next buffer; with `direct`
 * they go past the page cache where the file system allows it. Durability is fs_writer's (fs.h).
 */
#ifndef MUSTER_BASE_FS_BULK_H
#define MUSTER_BASE_FS_BULK_H

#include "base/fs.h"

enum { FS_BULK_BYTES = 8 << 20, FS_BULK_ALIGNMENT = 4096 };

struct fs_bulk_flusher;

/* Not to be moved while it is open. */
struct fs_bulk {
    struct fs_writer writer;         /* the flusher's while there is one */
    struct fs_bulk_flusher *flusher; /* NULL: the file is expected to fit into one buffer */
    unsigned char *buffer;
    size_t capacity, filled;
    int64_t flushed_bytes; /* handed to the writer or the flusher */
    bool direct;           /* the next write may still go past the page cache */
};

/** \param expected_bytes  of the whole file; reserved on the disk, and no more memory than that, at most two
 * buffers, is taken */
enum muster_status fs_bulk_open(struct fs_bulk *bulk, const char *path, int64_t expected_bytes, bool direct,
                                struct muster_error *err);
/** \return how this or an earlier write to the file failed */
enum muster_status fs_bulk_write(struct fs_bulk *bulk, const void *data, size_t bytes,
                                 struct muster_error *err);
/** Bytes handed in so far. */
int64_t fs_bulk_length(const struct fs_bulk *bulk);
/** Writes what is left, then as fs_writer_finish. */
enum muster_status fs_bulk_finish(struct fs_bulk *bulk, struct muster_error *err);
/** Removes the temporary unless finished, and frees the buffer; needed in every case, safe on a zeroed
 * struct. */
void fs_bulk_release(struct fs_bulk *bulk);

#endif
