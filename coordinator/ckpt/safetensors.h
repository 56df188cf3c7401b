/* SPDX-License-Identifier: MIT
 *
 * The header of a safetensors file, read defensively: any file of any maker, no trust in a single number.
 * Format: https://github.com/huggingface/safetensors#format (8-byte little-endian length, a JSON object,
 * the data). Reading the data, and what the tensors mean, is the caller's.
 */
#ifndef MUSTER_COORDINATOR_SAFETENSORS_H
#define MUSTER_COORDINATOR_SAFETENSORS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;

enum {
    SAFETENSORS_LENGTH_BYTES = 8,
    SAFETENSORS_JSON_BYTES_MAX = 64 << 20, /* the public format allows 100 MB */
    SAFETENSORS_DIMS_MAX = 8
};

struct safetensors_entry {
    const char *name;  /* in the JSON tree */
    const char *dtype; /* "F32", "BF16", … as in the file */
    int dim_count;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    int64_t begin, end; /* bytes from the start of the data */
};

struct safetensors_header {
    struct json_t *root;               /* owns all strings */
    struct safetensors_entry *entries; /* in the order of their data: no gap, no overlap */
    int count;
    int64_t data_begin, data_bytes; /* place in the file, and length to its end */
};

/**
 * How many bytes the header takes, the length field included, from the file's first 8 bytes. CORRUPT when it
 * is over the limit or does not fit in a file of `file_bytes`.
 */
enum muster_status safetensors_header_size(const unsigned char *first, int64_t file_bytes, const char *name,
                                           int64_t *size, struct muster_error *err);

/**
 * Parses `size` bytes (as safetensors_header_size said) of a file of `file_bytes`. \param name  the file, for
 * messages \return CORRUPT unless names are unique, every shape times its dtype is as long as its range, and
 * the ranges cover the data to the file's end exactly once. Release also after failure is safe.
 */
enum muster_status safetensors_header_parse(struct safetensors_header *header, const void *bytes,
                                            int64_t size, int64_t file_bytes, const char *name,
                                            struct muster_error *err);
void safetensors_header_release(struct safetensors_header *header);

/** A value of "__metadata__", or NULL. */
const char *safetensors_metadata(const struct safetensors_header *header, const char *key);

#endif
