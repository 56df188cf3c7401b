/* SPDX-License-Identifier: MIT
 *
 * Loading in one pass: what a reader wants of each shard comes in whole blocks, each is compared with its
 * CRC32C, and then its elements go where they belong, while another thread reads the blocks that follow.
 * Readers whose pieces tile the state read every byte of data once between them, whatever the number of
 * writers was; only a block that holds a border is read by two. What is put down is believed no earlier than
 * its state hash was compared: that is the caller's part.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/fs_ahead.h"
#include "coordinator/ckpt/ckpt_internal.h"

struct piece_reader {
    const struct ckpt *ckpt;
    const struct ckpt_piece *pieces;
    int piece_count;
    bool direct;
    int shard;
    bool *wanted; /* [blocks of the longest shard] of the shard in hand */
};

static int64_t blocks_of(const struct ckpt_shard *shard)
{
    return (shard->bytes + CKPT_BLOCK_BYTES - 1) / CKPT_BLOCK_BYTES;
}

/* The blocks that hold an element of one of the pieces; false when there is none. */
static bool wanted_mark(struct piece_reader *reader)
{
    const struct ckpt_shard *shard = &reader->ckpt->shards[reader->shard];
    bool any = false;
    memset(reader->wanted, 0, (size_t)blocks_of(shard) * sizeof *reader->wanted);
    for (int s = 0; s < shard->slice_count; s++) {
        const struct ckpt_slice *slice = &reader->ckpt->slices[shard->slice_first + s];
        for (int i = 0; i < reader->piece_count; i++) {
            const struct ckpt_piece *piece = &reader->pieces[i];
            int64_t begin = piece->begin > slice->begin ? piece->begin : slice->begin;
            int64_t end = piece->end < slice->end ? piece->end : slice->end;
            if (begin >= end)
                continue;
            any = true;
            int64_t first = slice->file_offset + (begin - slice->begin) * (int64_t)sizeof(float);
            int64_t last = slice->file_offset + (end - slice->begin) * (int64_t)sizeof(float) - 1;
            for (int64_t b = first / CKPT_BLOCK_BYTES; b <= last / CKPT_BLOCK_BYTES; b++)
                reader->wanted[b] = true;
        }
    }
    return any;
}

static enum muster_status blocks_take(const struct piece_reader *reader, struct fs_ahead *ahead,
                                      const char *path, struct muster_error *err)
{
    const struct ckpt_shard *shard = &reader->ckpt->shards[reader->shard];
    int64_t index, bytes;
    const void *block;
    for (;;) {
        enum muster_status status = fs_ahead_next(ahead, &index, &block, &bytes, err);
        if (status != MUSTER_OK || index < 0)
            return status;
        status = ckpt_block_check(shard, path, index, block, bytes, err);
        if (status != MUSTER_OK)
            return status;
        ckpt_shard_scatter(reader->ckpt, reader->shard, index * CKPT_BLOCK_BYTES, block, bytes,
                           reader->pieces, reader->piece_count);
    }
}

static enum muster_status shard_take(struct piece_reader *reader, struct muster_error *err)
{
    const struct ckpt_shard *shard = &reader->ckpt->shards[reader->shard];
    char path[FS_PATH_MAX];
    struct fs_ahead *ahead = NULL;
    if (!wanted_mark(reader))
        return MUSTER_OK;
    enum muster_status status = fs_path_join(path, reader->ckpt->folder, shard->file, err);
    const struct fs_ahead_plan plan = {path, shard->bytes, CKPT_BLOCK_BYTES, reader->wanted, reader->direct};
    if (status == MUSTER_OK)
        status = fs_ahead_open(&plan, &ahead, err);
    if (status == MUSTER_OK)
        status = blocks_take(reader, ahead, path, err);
    fs_ahead_close(ahead);
    return status;
}

/* Elements of [begin, end) of every kind. */
static void range_clear(const struct ckpt_piece *piece, int kind_count, int64_t begin, int64_t end)
{
    for (int kind = 0; kind < kind_count && begin < end; kind++)
        memset(piece->data[kind] + (begin - piece->begin), 0, (size_t)(end - begin) * sizeof(float));
}

void ckpt_padding_clear(const struct ckpt_layout *layout, const struct ckpt_piece *pieces, int piece_count)
{
    for (int i = 0; i < piece_count; i++) {
        const struct ckpt_piece *piece = &pieces[i];
        int64_t at = piece->begin;
        for (int t = ckpt_layout_find(layout, at); t < layout->tensor_count && at < piece->end; t++) {
            const struct ckpt_tensor *tensor = &layout->tensors[t];
            range_clear(piece, layout->kind_count, at,
                        tensor->offset < piece->end ? tensor->offset : piece->end);
            at = tensor->offset + tensor->count;
        }
        range_clear(piece, layout->kind_count, at, piece->end);
    }
}

enum muster_status ckpt_pieces_read(const struct ckpt *ckpt, const struct ckpt_piece *pieces, int piece_count,
                                    bool direct, struct muster_error *err)
{
    struct piece_reader reader = {
        .ckpt = ckpt, .pieces = pieces, .piece_count = piece_count, .direct = direct};
    int64_t longest = 1;
    for (int i = 0; i < ckpt->shard_count; i++)
        longest = blocks_of(&ckpt->shards[i]) > longest ? blocks_of(&ckpt->shards[i]) : longest;
    reader.wanted = alloc_zeroed((size_t)longest, sizeof *reader.wanted);
    if (reader.wanted == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to read it", ckpt->folder);
    enum muster_status status = MUSTER_OK;
    ckpt_padding_clear(&ckpt->layout, pieces, piece_count);
    for (; reader.shard < ckpt->shard_count && status == MUSTER_OK; reader.shard++)
        status = shard_take(&reader, err);
    alloc_free(reader.wanted);
    return status;
}
