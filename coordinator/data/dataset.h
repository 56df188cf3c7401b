/* SPDX-License-Identifier: MIT
 *
 * Training data as fixed-size samples in files people already have: text as bytes, raw uint16/uint32 tokens
 * (nanoGPT), llm.c .bin shards, IDX images (plain or gzip). A reader checks every length before use and
 * refuses with file and offset. This is about files; which sample is read when is worker/data/sampler.h.
 */
#ifndef MUSTER_COORDINATOR_DATASET_H
#define MUSTER_COORDINATOR_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "coordinator/job/job.h"

struct dataset;

/** What a data set holds. Token sample i of a file: tokens [i·seq_len, i·seq_len + seq_len] (inputs, and
 * targets one later); windows do not cross files. */
struct dataset_info {
    enum job_data_format format; /* resolved, never AUTO */
    int64_t sample_count;
    int64_t token_count; /* 0 for images */
    int64_t seq_len;     /* tokens a sample; 0 for images */
    int64_t input_size;  /* images: features a sample (rows · columns · channels); 0 for tokens */
    int64_t vocab_size;  /* bytes: 256; images: 0; u16/u32/llmc: 0 (unknown until scanned) */
    int source_count;    /* entries of the job's list, after globbing they keep their index */
    int file_count;
};

/**
 * Opens all files of one list (globs expanded, sorted). Checks headers and lengths, not every token.
 * \param seq_len  tokens a sample; ignored for images
 */
enum muster_status dataset_open(const struct job_sources *sources, enum job_data_format format,
                                int64_t seq_len, struct dataset **out, struct muster_error *err);
/** Takes NULL. */
void dataset_close(struct dataset *dataset);

const struct dataset_info *dataset_info(const struct dataset *dataset);

/**
 * What a data set is, wherever its files lie: formats, numbers, lengths, and 4 KiB from beginning, middle and
 * end of each file. Equal for copies; other for a file that is longer, shorter, missing, added or in another
 * place of the order. Not every byte is read: a few that changed in between may go unseen.
 */
enum muster_status dataset_identity(const struct dataset *dataset, struct hash128 *out,
                                    struct muster_error *err);

/** Samples and mixing weight of one source; weight 0 = by size. */
void dataset_source_info(const struct dataset *dataset, int source, int64_t *sample_count, double *weight);

/**
 * Reads token sample `index` of `source`: inputs[0…seq_len) and targets[0…seq_len).
 * \return CORRUPT naming file and byte offset when a token is not below vocab_size. Thread-safe.
 */
enum muster_status dataset_read_tokens(const struct dataset *dataset, int source, int64_t index,
                                       int64_t vocab_size, int32_t *inputs, int32_t *targets,
                                       struct muster_error *err);

/** Reads image sample: pixels[0…input_size) scaled to [0, 1], *label below class_count, else CORRUPT.
 * Thread-safe. */
enum muster_status dataset_read_image(const struct dataset *dataset, int source, int64_t index,
                                      int64_t class_count, float *pixels, int32_t *label,
                                      struct muster_error *err);

/** Largest token (images: label) of the first `tokens_max` of every file (0 = all); with the file and offset
 * where it stands, unless `where` is NULL. */
enum muster_status dataset_scan(const struct dataset *dataset, int64_t tokens_max, int64_t *token_max,
                                struct text *where, struct muster_error *err);

/**
 * The checks of a job that need its files: they exist, parse, hold at least one global batch (train) or
 * micro-batch (val), and their tokens fit the vocabulary (first 16 Mi tokens of each file). Adds to the
 * report as "file:line:column: data.train: message"; BAD_INPUT when it added an error.
 * \param config  input_size is filled in for images
 */
enum muster_status dataset_check_job(const struct job *job, struct model_config *config,
                                     struct job_report *report, struct muster_error *err);

struct dataset_prepare_options {
    const char *const
        *inputs; /* files or folders (walked recursively, sorted, symbolic links to folders not followed) */
    int input_count;
    const char *suffixes;   /* comma-separated, such as ".h,.c"; NULL = ".txt,.md,.c,.h" */
    const char *output_dir; /* train.bin and val.bin (llm.c format, uint16, bytes as tokens) and data.json are
                               written there */
    double val_fraction;    /* of the bytes, taken as whole files spread evenly (of one large file: its tail);
                               0 = the default 0.05, negative = no val.bin */
    int64_t bytes_max;      /* stop after so much text; 0 = all */
};
/** `muster data prepare`: text into token shards; BAD_INPUT when no text was found. Writes a summary for a
 * person to `summary`. */
enum muster_status dataset_prepare(const struct dataset_prepare_options *options, struct text *summary,
                                   struct muster_error *err);

/** `muster data info`: format, counts, largest token, size of each file as lines for a person. */
enum muster_status dataset_describe(const struct job_sources *sources, enum job_data_format format,
                                    int64_t seq_len, struct text *out, struct muster_error *err);

#endif
