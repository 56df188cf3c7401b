/* SPDX-License-Identifier: MIT
 *
 * Token files: bytes, raw little-endian uint16 and uint32, llm.c shards. The length of a file must agree with
 * its header to the byte before any of it is believed; tokens are compared with the vocabulary when they are
 * read, since only a full scan could do it earlier. Tokens are put together from bytes, so neither alignment
 * nor the host's byte order matters.
 */
#include "coordinator/data/dataset_internal.h"

#include <sys/mman.h>
#include <unistd.h>

/* Files up to this size are read ahead whole: an epoch needs all of it anyway. */
enum { READ_AHEAD_WHOLE_BYTES = 64 << 20 };

/* Samples are read in shuffled order: the kernel's own read-ahead would fetch what is not wanted next. */
static void access_advise(struct dataset_file *file)
{
    void *data = (void *)(uintptr_t)file->map.data;
    file->read_ahead = file->map.bytes > READ_AHEAD_WHOLE_BYTES;
    madvise(data, file->map.bytes, file->read_ahead ? MADV_RANDOM : MADV_WILLNEED);
}

/* One request for a whole window instead of one for each of its pages. */
static void window_announce(const unsigned char *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)data & ~(page - 1), end = (uintptr_t)data + bytes;
    if (end - begin > page)
        madvise((void *)begin, end - begin, MADV_WILLNEED);
}

static enum muster_status llmc_header_check(struct dataset_file *file, struct muster_error *err)
{
    const unsigned char *data = file->map.data;
    if (file->map.bytes < LLMC_HEADER_BYTES)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: truncated: an llm.c header has %d bytes, the file %zu", file->path,
                                LLMC_HEADER_BYTES, file->map.bytes);
    uint32_t magic = dataset_u32_little(data), version = dataset_u32_little(data + 4);
    uint32_t count = dataset_u32_little(data + 8);
    if (magic != LLMC_MAGIC_U16 && magic != LLMC_MAGIC_U32)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: byte offset 0: magic %u is not an llm.c shard's (%d or %d)", file->path,
                                magic, LLMC_MAGIC_U16, LLMC_MAGIC_U32);
    uint32_t wanted = magic == LLMC_MAGIC_U16 ? LLMC_VERSION_U16 : LLMC_VERSION_U32;
    if (version != wanted)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: byte offset 4: version %u; with magic %u only version %u is known",
                                file->path, version, magic, wanted);
    if (count > INT32_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: byte offset 8: the token count %d is negative", file->path,
                                (int)(int32_t)count);
    file->token_bytes = magic == LLMC_MAGIC_U16 ? 2 : 4;
    int64_t expected = LLMC_HEADER_BYTES + (int64_t)count * file->token_bytes;
    int64_t actual = (int64_t)file->map.bytes;
    if (actual != expected)
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%s: %s: the header at byte offset 8 counts %u tokens, which makes %lld bytes; "
            "the file has %lld",
            file->path, actual < expected ? "truncated" : "too long", count, (long long)expected,
            (long long)actual);
    file->payload_offset = LLMC_HEADER_BYTES;
    file->token_count = count;
    return MUSTER_OK;
}

static enum muster_status raw_check(struct dataset_file *file, enum job_data_format format,
                                    struct muster_error *err)
{
    file->token_bytes = format == JOB_DATA_BYTES ? 1 : format == JOB_DATA_U16 ? 2 : 4;
    size_t odd = file->map.bytes % (size_t)file->token_bytes;
    if (odd != 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: %zu bytes are not a whole number of %d-byte tokens: %zu bytes too many "
                                "at byte offset %zu",
                                file->path, file->map.bytes, file->token_bytes, odd, file->map.bytes - odd);
    file->payload_offset = 0;
    file->token_count = (int64_t)(file->map.bytes / (size_t)file->token_bytes);
    return MUSTER_OK;
}

enum muster_status dataset_tokens_open(struct dataset_file *file, enum job_data_format format,
                                       int64_t seq_len, struct muster_error *err)
{
    enum muster_status status = fs_map_open(&file->map, file->path, err);
    if (status != MUSTER_OK)
        return status;
    if (file->map.bytes == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: the file is empty", file->path);
    if (file->map.bytes > INT64_MAX / 2)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %zu bytes are too many", file->path,
                                file->map.bytes);
    status = format == JOB_DATA_LLMC ? llmc_header_check(file, err) : raw_check(file, format, err);
    if (status != MUSTER_OK)
        return status;
    file->payload = file->map.data + file->payload_offset;
    file->sample_count = file->token_count > 0 ? (file->token_count - 1) / seq_len : 0;
    if (file->sample_count == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: %lld tokens are too few for one sample: seq_len %lld needs one more "
                                "than seq_len",
                                file->path, (long long)file->token_count, (long long)seq_len);
    access_advise(file);
    return MUSTER_OK;
}

/* Token i of `data`; a uint32 because vocabularies are compared before the value is narrowed. */
static inline uint32_t token_at(const unsigned char *data, int token_bytes, int64_t i)
{
    if (token_bytes == 1)
        return data[i];
    return token_bytes == 2 ? dataset_u16_little(data + 2 * i) : dataset_u32_little(data + 4 * i);
}

/* Copies seq_len + 1 tokens into the two rows that overlap by all but one; returns the largest. */
static inline uint32_t window_copy(const unsigned char *data, int token_bytes, int64_t seq_len,
                                   int32_t *inputs, int32_t *targets)
{
    uint32_t largest = token_at(data, token_bytes, 0);
    inputs[0] = (int32_t)largest;
    for (int64_t i = 1; i < seq_len; i++) {
        uint32_t token = token_at(data, token_bytes, i);
        inputs[i] = (int32_t)token;
        targets[i - 1] = (int32_t)token;
        largest = token > largest ? token : largest;
    }
    uint32_t last = token_at(data, token_bytes, seq_len);
    targets[seq_len - 1] = (int32_t)last;
    return last > largest ? last : largest;
}

static enum muster_status vocab_error(const struct dataset_file *file, int64_t first, int64_t count,
                                      int64_t limit, struct muster_error *err)
{
    for (int64_t i = first; i < first + count; i++) {
        uint32_t token = token_at(file->payload, file->token_bytes, i);
        if (token >= limit)
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s: byte offset %lld: token %u is not below the vocabulary size %lld",
                                    file->path, (long long)(file->payload_offset + i * file->token_bytes),
                                    token, (long long)limit);
    }
    return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: the file changes while it is read", file->path);
}

enum muster_status dataset_read_tokens(const struct dataset *dataset, int source, int64_t index,
                                       int64_t vocab_size, int32_t *inputs, int32_t *targets,
                                       struct muster_error *err)
{
    int64_t within, seq_len = dataset->seq_len;
    const struct dataset_file *file = dataset_file_find(dataset, source, index, &within);
    if (file == NULL || file->token_bytes == 0)
        return dataset_index_error(dataset, source, index, err);
    int width = file->token_bytes;
    const unsigned char *data = file->payload + within * seq_len * width;
    if (file->read_ahead)
        window_announce(data, (size_t)(seq_len + 1) * (size_t)width);
    uint32_t largest;
    if (width == 1)
        largest = window_copy(data, 1, seq_len, inputs, targets);
    else if (width == 2)
        largest = window_copy(data, 2, seq_len, inputs, targets);
    else
        largest = window_copy(data, 4, seq_len, inputs, targets);
    int64_t limit = vocab_size < (int64_t)INT32_MAX + 1 ? vocab_size : (int64_t)INT32_MAX + 1;
    if (largest >= limit)
        return vocab_error(file, within * seq_len, seq_len + 1, limit, err);
    return MUSTER_OK;
}

void dataset_tokens_max(const struct dataset_file *file, int64_t tokens_max, int64_t *token_max,
                        int64_t *index)
{
    int64_t count = tokens_max > 0 && tokens_max < file->token_count ? tokens_max : file->token_count;
    void *map = (void *)(uintptr_t)file->map.data;
    if (file->read_ahead)
        madvise(map, file->map.bytes, MADV_SEQUENTIAL);
    uint32_t largest = token_at(file->payload, file->token_bytes, 0);
    *index = 0;
    for (int64_t i = 1; i < count; i++) {
        uint32_t token = token_at(file->payload, file->token_bytes, i);
        if (token > largest) {
            largest = token;
            *index = i;
        }
    }
    if (file->read_ahead)
        madvise(map, file->map.bytes, MADV_RANDOM);
    *token_max = largest;
}
