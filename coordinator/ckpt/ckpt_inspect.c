/* SPDX-License-Identifier: MIT
 *
 * What is in a checkpoint, without loading it: the MANIFEST's facts, and on request the numbers of every
 * tensor, read a block at a time. Statistics are over finite elements, in double; what is not finite is
 * counted. Hashes are not compared here: that is `muster ckpt verify`.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_ELEMENTS = 1 << 16, SHAPE_TEXT_SIZE = 96, NUMBER_TEXT_SIZE = 32 };

struct tensor_stats {
    int64_t finite_count, nan_count, inf_count;
    double min, max, sum, squares;
};

static void stats_add(struct tensor_stats *stats, const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double value = (double)values[i];
        stats->nan_count += isnan(value) != 0;
        stats->inf_count += isinf(value) != 0;
        if (!isfinite(value))
            continue;
        stats->min = stats->finite_count == 0 || value < stats->min ? value : stats->min;
        stats->max = stats->finite_count == 0 || value > stats->max ? value : stats->max;
        stats->sum += value;
        stats->squares += value * value;
        stats->finite_count++;
    }
}

static double stats_mean(const struct tensor_stats *stats)
{
    return stats->finite_count > 0 ? stats->sum / (double)stats->finite_count : 0;
}

static double stats_rms(const struct tensor_stats *stats)
{
    return stats->finite_count > 0 ? sqrt(stats->squares / (double)stats->finite_count) : 0;
}

static enum muster_status tensor_measure(const struct ckpt *ckpt, int kind, const struct ckpt_tensor *tensor,
                                         float *block, struct tensor_stats *stats, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    int64_t end = tensor->offset + tensor->count;
    *stats = (struct tensor_stats){.min = 0};
    for (int64_t at = tensor->offset; at < end && status == MUSTER_OK; at += BLOCK_ELEMENTS) {
        int64_t count = end - at < BLOCK_ELEMENTS ? end - at : BLOCK_ELEMENTS;
        status = ckpt_read(ckpt, kind, at, at + count, block, err);
        if (status == MUSTER_OK)
            stats_add(stats, block, count);
    }
    return status;
}

/* For a person. */

static int64_t elements_count(const struct ckpt_layout *layout)
{
    int64_t count = 0;
    for (int i = 0; i < layout->tensor_count; i++)
        count += layout->tensors[i].count;
    return count;
}

static void head_print(struct text *out, const struct ckpt *ckpt)
{
    const struct ckpt_layout *layout = &ckpt->layout;
    char job[HASH_TEXT_SIZE], state[HASH_TEXT_SIZE], size[32];
    int64_t count = elements_count(layout);
    hash_format(ckpt->job, job);
    hash_format(ckpt->state, state);
    text_format_bytes(size, sizeof size, ckpt_total_bytes(ckpt));
    text_print(out, "checkpoint  %s\nstep        %" PRId64 "\ntokens      %" PRId64 "\n", ckpt->folder,
               ckpt->step, ckpt->tokens_seen);
    if (ckpt->validation.known)
        text_print(out, "validation  loss %.6g\n", ckpt->validation.loss);
    if (ckpt->data.known)
        text_print(out, "data        %" PRId64 " samples in %d file%s\n", ckpt->data.sample_count,
                   ckpt->data.file_count, ckpt->data.file_count == 1 ? "" : "s");
    text_print(out, "state hash  %s\njob hash    %s\nnumerics    %s\n", state, job, ckpt->numerics);
    text_print(out, "kinds      ");
    for (int i = 0; i < layout->kind_count; i++)
        text_print(out, " %s", layout->kinds[i]);
    text_print(out,
               "\ntensors     %d with %" PRId64 " elements of each kind; %" PRId64
               " of padding, chunks of %" PRId64 "\n",
               layout->tensor_count, count, layout->flat_count - count, layout->chunk_elements);
    text_print(out, "writers     %d, together %s\n", ckpt->shard_count, size);
    for (int i = 0; i < ckpt->shard_count; i++) {
        text_format_bytes(size, sizeof size, ckpt->shards[i].bytes);
        text_print(out, "  %s  %10s  %d slices\n", ckpt->shards[i].file, size, ckpt->shards[i].slice_count);
    }
}

static const char *shape_format(char out[SHAPE_TEXT_SIZE], const struct ckpt_tensor *tensor)
{
    int length = snprintf(out, SHAPE_TEXT_SIZE, "[");
    for (int i = 0; i < tensor->dim_count; i++)
        length += snprintf(out + length, (size_t)(SHAPE_TEXT_SIZE - length), "%s%" PRId64, i > 0 ? ", " : "",
                           tensor->shape[i]);
    snprintf(out + length, (size_t)(SHAPE_TEXT_SIZE - length), "]");
    return out;
}

static int name_width(const struct ckpt_layout *layout)
{
    size_t width = strlen("TENSOR");
    for (int i = 0; i < layout->tensor_count; i++) {
        size_t length = strlen(layout->tensors[i].name);
        width = length > width ? length : width;
    }
    return (int)width;
}

static void row_print(struct text *out, const char *kind, const struct ckpt_tensor *tensor, int width,
                      const struct tensor_stats *stats)
{
    char shape[SHAPE_TEXT_SIZE], numbers[4][NUMBER_TEXT_SIZE];
    const double values[4] = {stats->min, stats->max, stats_mean(stats), stats_rms(stats)};
    for (int i = 0; i < 4; i++)
        snprintf(numbers[i], NUMBER_TEXT_SIZE, stats->finite_count > 0 ? "%.4g" : "-", values[i]);
    text_print(
        out, "%-8s  %-*s  %-14s  F32    %10" PRId64 "  %10s  %10s  %10s  %10s  %6" PRId64 "  %6" PRId64 "\n",
        kind, width, tensor->name, shape_format(shape, tensor), tensor->count, numbers[0], numbers[1],
        numbers[2], numbers[3], stats->nan_count, stats->inf_count);
}

/* For a program. */

static json_t *head_json(const struct ckpt *ckpt)
{
    const struct ckpt_layout *layout = &ckpt->layout;
    char job[HASH_TEXT_SIZE], state[HASH_TEXT_SIZE];
    hash_format(ckpt->job, job);
    hash_format(ckpt->state, state);
    json_t *kinds = json_array(), *shards = json_array();
    for (int i = 0; i < layout->kind_count; i++)
        json_array_append_new(kinds, json_string(layout->kinds[i]));
    for (int i = 0; i < ckpt->shard_count; i++)
        json_array_append_new(shards, json_pack("{s:s, s:I, s:i}", "file", ckpt->shards[i].file, "bytes",
                                                (json_int_t)ckpt->shards[i].bytes, "slices",
                                                ckpt->shards[i].slice_count));
    return json_pack(
        "{s:s, s:I, s:I, s:s, s:s, s:s, s:i, s:I, s:o, s:i, s:I, s:I, s:I, s:o}", "checkpoint", ckpt->folder,
        "step", (json_int_t)ckpt->step, "tokens_seen", (json_int_t)ckpt->tokens_seen, "state_hash", state,
        "job_hash", job, "numerics", ckpt->numerics, "writers", ckpt->shard_count, "bytes",
        (json_int_t)ckpt_total_bytes(ckpt), "kinds", kinds, "tensor_count", layout->tensor_count, "elements",
        (json_int_t)elements_count(layout), "flat_count", (json_int_t)layout->flat_count, "chunk_elements",
        (json_int_t)layout->chunk_elements, "shards", shards);
}

/* null where no element is finite: JSON has no other word for it. */
static json_t *number_json(const struct tensor_stats *stats, double value)
{
    return stats->finite_count > 0 ? json_real(value) : json_null();
}

static json_t *row_json(const char *kind, const struct ckpt_tensor *tensor, const struct tensor_stats *stats)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->dim_count; i++)
        json_array_append_new(shape, json_integer(tensor->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "kind", kind, "name",
                     tensor->name, "shape", shape, "dtype", "F32", "count", (json_int_t)tensor->count, "min",
                     number_json(stats, stats->min), "max", number_json(stats, stats->max), "mean",
                     number_json(stats, stats_mean(stats)), "rms", number_json(stats, stats_rms(stats)),
                     "nan_count", (json_int_t)stats->nan_count, "inf_count", (json_int_t)stats->inf_count);
}

static enum muster_status json_finish(json_t *root, struct text *out, struct muster_error *err)
{
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the description as JSON");
    text_print(out, "%s\n", text);
    free(text);
    return MUSTER_OK;
}

/* Every tensor of every kind, as a row of the table or (rows != NULL) an object of the list. */
static enum muster_status tensors_describe(const struct ckpt *ckpt, struct text *out, json_t *rows,
                                           struct muster_error *err)
{
    const struct ckpt_layout *layout = &ckpt->layout;
    int width = name_width(layout);
    enum muster_status status = MUSTER_OK;
    float *block = alloc_zeroed(BLOCK_ELEMENTS, sizeof *block);
    if (block == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to read %s", ckpt->folder);
    if (rows == NULL)
        text_print(out, "\n%-8s  %-*s  %-14s  DTYPE  %10s  %10s  %10s  %10s  %10s  %6s  %6s\n", "KIND", width,
                   "TENSOR", "SHAPE", "COUNT", "MIN", "MAX", "MEAN", "RMS", "NAN", "INF");
    for (int kind = 0; kind < layout->kind_count; kind++) {
        for (int i = 0; i < layout->tensor_count && status == MUSTER_OK; i++) {
            struct tensor_stats stats;
            const struct ckpt_tensor *tensor = &layout->tensors[i];
            status = tensor_measure(ckpt, kind, tensor, block, &stats, err);
            if (status == MUSTER_OK && rows == NULL)
                row_print(out, layout->kinds[kind], tensor, width, &stats);
            else if (status == MUSTER_OK)
                json_array_append_new(rows, row_json(layout->kinds[kind], tensor, &stats));
        }
    }
    alloc_free(block);
    return status;
}

static enum muster_status inspect_json(const struct ckpt *ckpt, bool tensors, struct text *out,
                                       struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    json_t *root = head_json(ckpt), *rows = tensors ? json_array() : NULL;
    if (tensors) {
        status = tensors_describe(ckpt, out, rows, err);
        json_object_set_new(root, "tensors", rows);
    }
    if (status == MUSTER_OK)
        status = json_finish(root, out, err);
    json_decref(root);
    return status;
}

enum muster_status ckpt_command_inspect(const char *path, const struct ckpt_inspect_options *options,
                                        struct text *out, struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    struct ckpt *ckpt = NULL;
    enum muster_status status = ckpt_locate(path, folder, err);
    if (status == MUSTER_OK)
        status = ckpt_open(folder, &ckpt, err);
    if (status != MUSTER_OK)
        return status;
    if (options->json) {
        status = inspect_json(ckpt, options->tensors, out, err);
    } else {
        head_print(out, ckpt);
        if (options->tensors)
            status = tensors_describe(ckpt, out, NULL, err);
    }
    ckpt_close(ckpt);
    return status;
}
