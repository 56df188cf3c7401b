/* SPDX-License-Identifier: MIT
 *
 * The MANIFEST back into memory. The self hash is compared first, byte for byte with its place at the end of
 * the file, so nothing of a damaged file is believed; the rest is still checked as if a stranger had written
 * it, because a correct hash only says that somebody computed it. What leaves this file holds: every number
 * in range, every file name the one that belongs there, every element of every tensor in exactly one slice.
 */
#include "coordinator/ckpt/ckpt_internal.h"
#include "coordinator/ckpt/safetensors.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH_MAX = 6, JSON_VALUES_MAX = 16 << 20, TRAILER_SIZE = 64 };

static const json_int_t steps_max = (json_int_t)1 << 40; /* far from where positions overflow */

static const char trailer_format[] = "\"manifest_xxh3\": \"%s\"\n}\n";

/* The file must end with the hash of all that precedes its line, spelt exactly as the writer does. */
static enum muster_status self_hash_check(const char *bytes, size_t size, const char *name,
                                          struct muster_error *err)
{
    char digits[HASH_TEXT_SIZE], trailer[TRAILER_SIZE];
    memset(digits, '0', sizeof digits - 1);
    digits[sizeof digits - 1] = '\0';
    size_t length = (size_t)snprintf(trailer, sizeof trailer, trailer_format, digits);
    if (size < length)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: cut off at byte %zu", name, size);
    hash_format(hash_xxh3(bytes, size - length), digits);
    snprintf(trailer, sizeof trailer, trailer_format, digits);
    if (memcmp(bytes + size - length, trailer, length) != 0)
        return muster_error_set(
            err, MUSTER_ERR_CORRUPT,
            "%s: its %zu bytes do not match the hash in its last line: damaged or cut off", name, size);
    return MUSTER_OK;
}

/* 32 lower-case digits; hash_parse alone would take either case. */
static bool hash_read(const char *text, struct hash128 *hash)
{
    char again[HASH_TEXT_SIZE];
    if (!hash_parse(text, hash))
        return false;
    hash_format(*hash, again);
    return strcmp(text, again) == 0;
}

/* The members of the root object that are read by others than head_read. */
struct manifest_lists {
    json_t *kinds, *tensors, *shards;
};

/* Optional: only fp16 has one. */
static enum muster_status loss_scale_read(struct ckpt *ckpt, json_t *value, const char *name,
                                          struct muster_error *err)
{
    json_error_t at;
    json_int_t good_steps;
    double scale;
    if (value == NULL)
        return MUSTER_OK;
    if (json_unpack_ex(value, &at, 0, "{s:F, s:I!}", "scale", &scale, "good_steps", &good_steps) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: loss_scale: %s", name, at.text);
    if (!(scale >= 1.0 && scale <= 1e9) || good_steps < 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: a loss scale of %g after %lld steps cannot be",
                                name, scale, (long long)good_steps);
    ckpt->loss_scale = (struct ckpt_loss_scale){scale, good_steps};
    return MUSTER_OK;
}

/* Optional: only where something has gone wrong, or is looked for. */
static enum muster_status health_read(struct ckpt *ckpt, json_t *value, const char *name,
                                      struct muster_error *err)
{
    json_error_t at;
    json_int_t seen, skipped, rollbacks, offset, bad_step, tries;
    double mean, variance;
    if (value == NULL)
        return MUSTER_OK;
    if (json_unpack_ex(value, &at, 0, "{s:F, s:F, s:I, s:I, s:I, s:I, s:I, s:I!}", "mean", &mean, "variance",
                       &variance, "seen", &seen, "skipped", &skipped, "rollbacks", &rollbacks, "data_offset",
                       &offset, "bad_step", &bad_step, "tries", &tries) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: health: %s", name, at.text);
    if (!(variance >= 0.0) || seen < 0 || skipped < 0 || rollbacks < 0 || offset < 0 || offset > steps_max ||
        bad_step < -1 || tries < 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: health: a variance of %g, %lld steps left out "
                                "or another of its numbers cannot be",
                                name, variance, (long long)offset);
    ckpt->health =
        (struct ckpt_health){true, mean, variance, seen, skipped, rollbacks, offset, bad_step, tries};
    return MUSTER_OK;
}

/* Optional: what was imported has seen none. */
static enum muster_status data_read(struct ckpt *ckpt, json_t *value, const char *name,
                                    struct muster_error *err)
{
    json_error_t at;
    json_int_t samples, files;
    const char *digits;
    if (value == NULL)
        return MUSTER_OK;
    if (json_unpack_ex(value, &at, 0, "{s:I, s:I, s:s!}", "samples", &samples, "files", &files, "xxh3",
                       &digits) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: data: %s", name, at.text);
    ckpt->data = (struct ckpt_data){true, samples, (int)files, {0, 0}};
    if (samples < 1 || files < 1 || files > INT32_MAX || !hash_read(digits, &ckpt->data.hash))
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: data: %lld samples in %lld files or their hash cannot be", name,
                                (long long)samples, (long long)files);
    return MUSTER_OK;
}

static enum muster_status head_read(struct ckpt *ckpt, struct manifest_lists *lists, const char *name,
                                    struct muster_error *err)
{
    const char *format, *state, *job, *self;
    json_int_t version, step, tokens, writers, flat, chunk, block;
    json_t *loss_scale = NULL, *validation = NULL, *health = NULL, *data = NULL;
    json_error_t at;
    if (json_unpack_ex(ckpt->root, &at, 0, "{s:s, s:I}", "format", &format, "version", &version) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s", name, at.text);
    if (strcmp(format, CKPT_FORMAT_NAME) != 0 || version != CKPT_FORMAT_VERSION)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: format \"%.40s\" version %lld, this muster reads " CKPT_FORMAT_NAME
                                " version %d",
                                name, format, (long long)version, CKPT_FORMAT_VERSION);
    if (json_unpack_ex(ckpt->root, &at, 0,
                       "{s:s, s:I, s:I, s:I, s:I, s?:o, s?:o, s?:o, s?:o, s:s, s:s, s:s, s:s, s:o, s:I, "
                       "s:I, s:I, s:o, s:o, s:s!}",
                       "format", &format, "version", &version, "step", &step, "tokens_seen", &tokens,
                       "writer_count", &writers, "loss_scale", &loss_scale, "validation_loss", &validation,
                       "health", &health, "data", &data, "state_hash", &state, "job_hash", &job, "job_yaml",
                       &ckpt->job_yaml, "numerics", &ckpt->numerics, "kinds", &lists->kinds, "flat_count",
                       &flat, "chunk_elements", &chunk, "block_bytes", &block, "tensors", &lists->tensors,
                       "shards", &lists->shards, "manifest_xxh3", &self) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s", name, at.text);
    if (step < 0 || tokens < 0 || writers < 1 || writers > CKPT_WRITERS_MAX || block != CKPT_BLOCK_BYTES)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: step %lld, %lld tokens, %lld writers or blocks of %lld bytes cannot be",
                                name, (long long)step, (long long)tokens, (long long)writers,
                                (long long)block);
    if (!hash_read(state, &ckpt->state) || !hash_read(job, &ckpt->job))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: state_hash or job_hash is no hash", name);
    if (validation != NULL && !json_is_number(validation))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: validation_loss is no number", name);
    ckpt->validation = (struct ckpt_validation){validation != NULL, json_number_value(validation)};
    ckpt->step = step;
    ckpt->tokens_seen = tokens;
    ckpt->shard_count = (int)writers;
    ckpt->layout.flat_count = flat;
    ckpt->layout.chunk_elements = chunk;
    enum muster_status status = loss_scale_read(ckpt, loss_scale, name, err);
    if (status == MUSTER_OK)
        status = health_read(ckpt, health, name, err);
    return status == MUSTER_OK ? data_read(ckpt, data, name, err) : status;
}

static enum muster_status kinds_read(struct ckpt *ckpt, json_t *kinds, const char *name,
                                     struct muster_error *err)
{
    size_t count = json_array_size(kinds);
    if (count > CKPT_KINDS_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %zu kinds, at most %d", name, count,
                                CKPT_KINDS_MAX);
    ckpt->layout.kind_count = (int)count;
    for (size_t i = 0; i < count; i++) {
        ckpt->layout.kinds[i] = json_string_value(json_array_get(kinds, i));
        if (ckpt->layout.kinds[i] == NULL)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: kind %zu is no string", name, i);
    }
    return MUSTER_OK;
}

static enum muster_status tensor_read(struct ckpt_tensor *tensor, json_t *value, size_t index,
                                      const char *name, struct muster_error *err)
{
    const char *text;
    json_t *shape;
    json_int_t offset;
    json_error_t at;
    if (json_unpack_ex(value, &at, 0, "{s:s, s:o, s:I!}", "name", &text, "shape", &shape, "offset",
                       &offset) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %zu: %s", name, index, at.text);
    size_t dims = json_array_size(shape);
    if (strlen(text) >= sizeof tensor->name || !json_is_array(shape) || dims > CKPT_DIMS_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %zu: name or shape is too long", name,
                                index);
    memcpy(tensor->name, text, strlen(text) + 1);
    tensor->dim_count = (int)dims;
    tensor->offset = offset;
    tensor->count = 1;
    for (size_t i = 0; i < dims; i++) {
        tensor->shape[i] =
            json_integer_value(json_array_get(shape, i)); /* 0, refused later, for another type */
        if (__builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count))
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %s: impossible shape", name,
                                    tensor->name);
    }
    return MUSTER_OK;
}

static enum muster_status tensors_read(struct ckpt *ckpt, json_t *tensors, const char *name,
                                       struct muster_error *err)
{
    size_t count = json_array_size(tensors);
    if (!json_is_array(tensors) || count > CKPT_TENSORS_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensors is no list of up to %d", name,
                                CKPT_TENSORS_MAX);
    ckpt->tensors = alloc_zeroed(count, sizeof *ckpt->tensors);
    if (ckpt->tensors == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %zu tensors", name, count);
    ckpt->layout.tensors = ckpt->tensors;
    ckpt->layout.tensor_count = (int)count;
    for (size_t i = 0; i < count; i++) {
        enum muster_status status = tensor_read(&ckpt->tensors[i], json_array_get(tensors, i), i, name, err);
        if (status != MUSTER_OK)
            return status;
    }
    return ckpt_layout_check(&ckpt->layout, MUSTER_ERR_CORRUPT, name, err);
}

/* One [kind, tensor, offset, count]; its place in the file follows from those before it. */
static bool slice_read(const struct ckpt *ckpt, struct ckpt_slice *slice, const json_t *value)
{
    int64_t number[4];
    if (json_array_size(value) != 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        const json_t *item = json_array_get(value, i);
        number[i] = json_is_integer(item) ? json_integer_value(item) : -1;
    }
    if (number[0] < 0 || number[0] >= ckpt->layout.kind_count || number[1] < 0 ||
        number[1] >= ckpt->layout.tensor_count)
        return false;
    const struct ckpt_tensor *tensor = &ckpt->tensors[number[1]];
    if (number[2] < 0 || number[2] >= tensor->count || number[3] < 1 || number[3] > tensor->count - number[2])
        return false;
    slice->kind = (int)number[0];
    slice->tensor = (int)number[1];
    slice->begin = tensor->offset + number[2];
    slice->end = slice->begin + number[3];
    return true;
}

static bool crcs_are_plain(const char *crcs, int64_t bytes)
{
    int64_t blocks = bytes / CKPT_BLOCK_BYTES + (bytes % CKPT_BLOCK_BYTES != 0);
    size_t length = strspn(crcs, "0123456789abcdef");
    return crcs[length] == '\0' && (int64_t)length == 8 * blocks;
}

static enum muster_status shard_slices_read(struct ckpt *ckpt, int index, json_t *slices, const char *name,
                                            struct muster_error *err)
{
    struct ckpt_shard *shard = &ckpt->shards[index];
    int64_t at = shard->header_bytes;
    shard->slice_first = ckpt->slice_count;
    shard->slice_count = (int)json_array_size(slices);
    for (int i = 0; i < shard->slice_count; i++) {
        struct ckpt_slice *slice = &ckpt->slices[ckpt->slice_count++];
        if (!slice_read(ckpt, slice, json_array_get(slices, (size_t)i)))
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s: slice %d is not inside a tensor", name,
                                    shard->file, i);
        slice->shard = index;
        slice->file_offset = at;
        int64_t bytes = (slice->end - slice->begin) * (int64_t)sizeof(float);
        if (bytes > shard->bytes - at)
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s: %s: slice %d lies beyond the end of the file", name, shard->file, i);
        at += bytes;
    }
    if (at != shard->bytes)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: %s: header and slices fill %" PRId64 " of %" PRId64 " bytes", name,
                                shard->file, at, shard->bytes);
    return MUSTER_OK;
}

static enum muster_status shard_read(struct ckpt *ckpt, int index, json_t *value, const char *name,
                                     struct muster_error *err)
{
    struct ckpt_shard *shard = &ckpt->shards[index];
    const char *file, *xxh3;
    json_int_t bytes, header_bytes;
    json_t *slices;
    json_error_t at;
    ckpt_format_shard(shard->file, index, ckpt->shard_count);
    if (json_unpack_ex(value, &at, 0, "{s:s, s:I, s:I, s:s, s:s, s:o!}", "file", &file, "bytes", &bytes,
                       "header_bytes", &header_bytes, "xxh3", &xxh3, "crc32c", &shard->crcs, "slices",
                       &slices) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: shard %d: %s", name, index, at.text);
    if (strcmp(file, shard->file) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: shard %d is called \"%.80s\", not %s", name,
                                index, file, shard->file);
    if (header_bytes < CKPT_DATA_ALIGNMENT || header_bytes % CKPT_DATA_ALIGNMENT != 0 ||
        header_bytes > SAFETENSORS_JSON_BYTES_MAX + SAFETENSORS_LENGTH_BYTES || bytes < header_bytes)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s: header of %lld bytes in a file of %lld",
                                name, file, (long long)header_bytes, (long long)bytes);
    shard->bytes = bytes;
    shard->header_bytes = header_bytes;
    if (!hash_read(xxh3, &shard->xxh3) || !crcs_are_plain(shard->crcs, bytes))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s: xxh3 or crc32c is malformed", name, file);
    return shard_slices_read(ckpt, index, slices, name, err);
}

static enum muster_status shards_read(struct ckpt *ckpt, json_t *shards, const char *name,
                                      struct muster_error *err)
{
    size_t slice_count = 0;
    if (json_array_size(shards) != (size_t)ckpt->shard_count)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %zu shards of %d writers", name,
                                json_array_size(shards), ckpt->shard_count);
    for (int i = 0; i < ckpt->shard_count; i++)
        slice_count += json_array_size(json_object_get(json_array_get(shards, (size_t)i), "slices"));
    ckpt->shards = alloc_zeroed((size_t)ckpt->shard_count, sizeof *ckpt->shards);
    ckpt->slices = alloc_zeroed(slice_count, sizeof *ckpt->slices);
    ckpt->order = alloc_zeroed(slice_count, sizeof *ckpt->order);
    if (ckpt->shards == NULL || ckpt->slices == NULL || ckpt->order == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %zu slices", name, slice_count);
    for (int i = 0; i < ckpt->shard_count; i++) {
        enum muster_status status = shard_read(ckpt, i, json_array_get(shards, (size_t)i), name, err);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}

static int slice_compare(const void *a, const void *b, void *context)
{
    const struct ckpt_slice *slices = context;
    const struct ckpt_slice *x = &slices[*(const int *)a], *y = &slices[*(const int *)b];
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Sorted, the slices must walk through every tensor of every kind without a gap, an overlap or a remainder.
 */
static enum muster_status tiling_check(struct ckpt *ckpt, const char *name, struct muster_error *err)
{
    for (int i = 0; i < ckpt->slice_count; i++)
        ckpt->order[i] = i;
    qsort_r(ckpt->order, (size_t)ckpt->slice_count, sizeof *ckpt->order, slice_compare, ckpt->slices);
    int next = 0;
    for (int kind = 0; kind < ckpt->layout.kind_count; kind++) {
        for (int i = 0; i < ckpt->layout.tensor_count; i++) {
            const struct ckpt_tensor *tensor = &ckpt->tensors[i];
            int64_t covered = tensor->offset;
            while (covered < tensor->offset + tensor->count) {
                const struct ckpt_slice *slice =
                    next < ckpt->slice_count ? &ckpt->slices[ckpt->order[next]] : NULL;
                if (slice == NULL || slice->kind != kind || slice->tensor != i || slice->begin != covered)
                    return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                            "%s: %s/%s: element %" PRId64 " is in no shard, or in two", name,
                                            ckpt->layout.kinds[kind], tensor->name, covered - tensor->offset);
                covered = slice->end;
                next++;
            }
        }
    }
    if (next != ckpt->slice_count)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %d slices too many", name,
                                ckpt->slice_count - next);
    return MUSTER_OK;
}

enum muster_status ckpt_manifest_parse(const char *bytes, size_t size, const char *name, struct ckpt **out,
                                       struct muster_error *err)
{
    *out = NULL;
    struct manifest_lists lists = {NULL, NULL, NULL};
    enum muster_status status = self_hash_check(bytes, size, name, err);
    if (status != MUSTER_OK)
        return status;
    struct ckpt *ckpt = alloc_zeroed(1, sizeof *ckpt);
    if (ckpt == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to open it", name);
    status = ckpt_json_parse(bytes, size, JSON_DEPTH_MAX, JSON_VALUES_MAX, name, &ckpt->root, err);
    if (status == MUSTER_OK)
        status = head_read(ckpt, &lists, name, err);
    if (status == MUSTER_OK)
        status = kinds_read(ckpt, lists.kinds, name, err);
    if (status == MUSTER_OK)
        status = tensors_read(ckpt, lists.tensors, name, err);
    if (status == MUSTER_OK)
        status = shards_read(ckpt, lists.shards, name, err);
    if (status == MUSTER_OK)
        status = tiling_check(ckpt, name, err);
    if (status != MUSTER_OK) {
        ckpt_close(ckpt);
        return status;
    }
    *out = ckpt;
    return MUSTER_OK;
}
