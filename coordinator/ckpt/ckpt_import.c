/* SPDX-License-Identifier: MIT
 *
 * `muster ckpt import`: a Hugging Face folder becomes the checkpoint of step 0 of a job. Nothing is written
 * before every key and tensor has been compared; then it goes through the same writers as every checkpoint,
 * so that `muster run` takes it up like one of its own. The optimizer starts from zeros, as it would at step
 * 0 of a fresh run.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"
#include "coordinator/ckpt/ckpt_plan.h"
#include "coordinator/ckpt/hf_config.h"
#include "coordinator/ckpt/hf_map.h"
#include "coordinator/ckpt/hf_source.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PROBLEMS_MAX = 40 };

struct import {
    const char *folder;
    const struct job *job;
    const struct model_config *config;
    char output[FS_PATH_MAX];
    struct plan *plan;
    struct ckpt_tensor *tensors;
    struct ckpt_layout layout;
    struct hf_source source;
    struct hf_map map;
    struct hf_tensor **found; /* per part of the map */
    int64_t vocab_size;       /* there */
    float *params, *zeros;    /* [flat_count] each */
    struct text *problems;
    int problem_count;
};

/* What a run of this job would save; the number of ranks does not matter. */
static enum muster_status layout_create(struct import *import, struct muster_error *err)
{
    const struct plan_topology topology = {.ranks = 1, .threads = 1};
    enum muster_status status = plan_create(import->job, import->config, &topology, &import->plan, err);
    if (status != MUSTER_OK)
        return status;
    int count = import->plan->graph->param_count;
    import->tensors = alloc_zeroed((size_t)count, sizeof *import->tensors);
    if (import->tensors == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d tensors", count);
    import->layout = ckpt_layout_of_plan(import->plan, import->tensors);
    return MUSTER_OK;
}

static void problem(struct import *import, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct import *import, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (++import->problem_count > PROBLEMS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    text_print(import->problems, "%s\n", line);
}

/* Models saved without their head have names without the first word. */
static struct hf_tensor *tensor_find(const struct import *import, const char *name)
{
    struct hf_tensor *tensor = hf_source_find(&import->source, name);
    const char *dot = strchr(name, '.');
    if (tensor == NULL && dot != NULL && strncmp(name, "lm_head", 7) != 0)
        tensor = hf_source_find(&import->source, dot + 1);
    return tensor;
}

static bool shape_fits(const struct import *import, const struct hf_part *part,
                       const struct safetensors_entry *entry)
{
    int64_t rows = part->vocabulary ? import->vocab_size : part->shape[0];
    return entry->dim_count == part->dim_count && entry->shape[0] == rows &&
           (part->dim_count == 1 || entry->shape[1] == part->shape[1]);
}

static void shape_format(char *out, size_t size, int dim_count, const int64_t *shape)
{
    int length = snprintf(out, size, "[");
    for (int i = 0; i < dim_count && length < (int)size; i++)
        length += snprintf(out + length, size - (size_t)length, "%s%" PRId64, i > 0 ? ", " : "", shape[i]);
    if (length < (int)size)
        snprintf(out + length, size - (size_t)length, "]");
}

static void parts_find(struct import *import)
{
    char there[200], here[64];
    for (int i = 0; i < import->map.count; i++) {
        const struct hf_part *part = &import->map.parts[i];
        struct hf_tensor *tensor = tensor_find(import, part->name);
        import->found[i] = tensor;
        if (tensor == NULL) {
            problem(import, "tensor %s is missing", part->name);
            continue;
        }
        tensor->used = true;
        if (shape_fits(import, part, tensor->entry))
            continue;
        int64_t shape[2] = {part->vocabulary ? import->vocab_size : part->shape[0], part->shape[1]};
        shape_format(there, sizeof there, tensor->entry->dim_count, tensor->entry->shape);
        shape_format(here, sizeof here, part->dim_count, shape);
        problem(import, "%s: tensor %s is %s, not %s", tensor->file->path, part->name, there, here);
    }
}

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

/* Constants that older versions of transformers saved beside the weights. */
static bool is_constant(const struct import *import, const char *name)
{
    if (import->config->type == MODEL_GPT)
        return ends_with(name, ".attn.bias") || ends_with(name, ".attn.masked_bias");
    return ends_with(name, ".rotary_emb.inv_freq");
}

static bool is_tied_head(const struct import *import, const char *name)
{
    return import->config->tie_embeddings && strcmp(name, "lm_head.weight") == 0;
}

static void strangers_find(struct import *import)
{
    for (int i = 0; i < import->source.tensor_count; i++) {
        const struct hf_tensor *tensor = &import->source.tensors[i];
        const char *name = tensor->entry->name;
        if (!tensor->used && !is_constant(import, name) && !is_tied_head(import, name))
            problem(import, "%s: tensor %.100s has no place in the job's model", tensor->file->path, name);
    }
}

static enum muster_status source_check(struct import *import, struct muster_error *err)
{
    enum muster_status status =
        hf_config_check(import->folder, import->config, import->problems, &import->vocab_size, err);
    if (status == MUSTER_OK)
        status = hf_source_open(import->folder, &import->source, err);
    if (status == MUSTER_OK)
        status = hf_map_create(import->config, &import->layout, "the job's model", &import->map, err);
    if (status != MUSTER_OK)
        return status;
    import->found = alloc_zeroed((size_t)import->map.count, sizeof *import->found);
    if (import->found == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d names", import->map.count);
    parts_find(import);
    strangers_find(import);
    if (import->problem_count > PROBLEMS_MAX)
        text_print(import->problems, "… and %d more\n", import->problem_count - PROBLEMS_MAX);
    if (import->problem_count > 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %d tensors do not fit the job",
                                import->folder, import->problem_count);
    return MUSTER_OK;
}

static int64_t entry_count(const struct safetensors_entry *entry)
{
    int64_t count = 1;
    for (int i = 0; i < entry->dim_count; i++)
        count *= entry->shape[i];
    return count;
}

/* `zeros` serves as the place to transpose from, and is cleared again. */
static enum muster_status weights_read(struct import *import, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < import->map.count && status == MUSTER_OK; i++) {
        const struct hf_part *part = &import->map.parts[i];
        float *to = import->params + part->offset;
        int64_t count = entry_count(import->found[i]->entry);
        status = hf_tensor_read(import->found[i], 0, count, part->transposed ? import->zeros : to, err);
        if (status != MUSTER_OK || !part->transposed)
            continue;
        hf_transpose(import->zeros, part->columns, part->rows, to);
        memset(import->zeros, 0, (size_t)count * sizeof *import->zeros);
    }
    return status;
}

/* A tied model may store its head too; it must then be the token table. The first part of both maps. */
static enum muster_status tied_head_check(struct import *import, struct muster_error *err)
{
    const struct hf_tensor *head = hf_source_find(&import->source, "lm_head.weight");
    if (!import->config->tie_embeddings || head == NULL)
        return MUSTER_OK;
    const struct hf_part *table = &import->map.parts[0];
    int64_t count = import->vocab_size * table->columns;
    if (!shape_fits(import, table, head->entry))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: lm_head.weight is not shaped like the token table", head->file->path);
    enum muster_status status = hf_tensor_read(head, 0, count, import->zeros, err);
    if (status == MUSTER_OK &&
        memcmp(import->zeros, import->params + table->offset, (size_t)count * sizeof *import->zeros) != 0)
        status = muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%s: lm_head.weight differs from the token table although config.json ties them; "
            "set model.tie_embeddings: false and tie_word_embeddings: false",
            head->file->path);
    memset(import->zeros, 0, (size_t)count * sizeof *import->zeros);
    return status;
}

static enum muster_status state_hash(const struct import *import, const struct ckpt_piece *piece,
                                     struct hash128 *out, struct muster_error *err)
{
    int64_t count = import->layout.flat_count / import->layout.chunk_elements * import->layout.kind_count;
    struct hash128 *hashes = alloc_zeroed((size_t)count, sizeof *hashes);
    if (hashes == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %" PRId64 " hashes", count);
    enum muster_status status = ckpt_chunk_hashes(&import->layout, piece, 1, hashes, err);
    if (status == MUSTER_OK)
        *out = ckpt_state_hash(&import->layout, 0, hashes);
    alloc_free(hashes);
    return status;
}

static enum muster_status checkpoint_write(struct import *import, struct muster_error *err)
{
    struct text record, yaml;
    struct hash128 state = {0, 0};
    const struct ckpt_piece piece = {
        0, import->layout.flat_count, {import->params, import->zeros, import->zeros}};
    struct ckpt_identity identity = {
        .job = job_hash(import->job), .numerics = "imported from a Hugging Face folder", .writer_count = 1};
    text_init(&record);
    text_init(&yaml);
    enum muster_status status = job_write_yaml(import->job, &yaml, err);
    identity.job_yaml = yaml.data;
    if (status == MUSTER_OK)
        status = state_hash(import, &piece, &state, err);
    if (status == MUSTER_OK)
        status = ckpt_shard_write(import->output, 0, 1, &import->layout, &piece, 1, &record, err);
    const char *const records[] = {record.data};
    if (status == MUSTER_OK)
        status = ckpt_manifest_write(import->output, &import->layout, &identity, state, records, err);
    text_release(&record);
    text_release(&yaml);
    return status;
}

/* A folder that is not there yet or is empty; step 0 of the job's own folder must also be what a run takes
 * up. */
static enum muster_status output_check(struct import *import, const char *output, struct muster_error *err)
{
    char name[CKPT_FILE_NAME_SIZE];
    struct ckpt_catalogue catalogue = {NULL, 0};
    struct fs_list list = {NULL, 0};
    int committed_count = 0;
    ckpt_format_step(name, 0);
    enum muster_status status = output != NULL
                                    ? ckpt_path_trim(import->output, output, err)
                                    : fs_path_join(import->output, import->job->checkpoint.dir, name, err);
    if (status == MUSTER_OK && output == NULL)
        status = ckpt_catalogue_read(import->job->checkpoint.dir, &catalogue, err);
    for (int i = 0; i < catalogue.count; i++)
        committed_count += catalogue.entries[i].committed;
    ckpt_catalogue_release(&catalogue);
    if (committed_count > 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s has %d checkpoints, which a run would take up instead; give --output",
                                import->job->checkpoint.dir, committed_count);
    if (status == MUSTER_OK && fs_exists(import->output))
        status = fs_list_read(import->output, &list, err);
    if (status == MUSTER_OK && list.count > 0)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is not empty; nothing is overwritten",
                                  import->output);
    fs_list_release(&list);
    return status;
}

static enum muster_status import_run(struct import *import, const char *output, struct muster_error *err)
{
    enum muster_status status = output_check(import, output, err);
    if (status == MUSTER_OK)
        status = layout_create(import, err);
    if (status == MUSTER_OK)
        status = source_check(import, err);
    if (status != MUSTER_OK)
        return status;
    size_t bytes = (size_t)import->layout.flat_count * sizeof(float);
    import->params = alloc_pages(bytes);
    import->zeros = alloc_pages(bytes);
    if (import->params == NULL || import->zeros == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %" PRId64 " weights",
                                import->layout.flat_count);
    status = weights_read(import, err);
    if (status == MUSTER_OK)
        status = tied_head_check(import, err);
    if (status == MUSTER_OK)
        status = fs_folder_create(import->output, err);
    if (status != MUSTER_OK)
        return status;
    status = checkpoint_write(import, err);
    if (status != MUSTER_OK)
        fs_remove_tree(import->output, NULL); /* it was empty */
    return status;
}

enum muster_status ckpt_command_import(const char *folder, const struct job *job,
                                       const struct model_config *config, const char *output,
                                       struct text *out, struct text *problems, struct muster_error *err)
{
    struct import import = {.folder = folder, .job = job, .config = config, .problems = problems};
    enum muster_status status = import_run(&import, output, err);
    if (status == MUSTER_OK) {
        text_print(out, "%s: step 0, %d tensors of %s\n", import.output, import.map.count, folder);
        if (import.vocab_size < config->vocab_size)
            text_print(
                out, "the vocabulary has %" PRId64 " rows there and %" PRId64 " here: the others are zero\n",
                import.vocab_size, config->vocab_size);
        if (output == NULL)
            text_print(out, "muster run takes it up by itself\n");
        else
            text_print(out, "to train from it: checkpoint: {resume: %s}\n", import.output);
    }
    size_t bytes = (size_t)import.layout.flat_count * sizeof(float);
    if (import.params != NULL)
        alloc_pages_free(import.params, bytes);
    if (import.zeros != NULL)
        alloc_pages_free(import.zeros, bytes);
    alloc_free(import.found);
    alloc_free(import.tensors);
    hf_map_release(&import.map);
    hf_source_release(&import.source);
    plan_destroy(import.plan);
    return status;
}
