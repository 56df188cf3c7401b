/* SPDX-License-Identifier: MIT
 *
 * The table and the look-ups in it. Upper bounds are far above anything that trains today; they are there so
 * that no later product of sizes overflows (job_rules.c bounds the products).
 */
#include "coordinator/job/job_fields.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(struct job, member)
#define BIT(value) (1u << (value))

enum {
    TRANSFORMERS = BIT(MODEL_GPT) | BIT(MODEL_LLAMA),
    DECAYING = BIT(JOB_SCHEDULER_LINEAR) | BIT(JOB_SCHEDULER_COSINE) | BIT(JOB_SCHEDULER_WSD)
};

#define STEPS_MAX 1e9

static const char *const device_names[] = {"auto", "cpu", "cuda", NULL};
static const char *const model_names[] = {"gpt", "llama", "mlp", NULL};
static const char *const format_names[] = {"auto", "bytes", "u16", "u32", "llmc", "idx", NULL};
static const char *const precision_names[] = {"fp32", "bf16", "fp16", NULL};
static const char *const recompute_names[] = {"none", "selective", "full", NULL};
static const char *const optimizer_names[] = {"adamw", "sgd", NULL};
static const char *const scheduler_names[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const on_busy_names[] = {"wait", "skip", NULL};
static const char *const comm_names[] = {"auto", "mpi", "nccl", NULL};
static const char *const require_names[] = {"any", "ib", NULL};
static const char *const offload_names[] = {"none", "optimizer", NULL};
static const char *const on_nan_names[] = {"stop", "skip", "rollback", NULL};
static const char *const on_spike_names[] = {"ignore", "stop", "skip", "rollback", NULL};
static const char *const reduce_names[] = {"exact", "fast", NULL};
static const char *const hierarchy_names[] = {"auto", "off", NULL};
static const char *const launcher_names[] = {"auto", "mpirun", "srun", NULL};

const struct job_section job_sections[] = {
    {"", NULL, "The run as a whole."},
    {"model", NULL, "What is trained."},
    {"data", NULL, "What it is trained on."},
    {"train", NULL, "How much, in which pieces and how precisely."},
    {"optimizer", NULL, "How gradients become new weights."},
    {"scheduler", "lr_scheduler", "How the learning rate changes over the steps."},
    {"parallel", NULL, "How a step is shared out. None of it needs to know how many ranks there will be."},
    {"comm", NULL, "How ranks talk to each other."},
    {"checkpoint", NULL, "What is kept on disk, and where a run takes up again."},
    {"eval", NULL, "Loss on data that is not trained on."},
    {"machine", NULL, "What the machine can do, for predictions of a step's time."},
    {"logging", NULL, "What is written while training."},
    {"supervisor", NULL, "What `muster run` does when ranks die."},
    {"fault", NULL, "What happens when something goes wrong."},
    {"cluster", NULL, "How the ranks of several hosts are started."},
    {"slurm", NULL,
     "What `muster submit` asks Slurm for. Whatever is not given is left to the site's defaults."},
};
const int job_section_count = sizeof job_sections / sizeof job_sections[0];

const struct job_stranger job_strangers[] = {
    {"gradient_accumulation_steps",
     "is derived and not given: global_batch_size = micro_batch_size x slots, whatever the number of ranks; "
     "set global_batch_size"},
    {"max_epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"num_epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"betas", "is written as two keys: beta1 and beta2"},
    {"warmup_ratio", "is given in steps: scheduler.warmup_steps"},
};
const int job_stranger_count = sizeof job_strangers / sizeof job_strangers[0];

const struct job_field job_fields[] = {
#include "coordinator/job/job_fields_train.def"

#include "coordinator/job/job_fields_run.def"

#include "coordinator/job/job_fields_supervisor.def"

#include "coordinator/job/job_fields_fault.def"
#include "coordinator/job/job_fields_cluster.def"
};
const int job_field_count = sizeof job_fields / sizeof job_fields[0];

const struct job_field job_source_fields[] = {
    {.section = "",
     .key = "path",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = offsetof(struct job_source, path),
     .doc = "A file or glob."},
    {.section = "",
     .key = "weight",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = offsetof(struct job_source, weight),
     .derived = "by size",
     .min = 0,
     .max = 1e9,
     .doc = "Share of the samples drawn from it, relative to the others; all entries have one, or none."},
    {.section = "",
     .key = "labels",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_SHAPES,
     .offset = offsetof(struct job_source, labels),
     .derived = "from the image file's name",
     .doc = "idx only: the file of labels."},
};
const int job_source_field_count = sizeof job_source_fields / sizeof job_source_fields[0];

static_assert(sizeof job_fields / sizeof job_fields[0] <= JOB_FIELDS_MAX, "raise JOB_FIELDS_MAX");
static_assert(sizeof(enum job_device) == sizeof(int) && sizeof(enum model_type) == sizeof(int),
              "job_field_enum reads enums as int");

int job_field_at(size_t offset)
{
    for (int i = 0; i < job_field_count; i++) {
        if (job_fields[i].offset == offset)
            return i;
    }
    assert(!"an offset outside the table");
    return 0;
}

int job_field_find(const char *section, const char *key)
{
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        if (strcmp(field->section, section) != 0)
            continue;
        if (strcmp(field->key, key) == 0)
            return i;
        for (int a = 0; a < JOB_FIELD_ALIASES_MAX && field->aliases[a] != NULL; a++) {
            if (strcmp(field->aliases[a], key) == 0)
                return i;
        }
    }
    return -1;
}

const struct job_section *job_section_find(const char *name)
{
    for (int i = 1; i < job_section_count; i++) {
        const struct job_section *section = &job_sections[i];
        if (strcmp(section->name, name) == 0 || (section->alias != NULL && strcmp(section->alias, name) == 0))
            return section;
    }
    return NULL;
}

void job_field_key(const struct job_field *field, char out[JOB_KEY_SIZE])
{
    snprintf(out, JOB_KEY_SIZE, "%s%s%s", field->section, field->section[0] != '\0' ? "." : "", field->key);
}

int job_field_enum(const struct job_field *field, const void *base)
{
    int value;
    memcpy(&value, (const char *)base + field->offset, sizeof value);
    return value;
}

bool job_field_is_used(const struct job_field *field, const struct job *job)
{
    if (field->decided_by == 0)
        return true;
    return (field->used_by & BIT(job_field_enum(&job_fields[job_field_at(field->decided_by)], job))) != 0;
}

static const char *enum_name(const char *const *names, int count, int value)
{
    return value >= 0 && value < count ? names[value] : "unknown";
}

const char *job_scheduler_name(enum job_scheduler type)
{
    return enum_name(scheduler_names, sizeof scheduler_names / sizeof scheduler_names[0] - 1, (int)type);
}

const char *job_reduce_name(enum job_reduce reduce)
{
    return enum_name(reduce_names, sizeof reduce_names / sizeof reduce_names[0] - 1, (int)reduce);
}

const char *job_precision_name(enum job_precision precision)
{
    return enum_name(precision_names, sizeof precision_names / sizeof precision_names[0] - 1, (int)precision);
}

const char *job_data_format_name(enum job_data_format format)
{
    return enum_name(format_names, sizeof format_names / sizeof format_names[0] - 1, (int)format);
}
