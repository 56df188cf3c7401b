/* SPDX-License-Identifier: MIT
 *
 * A safetensors file for other programs: the header is printed from a list, the data follow in the same
 * order. (Checkpoint shards have a writer of their own, which hashes and needs no list: ckpt_shard.c.)
 */
#ifndef MUSTER_COORDINATOR_SAFETENSORS_WRITE_H
#define MUSTER_COORDINATOR_SAFETENSORS_WRITE_H

#include "base/dtype.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"

enum { SAFETENSORS_WRITE_DIMS_MAX = 4 };

struct safetensors_item {
    const char *name;
    int dim_count;
    int64_t shape[SAFETENSORS_WRITE_DIMS_MAX];
};

/**
 * Appends the length field and the JSON, padded with spaces to a multiple of 64 bytes. \param dtype DTYPE_F32
 * or DTYPE_BF16, of all items \param data_bytes  out: what must follow \return UNSUPPORTED when the header
 * would be longer than a reader accepts; BAD_INPUT for a name that is not UTF-8
 */
enum muster_status safetensors_header_print(struct text *out, const struct safetensors_item *items, int count,
                                            enum dtype dtype, int64_t *data_bytes, struct muster_error *err);

/** `count` numbers as elements of `dtype`; `scratch` has room for as many. */
enum muster_status safetensors_values_write(struct fs_writer *writer, enum dtype dtype, const float *values,
                                            int64_t count, uint16_t *scratch, struct muster_error *err);

#endif
