/* SPDX-License-Identifier: MIT
 *
 * What a person is told about data before a run: does it fit the job, and what is in it. Looking at every
 * token of a terabyte would take longer than people wait for an answer, so the job's check looks at the
 * beginning of each file; a bad token further on is found when it is read.
 */
#include "coordinator/data/dataset_internal.h"

#include <string.h>

enum { CHECK_TOKENS_MAX = 16 << 20 };

static void images_max(const struct dataset_file *file, int64_t count_max, int64_t *label_max, int64_t *index)
{
    int64_t count = count_max > 0 && count_max < file->labels.count ? count_max : file->labels.count;
    *label_max = -1;
    for (int64_t i = 0; i < count; i++) {
        if (file->labels.data[i] > *label_max) {
            *label_max = file->labels.data[i];
            *index = i;
        }
    }
}

/* "FILE, byte offset N" of token or label `index`. */
static void place_print(const struct dataset_file *file, int64_t index, struct text *where)
{
    bool is_image = file->token_bytes == 0;
    int64_t offset =
        is_image ? file->labels.data_offset + index : file->payload_offset + index * file->token_bytes;
    text_clear(where);
    text_print(where, "%s, byte offset %lld%s", is_image ? file->labels_path : file->path, (long long)offset,
               is_image && file->labels.owned != NULL ? " (decompressed)" : "");
}

enum muster_status dataset_scan(const struct dataset *dataset, int64_t tokens_max, int64_t *token_max,
                                struct text *where, struct muster_error *err)
{
    const struct dataset_file *largest_file = NULL;
    int64_t largest_index = 0;
    *token_max = -1;
    for (int i = 0; i < dataset->info.file_count; i++) {
        const struct dataset_file *file = &dataset->files[i];
        int64_t largest, index = 0;
        if (file->token_bytes == 0)
            images_max(file, tokens_max, &largest, &index);
        else
            dataset_tokens_max(file, tokens_max, &largest, &index);
        if (largest > *token_max) {
            *token_max = largest;
            largest_file = file;
            largest_index = index;
        }
    }
    if (where == NULL || largest_file == NULL)
        return MUSTER_OK;
    place_print(largest_file, largest_index, where);
    return where->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a text") : MUSTER_OK;
}

/* One list of the job under check. */
struct list_check {
    const struct job *job;
    const char *key; /* "data.train" or "data.val" */
    const struct job_sources *sources;
    int64_t samples_min;
    const char *samples_min_key;
    struct job_report *report;
};

static void complain(const struct list_check *check, const char *message)
{
    const struct job_source *first = &check->sources->items[0];
    struct text *errors = &check->report->errors;
    if (first->line > 0)
        text_print(errors, "%s:%d:%d: ", check->job->path, first->line, first->column);
    else
        text_print(errors, "--set "); /* the only other place a list can come from */
    text_print(errors, "%s: %s\n", check->key, message);
    check->report->error_count++;
}

static void fit_check(const struct list_check *check, const struct dataset *dataset,
                      struct model_config *config)
{
    const struct dataset_info *info = dataset_info(dataset);
    struct muster_error text;
    bool wants_images = config->type == MODEL_MLP, has_images = info->format == JOB_DATA_IDX;
    if (wants_images != has_images) {
        muster_error_set(&text, MUSTER_ERR_BAD_INPUT, "%s, but the format is %s",
                         wants_images ? "an mlp needs images (idx)" : "a language model needs tokens",
                         job_data_format_name(info->format));
        complain(check, text.text);
        return;
    }
    if (wants_images && config->input_size == 0)
        config->input_size = info->input_size;
    if (wants_images && config->input_size != info->input_size) {
        muster_error_set(&text, MUSTER_ERR_BAD_INPUT,
                         "its images have %lld values, those of data.train have %lld",
                         (long long)info->input_size, (long long)config->input_size);
        complain(check, text.text);
    }
    if (info->sample_count < check->samples_min) {
        muster_error_set(&text, MUSTER_ERR_BAD_INPUT, "%lld samples are fewer than %s %lld",
                         (long long)info->sample_count, check->samples_min_key,
                         (long long)check->samples_min);
        complain(check, text.text);
    }
}

/* All sources of a list have a weight, or none has. */
static void weights_check(const struct list_check *check)
{
    int weighted = 0;
    for (int i = 0; i < check->sources->count; i++)
        weighted += check->sources->items[i].weight > 0;
    if (weighted != 0 && weighted != check->sources->count)
        complain(check, "some sources have a weight and some have none: give all of them one, or none");
}

static enum muster_status vocab_check(const struct list_check *check, const struct dataset *dataset,
                                      const struct model_config *config, struct muster_error *err)
{
    int64_t token_max;
    struct text where;
    struct muster_error text;
    text_init(&where);
    enum muster_status status = dataset_scan(dataset, CHECK_TOKENS_MAX, &token_max, &where, err);
    bool is_image = dataset_info(dataset)->format == JOB_DATA_IDX;
    if (status == MUSTER_OK && token_max >= config->vocab_size) {
        muster_error_set(&text, MUSTER_ERR_BAD_INPUT,
                         "%s %lld (%s) needs model.vocab_size %lld or more, which is %lld",
                         is_image ? "label" : "token", (long long)token_max, where.data,
                         (long long)token_max + 1, (long long)config->vocab_size);
        complain(check, text.text);
    }
    text_release(&where);
    return status;
}

static enum muster_status list_check_run(const struct list_check *check, struct model_config *config,
                                         struct muster_error *err)
{
    struct dataset *dataset = NULL;
    struct muster_error cause;
    int errors_before = check->report->error_count;
    weights_check(check);
    enum muster_status status =
        dataset_open(check->sources, check->job->data.format, check->job->data.seq_len, &dataset, &cause);
    if (status == MUSTER_ERR_NO_MEMORY || status == MUSTER_ERR_INTERNAL)
        return muster_error_set(err, status, "%s", cause.text);
    if (status != MUSTER_OK) {
        complain(check, cause.text);
        return MUSTER_OK;
    }
    fit_check(check, dataset, config);
    status = MUSTER_OK;
    if (check->report->error_count == errors_before)
        status = vocab_check(check, dataset, config, err);
    const struct dataset_info *info = dataset_info(dataset);
    if (status == MUSTER_OK)
        text_print(&check->report->notes, "%s: %s: %lld samples in %d file%s, format %s\n", check->job->path,
                   check->key, (long long)info->sample_count, info->file_count,
                   info->file_count == 1 ? "" : "s", job_data_format_name(info->format));
    dataset_close(dataset);
    return status;
}

/* Globs reach further than people think. */
static enum muster_status overlap_tell(const struct job *job, struct job_report *report,
                                       struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < job->data.val.count && status == MUSTER_OK; i++) {
        struct dataset_paths val;
        status = dataset_paths_expand(&val, job->data.val.items[i].path, err);
        for (int j = 0; j < job->data.train.count && status == MUSTER_OK; j++) {
            struct dataset_paths train;
            status = dataset_paths_expand(&train, job->data.train.items[j].path, err);
            for (int a = 0, b = 0; status == MUSTER_OK && a < val.count && b < train.count;) {
                int order = strcmp(val.items[a], train.items[b]);
                if (order == 0)
                    text_print(&report->notes,
                               "%s: data.val: %s is in data.train too: its loss says little\n", job->path,
                               val.items[a]);
                a += order <= 0;
                b += order >= 0;
            }
            dataset_paths_release(&train);
        }
        dataset_paths_release(&val);
    }
    return status;
}

enum muster_status dataset_check_job(const struct job *job, struct model_config *config,
                                     struct job_report *report, struct muster_error *err)
{
    int errors_before = report->error_count;
    struct list_check train = {.job = job,
                               .key = "data.train",
                               .sources = &job->data.train,
                               .samples_min = job->train.global_batch_size,
                               .samples_min_key = "train.global_batch_size",
                               .report = report};
    struct list_check val = {.job = job,
                             .key = "data.val",
                             .sources = &job->data.val,
                             .samples_min = job->train.micro_batch_size,
                             .samples_min_key = "train.micro_batch_size",
                             .report = report};
    enum muster_status status = list_check_run(&train, config, err);
    if (status == MUSTER_OK && job->data.val.count > 0)
        status = list_check_run(&val, config, err);
    if (status == MUSTER_OK && report->error_count == errors_before)
        status = overlap_tell(job, report, err);
    if (status != MUSTER_OK)
        return status;
    if (report->errors.failed || report->notes.failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the report on %s", job->path);
    if (report->error_count > errors_before)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %d errors in its data", job->path,
                                report->error_count - errors_before);
    return MUSTER_OK;
}

static void file_describe(const struct dataset_file *file, struct text *out)
{
    char bytes[32];
    if (file->token_bytes == 0) {
        text_print(out, "  %s: %lld images of %lld bytes, labels in %s\n", file->path,
                   (long long)file->images.count, (long long)file->images.item_bytes, file->labels_path);
        return;
    }
    text_format_bytes(bytes, sizeof bytes, (int64_t)file->map.bytes);
    text_print(out, "  %s: %s, %lld tokens of %d %s, %lld samples\n", file->path, bytes,
               (long long)file->token_count, file->token_bytes, file->token_bytes == 1 ? "byte" : "bytes",
               (long long)file->sample_count);
}

enum muster_status dataset_describe(const struct job_sources *sources, enum job_data_format format,
                                    int64_t seq_len, struct text *out, struct muster_error *err)
{
    struct dataset *dataset = NULL;
    struct text where;
    int64_t token_max;
    text_init(&where);
    enum muster_status status = dataset_open(sources, format, seq_len, &dataset, err);
    if (status == MUSTER_OK)
        status = dataset_scan(dataset, 0, &token_max, &where, err);
    if (status != MUSTER_OK)
        goto out;
    const struct dataset_info *info = dataset_info(dataset);
    bool is_images = info->format == JOB_DATA_IDX;
    text_print(out, "format:        %s\n", job_data_format_name(info->format));
    text_print(out, "files:         %d in %d sources\n", info->file_count, info->source_count);
    if (is_images)
        text_print(out, "samples:       %lld of %lld values\n", (long long)info->sample_count,
                   (long long)info->input_size);
    else
        text_print(out, "tokens:        %lld\nsamples:       %lld of %lld tokens\n",
                   (long long)info->token_count, (long long)info->sample_count, (long long)seq_len);
    text_print(out, "largest %s %lld (%s)\n", is_images ? "label:" : "token:", (long long)token_max,
               where.data);
    for (int i = 0; i < info->source_count; i++) {
        const struct dataset_source *source = &dataset->sources[i];
        text_print(out, "source %d: %lld samples", i, (long long)source->sample_count);
        if (source->weight > 0)
            text_print(out, ", weight %g", source->weight);
        text_append(out, "\n", 1);
        for (int j = source->file_begin; j < source->file_end; j++)
            file_describe(&dataset->files[j], out);
    }
    if (out->failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a text");
out:
    text_release(&where);
    dataset_close(dataset);
    return status;
}
