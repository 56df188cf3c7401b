/* SPDX-License-Identifier: MIT
 *
 * docs/JOB_FILE.md, written from the table: the page cannot know a key that the program does not read, nor
 * miss one that it does.
 */
#include <stdio.h>
#include <string.h>

#include "coordinator/job/job_value.h"
#include "coordinator/job/job_yaml.h"

static void text_add(struct text *out, const char *text)
{
    text_append(out, text, strlen(text));
}

static void type_write(const struct job_field *field, struct text *out)
{
    static const char *const names[] = {
        [JOB_FIELD_INT] = "whole number",
        [JOB_FIELD_REAL] = "number",
        [JOB_FIELD_BOOL] = "true or false",
        [JOB_FIELD_ENUM] = "",
        [JOB_FIELD_DURATION] = "seconds or a text such as 1h30m",
        [JOB_FIELD_TEXT] = "text",
        [JOB_FIELD_SOURCES] = "path or list",
        [JOB_FIELD_TEXTS] = "text or list",
    };
    char range[2 * JOB_NUMBER_SIZE + 32];
    job_value_range(field, range, sizeof range);
    text_add(out, field->flags & JOB_FIELD_PAIRS ? "mapping of names to texts" : names[field->type]);
    if (range[0] != '\0')
        text_print(out, " %s", range);
    if (field->unit != NULL)
        text_print(out, ", in %s", field->unit);
    for (int i = 0; field->names != NULL && field->names[i] != NULL; i++)
        text_print(out, "%s`%s`", i > 0 ? ", " : "", field->names[i]);
}

static void default_write(const struct job_field *field, struct text *out)
{
    if (field->fallback != NULL)
        text_print(out, "`%s`", field->fallback);
    else if (field->derived != NULL)
        text_add(out, field->derived);
    else
        text_add(out, "**required**");
}

/* "Only with model.type gpt, llama." for a field that not every type uses. */
static void usage_write(const struct job_field *field, struct text *out)
{
    if (field->decided_by == 0)
        return;
    const struct job_field *type = &job_fields[job_field_at(field->decided_by)];
    const char *separator = "";
    text_print(out, " Only with `%s.%s` ", type->section, type->key);
    for (int i = 0; type->names[i] != NULL; i++) {
        if (field->used_by & (1u << i)) {
            text_print(out, "%s`%s`", separator, type->names[i]);
            separator = ", ";
        }
    }
    text_add(out, ".");
}

static void field_write(const struct job_field *field, struct text *out)
{
    text_print(out, "| `%s` | ", field->key);
    type_write(field, out);
    text_add(out, " | ");
    default_write(field, out);
    text_print(out, " | %s | %s", field->flags & JOB_FIELD_SHAPES ? "yes" : "", field->doc);
    usage_write(field, out);
    for (int i = 0; i < JOB_FIELD_ALIASES_MAX && field->aliases[i] != NULL; i++)
        text_print(out, "%s`%s`", i == 0 ? " Also read as " : ", ", field->aliases[i]);
    text_add(out, field->aliases[0] != NULL ? ". |\n" : " |\n");
}

static const char table_head[] =
    "| key | value | default | result | meaning |\n| --- | --- | --- | --- | --- |\n";

static void section_write(const struct job_section *section, struct text *out)
{
    if (section->name[0] == '\0')
        text_add(out, "## Top level\n\n");
    else
        text_print(out, "## %s\n\n", section->name);
    text_add(out, section->doc);
    if (section->alias != NULL)
        text_print(out, " Also read as `%s`.", section->alias);
    text_print(out, "\n\n%s", table_head);
    for (int i = 0; i < job_field_count; i++) {
        if (strcmp(job_fields[i].section, section->name) == 0)
            field_write(&job_fields[i], out);
    }
    text_add(out, "\n");
    if (strcmp(section->name, "data") != 0)
        return;
    text_print(out, "An entry of `train` or `val` written as a mapping has:\n\n%s", table_head);
    for (int i = 0; i < job_source_field_count; i++)
        field_write(&job_source_fields[i], out);
    text_add(out, "\n");
}

static const char example[] =
    "```yaml\n"
    "model: {type: gpt, num_layers: 4, hidden_size: 128, num_heads: 4, vocab_size: 256}\n"
    "data: {train: data/train.bin, val: data/val.bin, seq_len: 128}\n"
    "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 200}\n"
    "optimizer: {lr: 1e-3}\n"
    "scheduler: {warmup_steps: 20}\n"
    "checkpoint: {save_interval: 100}\n"
    "eval: {interval: 50}\n"
    "```\n\n";

void job_write_reference(struct text *out)
{
    text_add(
        out,
        "# The job file\n\n"
        "<!-- Written by the program from its table of fields (coordinator/job/job_fields.c). -->\n\n"
        "A job is one YAML file. Relative paths are relative to the folder muster is started in. This is "
        "a complete one:\n\n");
    text_add(out, example);
    text_print(
        out,
        "Everything wrong with a file is reported at once, as `file:line:column: key: what is wrong`. A key "
        "that muster does not know is an error. Anchors, aliases, tags, merge keys, repeated keys and "
        "further documents are refused, as are files of more than %d KiB, %d levels or %d values.\n\n"
        "Every key can be set on the command line instead: `muster run job.yaml --set train.max_steps=100` "
        "is "
        "the same as a changed file.\n\n",
        JOB_YAML_BYTES_MAX / 1024, JOB_YAML_DEPTH_MAX, JOB_YAML_NODES_MAX);
    text_add(out,
             "Keys marked *result* shape the trained weights: jobs that agree in them train the same model, "
             "bit for bit, on any number of ranks while `parallel.reduce` is `exact`. Of `train.max_steps` "
             "the result depends only on where the learning rate's decay ends. A key that the chosen type "
             "does not "
             "use is noted and ignored.\n\n");
    for (int i = 0; i < job_section_count; i++)
        section_write(&job_sections[i], out);
    text_add(
        out,
        "## How keys must fit together\n\n"
        "* `train.global_batch_size` is a multiple of `train.micro_batch_size`; the quotient is the "
        "number of "
        "slots of a step.\n"
        "* `parallel.logical_workers` divides the number of slots.\n"
        "* `model.num_heads` divides `model.hidden_size`, and `model.num_kv_heads` divides "
        "`model.num_heads`; "
        "a llama's head width, `hidden_size / num_heads`, is even.\n"
        "* `scheduler.warmup_steps` is at most `train.max_steps`; for wsd, warm-up and decay together are.\n"
        "* `scheduler.min_lr` is at most `optimizer.lr`.\n"
        "* An mlp reads `idx` images and has no `data.seq_len`; gpt and llama read tokens and have no "
        "labels; "
        "`bytes` need a `model.vocab_size` of at least 256.\n"
        "* `eval.interval` above 0 needs `data.val`. `optimizer.nesterov` needs a momentum above 0.\n"
        "* A slot has at most 2147483647 tokens, and sizes stay within what can be addressed.\n");
}
