/* SPDX-License-Identifier: MIT
 *
 * A gzip file in memory as a stream of bytes. The caller says how much it wants, so a small file that expands
 * without end costs no more than the caller's own bound. zlib checks the CRC and length of every member, and
 * its memory comes through base/alloc.h like everything else.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"

#include <zlib.h>

enum { WINDOW_BITS_GZIP = 15 + 16, PIECE_BYTES_MAX = 1 << 30 };

struct gzip_reader {
    z_stream stream;
    const char *path;
    const unsigned char *data;
    size_t bytes, consumed;
    bool ended;
};

static voidpf zlib_alloc(voidpf opaque, uInt count, uInt size)
{
    (void)opaque;
    return alloc_zeroed(count, size);
}

static void zlib_free(voidpf opaque, voidpf pointer)
{
    (void)opaque;
    alloc_free(pointer);
}

bool dataset_is_gzip(const unsigned char *data, size_t bytes)
{
    return bytes >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

int64_t gzip_expanded_max(size_t bytes)
{
    int64_t expanded;
    if (bytes > INT64_MAX || __builtin_mul_overflow((int64_t)bytes, 1032, &expanded))
        return INT64_MAX;
    return expanded;
}

enum muster_status gzip_reader_create(struct gzip_reader **out, const char *path, const unsigned char *data,
                                      size_t bytes, struct muster_error *err)
{
    *out = NULL;
    struct gzip_reader *reader = alloc_zeroed(1, sizeof *reader);
    if (reader == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to decompress", path);
    reader->path = path;
    reader->data = data;
    reader->bytes = bytes;
    reader->stream.zalloc = zlib_alloc;
    reader->stream.zfree = zlib_free;
    if (inflateInit2(&reader->stream, WINDOW_BITS_GZIP) != Z_OK) {
        alloc_free(reader);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to decompress", path);
    }
    *out = reader;
    return MUSTER_OK;
}

void gzip_reader_destroy(struct gzip_reader *reader)
{
    if (reader == NULL)
        return;
    inflateEnd(&reader->stream);
    alloc_free(reader);
}

static enum muster_status stream_error(const struct gzip_reader *reader, int result, struct muster_error *err)
{
    if (result == Z_MEM_ERROR)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to decompress", reader->path);
    if (reader->consumed == reader->bytes)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: the gzip data is cut off after %zu compressed bytes", reader->path,
                                reader->bytes);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "%s: the gzip data is damaged near compressed byte offset %zu (%s)", reader->path,
                            reader->consumed, reader->stream.msg != NULL ? reader->stream.msg : "bad data");
}

/* After one member: the end, another member, or bytes that do not belong there. */
static enum muster_status member_end(struct gzip_reader *reader, struct muster_error *err)
{
    size_t left = reader->bytes - reader->consumed;
    if (left == 0) {
        reader->ended = true;
        return MUSTER_OK;
    }
    if (!dataset_is_gzip(reader->data + reader->consumed, left))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: %zu bytes that are not gzip follow at compressed byte offset %zu",
                                reader->path, left, reader->consumed);
    if (inflateReset(&reader->stream) != Z_OK)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "%s: the decompressor cannot restart",
                                reader->path);
    return MUSTER_OK;
}

static uInt piece(size_t bytes)
{
    return (uInt)(bytes < PIECE_BYTES_MAX ? bytes : PIECE_BYTES_MAX);
}

enum muster_status gzip_reader_read(struct gzip_reader *reader, unsigned char *out, size_t bytes, size_t *got,
                                    struct muster_error *err)
{
    z_stream *stream = &reader->stream;
    *got = 0;
    while (*got < bytes && !reader->ended) {
        uInt input_bytes = piece(reader->bytes - reader->consumed), output_bytes = piece(bytes - *got);
        stream->next_in = (unsigned char *)(uintptr_t)(reader->data + reader->consumed);
        stream->avail_in = input_bytes;
        stream->next_out = out + *got;
        stream->avail_out = output_bytes;
        int result = inflate(stream, Z_NO_FLUSH);
        reader->consumed += input_bytes - stream->avail_in;
        *got += output_bytes - stream->avail_out;
        enum muster_status status = MUSTER_OK;
        if (result == Z_STREAM_END)
            status = member_end(reader, err);
        else if (result != Z_OK)
            status = stream_error(reader, result, err);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}
