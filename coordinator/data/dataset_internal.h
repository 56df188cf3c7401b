/* SPDX-License-Identifier: MIT
 *
 * What the files of the data set reader share and nobody else sees. A data set is a list of sources, a source
 * a range of files, a file a mapping with a payload of whole tokens or images whose size was checked at open.
 */
#ifndef MUSTER_COORDINATOR_DATASET_INTERNAL_H
#define MUSTER_COORDINATOR_DATASET_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fs.h"
#include "coordinator/data/dataset.h"

enum {
    LLMC_HEADER_WORDS = 256,
    LLMC_HEADER_BYTES = 4 * LLMC_HEADER_WORDS,
    LLMC_MAGIC_U16 = 20240520,
    LLMC_VERSION_U16 = 1,
    LLMC_MAGIC_U32 = 20240801,
    LLMC_VERSION_U32 = 7,
    IDX_MAGIC_LABELS = 0x0801,
    IDX_MAGIC_IMAGES = 0x0803,
    IDX_MAGIC_IMAGES_4D = 0x0804,
    DATASET_BYTES_VOCAB = 256
};

/** The content of one IDX file of unsigned bytes, mapped or decompressed. */
struct idx_array {
    struct fs_map map;         /* plain files */
    unsigned char *owned;      /* gzip files: the decompressed payload */
    const unsigned char *data; /* first element */
    int64_t data_offset;       /* of `data` in the (decompressed) file */
    int64_t count;             /* items */
    int64_t item_bytes;        /* 1 for labels */
};

struct dataset_file {
    char *path;
    struct fs_map map;            /* tokens */
    const unsigned char *payload; /* first token */
    int64_t payload_offset;       /* of `payload` in the file */
    int64_t token_count;
    int token_bytes;   /* 1, 2 or 4; 0 for images */
    bool read_ahead;   /* windows are announced to the kernel one by one (large files) */
    char *labels_path; /* images */
    struct idx_array images, labels;
    int64_t sample_begin; /* first sample, counted within the source */
    int64_t sample_count;
};

struct dataset_source {
    int file_begin, file_end;
    int64_t sample_count;
    double weight;
};

struct dataset {
    struct dataset_info info;
    int64_t seq_len;
    struct dataset_source *sources;
    struct dataset_file *files;
    int file_capacity;
};

static inline uint32_t dataset_u32_little(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint32_t dataset_u32_big(const unsigned char *bytes)
{
    return (uint32_t)bytes[3] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[0] << 24;
}

static inline uint32_t dataset_u16_little(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

/** The paths a job's `path` stands for, sorted by bytes: itself when such a file exists, else as a glob. */
struct dataset_paths {
    char **items;
    int count;
};
enum muster_status dataset_paths_expand(struct dataset_paths *paths, const char *pattern,
                                        struct muster_error *err);
void dataset_paths_release(struct dataset_paths *paths);

/** The format of one file by its name and first bytes; never AUTO on success. */
enum muster_status dataset_format_detect(const char *path, enum job_data_format *format,
                                         struct muster_error *err);

/** Maps and checks a token file; fills all but the path and the place in the source. */
enum muster_status dataset_tokens_open(struct dataset_file *file, enum job_data_format format,
                                       int64_t seq_len, struct muster_error *err);

/** Largest of the first `tokens_max` tokens of a file (0 = all) and its index. */
void dataset_tokens_max(const struct dataset_file *file, int64_t tokens_max, int64_t *token_max,
                        int64_t *index);

/** Opens the images and their labels (`labels_path` is derived when NULL). */
enum muster_status dataset_images_open(struct dataset_file *file, struct muster_error *err);

/** Takes a zeroed or partly opened array. */
void idx_array_release(struct idx_array *array);

/** The file that holds sample `index` of a source, `*within` its place there; NULL when out of range. */
const struct dataset_file *dataset_file_find(const struct dataset *dataset, int source, int64_t index,
                                             int64_t *within);

/** INTERNAL: the caller asked for a sample the data set does not have. */
enum muster_status dataset_index_error(const struct dataset *dataset, int source, int64_t index,
                                       struct muster_error *err);

bool dataset_is_gzip(const unsigned char *data, size_t bytes);

/** Decompresses a gzip file (one or more members) held in memory, piece by piece. */
struct gzip_reader;
enum muster_status gzip_reader_create(struct gzip_reader **out, const char *path, const unsigned char *data,
                                      size_t bytes, struct muster_error *err);
/** Takes NULL. */
void gzip_reader_destroy(struct gzip_reader *reader);

/** Up to `bytes` bytes; *got is smaller only at the end of the file. Checksums are verified at each member's
 * end. */
enum muster_status gzip_reader_read(struct gzip_reader *reader, unsigned char *out, size_t bytes, size_t *got,
                                    struct muster_error *err);

/** More than `bytes` compressed bytes can ever become: deflate reaches at most 1032 to 1. */
int64_t gzip_expanded_max(size_t bytes);

/** Regular files below the inputs in a fixed order, each once however often it is named. */
struct dataset_document {
    char *path;
    int64_t bytes;
    int input; /* index of the input it came from */
    uint64_t device, inode;
};
struct dataset_collection {
    struct dataset_document *items;
    int64_t count, capacity;
    int64_t repeated_count; /* named twice, or hard links, left out */
};
/** \param suffixes  comma-separated; applied to files found in folders, not to files named themselves */
enum muster_status dataset_collect(struct dataset_collection *collection, const char *const *inputs,
                                   int input_count, const char *suffixes, struct muster_error *err);
void dataset_collection_release(struct dataset_collection *collection);

#endif
