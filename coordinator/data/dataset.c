/* SPDX-License-Identifier: MIT
 *
 * Opens and closes a data set, and finds the file of a sample. Everything is checked here, once, so that
 * reading is a look-up and a copy: no allocation, no lock, no state. Files stay mapped; one that somebody
 * cuts short while it is being read ends the process with SIGBUS, as with every mapped file.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"

#include <math.h>

static void file_release(struct dataset_file *file)
{
    fs_map_release(&file->map);
    idx_array_release(&file->images);
    idx_array_release(&file->labels);
    alloc_free(file->labels_path);
    alloc_free(file->path);
}

void dataset_close(struct dataset *dataset)
{
    if (dataset == NULL)
        return;
    for (int i = 0; i < dataset->info.file_count; i++)
        file_release(&dataset->files[i]);
    alloc_free(dataset->files);
    alloc_free(dataset->sources);
    alloc_free(dataset);
}

/* A fresh zeroed entry at the end, already counted so that closing releases it. */
static struct dataset_file *file_append(struct dataset *dataset)
{
    if (dataset->info.file_count == dataset->file_capacity) {
        int capacity;
        if (__builtin_mul_overflow(dataset->file_capacity, 2, &capacity))
            return NULL;
        capacity = capacity > 0 ? capacity : 8;
        struct dataset_file *files = alloc_resize(dataset->files, (size_t)capacity, sizeof *files);
        if (files == NULL)
            return NULL;
        dataset->files = files;
        dataset->file_capacity = capacity;
    }
    struct dataset_file *file = &dataset->files[dataset->info.file_count++];
    *file = (struct dataset_file){.path = NULL};
    return file;
}

/* All files of a data set have one format; AUTO takes the first file's. */
static enum muster_status format_resolve(struct dataset *dataset, bool is_auto, const char *path,
                                         struct muster_error *err)
{
    enum job_data_format format;
    if (!is_auto)
        return MUSTER_OK;
    enum muster_status status = dataset_format_detect(path, &format, err);
    if (status != MUSTER_OK)
        return status;
    if (dataset->info.format == JOB_DATA_AUTO)
        dataset->info.format = format;
    if (dataset->info.format != format)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: its format is %s, but that of %s is %s", path,
                                job_data_format_name(format), dataset->files[0].path,
                                job_data_format_name(dataset->info.format));
    return MUSTER_OK;
}

static enum muster_status image_size_check(struct dataset *dataset, const struct dataset_file *file,
                                           struct muster_error *err)
{
    int64_t size = file->images.item_bytes;
    if (dataset->info.input_size == 0)
        dataset->info.input_size = size;
    if (dataset->info.input_size != size)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: images of %lld bytes, but those of %s have %lld", file->path,
                                (long long)size, dataset->files[0].path, (long long)dataset->info.input_size);
    return MUSTER_OK;
}

static enum muster_status file_open(struct dataset *dataset, struct dataset_source *source, const char *path,
                                    const char *labels, struct muster_error *err)
{
    struct dataset_file *file = file_append(dataset);
    if (file == NULL || (file->path = alloc_text(path)) == NULL ||
        (labels != NULL && (file->labels_path = alloc_text(labels)) == NULL))
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d files",
                                dataset->info.file_count);
    bool is_images = dataset->info.format == JOB_DATA_IDX;
    if (labels != NULL && !is_images)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: labels (%s) go with format idx only", path,
                                labels);
    enum muster_status status = is_images
                                    ? dataset_images_open(file, err)
                                    : dataset_tokens_open(file, dataset->info.format, dataset->seq_len, err);
    if (status == MUSTER_OK && is_images)
        status = image_size_check(dataset, file, err);
    if (status != MUSTER_OK)
        return status;
    file->sample_begin = source->sample_count;
    if (__builtin_add_overflow(source->sample_count, file->sample_count, &source->sample_count) ||
        __builtin_add_overflow(dataset->info.sample_count, file->sample_count, &dataset->info.sample_count) ||
        __builtin_add_overflow(dataset->info.token_count, file->token_count, &dataset->info.token_count))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: more samples than can be counted", path);
    return MUSTER_OK;
}

static enum muster_status source_open(struct dataset *dataset, const struct job_source *item, bool is_auto,
                                      struct dataset_source *source, struct muster_error *err)
{
    if (!isfinite(item->weight) || item->weight < 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: weight %g is not a number of at least 0",
                                item->path, item->weight);
    struct dataset_paths paths;
    enum muster_status status = dataset_paths_expand(&paths, item->path, err);
    if (status != MUSTER_OK)
        return status;
    source->weight = item->weight;
    source->file_begin = dataset->info.file_count;
    if (item->labels != NULL && paths.count > 1)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                  "%s matches %d files, but labels names one: list each image file with its "
                                  "own labels",
                                  item->path, paths.count);
    for (int i = 0; status == MUSTER_OK && i < paths.count; i++) {
        status = format_resolve(dataset, is_auto, paths.items[i], err);
        if (status == MUSTER_OK)
            status = file_open(dataset, source, paths.items[i], item->labels, err);
    }
    source->file_end = dataset->info.file_count;
    dataset_paths_release(&paths);
    return status;
}

enum muster_status dataset_open(const struct job_sources *sources, enum job_data_format format,
                                int64_t seq_len, struct dataset **out, struct muster_error *err)
{
    *out = NULL;
    if (sources->count < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "no files are named");
    struct dataset *dataset = alloc_zeroed(1, sizeof *dataset);
    if (dataset != NULL)
        dataset->sources = alloc_zeroed((size_t)sources->count, sizeof *dataset->sources);
    if (dataset == NULL || dataset->sources == NULL) {
        dataset_close(dataset);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d data sources", sources->count);
    }
    dataset->info.format = format;
    dataset->info.source_count = sources->count;
    dataset->seq_len = seq_len < 1 ? 1 : seq_len; /* refused below, once it is known to matter */
    enum muster_status status = MUSTER_OK;
    for (int i = 0; status == MUSTER_OK && i < sources->count; i++)
        status = source_open(dataset, &sources->items[i], format == JOB_DATA_AUTO, &dataset->sources[i], err);
    if (status == MUSTER_OK && seq_len < 1 && dataset->info.format != JOB_DATA_IDX)
        status =
            muster_error_set(err, MUSTER_ERR_BAD_INPUT, "seq_len %lld is not at least 1", (long long)seq_len);
    if (status != MUSTER_OK) {
        dataset_close(dataset);
        return status;
    }
    dataset->info.seq_len = dataset->info.format == JOB_DATA_IDX ? 0 : seq_len;
    dataset->info.vocab_size = dataset->info.format == JOB_DATA_BYTES ? DATASET_BYTES_VOCAB : 0;
    *out = dataset;
    return MUSTER_OK;
}

const struct dataset_info *dataset_info(const struct dataset *dataset)
{
    return &dataset->info;
}

void dataset_source_info(const struct dataset *dataset, int source, int64_t *sample_count, double *weight)
{
    *sample_count = dataset->sources[source].sample_count;
    *weight = dataset->sources[source].weight;
}

const struct dataset_file *dataset_file_find(const struct dataset *dataset, int source, int64_t index,
                                             int64_t *within)
{
    if (source < 0 || source >= dataset->info.source_count || index < 0 ||
        index >= dataset->sources[source].sample_count)
        return NULL;
    int low = dataset->sources[source].file_begin, high = dataset->sources[source].file_end;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (dataset->files[middle].sample_begin <= index)
            low = middle;
        else
            high = middle;
    }
    *within = index - dataset->files[low].sample_begin;
    return &dataset->files[low];
}

enum muster_status dataset_index_error(const struct dataset *dataset, int source, int64_t index,
                                       struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_INTERNAL,
                            "sample %lld of source %d was asked of a data set of %d %s sources with %lld "
                            "samples in all",
                            (long long)index, source, dataset->info.source_count,
                            dataset->info.format == JOB_DATA_IDX ? "image" : "token",
                            (long long)dataset->info.sample_count);
}
