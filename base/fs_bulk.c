/* SPDX-License-Identifier: MIT
 *
 * A buffer in front of fs_writer, or two, one being filled while the flusher's thread writes the other.
 * Direct writes want multiples of the device's block, so whatever does not fit that rule (the file's tail,
 * the rest of a short write, a file system that says EINVAL) ends direct writing for this file; the data is
 * the same either way. Without it every full buffer is also pushed towards the disk at once, so that the
 * final fsync has little left to wait for.
 */
#include "base/fs_bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

static void direct_switch(struct fs_bulk *bulk, bool on)
{
    int flags = fcntl(bulk->writer.fd, F_GETFL);
    bool done = flags >= 0 && fcntl(bulk->writer.fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
    bulk->direct = on && done;
}

/* As much as direct writing takes; the rest is left to the page cache. */
static enum muster_status direct_write(struct fs_bulk *bulk, const unsigned char **data, size_t *bytes,
                                       struct muster_error *err)
{
    while (bulk->direct && *bytes >= FS_BULK_ALIGNMENT) {
        ssize_t written = write(bulk->writer.fd, *data, *bytes / FS_BULK_ALIGNMENT * FS_BULK_ALIGNMENT);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno != EINVAL)
            return muster_error_set_errno(err, errno, "write %s", bulk->writer.temporary);
        if (written < 0 || written % FS_BULK_ALIGNMENT != 0)
            direct_switch(bulk, false);
        written = written < 0 ? 0 : written;
        *data += written;
        *bytes -= (size_t)written;
        bulk->writer.written_bytes += written;
    }
    if (bulk->direct && *bytes > 0)
        direct_switch(bulk, false);
    return MUSTER_OK;
}

static enum muster_status bytes_write(struct fs_bulk *bulk, const unsigned char *data, size_t bytes,
                                      struct muster_error *err)
{
    int64_t begin = bulk->writer.written_bytes;
    enum muster_status status = direct_write(bulk, &data, &bytes, err);
    if (status == MUSTER_OK)
        status = fs_writer_write(&bulk->writer, data, bytes, err);
    if (status == MUSTER_OK && !bulk->direct) /* a hint: whether it worked shows at fsync */
        sync_file_range(bulk->writer.fd, begin, bulk->writer.written_bytes - begin, SYNC_FILE_RANGE_WRITE);
    return status;
}

/* ---- the flusher ---- */

struct fs_bulk_flusher {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool leave;                  /* under lock, as `bytes` */
    size_t bytes;                /* of the buffer that is to be written; 0: it is not in use */
    unsigned char *buffer;       /* not in use, or being written */
    struct muster_error failure; /* the first; read while nothing is being written */
};

static void *flusher_run(void *argument)
{
    struct fs_bulk *bulk = argument;
    struct fs_bulk_flusher *flusher = bulk->flusher;
    pthread_mutex_lock(&flusher->lock);
    for (;;) {
        while (flusher->bytes == 0 && !flusher->leave)
            pthread_cond_wait(&flusher->changed, &flusher->lock);
        if (flusher->bytes == 0)
            break;
        pthread_mutex_unlock(&flusher->lock);
        if (flusher->failure.status == MUSTER_OK)
            bytes_write(bulk, flusher->buffer, flusher->bytes, &flusher->failure);
        pthread_mutex_lock(&flusher->lock);
        flusher->bytes = 0;
        pthread_cond_broadcast(&flusher->changed);
    }
    pthread_mutex_unlock(&flusher->lock);
    return NULL;
}

/* Waits until nothing is being written. */
static enum muster_status flusher_settle(struct fs_bulk_flusher *flusher, struct muster_error *err)
{
    pthread_mutex_lock(&flusher->lock);
    while (flusher->bytes > 0)
        pthread_cond_wait(&flusher->changed, &flusher->lock);
    pthread_mutex_unlock(&flusher->lock);
    return flusher->failure.status == MUSTER_OK
               ? MUSTER_OK
               : muster_error_set(err, flusher->failure.status, "%s", flusher->failure.text);
}

static void flusher_close(struct fs_bulk *bulk)
{
    struct fs_bulk_flusher *flusher = bulk->flusher;
    if (flusher == NULL)
        return;
    pthread_mutex_lock(&flusher->lock);
    flusher->leave = true;
    pthread_cond_broadcast(&flusher->changed);
    pthread_mutex_unlock(&flusher->lock);
    if (flusher->started)
        pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->lock);
    alloc_free(flusher->buffer);
    alloc_free(flusher);
    bulk->flusher = NULL;
}

static enum muster_status flusher_open(struct fs_bulk *bulk, struct muster_error *err)
{
    struct fs_bulk_flusher *flusher = alloc_zeroed(1, sizeof *flusher);
    bulk->flusher = flusher;
    if (flusher == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write %s", bulk->writer.path);
    pthread_mutex_init(&flusher->lock, NULL);
    pthread_cond_init(&flusher->changed, NULL);
    flusher->buffer = alloc_aligned(bulk->capacity, FS_BULK_ALIGNMENT);
    if (flusher->buffer == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory (%zu bytes) to write %s",
                                bulk->capacity, bulk->writer.path);
    int code = pthread_create(&flusher->thread, NULL, flusher_run, bulk);
    flusher->started = code == 0;
    return flusher->started ? MUSTER_OK
                            : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no thread to write %s: %s",
                                               bulk->writer.path, strerror(code));
}

/* ---- the file ---- */

enum muster_status fs_bulk_open(struct fs_bulk *bulk, const char *path, int64_t expected_bytes, bool direct,
                                struct muster_error *err)
{
    *bulk = (struct fs_bulk){.writer = {.fd = -1}, .capacity = FS_BULK_BYTES};
    if (expected_bytes < FS_BULK_BYTES)
        bulk->capacity = ((size_t)expected_bytes / FS_BULK_ALIGNMENT + 1) * FS_BULK_ALIGNMENT;
    bulk->buffer = alloc_aligned(bulk->capacity, FS_BULK_ALIGNMENT);
    if (bulk->buffer == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory (%zu bytes) to write %s",
                                bulk->capacity, path);
    enum muster_status status = fs_writer_open(&bulk->writer, path, expected_bytes, err);
    if (status == MUSTER_OK && direct)
        direct_switch(bulk, true);
    if (status == MUSTER_OK && expected_bytes > FS_BULK_BYTES)
        status = flusher_open(bulk, err);
    return status;
}

/* The full buffer is on its way, or written, and there is an empty one. */
static enum muster_status buffer_pass(struct fs_bulk *bulk, struct muster_error *err)
{
    struct fs_bulk_flusher *flusher = bulk->flusher;
    enum muster_status status = MUSTER_OK;
    if (flusher == NULL) {
        status = bytes_write(bulk, bulk->buffer, bulk->filled, err);
    } else {
        status = flusher_settle(flusher, err);
        unsigned char *empty = flusher->buffer;
        pthread_mutex_lock(&flusher->lock);
        flusher->buffer = bulk->buffer;
        flusher->bytes = bulk->filled;
        pthread_cond_broadcast(&flusher->changed);
        pthread_mutex_unlock(&flusher->lock);
        bulk->buffer = empty;
    }
    bulk->flushed_bytes += (int64_t)bulk->filled;
    bulk->filled = 0;
    return status;
}

enum muster_status fs_bulk_write(struct fs_bulk *bulk, const void *data, size_t bytes,
                                 struct muster_error *err)
{
    const unsigned char *next = data;
    while (bytes > 0) {
        size_t room = bulk->capacity - bulk->filled, part = bytes < room ? bytes : room;
        memcpy(bulk->buffer + bulk->filled, next, part);
        bulk->filled += part;
        next += part;
        bytes -= part;
        enum muster_status status = bulk->filled == bulk->capacity ? buffer_pass(bulk, err) : MUSTER_OK;
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}

int64_t fs_bulk_length(const struct fs_bulk *bulk)
{
    return bulk->flushed_bytes + (int64_t)bulk->filled;
}

enum muster_status fs_bulk_finish(struct fs_bulk *bulk, struct muster_error *err)
{
    enum muster_status status = bulk->filled > 0 ? buffer_pass(bulk, err) : MUSTER_OK;
    if (status == MUSTER_OK && bulk->flusher != NULL)
        status = flusher_settle(bulk->flusher, err);
    return status == MUSTER_OK ? fs_writer_finish(&bulk->writer, err) : status;
}

void fs_bulk_release(struct fs_bulk *bulk)
{
    flusher_close(bulk);
    fs_writer_abort(&bulk->writer);
    alloc_free(bulk->buffer);
    bulk->buffer = NULL;
}
