/* SPDX-License-Identifier: MIT
 *
 * The public face of a job: a file goes through tree, table and rules, and comes out as a struct or as a
 * report; a struct goes back to YAML. The steps themselves are in the other job_*.c files.
 */
#include "coordinator/job/job.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "coordinator/job/job_rules.h"
#include "coordinator/job/job_settings.h"
#include "coordinator/job/job_sources.h"
#include "coordinator/job/job_texts.h"
#include "coordinator/job/job_value.h"

void job_report_init(struct job_report *report)
{
    *report = (struct job_report){0};
    text_init(&report->errors);
    text_init(&report->notes);
}

void job_report_release(struct job_report *report)
{
    text_release(&report->errors);
    text_release(&report->notes);
    report->error_count = 0;
}

static enum muster_status no_memory(struct muster_error *err, const char *path)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "read job %s: out of memory", path);
}

/* The error of a job that was read and found wrong: the first line of the report, and how many there are. */
static enum muster_status report_status(const struct job_report *report, struct muster_error *err)
{
    int length = (int)strcspn(report->errors.data, "\n");
    if (report->error_count == 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%.*s", length, report->errors.data);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%.*s (and %d more errors)", length,
                            report->errors.data, report->error_count - 1);
}

static enum muster_status job_fill(const char *path, const char *yaml, size_t bytes,
                                   const struct job_settings *settings, struct job *job,
                                   struct job_issues *issues, struct muster_error *err)
{
    struct job_node *root = NULL;
    enum muster_status status = job_yaml_parse(yaml, bytes, NULL, issues, &root, err);
    if (root != NULL && settings != NULL && status == MUSTER_OK)
        status = job_settings_apply(settings, root, issues, err);
    if (root != NULL) {
        struct job_reading reading = {.job = job, .issues = issues, .root = root};
        job_read(&reading);
        job_rules_apply(&reading, path);
        if (reading.no_memory)
            status = no_memory(err, path);
    }
    job_node_destroy(root);
    return status;
}

void job_spot_print(const struct job *job, struct job_spot spot, struct text *out)
{
    if (spot.by_setting)
        text_print(out, "--set ");
    else if (spot.line > 0)
        text_print(out, "%s:%d:%d: ", job->path, spot.line, spot.column);
    else
        text_print(out, "%s: ", job->path);
}

static enum muster_status job_parse_set(const char *path, const char *yaml, size_t bytes,
                                        const struct job_settings *settings, struct job_report *report,
                                        struct job **out, struct muster_error *err)
{
    struct job_issues issues = {0};
    enum muster_status status = MUSTER_OK;
    *out = NULL;
    struct job *job = alloc_zeroed(1, sizeof *job);
    if (job == NULL || (job->path = alloc_text(path)) == NULL) {
        status = no_memory(err, path);
        goto out;
    }
    status = job_fill(path, bytes > 0 ? yaml : "", bytes, settings, job, &issues, err);
    job_issues_report(&issues, path, report);
    if (status == MUSTER_OK && (issues.failed || report->errors.failed || report->notes.failed))
        status = no_memory(err, path);
    if (status == MUSTER_OK && report->error_count > 0)
        status = report_status(report, err);
    if (status == MUSTER_OK) {
        *out = job;
        job = NULL;
    }
out:
    job_issues_release(&issues);
    job_destroy(job);
    return status;
}

enum muster_status job_parse(const char *path, const char *yaml, size_t bytes, struct job_report *report,
                             struct job **out, struct muster_error *err)
{
    return job_parse_set(path, yaml, bytes, NULL, report, out, err);
}

enum muster_status job_load(const char *path, const struct job_settings *settings, struct job_report *report,
                            struct job **out, struct muster_error *err)
{
    char *yaml = NULL;
    size_t bytes = 0;
    struct muster_error problem = {0};
    *out = NULL;
    enum muster_status status = fs_file_read(path, JOB_YAML_BYTES_MAX, &yaml, &bytes, &problem);
    if (status == MUSTER_OK) {
        status = job_parse_set(path, yaml, bytes, settings, report, out, err);
    } else {
        /* Only the person who named the file can put this right: not an I/O failure of the run. */
        if (status == MUSTER_ERR_IO)
            status = MUSTER_ERR_BAD_INPUT;
        text_clear(&report->errors);
        text_clear(&report->notes);
        text_print(&report->errors, "%s\n", problem.text);
        report->error_count = 1;
        muster_error_set(err, status, "%s", problem.text);
    }
    alloc_free(yaml);
    return status;
}

void job_destroy(struct job *job)
{
    if (job == NULL)
        return;
    for (int i = 0; i < job_field_count; i++) {
        char *place = (char *)job + job_fields[i].offset;
        if (job_fields[i].type == JOB_FIELD_TEXT)
            alloc_free(*(char **)(void *)place);
        else if (job_fields[i].type == JOB_FIELD_SOURCES)
            job_sources_release((struct job_sources *)(void *)place);
        else if (job_fields[i].type == JOB_FIELD_TEXTS)
            job_texts_release((struct job_texts *)(void *)place);
    }
    alloc_free(job->path);
    alloc_free(job);
}

static void field_write(const struct job_field *field, const struct job *job, struct text *out)
{
    const char *indent = field->section[0] != '\0' ? "  " : "";
    if (field->type == JOB_FIELD_SOURCES) {
        const void *sources = (const char *)job + field->offset;
        if (((const struct job_sources *)sources)->count == 0)
            return;
        text_print(out, "%s%s:\n", indent, field->key);
        job_sources_print(sources, out);
        return;
    }
    if (field->type == JOB_FIELD_TEXTS) {
        const void *texts = (const char *)job + field->offset;
        if (((const struct job_texts *)texts)->count == 0)
            return;
        text_print(out, "%s%s:\n", indent, field->key);
        job_texts_print(texts, out);
        return;
    }
    if (field->type == JOB_FIELD_TEXT &&
        *(char *const *)(const void *)((const char *)job + field->offset) == NULL)
        return;
    text_print(out, "%s%s: ", indent, field->key);
    job_value_print(field, job, out);
    text_print(out, "\n");
}

enum muster_status job_write_yaml(const struct job *job, struct text *out, struct muster_error *err)
{
    text_print(out, "# The job as resolved: every key that it uses, defaults written out.\n");
    for (int s = 0; s < job_section_count; s++) {
        const char *section = job_sections[s].name;
        if (section[0] != '\0')
            text_print(out, "%s:\n", section);
        for (int i = 0; i < job_field_count; i++) {
            if (strcmp(job_fields[i].section, section) == 0 && job_field_is_used(&job_fields[i], job))
                field_write(&job_fields[i], job, out);
        }
    }
    return out->failed ? no_memory(err, job->path) : MUSTER_OK;
}

struct model_config job_model_config(const struct job *job)
{
    return (struct model_config){
        .type = job->model.type,
        .num_layers = job->model.num_layers,
        .hidden_size = job->model.hidden_size,
        .num_heads = job->model.num_heads,
        .num_kv_heads = job->model.num_kv_heads,
        .ffn_hidden_size = job->model.ffn_hidden_size,
        .vocab_size = job->model.vocab_size,
        .seq_len = job->data.seq_len,
        .dropout = job->model.dropout,
        .norm_eps = job->model.norm_eps,
        .rope_base = job->model.rope_base,
        .init_std = job->model.init_std,
        .tie_embeddings = job->model.tie_embeddings,
    };
}
