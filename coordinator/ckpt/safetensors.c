/* SPDX-License-Identifier: MIT
 *
 * One pass over the JSON object, then one over the sorted ranges. The format says that the data must be
 * covered without holes; that alone catches most damaged offsets, because every wrong number leaves a gap or
 * an overlap somewhere.
 */
#include "coordinator/ckpt/safetensors.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH_MAX = 4, JSON_VALUES_MAX = 4 << 20 };

static const char metadata_key[] = "__metadata__";

static const struct {
    const char *name;
    int bytes;
} dtypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},
    {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4},     {"U64", 8},     {"I64", 8}, {"F64", 8},
};

enum muster_status safetensors_header_size(const unsigned char *first, int64_t file_bytes, const char *name,
                                           int64_t *size, struct muster_error *err)
{
    uint64_t length = 0;
    for (int i = SAFETENSORS_LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | first[i];
    if (length > SAFETENSORS_JSON_BYTES_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: bytes 0..7: header of %llu bytes, at most %d",
                                name, (unsigned long long)length, SAFETENSORS_JSON_BYTES_MAX);
    *size = (int64_t)length + SAFETENSORS_LENGTH_BYTES;
    if (*size > file_bytes)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: bytes 0..7: header of %llu bytes in a file of %lld", name,
                                (unsigned long long)length, (long long)file_bytes);
    return MUSTER_OK;
}

static int dtype_bytes(const char *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtype, dtypes[i].name) == 0)
            return dtypes[i].bytes;
    }
    return 0;
}

/* An integer >= 0, or -1. */
static int64_t natural(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

static enum muster_status entry_parse(struct safetensors_entry *entry, json_t *value, const char *name,
                                      struct muster_error *err)
{
    json_t *shape, *range;
    json_error_t at;
    if (json_unpack_ex(value, &at, 0, "{s:s, s:o, s:o!}", "dtype", &entry->dtype, "shape", &shape,
                       "data_offsets", &range) != 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %s: %s", name, entry->name, at.text);
    int64_t bytes = dtype_bytes(entry->dtype);
    if (bytes == 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %s: unknown dtype %s", name, entry->name,
                                entry->dtype);
    size_t dims = json_array_size(shape);
    if (!json_is_array(shape) || dims > SAFETENSORS_DIMS_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %s: shape is no list of up to %d sizes",
                                name, entry->name, SAFETENSORS_DIMS_MAX);
    entry->dim_count = (int)dims;
    for (size_t i = 0; i < dims; i++) {
        entry->shape[i] = natural(json_array_get(shape, i));
        if (entry->shape[i] < 0 || __builtin_mul_overflow(bytes, entry->shape[i], &bytes))
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %s: bad size in its shape", name,
                                    entry->name);
    }
    entry->begin = natural(json_array_get(range, 0));
    entry->end = natural(json_array_get(range, 1));
    if (json_array_size(range) != 2 || entry->begin < 0 || entry->end < entry->begin ||
        entry->end - entry->begin != bytes)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: tensor %s: data_offsets are not two numbers %lld bytes apart", name,
                                entry->name, (long long)bytes);
    return MUSTER_OK;
}

static enum muster_status metadata_check(json_t *metadata, const char *name, struct muster_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s is no object", name, metadata_key);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: %s: %s is no string", name, metadata_key,
                                    key);
    }
    return MUSTER_OK;
}

static int entry_compare(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum muster_status entries_check(struct safetensors_header *header, const char *name,
                                        struct muster_error *err)
{
    if (header->count > 1)
        qsort(header->entries, (size_t)header->count, sizeof *header->entries, entry_compare);
    int64_t covered = 0;
    for (int i = 0; i < header->count; i++) {
        const struct safetensors_entry *entry = &header->entries[i];
        if (entry->begin != covered)
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s: tensor %s begins at data byte %lld, not %lld", name, entry->name,
                                    (long long)entry->begin, (long long)covered);
        covered = entry->end;
    }
    if (covered != header->data_bytes)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: the tensors fill %lld of %lld data bytes", name,
                                (long long)covered, (long long)header->data_bytes);
    return MUSTER_OK;
}

static enum muster_status root_walk(struct safetensors_header *header, const char *name,
                                    struct muster_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(header->root))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: the header is no JSON object", name);
    header->entries = alloc_zeroed(json_object_size(header->root), sizeof *header->entries);
    if (header->entries == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for its header", name);
    json_object_foreach(header->root, key, value)
    {
        enum muster_status status;
        if (strcmp(key, metadata_key) == 0) {
            status = metadata_check(value, name, err);
        } else {
            struct safetensors_entry *entry = &header->entries[header->count++];
            entry->name = key;
            status = entry_parse(entry, value, name, err);
        }
        if (status != MUSTER_OK)
            return status;
    }
    return entries_check(header, name, err);
}

enum muster_status safetensors_header_parse(struct safetensors_header *header, const void *bytes,
                                            int64_t size, int64_t file_bytes, const char *name,
                                            struct muster_error *err)
{
    *header = (struct safetensors_header){.data_begin = size, .data_bytes = file_bytes - size};
    int64_t expected = -1;
    if (size < SAFETENSORS_LENGTH_BYTES)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: only %lld bytes", name, (long long)size);
    enum muster_status status = safetensors_header_size(bytes, file_bytes, name, &expected, err);
    if (status != MUSTER_OK)
        return status;
    const char *text = (const char *)bytes + SAFETENSORS_LENGTH_BYTES;
    size_t length = (size_t)(size - SAFETENSORS_LENGTH_BYTES);
    if (expected != size || length == 0 || text[0] != '{')
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: byte 8: the header does not begin with '{'",
                                name);
    status = ckpt_json_parse(text, length, JSON_DEPTH_MAX, JSON_VALUES_MAX, name, &header->root, err);
    if (status == MUSTER_OK)
        status = root_walk(header, name, err);
    if (status != MUSTER_OK)
        safetensors_header_release(header);
    return status;
}

void safetensors_header_release(struct safetensors_header *header)
{
    json_decref(header->root);
    alloc_free(header->entries);
    *header = (struct safetensors_header){.root = NULL};
}

const char *safetensors_metadata(const struct safetensors_header *header, const char *key)
{
    return json_string_value(json_object_get(json_object_get(header->root, metadata_key), key));
}
