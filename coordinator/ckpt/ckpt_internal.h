/* SPDX-License-Identifier: MIT
 *
 * What the files of this folder share and nobody else needs (the fuzz targets apart): an opened checkpoint
 * from inside, the guarded JSON parser, and the checks that writer and reader both make. jansson's types stay
 * behind a forward declaration.
 */
#ifndef MUSTER_COORDINATOR_CKPT_INTERNAL_H
#define MUSTER_COORDINATOR_CKPT_INTERNAL_H

#include "base/fs.h"
#include "coordinator/ckpt/ckpt.h"

#include <stddef.h>

struct json_t;

#define CKPT_FORMAT_NAME "muster-checkpoint"

enum {
    CKPT_FILE_NAME_SIZE = 64,
    CKPT_WRITERS_MAX = 99999,
    CKPT_MANIFEST_BYTES_MAX = 256 << 20,
    CKPT_DATA_ALIGNMENT = 64, /* where a shard's data begins */
    CKPT_TENSORS_MAX = 1 << 20,
    CKPT_CHUNK_ELEMENTS_MAX = 1 << 26
};

/** Part of one tensor of one kind, in one shard. */
struct ckpt_slice {
    int kind, tensor, shard;
    int64_t begin, end;  /* in the flat space */
    int64_t file_offset; /* of element `begin` */
};

struct ckpt_shard {
    char file[CKPT_FILE_NAME_SIZE];
    int64_t bytes, header_bytes; /* of the whole file; of what precedes the data */
    struct hash128 xxh3;
    const char *crcs; /* 8 hexadecimal digits a block; in the JSON tree */
    int slice_first, slice_count;
};

struct ckpt {
    char folder[FS_PATH_MAX];
    struct json_t *root; /* owns every string below */
    int64_t step, tokens_seen;
    struct ckpt_loss_scale loss_scale;
    struct ckpt_validation validation;
    struct ckpt_health health;
    struct ckpt_data data;
    struct hash128 job, state;
    const char *job_yaml, *numerics;
    struct ckpt_layout layout;
    struct ckpt_tensor *tensors;
    struct ckpt_shard *shards;
    int shard_count;
    struct ckpt_slice *slices; /* shard by shard, as they lie in the files */
    int *order;                /* indices of slices, sorted by kind and then flat position */
    int slice_count;
};

/**
 * JSON from a stranger: nesting and number of values are bounded before jansson sees the text, duplicate keys
 * are refused. \param name  the file, for messages \return CORRUPT with line and column; NO_MEMORY.
 */
enum muster_status ckpt_json_parse(const char *bytes, size_t size, int depth_max, int64_t values_max,
                                   const char *name, struct json_t **out, struct muster_error *err);

/** Appends `value` as a JSON string; false when it is not UTF-8 or memory is short. */
bool ckpt_json_append(struct text *out, const char *value);

/** Everything a layout promises (names, shapes, order, bounds, chunking); `fault` is the status when not. */
enum muster_status ckpt_layout_check(const struct ckpt_layout *layout, enum muster_status fault,
                                     const char *name, struct muster_error *err);

/** The first tensor that ends after flat position `position`; tensor_count when there is none. */
int ckpt_layout_find(const struct ckpt_layout *layout, int64_t position);

/** The state hash, chunk by chunk: created with the step (NULL when memory is short), then one add a chunk.
 */
struct hash_stream *ckpt_state_stream_create(int64_t step);
void ckpt_state_stream_add(struct hash_stream *stream, struct hash128 chunk);

/** The MANIFEST's text into a checked, closed-world struct ckpt without a folder; ckpt_close releases it. */
enum muster_status ckpt_manifest_parse(const char *bytes, size_t size, const char *name, struct ckpt **out,
                                       struct muster_error *err);

/** CORRUPT, naming the bytes, unless this block of a shard has the CRC32C that the MANIFEST records. */
enum muster_status ckpt_block_check(const struct ckpt_shard *shard, const char *path, int64_t index,
                                    const void *block, int64_t bytes, struct muster_error *err);

/** Every shard file is there and as long as the MANIFEST says. */
enum muster_status ckpt_shards_measure(const struct ckpt *ckpt, struct muster_error *err);

/** Exactly `bytes` bytes at `offset`; CORRUPT when the file ends before. */
enum muster_status ckpt_file_read(int fd, const char *path, int64_t offset, void *data, int64_t bytes,
                                  struct muster_error *err);

#endif
