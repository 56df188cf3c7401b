/* SPDX-License-Identifier: MIT
 *
 * One shard file, out of memory and back. Writing walks the same slices three times (header, data, record)
 * instead of keeping a list and hashes each block while it is warm, on its way into the buffer that fs_bulk
 * writes: nothing is read back. Verifying reads the file once, a block at a time.
 */
#include "coordinator/ckpt/ckpt_internal.h"
#include "coordinator/ckpt/safetensors.h"

#include "base/alloc.h"
#include "base/fs_bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GRAIN_BYTES = 64 << 10, CRC_TEXT_SIZE = 9, ENTRY_NAME_SIZE = 2 * CKPT_NAME_MAX + 32 };

void ckpt_format_shard(char *out, int writer, int writer_count)
{
    snprintf(out, CKPT_FILE_NAME_SIZE, "shard-%05d-of-%05d.safetensors", writer, writer_count);
}

static void entry_name_format(char out[ENTRY_NAME_SIZE], const struct ckpt_layout *layout, int kind,
                              int tensor, int64_t offset)
{
    snprintf(out, ENTRY_NAME_SIZE, "%s/%s@%" PRId64, layout->kinds[kind], layout->tensors[tensor].name,
             offset);
}

/* Writing: the slices of the pieces, kind by kind, piece by piece, tensor by tensor. */

struct slice_walk {
    const struct ckpt_layout *layout;
    const struct ckpt_piece *pieces;
    int piece_count;
    int kind, piece, tensor; /* the next to look at; tensor -1: find the piece's first */
};

struct written_slice {
    int kind, tensor;
    int64_t offset, count; /* inside the tensor */
    const float *data;
};

static struct slice_walk slice_walk_begin(const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                          int piece_count)
{
    return (struct slice_walk){layout, pieces, piece_count, 0, 0, -1};
}

static bool slice_walk_next(struct slice_walk *walk, struct written_slice *slice)
{
    for (; walk->kind < walk->layout->kind_count; walk->kind++, walk->piece = 0) {
        for (; walk->piece < walk->piece_count; walk->piece++, walk->tensor = -1) {
            const struct ckpt_piece *piece = &walk->pieces[walk->piece];
            if (walk->tensor < 0)
                walk->tensor = ckpt_layout_find(walk->layout, piece->begin);
            if (walk->tensor == walk->layout->tensor_count)
                continue;
            const struct ckpt_tensor *tensor = &walk->layout->tensors[walk->tensor];
            int64_t begin = tensor->offset > piece->begin ? tensor->offset : piece->begin;
            int64_t end = tensor->offset + tensor->count;
            end = end < piece->end ? end : piece->end;
            if (begin >= end)
                continue;
            *slice = (struct written_slice){walk->kind, walk->tensor, begin - tensor->offset, end - begin,
                                            piece->data[walk->kind] + (begin - piece->begin)};
            walk->tensor++;
            return true;
        }
    }
    return false;
}

/* The length field, the JSON and spaces up to CKPT_DATA_ALIGNMENT; *data_bytes is what follows it. */
static enum muster_status header_print(struct text *header, const char *path, int writer, int writer_count,
                                       struct slice_walk walk, int64_t *data_bytes, struct muster_error *err)
{
    struct written_slice slice;
    char name[ENTRY_NAME_SIZE];
    text_append(header, "........", SAFETENSORS_LENGTH_BYTES);
    text_print(header,
               "{\"__metadata__\":{\"format\":\"" CKPT_FORMAT_NAME
               "\",\"version\":\"%d\",\"writer\":\"%d\",\"writer_count\":\"%d\"}",
               CKPT_FORMAT_VERSION, writer, writer_count);
    *data_bytes = 0;
    while (slice_walk_next(&walk, &slice)) {
        int64_t end = *data_bytes + slice.count * (int64_t)sizeof(float);
        entry_name_format(name, walk.layout, slice.kind, slice.tensor, slice.offset);
        text_print(header,
                   ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%" PRId64 "],\"data_offsets\":[%" PRId64 ",%" PRId64
                   "]}",
                   name, slice.count, *data_bytes, end);
        *data_bytes = end;
    }
    text_append(header, "}", 1);
    while (!header->failed && header->length % CKPT_DATA_ALIGNMENT != 0)
        text_append(header, " ", 1);
    if (header->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for its header", path);
    uint64_t length = header->length - SAFETENSORS_LENGTH_BYTES;
    if (length > SAFETENSORS_JSON_BYTES_MAX)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "%s: too many slices for one header", path);
    memcpy(header->data, &length, sizeof length);
    return MUSTER_OK;
}

/* Bytes on their way to the file, hashed as they pass, in grains that stay in a core's own cache meanwhile.
 */
struct shard_sink {
    struct fs_bulk file;
    struct ckpt_progress *progress; /* NULL: nobody asks */
    struct hash_stream *xxh3;
    struct text crcs; /* of the finished blocks */
    uint32_t crc;
    int64_t block_bytes; /* in the unfinished block */
};

static void sink_block_end(struct shard_sink *sink)
{
    text_print(&sink->crcs, "%08" PRIx32, sink->crc);
    sink->crc = 0;
    sink->block_bytes = 0;
}

static enum muster_status sink_write(struct shard_sink *sink, const void *data, int64_t bytes,
                                     struct muster_error *err)
{
    const char *next = data;
    while (bytes > 0) {
        int64_t part = CKPT_BLOCK_BYTES - sink->block_bytes;
        part = part < bytes ? part : bytes;
        part = part < GRAIN_BYTES ? part : GRAIN_BYTES;
        sink->crc = hash_crc32c(sink->crc, next, (size_t)part);
        hash_stream_update(sink->xxh3, next, (size_t)part);
        enum muster_status status = fs_bulk_write(&sink->file, next, (size_t)part, err);
        if (status != MUSTER_OK)
            return status;
        if (sink->progress != NULL)
            atomic_fetch_add_explicit(&sink->progress->done_bytes, part, memory_order_relaxed);
        sink->block_bytes += part;
        if (sink->block_bytes == CKPT_BLOCK_BYTES)
            sink_block_end(sink);
        next += part;
        bytes -= part;
    }
    return MUSTER_OK;
}

static enum muster_status shard_bytes_write(struct shard_sink *sink, const struct text *header,
                                            struct slice_walk walk, struct muster_error *err)
{
    struct written_slice slice;
    enum muster_status status = sink_write(sink, header->data, (int64_t)header->length, err);
    while (status == MUSTER_OK && slice_walk_next(&walk, &slice))
        status = sink_write(sink, slice.data, slice.count * (int64_t)sizeof(float), err);
    if (status == MUSTER_OK && sink->block_bytes > 0)
        sink_block_end(sink);
    return status;
}

static enum muster_status record_print(struct text *record, const char *file, int64_t header_bytes,
                                       const struct shard_sink *sink, struct slice_walk walk,
                                       struct muster_error *err)
{
    char xxh3[HASH_TEXT_SIZE];
    struct written_slice slice;
    const char *separator = "";
    hash_format(hash_stream_value(sink->xxh3), xxh3);
    text_print(record, "{\"file\": \"%s\", \"bytes\": %" PRId64 ", \"header_bytes\": %" PRId64 ",\n", file,
               fs_bulk_length(&sink->file), header_bytes);
    text_print(record, " \"xxh3\": \"%s\",\n \"crc32c\": \"", xxh3);
    text_append(record, sink->crcs.data, sink->crcs.length);
    text_print(record, "\",\n \"slices\": [");
    while (slice_walk_next(&walk, &slice)) {
        text_print(record, "%s[%d, %d, %" PRId64 ", %" PRId64 "]", separator, slice.kind, slice.tensor,
                   slice.offset, slice.count);
        separator = ", ";
    }
    text_print(record, "]}");
    if (record->failed || sink->crcs.failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the record of %s", file);
    return MUSTER_OK;
}

/* A full disk is told with the numbers that a person needs to make room. */
static enum muster_status space_explain(enum muster_status status, const char *folder, int64_t needed_bytes,
                                        struct muster_error *err)
{
    if (status != MUSTER_ERR_NO_SPACE || err == NULL)
        return status;
    char needed[32], left[32];
    text_format_bytes(needed, sizeof needed, needed_bytes);
    text_format_bytes(left, sizeof left, fs_free_bytes(folder));
    return muster_error_set(err, status, "%.900s; this shard needs %s, %s are free", err->text, needed, left);
}

static enum muster_status pieces_check(const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                       int piece_count, struct muster_error *err)
{
    for (int i = 0; i < piece_count; i++) {
        if (pieces[i].begin < 0 || pieces[i].end < pieces[i].begin || pieces[i].end > layout->flat_count)
            return muster_error_set(err, MUSTER_ERR_INTERNAL, "piece [%" PRId64 ", %" PRId64 ") of %" PRId64,
                                    pieces[i].begin, pieces[i].end, layout->flat_count);
    }
    return ckpt_layout_check(layout, MUSTER_ERR_INTERNAL, "checkpoint layout", err);
}

int64_t ckpt_shard_bytes(int writer, int writer_count, const struct ckpt_layout *layout,
                         const struct ckpt_piece *pieces, int piece_count, struct muster_error *err)
{
    struct text header;
    int64_t data_bytes = 0;
    text_init(&header);
    enum muster_status status = pieces_check(layout, pieces, piece_count, err);
    if (status == MUSTER_OK)
        status = header_print(&header, "shard", writer, writer_count,
                              slice_walk_begin(layout, pieces, piece_count), &data_bytes, err);
    int64_t bytes = status == MUSTER_OK ? (int64_t)header.length + data_bytes : -1;
    text_release(&header);
    return bytes;
}

enum muster_status ckpt_shard_write(const char *folder, int writer, int writer_count,
                                    const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                    int piece_count, struct text *record, struct muster_error *err)
{
    static const struct ckpt_write_options plain = {.direct_io = false};
    return ckpt_shard_write_with(&plain, folder, writer, writer_count, layout, pieces, piece_count, record,
                                 err);
}

enum muster_status ckpt_shard_write_with(const struct ckpt_write_options *options, const char *folder,
                                         int writer, int writer_count, const struct ckpt_layout *layout,
                                         const struct ckpt_piece *pieces, int piece_count,
                                         struct text *record, struct muster_error *err)
{
    char file[CKPT_FILE_NAME_SIZE], path[FS_PATH_MAX];
    struct shard_sink sink = {.file = {.writer = {.fd = -1}}, .progress = options->progress};
    struct text header;
    int64_t data_bytes = 0;
    struct slice_walk walk = slice_walk_begin(layout, pieces, piece_count);
    if (writer < 0 || writer >= writer_count || writer_count > CKPT_WRITERS_MAX)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "checkpoint writer %d of %d", writer, writer_count);
    text_init(&header);
    text_init(&sink.crcs);
    ckpt_format_shard(file, writer, writer_count);
    enum muster_status status = fs_path_join(path, folder, file, err);
    if (status == MUSTER_OK)
        status = pieces_check(layout, pieces, piece_count, err);
    if (status == MUSTER_OK)
        status = header_print(&header, path, writer, writer_count, walk, &data_bytes, err);
    if (status != MUSTER_OK)
        goto out;
    sink.xxh3 = hash_stream_create();
    if (sink.xxh3 == NULL) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to write it", path);
        goto out;
    }
    status = fs_bulk_open(&sink.file, path, (int64_t)header.length + data_bytes, options->direct_io, err);
    if (status == MUSTER_OK)
        status = shard_bytes_write(&sink, &header, walk, err);
    if (status == MUSTER_OK)
        status = record_print(record, file, (int64_t)header.length, &sink, walk, err);
    if (status == MUSTER_OK)
        status = fs_bulk_finish(&sink.file, err);
    status = space_explain(status, folder, (int64_t)header.length + data_bytes, err);
out:
    fs_bulk_release(&sink.file);
    hash_stream_destroy(sink.xxh3);
    text_release(&sink.crcs);
    text_release(&header);
    return status;
}

/* Verifying. */

enum muster_status ckpt_block_check(const struct ckpt_shard *shard, const char *path, int64_t index,
                                    const void *block, int64_t bytes, struct muster_error *err)
{
    char crc[CRC_TEXT_SIZE];
    int64_t at = index * CKPT_BLOCK_BYTES;
    snprintf(crc, sizeof crc, "%08" PRIx32, hash_crc32c(0, block, (size_t)bytes));
    if (memcmp(crc, shard->crcs + 8 * index, 8) == 0)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_CORRUPT,
                            "%s: bytes %" PRId64 "..%" PRId64
                            " are not what was written: CRC32C %s, the MANIFEST says %.8s",
                            path, at, at + bytes - 1, crc, shard->crcs + 8 * index);
}

/* The first `end` bytes, in whole blocks. \param xxh3  takes in what was read, or NULL */
static enum muster_status blocks_verify(int fd, const char *path, const struct ckpt_shard *shard, int64_t end,
                                        struct hash_stream *xxh3, struct muster_error *err)
{
    int64_t longest = shard->bytes < CKPT_BLOCK_BYTES ? shard->bytes : CKPT_BLOCK_BYTES;
    unsigned char *block = alloc_zeroed((size_t)longest, 1);
    enum muster_status status = MUSTER_OK;
    if (block == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to verify it", path);
    for (int64_t at = 0; at < end && status == MUSTER_OK; at += CKPT_BLOCK_BYTES) {
        int64_t bytes = shard->bytes - at < CKPT_BLOCK_BYTES ? shard->bytes - at : CKPT_BLOCK_BYTES;
        status = ckpt_file_read(fd, path, at, block, bytes, err);
        if (status == MUSTER_OK)
            status = ckpt_block_check(shard, path, at / CKPT_BLOCK_BYTES, block, bytes, err);
        if (status == MUSTER_OK && xxh3 != NULL)
            hash_stream_update(xxh3, block, (size_t)bytes);
    }
    alloc_free(block);
    return status;
}

static enum muster_status data_verify(int fd, const char *path, const struct ckpt_shard *shard,
                                      struct muster_error *err)
{
    struct hash_stream *xxh3 = hash_stream_create();
    if (xxh3 == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to verify it", path);
    enum muster_status status = blocks_verify(fd, path, shard, shard->bytes, xxh3, err);
    if (status == MUSTER_OK && !hash_equal(hash_stream_value(xxh3), shard->xxh3))
        status =
            muster_error_set(err, MUSTER_ERR_CORRUPT,
                             "%s: its XXH3-128 is not the MANIFEST's, though every block's CRC32C is", path);
    hash_stream_destroy(xxh3);
    return status;
}

/* The safetensors header must tell the same story as the MANIFEST, entry by entry. */
static enum muster_status entries_compare(const struct ckpt *ckpt, const struct ckpt_shard *shard,
                                          const struct safetensors_header *header, const char *path,
                                          struct muster_error *err)
{
    if (header->count != shard->slice_count || header->data_begin != shard->header_bytes)
        return muster_error_set(
            err, MUSTER_ERR_CORRUPT,
            "%s: header of %d tensors and %" PRId64 " bytes, the MANIFEST says %d and %" PRId64, path,
            header->count, header->data_begin, shard->slice_count, shard->header_bytes);
    for (int i = 0; i < header->count; i++) {
        const struct safetensors_entry *entry = &header->entries[i];
        const struct ckpt_slice *slice = &ckpt->slices[shard->slice_first + i];
        char name[ENTRY_NAME_SIZE];
        int64_t count = slice->end - slice->begin;
        entry_name_format(name, &ckpt->layout, slice->kind, slice->tensor,
                          slice->begin - ckpt->tensors[slice->tensor].offset);
        if (strcmp(entry->name, name) != 0 || strcmp(entry->dtype, "F32") != 0 || entry->dim_count != 1 ||
            entry->shape[0] != count || entry->begin != slice->file_offset - shard->header_bytes)
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s: header entry %s is not the MANIFEST's %s of %" PRId64
                                    " fp32 elements",
                                    path, entry->name, name, count);
    }
    return MUSTER_OK;
}

static enum muster_status header_verify(int fd, const struct ckpt *ckpt, const struct ckpt_shard *shard,
                                        const char *path, struct muster_error *err)
{
    struct safetensors_header header = {.root = NULL};
    unsigned char *bytes = alloc_zeroed((size_t)shard->header_bytes, 1);
    if (bytes == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for its header", path);
    enum muster_status status = ckpt_file_read(fd, path, 0, bytes, shard->header_bytes, err);
    if (status == MUSTER_OK)
        status = safetensors_header_parse(&header, bytes, shard->header_bytes, shard->bytes, path, err);
    if (status == MUSTER_OK)
        status = entries_compare(ckpt, shard, &header, path, err);
    safetensors_header_release(&header);
    alloc_free(bytes);
    return status;
}

/* \param all  the data too, not only the header */
static enum muster_status shard_verify(const struct ckpt *ckpt, const struct ckpt_shard *shard, bool all,
                                       struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, ckpt->folder, shard->file, err);
    if (status != MUSTER_OK)
        return status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? muster_error_set(err, MUSTER_ERR_CORRUPT, "%s is missing", path)
                               : muster_error_set_errno(err, errno, "open %s", path);
    int64_t bytes = fs_file_size(path);
    if (bytes != shard->bytes)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT,
                                  "%s is %" PRId64 " bytes long, the MANIFEST says %" PRId64, path, bytes,
                                  shard->bytes);
    if (status == MUSTER_OK)
        status = all ? data_verify(fd, path, shard, err)
                     : blocks_verify(fd, path, shard, shard->header_bytes, NULL, err);
    if (status == MUSTER_OK)
        status = header_verify(fd, ckpt, shard, path, err);
    close(fd);
    return status;
}

enum muster_status ckpt_shard_verify(const struct ckpt *ckpt, int shard, struct muster_error *err)
{
    return shard_verify(ckpt, &ckpt->shards[shard], true, err);
}

enum muster_status ckpt_header_verify(const struct ckpt *ckpt, int shard, struct muster_error *err)
{
    return shard_verify(ckpt, &ckpt->shards[shard], false, err);
}
