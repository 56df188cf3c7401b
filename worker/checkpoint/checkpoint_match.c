/* SPDX-License-Identifier: MIT
 *
 * Does a checkpoint belong to the job that wants to go on from it? Tensors and kinds must be the same: there
 * is nowhere to put others. Job keys are compared one by one; those that change what is computed need
 * somebody's word that it is meant.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/job/job_compare.h"
#include "worker/checkpoint/checkpoint_agree.h"

enum { SHAPE_TEXT_SIZE = 96, VALUE_SHOWN = 60 };

static const char *shape_format(char out[SHAPE_TEXT_SIZE], const struct ckpt_tensor *tensor)
{
    size_t length = 0;
    out[0] = '\0';
    for (int i = 0; i < tensor->dim_count; i++)
        length += (size_t)snprintf(out + length, SHAPE_TEXT_SIZE - length, "%s%" PRId64, i > 0 ? ", " : "",
                                   tensor->shape[i]);
    return out;
}

static bool tensors_equal(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
    return strcmp(a->name, b->name) == 0 && a->dim_count == b->dim_count && a->offset == b->offset &&
           memcmp(a->shape, b->shape, (size_t)a->dim_count * sizeof a->shape[0]) == 0;
}

static enum muster_status tensors_match(const char *folder, const struct ckpt_layout *stored,
                                        const struct ckpt_layout *wanted, struct muster_error *err)
{
    char there[SHAPE_TEXT_SIZE], here[SHAPE_TEXT_SIZE];
    for (int i = 0; i < stored->tensor_count && i < wanted->tensor_count; i++) {
        const struct ckpt_tensor *a = &stored->tensors[i], *b = &wanted->tensors[i];
        if (!tensors_equal(a, b))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%s is of another model: its tensor %d is %s [%s] at element %" PRId64
                                    ", this job's is %s [%s] at %" PRId64,
                                    folder, i, a->name, shape_format(there, a), a->offset, b->name,
                                    shape_format(here, b), b->offset);
    }
    if (stored->tensor_count != wanted->tensor_count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s is of another model: it has %d tensors, this job has %d", folder,
                                stored->tensor_count, wanted->tensor_count);
    return MUSTER_OK;
}

static enum muster_status kinds_match(const char *folder, const struct ckpt_layout *stored,
                                      const struct ckpt_layout *wanted, struct muster_error *err)
{
    for (int i = 0; i < stored->kind_count || i < wanted->kind_count; i++) {
        const char *there = i < stored->kind_count ? stored->kinds[i] : "nothing";
        const char *here = i < wanted->kind_count ? wanted->kinds[i] : "nothing";
        if (strcmp(there, here) != 0)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%s is of another optimizer: it holds %s where this job holds %s", folder,
                                    there, here);
    }
    return MUSTER_OK;
}

/* What differs, sorted into what stands in the way and what is only told. */
struct verdict {
    const struct checkpoint_job *job;
    struct text refused, refused_keys;
    int shaping_count;
    bool data_changed; /* the job names other files */
};

static void change_print(struct text *out, const struct job_change *change)
{
    text_print(out, "%s%s", out->length > 0 ? "; " : "", change->key);
    if (!change->is_list)
        text_print(out, " was %.*s and is %.*s", VALUE_SHOWN, change->was, VALUE_SHOWN, change->is);
}

static void change_judge(void *context, const struct job_change *change)
{
    struct verdict *verdict = context;
    verdict->shaping_count += change->shapes;
    verdict->data_changed |= strcmp(change->key, "data.train") == 0;
    if (change->shapes && !job_key_listed(verdict->job->allowed, change->key)) {
        change_print(&verdict->refused, change);
        text_print(&verdict->refused_keys, "%s%s", verdict->refused_keys.length > 0 ? "," : "", change->key);
    } else if (verdict->job->changes != NULL) {
        change_print(verdict->job->changes, change);
    }
}

static void data_print(struct text *out, const struct ckpt_data *was, const struct ckpt_data *is)
{
    if (was->sample_count == is->sample_count && was->file_count == is->file_count)
        text_print(out, "the files of data.train have other content");
    else
        text_print(out,
                   "the files of data.train had %" PRId64 " samples in %d file%s and have %" PRId64 " in %d",
                   was->sample_count, was->file_count, was->file_count == 1 ? "" : "s", is->sample_count,
                   is->file_count);
}

/* Files that changed behind the same names would give every step from here on other samples. */
static void data_judge(struct verdict *verdict, const struct ckpt_data *was)
{
    const struct ckpt_data *is = &verdict->job->data;
    if (!was->known || !is->known || hash_equal(was->hash, is->hash) || verdict->data_changed)
        return;
    struct text *out = verdict->job->changes;
    if (!job_key_listed(verdict->job->allowed, "data.train")) {
        out = &verdict->refused;
        text_print(&verdict->refused_keys, "%sdata.train", verdict->refused_keys.length > 0 ? "," : "");
    }
    if (out != NULL && out->length > 0)
        text_append(out, "; ", 2);
    if (out != NULL)
        data_print(out, was, is);
}

static enum muster_status hashes_refuse(const struct ckpt *ckpt, const char *folder, struct hash128 job,
                                        struct muster_error *err)
{
    char there[HASH_TEXT_SIZE], here[HASH_TEXT_SIZE];
    hash_format(ckpt_job_hash(ckpt), there);
    hash_format(job, here);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "%s was saved by another job: keys that change what is computed differ (job hash "
                            "%s there, %s here)",
                            folder, there, here);
}

static enum muster_status jobs_judge(const struct ckpt *ckpt, const char *folder, const struct job *stored,
                                     const struct checkpoint_job *job, struct muster_error *err)
{
    struct verdict verdict = {.job = job};
    enum muster_status status = MUSTER_OK;
    text_init(&verdict.refused);
    text_init(&verdict.refused_keys);
    if (job->changes != NULL)
        text_clear(job->changes);
    job_compare(stored, job->job, change_judge, &verdict);
    struct ckpt_data data = ckpt_data(ckpt);
    data_judge(&verdict, &data);
    if (job->changes != NULL && job->numerics != NULL && strcmp(ckpt_numerics(ckpt), job->numerics) != 0)
        text_print(job->changes, "%snumerics was %s and is %s", job->changes->length > 0 ? "; " : "",
                   ckpt_numerics(ckpt), job->numerics);
    if (verdict.refused.length > 0)
        status = muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%s was saved by another job: %.600s. Restore what was, or go on with what is: --allow-change "
            "%.200s",
            folder, verdict.refused.data, verdict.refused_keys.data);
    else if (verdict.shaping_count == 0 && !hash_equal(ckpt_job_hash(ckpt), job->hash))
        status = hashes_refuse(ckpt, folder, job->hash, err);
    text_release(&verdict.refused);
    text_release(&verdict.refused_keys);
    return status;
}

/* Keys that can change which tensors there are. */
static void change_blame(void *context, const struct job_change *change)
{
    bool builds = strncmp(change->key, "model.", 6) == 0 || strcmp(change->key, "data.seq_len") == 0 ||
                  strcmp(change->key, "optimizer.type") == 0;
    if (builds && change->shapes)
        change_print(context, change);
}

/* In the job's own words where they are known: tensors and elements are muster's. */
static enum muster_status layout_refuse(const char *folder, const struct job *stored,
                                        const struct checkpoint_job *job, enum muster_status status,
                                        struct muster_error *err)
{
    struct text keys;
    text_init(&keys);
    if (stored != NULL)
        job_compare(stored, job->job, change_blame, &keys);
    if (keys.length > 0)
        status =
            muster_error_set(err, status,
                             "%s is of another model: %.600s. Its tensors fit no other: restore what was, "
                             "or begin anew in another output_dir",
                             folder, keys.data);
    text_release(&keys);
    return status;
}

static enum muster_status layouts_match(const char *folder, const struct ckpt_layout *stored,
                                        const struct ckpt_layout *wanted, struct muster_error *err)
{
    enum muster_status status = tensors_match(folder, stored, wanted, err);
    if (status == MUSTER_OK)
        status = kinds_match(folder, stored, wanted, err);
    if (status != MUSTER_OK)
        return status;
    if (stored->chunk_elements != wanted->chunk_elements || stored->flat_count != wanted->flat_count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s holds %" PRId64 " elements in chunks of %" PRId64 ", this job %" PRId64
                                " in chunks of %" PRId64,
                                folder, stored->flat_count, stored->chunk_elements, wanted->flat_count,
                                wanted->chunk_elements);
    return MUSTER_OK;
}

enum muster_status checkpoint_match(const struct ckpt *ckpt, const char *folder,
                                    const struct ckpt_layout *wanted, const struct checkpoint_job *job,
                                    struct muster_error *err)
{
    struct job *stored = NULL;
    struct job_report report;
    const char *yaml = ckpt_job_yaml(ckpt);
    enum muster_status parsed = MUSTER_OK, status;
    job_report_init(&report);
    if (job->job != NULL)
        parsed = job_parse("job_yaml", yaml, strlen(yaml), &report, &stored, err);
    if (parsed == MUSTER_ERR_NO_MEMORY) {
        status = parsed;
        goto out;
    }
    status = layouts_match(folder, ckpt_layout(ckpt), wanted, err);
    if (status != MUSTER_OK)
        status = layout_refuse(folder, stored, job, status, err);
    else if (stored != NULL)
        status = jobs_judge(ckpt, folder, stored, job, err);
    else if (!hash_equal(ckpt_job_hash(ckpt),
                         job->hash)) /* all there is where the job cannot be read any more */
        status = hashes_refuse(ckpt, folder, job->hash, err);
out:
    job_destroy(stored);
    job_report_release(&report);
    return status;
}
