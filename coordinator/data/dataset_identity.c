/* SPDX-License-Identifier: MIT
 *
 * Tells one data set from another without reading all of it: terabytes would take longer than a start may. A
 * shard that was added, cut, exchanged or written again differs in number, length or at one of three places.
 */
#include "coordinator/data/dataset_internal.h"

enum { IDENTITY_PLACES = 3, IDENTITY_PLACE_BYTES = 4096 };

static void number_add(struct hash_stream *stream, int64_t value)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)value >> 8 * i);
    hash_stream_update(stream, bytes, sizeof bytes);
}

static void content_add(struct hash_stream *stream, const unsigned char *data, int64_t bytes)
{
    int64_t length = bytes < IDENTITY_PLACE_BYTES ? bytes : IDENTITY_PLACE_BYTES;
    number_add(stream, bytes);
    for (int i = 0; i < IDENTITY_PLACES; i++)
        hash_stream_update(stream, data + (bytes - length) * i / (IDENTITY_PLACES - 1), (size_t)length);
}

static void file_add(struct hash_stream *stream, const struct dataset_file *file)
{
    number_add(stream, file->token_bytes);
    if (file->token_bytes > 0) {
        content_add(stream, file->payload, file->token_count * file->token_bytes);
        return;
    }
    number_add(stream, file->images.item_bytes);
    content_add(stream, file->images.data, file->images.count * file->images.item_bytes);
    content_add(stream, file->labels.data, file->labels.count);
}

enum muster_status dataset_identity(const struct dataset *dataset, struct hash128 *out,
                                    struct muster_error *err)
{
    struct hash_stream *stream = hash_stream_create();
    if (stream == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a hash");
    for (int i = 0; i < dataset->info.source_count; i++) {
        const struct dataset_source *source = &dataset->sources[i];
        number_add(stream, source->file_end - source->file_begin);
        for (int j = source->file_begin; j < source->file_end; j++)
            file_add(stream, &dataset->files[j]);
    }
    *out = hash_stream_value(stream);
    hash_stream_destroy(stream);
    return MUSTER_OK;
}
