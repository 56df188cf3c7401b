/* SPDX-License-Identifier: MIT
 *
 * An open checkpoint: found, measured, read, verified as a whole. Plain pread instead of a mapping, because a
 * bad disk then gives an error to report and not a signal. Nothing is cached: a struct ckpt is read-only
 * after ckpt_open and may be shared by threads.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES_MAX = 1 << 30 };

enum muster_status ckpt_file_read(int fd, const char *path, int64_t offset, void *data, int64_t bytes,
                                  struct muster_error *err)
{
    char *next = data;
    while (bytes > 0) {
        ssize_t got =
            pread(fd, next, (size_t)(bytes < READ_BYTES_MAX ? bytes : READ_BYTES_MAX), (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return muster_error_set_errno(err, errno, "read %s at byte %" PRId64, path, offset);
        if (got == 0)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s ends at byte %" PRId64, path, offset);
        next += got;
        offset += got;
        bytes -= got;
    }
    return MUSTER_OK;
}

enum muster_status ckpt_shards_measure(const struct ckpt *ckpt, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    for (int i = 0; i < ckpt->shard_count; i++) {
        enum muster_status status = fs_path_join(path, ckpt->folder, ckpt->shards[i].file, err);
        if (status != MUSTER_OK)
            return status;
        int64_t bytes = fs_file_size(path);
        if (bytes < 0)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s is missing", path);
        if (bytes != ckpt->shards[i].bytes)
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s is %" PRId64 " bytes long, the MANIFEST says %" PRId64, path, bytes,
                                    ckpt->shards[i].bytes);
    }
    return MUSTER_OK;
}

enum muster_status ckpt_open(const char *folder, struct ckpt **out, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    char *bytes = NULL;
    size_t size = 0;
    struct ckpt *ckpt = NULL;
    *out = NULL;
    enum muster_status status = fs_path_join(path, folder, CKPT_MANIFEST_NAME, err);
    if (status != MUSTER_OK)
        return status;
    if (!fs_exists(path) && fs_is_folder(folder))
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s has no " CKPT_MANIFEST_NAME ": the save was never finished", folder);
    status = fs_file_read(path, CKPT_MANIFEST_BYTES_MAX, &bytes, &size, err);
    if (status == MUSTER_ERR_BAD_INPUT)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%s is larger than any MANIFEST", path);
    if (status == MUSTER_OK)
        status = ckpt_manifest_parse(bytes, size, path, &ckpt, err);
    alloc_free(bytes);
    if (status != MUSTER_OK)
        return status;
    snprintf(ckpt->folder, sizeof ckpt->folder, "%s", folder);
    status = ckpt_shards_measure(ckpt, err);
    if (status != MUSTER_OK) {
        ckpt_close(ckpt);
        return status;
    }
    *out = ckpt;
    return MUSTER_OK;
}

void ckpt_close(struct ckpt *ckpt)
{
    if (ckpt == NULL)
        return;
    json_decref(ckpt->root);
    alloc_free(ckpt->tensors);
    alloc_free(ckpt->shards);
    alloc_free(ckpt->slices);
    alloc_free(ckpt->order);
    alloc_free(ckpt);
}

int64_t ckpt_step(const struct ckpt *ckpt)
{
    return ckpt->step;
}

int64_t ckpt_tokens_seen(const struct ckpt *ckpt)
{
    return ckpt->tokens_seen;
}

struct ckpt_health ckpt_health(const struct ckpt *ckpt)
{
    return ckpt->health;
}

struct ckpt_data ckpt_data(const struct ckpt *ckpt)
{
    return ckpt->data;
}

struct ckpt_loss_scale ckpt_loss_scale(const struct ckpt *ckpt)
{
    return ckpt->loss_scale;
}

struct ckpt_validation ckpt_validation(const struct ckpt *ckpt)
{
    return ckpt->validation;
}

struct hash128 ckpt_job_hash(const struct ckpt *ckpt)
{
    return ckpt->job;
}

struct hash128 ckpt_recorded_state_hash(const struct ckpt *ckpt)
{
    return ckpt->state;
}

const char *ckpt_job_yaml(const struct ckpt *ckpt)
{
    return ckpt->job_yaml;
}

const char *ckpt_numerics(const struct ckpt *ckpt)
{
    return ckpt->numerics;
}

int ckpt_shard_count(const struct ckpt *ckpt)
{
    return ckpt->shard_count;
}

int64_t ckpt_total_bytes(const struct ckpt *ckpt)
{
    int64_t bytes = 0;
    for (int i = 0; i < ckpt->shard_count; i++)
        bytes += ckpt->shards[i].bytes;
    return bytes;
}

const struct ckpt_layout *ckpt_layout(const struct ckpt *ckpt)
{
    return &ckpt->layout;
}

/* The first slice, in order, of this kind that ends after `position`; slice_count when there is none. */
static int slice_find(const struct ckpt *ckpt, int kind, int64_t position)
{
    int low = 0, high = ckpt->slice_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct ckpt_slice *slice = &ckpt->slices[ckpt->order[middle]];
        if (slice->kind > kind || (slice->kind == kind && slice->end > position))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The shard file that ckpt_read has open; consecutive slices mostly lie in the same one. */
struct open_shard {
    int fd, shard;
    char path[FS_PATH_MAX];
};

static enum muster_status open_shard_switch(struct open_shard *open_shard, const struct ckpt *ckpt, int shard,
                                            struct muster_error *err)
{
    if (open_shard->fd >= 0 && open_shard->shard == shard)
        return MUSTER_OK;
    if (open_shard->fd >= 0)
        close(open_shard->fd);
    open_shard->fd = -1;
    enum muster_status status = fs_path_join(open_shard->path, ckpt->folder, ckpt->shards[shard].file, err);
    if (status != MUSTER_OK)
        return status;
    open_shard->fd = open(open_shard->path, O_RDONLY | O_CLOEXEC);
    open_shard->shard = shard;
    if (open_shard->fd < 0)
        return muster_error_set_errno(err, errno, "open %s", open_shard->path);
    return MUSTER_OK;
}

enum muster_status ckpt_read(const struct ckpt *ckpt, int kind, int64_t begin, int64_t end, float *out,
                             struct muster_error *err)
{
    if (kind < 0 || kind >= ckpt->layout.kind_count || begin < 0 || end < begin ||
        end > ckpt->layout.flat_count)
        return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                "%s: no kind %d or no elements [%" PRId64 ", %" PRId64 ")", ckpt->folder,
                                kind, begin, end);
    struct open_shard open_shard = {.fd = -1};
    enum muster_status status = MUSTER_OK;
    int64_t filled = begin;
    for (int i = slice_find(ckpt, kind, begin); i < ckpt->slice_count && status == MUSTER_OK; i++) {
        const struct ckpt_slice *slice = &ckpt->slices[ckpt->order[i]];
        if (slice->kind != kind || slice->begin >= end)
            break;
        int64_t from = slice->begin > begin ? slice->begin : begin;
        int64_t to = slice->end < end ? slice->end : end;
        memset(out + (filled - begin), 0, (size_t)(from - filled) * sizeof *out);
        status = open_shard_switch(&open_shard, ckpt, slice->shard, err);
        if (status == MUSTER_OK)
            status = ckpt_file_read(open_shard.fd, open_shard.path,
                                    slice->file_offset + (from - slice->begin) * (int64_t)sizeof *out,
                                    out + (from - begin), (to - from) * (int64_t)sizeof *out, err);
        filled = to;
    }
    if (status == MUSTER_OK)
        memset(out + (filled - begin), 0, (size_t)(end - filled) * sizeof *out);
    if (open_shard.fd >= 0)
        close(open_shard.fd);
    return status;
}

enum muster_status ckpt_hash(const struct ckpt *ckpt, struct hash128 *out, struct muster_error *err)
{
    int64_t chunk = ckpt->layout.chunk_elements;
    float *data = alloc_zeroed((size_t)chunk, sizeof *data);
    struct hash_stream *stream = ckpt_state_stream_create(ckpt->step);
    enum muster_status status = MUSTER_OK;
    if (data == NULL || stream == NULL)
        status =
            muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                             "%s: no memory to hash chunks of %" PRId64 " elements", ckpt->folder, chunk);
    for (int kind = 0; kind < ckpt->layout.kind_count; kind++) {
        for (int64_t at = 0; at < ckpt->layout.flat_count && status == MUSTER_OK; at += chunk) {
            status = ckpt_read(ckpt, kind, at, at + chunk, data, err);
            ckpt_state_stream_add(stream, hash_xxh3(data, (size_t)chunk * sizeof *data));
        }
    }
    if (status == MUSTER_OK)
        *out = hash_stream_value(stream);
    hash_stream_destroy(stream);
    alloc_free(data);
    return status;
}

enum muster_status ckpt_verify(const struct ckpt *ckpt, struct muster_error *err)
{
    struct hash128 state;
    for (int i = 0; i < ckpt->shard_count; i++) {
        enum muster_status status = ckpt_shard_verify(ckpt, i, err);
        if (status != MUSTER_OK)
            return status;
    }
    enum muster_status status = ckpt_hash(ckpt, &state, err);
    if (status != MUSTER_OK || hash_equal(state, ckpt->state))
        return status;
    char found[HASH_TEXT_SIZE], recorded[HASH_TEXT_SIZE];
    hash_format(state, found);
    hash_format(ckpt->state, recorded);
    return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: the data's state hash is %s, the MANIFEST says %s",
                            ckpt->folder, found, recorded);
}
