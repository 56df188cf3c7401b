/* SPDX-License-Identifier: MIT
 *
 * "format": "pt" stands in the metadata because transformers refuses a file that does not say for which
 * framework it is.
 */
#include "coordinator/ckpt/safetensors_write.h"

#include "coordinator/ckpt/ckpt_internal.h"
#include "coordinator/ckpt/safetensors.h"

#include <inttypes.h>
#include <string.h>

enum muster_status safetensors_header_print(struct text *out, const struct safetensors_item *items, int count,
                                            enum dtype dtype, int64_t *data_bytes, struct muster_error *err)
{
    size_t begin = out->length;
    *data_bytes = 0;
    text_append(out, "........", SAFETENSORS_LENGTH_BYTES);
    text_print(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < count; i++) {
        int64_t bytes = (int64_t)dtype_size(dtype);
        text_append(out, ",", 1);
        if (!ckpt_json_append(out, items[i].name))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "tensor %d: its name is not UTF-8", i);
        text_print(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype == DTYPE_BF16 ? "BF16" : "F32");
        for (int d = 0; d < items[i].dim_count; d++) {
            bytes *= items[i].shape[d];
            text_print(out, "%s%" PRId64, d > 0 ? "," : "", items[i].shape[d]);
        }
        text_print(out, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", *data_bytes, *data_bytes + bytes);
        *data_bytes += bytes;
    }
    text_append(out, "}", 1);
    while (!out->failed && (out->length - begin) % CKPT_DATA_ALIGNMENT != 0)
        text_append(out, " ", 1);
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a safetensors header");
    uint64_t length = out->length - begin - SAFETENSORS_LENGTH_BYTES;
    if (length > SAFETENSORS_JSON_BYTES_MAX)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "%d tensors are too many for one header", count);
    memcpy(out->data + begin, &length, sizeof length);
    return MUSTER_OK;
}

enum muster_status safetensors_values_write(struct fs_writer *writer, enum dtype dtype, const float *values,
                                            int64_t count, uint16_t *scratch, struct muster_error *err)
{
    if (dtype == DTYPE_F32)
        return fs_writer_write(writer, values, (size_t)count * sizeof *values, err);
    for (int64_t i = 0; i < count; i++)
        scratch[i] = dtype_bf16_from_f32(values[i]);
    return fs_writer_write(writer, scratch, (size_t)count * sizeof *scratch, err);
}
