/* SPDX-License-Identifier: MIT
 *
 * Rules about what is read and written: data against model, weights against each other, names against the
 * file system. Nothing is opened here; the data sets check their files themselves.
 */
#include "coordinator/job/job_rules.h"

#include <strings.h>

enum { BYTE_VALUES = 256 };

static void name_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (job_rules_trust(reading, JOB_AT(name)) && job->name != NULL && !job_name_is_usable(job->name))
        job_reading_error(
            reading, JOB_AT(name),
            "must be usable as a folder's name: no '/', no '.' at the start, at most 200 bytes");
}

static void resume_check(struct job_reading *reading)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
    const struct job *job = reading->job;
    if (!job_rules_trust(reading, JOB_AT(checkpoint.resume)) || job->checkpoint.resume == NULL)
        return;
    for (int i = 0; i < 6; i++) {
        if (strcasecmp(job->checkpoint.resume, words[i]) == 0)
            job_reading_error(reading, JOB_AT(checkpoint.resume),
                              "expected auto, never or a checkpoint's folder, read \"%s\"",
                              job->checkpoint.resume);
    }
}

static void format_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (!job_rules_trust(reading, JOB_AT(data.format), JOB_AT(model.type)))
        return;
    enum job_data_format format = job->data.format;
    bool is_mlp = job->model.type == MODEL_MLP;
    if (is_mlp && format != JOB_DATA_AUTO && format != JOB_DATA_IDX)
        job_reading_error(reading, JOB_AT(data.format),
                          "%s holds tokens, but model.type mlp reads images: use idx",
                          job_data_format_name(format));
    else if (!is_mlp && format == JOB_DATA_IDX)
        job_reading_error(reading, JOB_AT(data.format), "idx holds images, which only model.type mlp reads");
    else if (format == JOB_DATA_BYTES && job_rules_trust(reading, JOB_AT(model.vocab_size)) &&
             job->model.vocab_size < BYTE_VALUES)
        job_reading_error(reading, JOB_AT(model.vocab_size),
                          "%lld is too small for data.format bytes: %d needed",
                          (long long)job->model.vocab_size, BYTE_VALUES);
}

static void sources_check(struct job_reading *reading, size_t offset, const struct job_sources *sources)
{
    const struct job *job = reading->job;
    int weighted = 0, labelled = 0;
    if (!job_rules_trust(reading, offset))
        return;
    for (int i = 0; i < sources->count; i++) {
        weighted += sources->items[i].weight > 0;
        labelled += sources->items[i].labels != NULL;
    }
    if (weighted != 0 && weighted != sources->count)
        job_reading_error(reading, offset,
                          "%d of %d entries have a weight; give one to all of them or to none", weighted,
                          sources->count);
    if (labelled != 0 && job_rules_trust(reading, JOB_AT(model.type)) && job->model.type != MODEL_MLP)
        job_reading_error(reading, offset, "labels belong to images, which only model.type mlp reads");
}

static void eval_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (!job_rules_trust(reading, JOB_AT(eval.interval), JOB_AT(data.val)))
        return;
    if (job->eval.interval > 0 && job->data.val.count == 0)
        job_reading_error(reading, JOB_AT(eval.interval), "evaluation needs data.val");
    else if (job->eval.interval == 0 && job->data.val.count > 0)
        job_reading_note(reading, JOB_AT(data.val), "is never read: eval.interval is 0");
}

void job_rules_data_check(struct job_reading *reading)
{
    name_check(reading);
    resume_check(reading);
    format_check(reading);
    sources_check(reading, JOB_AT(data.train), &reading->job->data.train);
    sources_check(reading, JOB_AT(data.val), &reading->job->data.val);
    eval_check(reading);
}
