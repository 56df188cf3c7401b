/* SPDX-License-Identifier: MIT
 *
 * The state as a mathematical thing, before any file: what a layout must promise, and the hash that does not
 * depend on how many ranks hold it. Writer and reader come through the same check, so nothing can be written
 * that would be refused later.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors are little endian, written from memory");
_Static_assert(sizeof(float) == 4, "elements are fp32");

static const int64_t flat_count_max = INT64_C(1) << 52;

int ckpt_layout_find(const struct ckpt_layout *layout, int64_t position)
{
    int low = 0, high = layout->tensor_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct ckpt_tensor *tensor = &layout->tensors[middle];
        if (tensor->offset + tensor->count > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Printable ASCII that JSON need not escape; a kind must not hold the '/' that ends it in an entry's name. */
static bool name_is_plain(const char *name, size_t size, bool is_kind)
{
    size_t length = strnlen(name, size);
    if (length == 0 || length == size)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '"' || name[i] == '\\' ||
            (is_kind && name[i] == '/'))
            return false;
    }
    return true;
}

static bool shape_fits(const struct ckpt_tensor *tensor)
{
    int64_t product = 1;
    if (tensor->dim_count < 0 || tensor->dim_count > CKPT_DIMS_MAX)
        return false;
    for (int i = 0; i < tensor->dim_count; i++) {
        if (tensor->shape[i] <= 0 || __builtin_mul_overflow(product, tensor->shape[i], &product))
            return false;
    }
    return product == tensor->count;
}

static int tensor_name_compare(const void *a, const void *b)
{
    return strcmp((*(const struct ckpt_tensor *const *)a)->name,
                  (*(const struct ckpt_tensor *const *)b)->name);
}

static enum muster_status names_check(const struct ckpt_layout *layout, enum muster_status fault,
                                      const char *name, struct muster_error *err)
{
    const struct ckpt_tensor **sorted = alloc_zeroed((size_t)layout->tensor_count, sizeof *sorted);
    if (sorted == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %d tensors", name,
                                layout->tensor_count);
    for (int i = 0; i < layout->tensor_count; i++)
        sorted[i] = &layout->tensors[i];
    qsort(sorted, (size_t)layout->tensor_count, sizeof *sorted, tensor_name_compare);
    enum muster_status status = MUSTER_OK;
    for (int i = 1; i < layout->tensor_count && status == MUSTER_OK; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            status = muster_error_set(err, fault, "%s: two tensors are called %s", name, sorted[i]->name);
    }
    alloc_free(sorted);
    return status;
}

static enum muster_status kinds_check(const struct ckpt_layout *layout, enum muster_status fault,
                                      const char *name, struct muster_error *err)
{
    if (layout->kind_count < 1 || layout->kind_count > CKPT_KINDS_MAX)
        return muster_error_set(err, fault, "%s: %d kinds of state, from 1 to %d are possible", name,
                                layout->kind_count, CKPT_KINDS_MAX);
    for (int i = 0; i < layout->kind_count; i++) {
        if (!name_is_plain(layout->kinds[i], CKPT_NAME_MAX, true))
            return muster_error_set(err, fault, "%s: kind %d has no usable name", name, i);
        for (int j = 0; j < i; j++) {
            if (strcmp(layout->kinds[i], layout->kinds[j]) == 0)
                return muster_error_set(err, fault, "%s: two kinds are called %s", name, layout->kinds[i]);
        }
    }
    return MUSTER_OK;
}

enum muster_status ckpt_layout_check(const struct ckpt_layout *layout, enum muster_status fault,
                                     const char *name, struct muster_error *err)
{
    enum muster_status status = kinds_check(layout, fault, name, err);
    if (status != MUSTER_OK)
        return status;
    if (layout->chunk_elements < 1 || layout->chunk_elements > CKPT_CHUNK_ELEMENTS_MAX ||
        layout->flat_count < 0 || layout->flat_count > flat_count_max ||
        layout->flat_count % layout->chunk_elements != 0)
        return muster_error_set(err, fault, "%s: %lld elements in chunks of %lld", name,
                                (long long)layout->flat_count, (long long)layout->chunk_elements);
    if (layout->tensor_count < 0 || layout->tensor_count > CKPT_TENSORS_MAX)
        return muster_error_set(err, fault, "%s: %d tensors", name, layout->tensor_count);
    int64_t free_from = 0;
    for (int i = 0; i < layout->tensor_count; i++) {
        const struct ckpt_tensor *tensor = &layout->tensors[i];
        if (!name_is_plain(tensor->name, sizeof tensor->name, false))
            return muster_error_set(err, fault, "%s: tensor %d has no usable name", name, i);
        if (!shape_fits(tensor))
            return muster_error_set(err, fault, "%s: tensor %s: its shape does not have %lld elements", name,
                                    tensor->name, (long long)tensor->count);
        if (tensor->offset < free_from || tensor->offset > layout->flat_count - tensor->count)
            return muster_error_set(err, fault,
                                    "%s: tensor %s at element %lld overlaps its neighbour or the end", name,
                                    tensor->name, (long long)tensor->offset);
        free_from = tensor->offset + tensor->count;
    }
    return names_check(layout, fault, name, err);
}

/* The tensors' part of a chunk; the rest of `out` becomes zero. */
static void chunk_mask(const struct ckpt_layout *layout, int64_t chunk_begin, const float *data, float *out)
{
    int64_t chunk_end = chunk_begin + layout->chunk_elements;
    memset(out, 0, (size_t)layout->chunk_elements * sizeof *out);
    for (int i = ckpt_layout_find(layout, chunk_begin); i < layout->tensor_count; i++) {
        const struct ckpt_tensor *tensor = &layout->tensors[i];
        int64_t begin = tensor->offset > chunk_begin ? tensor->offset : chunk_begin;
        int64_t end = tensor->offset + tensor->count;
        end = end < chunk_end ? end : chunk_end;
        if (begin >= end)
            break;
        memcpy(out + (begin - chunk_begin), data + (begin - chunk_begin),
               (size_t)(end - begin) * sizeof *out);
    }
}

/* One tensor covers the whole chunk: no padding to mask. */
static bool chunk_is_solid(const struct ckpt_layout *layout, int64_t chunk_begin)
{
    int i = ckpt_layout_find(layout, chunk_begin);
    if (i == layout->tensor_count)
        return false;
    const struct ckpt_tensor *tensor = &layout->tensors[i];
    return tensor->offset <= chunk_begin &&
           tensor->offset + tensor->count >= chunk_begin + layout->chunk_elements;
}

enum muster_status ckpt_chunk_hashes(const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                     int piece_count, struct hash128 *hashes, struct muster_error *err)
{
    int64_t chunk = layout->chunk_elements;
    for (int i = 0; i < piece_count; i++) {
        if (pieces[i].begin < 0 || pieces[i].end < pieces[i].begin || pieces[i].end > layout->flat_count ||
            pieces[i].begin % chunk != 0 || pieces[i].end % chunk != 0)
            return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                    "piece [%lld, %lld) is not made of chunks of %lld",
                                    (long long)pieces[i].begin, (long long)pieces[i].end, (long long)chunk);
    }
    size_t chunk_bytes = (size_t)chunk * sizeof(float);
    float *masked = alloc_zeroed((size_t)chunk, sizeof *masked);
    if (masked == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to hash chunks of %lld elements",
                                (long long)chunk);
    for (int kind = 0; kind < layout->kind_count; kind++) {
        for (int i = 0; i < piece_count; i++) {
            for (int64_t begin = pieces[i].begin; begin < pieces[i].end; begin += chunk) {
                const float *data = pieces[i].data[kind] + (begin - pieces[i].begin);
                if (!chunk_is_solid(layout, begin)) {
                    chunk_mask(layout, begin, data, masked);
                    data = masked;
                }
                *hashes++ = hash_xxh3(data, chunk_bytes);
            }
        }
    }
    alloc_free(masked);
    return MUSTER_OK;
}

struct hash_stream *ckpt_state_stream_create(int64_t step)
{
    struct hash_stream *stream = hash_stream_create();
    uint64_t value = (uint64_t)step;
    if (stream != NULL)
        hash_stream_update(stream, &value, sizeof value);
    return stream;
}

void ckpt_state_stream_add(struct hash_stream *stream, struct hash128 chunk)
{
    uint64_t words[2] = {chunk.low, chunk.high};
    hash_stream_update(stream, words, sizeof words);
}

struct hash128 ckpt_state_hash(const struct ckpt_layout *layout, int64_t step, const struct hash128 *all)
{
    struct hash128 none = {0, 0};
    struct hash_stream *stream = ckpt_state_stream_create(step);
    if (stream == NULL)
        return none;
    int64_t count = layout->flat_count / layout->chunk_elements * layout->kind_count;
    for (int64_t i = 0; i < count; i++)
        ckpt_state_stream_add(stream, all[i]);
    struct hash128 hash = hash_stream_value(stream);
    hash_stream_destroy(stream);
    return hash;
}
