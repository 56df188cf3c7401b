/* SPDX-License-Identifier: MIT
 *
 * Loading in one pass: what a reader wants of each shard comes in whole blocks, each is compared with its
 * CRC32C, and then its elements go where they belong, while the disk is at work on the blocks that follow.
 * Readers whose pieces tile the state read every byte of data once between them, whatever the number of
 * writers was; only a block that holds a border is read by two. What is put down is believed no earlier than
 * its state hash was compared: that is the caller's part.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"

enum { AHEAD_BLOCKS = 16, BLOCK_ALIGNMENT = 4096 };

struct piece_reader {
    const struct ckpt *ckpt;
    const struct ckpt_piece *pieces;
    int piece_count;
    int shard, fd;
    char path[FS_PATH_MAX];
    unsigned char *block;
    bool *wanted; /* [blocks of the longest shard] of the shard in hand */
    int64_t block_count, asked_count;
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
    reader->block_count = blocks_of(shard);
    memset(reader->wanted, 0, (size_t)reader->block_count * sizeof *reader->wanted);
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

/* Asks for blocks to come, each by itself: the kernel cuts long requests short. Only a hint. */
static void blocks_ask(struct piece_reader *reader, int64_t index)
{
    for (; reader->asked_count < reader->block_count && reader->asked_count <= index + AHEAD_BLOCKS;
         reader->asked_count++) {
        if (reader->wanted[reader->asked_count])
            posix_fadvise(reader->fd, (off_t)(reader->asked_count * CKPT_BLOCK_BYTES), CKPT_BLOCK_BYTES,
                          POSIX_FADV_WILLNEED);
    }
}

static enum muster_status block_take(struct piece_reader *reader, int64_t index, struct muster_error *err)
{
    const struct ckpt_shard *shard = &reader->ckpt->shards[reader->shard];
    int64_t at = index * CKPT_BLOCK_BYTES, left = shard->bytes - at;
    int64_t bytes = left < CKPT_BLOCK_BYTES ? left : CKPT_BLOCK_BYTES;
    enum muster_status status = ckpt_file_read(reader->fd, reader->path, at, reader->block, bytes, err);
    if (status == MUSTER_OK)
        status = ckpt_block_check(shard, reader->path, index, reader->block, bytes, err);
    if (status == MUSTER_OK)
        ckpt_shard_scatter(reader->ckpt, reader->shard, at, reader->block, bytes, reader->pieces,
                           reader->piece_count);
    return status;
}

static enum muster_status shard_take(struct piece_reader *reader, struct muster_error *err)
{
    if (!wanted_mark(reader))
        return MUSTER_OK;
    enum muster_status status =
        fs_path_join(reader->path, reader->ckpt->folder, reader->ckpt->shards[reader->shard].file, err);
    if (status != MUSTER_OK)
        return status;
    reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        return muster_error_set_errno(err, errno, "open %s", reader->path);
    reader->asked_count = 0;
    for (int64_t i = 0; i < reader->block_count && status == MUSTER_OK; i++) {
        blocks_ask(reader, i);
        if (reader->wanted[i])
            status = block_take(reader, i, err);
    }
    close(reader->fd);
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
                                    struct muster_error *err)
{
    struct piece_reader reader = {.ckpt = ckpt, .pieces = pieces, .piece_count = piece_count, .fd = -1};
    int64_t longest = 1;
    for (int i = 0; i < ckpt->shard_count; i++)
        longest = blocks_of(&ckpt->shards[i]) > longest ? blocks_of(&ckpt->shards[i]) : longest;
    reader.block = alloc_aligned(CKPT_BLOCK_BYTES, BLOCK_ALIGNMENT);
    reader.wanted = alloc_zeroed((size_t)longest, sizeof *reader.wanted);
    enum muster_status status = MUSTER_OK;
    if (reader.block == NULL || reader.wanted == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to read it", ckpt->folder);
    else
        ckpt_padding_clear(&ckpt->layout, pieces, piece_count);
    for (; reader.shard < ckpt->shard_count && status == MUSTER_OK; reader.shard++)
        status = shard_take(&reader, err);
    alloc_free(reader.wanted);
    alloc_free(reader.block);
    return status;
}
