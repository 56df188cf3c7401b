/* SPDX-License-Identifier: MIT
 *
 * A shard in pieces of its file, for whoever gets it over a wire instead of from a folder: where the bytes
 * lie, how they are read, and where each element belongs. Nothing is verified here: ckpt_shard_verify first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/ckpt/ckpt_internal.h"

enum muster_status ckpt_open_text(const char *text, size_t bytes, const char *folder, struct ckpt **out,
                                  struct muster_error *err)
{
    char path[FS_PATH_MAX];
    *out = NULL;
    enum muster_status status = fs_path_join(path, folder, CKPT_MANIFEST_NAME, err);
    if (status == MUSTER_OK)
        status = ckpt_manifest_parse(text, bytes, path, out, err);
    if (status == MUSTER_OK)
        snprintf((*out)->folder, sizeof(*out)->folder, "%s", folder);
    return status;
}

void ckpt_shard_span(const struct ckpt *ckpt, int shard, int64_t *begin, int64_t *end)
{
    *begin = ckpt->shards[shard].header_bytes;
    *end = ckpt->shards[shard].bytes;
}

enum muster_status ckpt_shard_read(const struct ckpt *ckpt, int shard, int64_t offset, void *data,
                                   int64_t bytes, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, ckpt->folder, ckpt->shards[shard].file, err);
    if (status != MUSTER_OK)
        return status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    status = ckpt_file_read(fd, path, offset, data, bytes, err);
    close(fd);
    return status;
}

/* Elements [begin, end) of a kind, which stand at `data`, into the pieces that want them. */
static void elements_scatter(int kind, int64_t begin, int64_t end, const char *data,
                             const struct ckpt_piece *pieces, int piece_count)
{
    for (int i = 0; i < piece_count; i++) {
        int64_t from = pieces[i].begin > begin ? pieces[i].begin : begin;
        int64_t to = pieces[i].end < end ? pieces[i].end : end;
        if (from < to)
            memcpy(pieces[i].data[kind] + (from - pieces[i].begin),
                   data + (from - begin) * (int64_t)sizeof(float), (size_t)(to - from) * sizeof(float));
    }
}

void ckpt_shard_scatter(const struct ckpt *ckpt, int shard, int64_t offset, const void *data, int64_t bytes,
                        const struct ckpt_piece *pieces, int piece_count)
{
    const int64_t size = sizeof(float);
    const struct ckpt_shard *file = &ckpt->shards[shard];
    for (int i = 0; i < file->slice_count; i++) {
        const struct ckpt_slice *slice = &ckpt->slices[file->slice_first + i];
        int64_t slice_end = slice->file_offset + (slice->end - slice->begin) * size;
        int64_t from = slice->file_offset > offset ? slice->file_offset : offset;
        int64_t to = slice_end < offset + bytes ? slice_end : offset + bytes;
        if (from >= to)
            continue;
        int64_t begin = slice->begin + (from - slice->file_offset) / size;
        elements_scatter(slice->kind, begin, begin + (to - from) / size, (const char *)data + (from - offset),
                         pieces, piece_count);
    }
}
