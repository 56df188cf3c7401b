/* SPDX-License-Identifier: MIT
 *
 * From YAML to a profile, with the job reader's tree, values and messages. Every mistake is told at once,
 * with its place. A profile has no rules of its own but what the cost model cannot do without.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cost/machine_fields.h"
#include "coordinator/job/job_value.h"
#include "coordinator/job/job_yaml.h"

enum { MACHINE_FIELDS_MAX = 128, MACHINE_KEYS_MAX = 64 };

struct machine_reading {
    struct machine_profile *profile;
    struct job_issues issues;
    const struct job_node *root;
    const struct job_node *given[MACHINE_FIELDS_MAX];
    bool bad[MACHINE_FIELDS_MAX]; /* told already */
    bool no_memory;
};

static const struct job_node *child_find(const struct job_node *node, const char *key)
{
    for (const struct job_node *child = node->first; child != NULL; child = child->next) {
        if (strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}

static bool section_is_known(const char *name)
{
    for (int i = 1; i < machine_section_count; i++) {
        if (strcmp(machine_sections[i].name, name) == 0)
            return true;
    }
    return false;
}

/* The key of a section that was probably meant, or NULL. */
static const char *key_suggest(const char *section, const char *key)
{
    const char *candidates[MACHINE_KEYS_MAX];
    size_t count = 0;
    for (int i = 0; i < machine_field_count && count < MACHINE_KEYS_MAX; i++) {
        if (strcmp(machine_fields[i].section, section) == 0)
            candidates[count++] = machine_fields[i].key;
    }
    for (int i = 1; i < machine_section_count && section[0] == '\0' && count < MACHINE_KEYS_MAX; i++)
        candidates[count++] = machine_sections[i].name;
    return text_nearest(key, candidates, count);
}

static void key_collect(struct machine_reading *reading, const char *section, const struct job_node *node)
{
    int index = machine_field_find(section, node->key);
    if (index >= 0) {
        reading->given[index] = node;
        return;
    }
    char shown[JOB_SHOWN_SIZE];
    job_text_show(shown, node->key);
    const char *near = key_suggest(section, node->key), *dot = section[0] != '\0' ? "." : "";
    if (near != NULL)
        job_issues_error(&reading->issues, node->key_place, "%s%s%s: unknown key; did you mean %s?", section,
                         dot, shown, near);
    else
        job_issues_error(&reading->issues, node->key_place, "%s%s%s: unknown key", section, dot, shown);
}

static void section_collect(struct machine_reading *reading, const struct job_node *node)
{
    if (node->kind == JOB_NODE_MAPPING || job_node_is_null(node)) {
        for (const struct job_node *child = node->first; child != NULL; child = child->next)
            key_collect(reading, node->key, child);
    } else if (node->kind != JOB_NODE_REFUSED) {
        job_issues_error(&reading->issues, node->place,
                         "%s: is a section: expected lines of \"key: value\" below it", node->key);
    }
}

static struct job_place field_place(const struct machine_reading *reading, int index)
{
    if (reading->given[index] != NULL)
        return reading->given[index]->place;
    const struct job_node *section = child_find(reading->root, machine_fields[index].section);
    return section != NULL ? section->key_place : reading->root->place;
}

static void field_error(struct machine_reading *reading, int index, const char *message)
{
    char key[JOB_KEY_SIZE];
    job_field_key(&machine_fields[index], key);
    job_issues_error(&reading->issues, field_place(reading, index), "%s: %s", key, message);
    reading->bad[index] = true;
}

static void field_read(struct machine_reading *reading, int index)
{
    const struct job_field *field = &machine_fields[index];
    const struct job_node *node = reading->given[index];
    struct muster_error problem = {0};
    if (node != NULL && node->kind == JOB_NODE_REFUSED) {
        reading->bad[index] = true;
        return;
    }
    enum muster_status status = node != NULL ? job_value_read(field, node, reading->profile, &problem)
                                             : job_value_reset(field, reading->profile, &problem);
    if (status == MUSTER_ERR_NO_MEMORY)
        reading->no_memory = true;
    else if (status != MUSTER_OK)
        field_error(reading, index, problem.text);
    else if (node == NULL && (field->flags & JOB_FIELD_REQUIRED))
        field_error(reading, index, "is required, but missing");
    reading->bad[index] |= status != MUSTER_OK;
}

/* A number the model cannot do without. */
static void field_need(struct machine_reading *reading, const char *section, const char *key, double value)
{
    int index = machine_field_find(section, key);
    if (!reading->bad[index] && value <= 0.0)
        field_error(reading, index, "is required and above 0: nothing can be predicted without it");
}

static void profile_check(struct machine_reading *reading)
{
    const struct machine_rates *rates = &reading->profile->rates;
    double products = 0.0;
    for (int dtype = 0; dtype < MACHINE_DTYPES; dtype++)
        products += rates->matrix[dtype] + rates->peak[dtype];
    field_need(reading, "rates", "matrix_fp32", products); /* of any precision */
    field_need(reading, "rates", "stream", rates->stream);
}

static void profile_read(struct machine_reading *reading)
{
    if (reading->root->kind != JOB_NODE_MAPPING) {
        if (reading->root->kind != JOB_NODE_REFUSED)
            job_issues_error(&reading->issues, reading->root->place,
                             "a machine profile is a mapping: lines of \"section:\" and \"key: value\"");
        return;
    }
    for (const struct job_node *node = reading->root->first; node != NULL; node = node->next) {
        if (section_is_known(node->key))
            section_collect(reading, node);
        else
            key_collect(reading, "", node);
    }
    for (int i = 0; i < machine_field_count; i++)
        field_read(reading, i);
    profile_check(reading);
}

static enum muster_status no_memory(const char *path, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "read machine profile %s: out of memory", path);
}

static enum muster_status reading_finish(struct machine_reading *reading, const char *path,
                                         struct job_report *report, struct muster_error *err)
{
    job_issues_report(&reading->issues, path, report);
    if (reading->no_memory || reading->issues.failed || report->errors.failed)
        return no_memory(path, err);
    if (report->error_count > 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%.*s", (int)strcspn(report->errors.data, "\n"),
                                report->errors.data);
    return MUSTER_OK;
}

enum muster_status machine_profile_parse(const char *path, const char *yaml, size_t bytes,
                                         struct job_report *report, struct machine_profile **out,
                                         struct muster_error *err)
{
    *out = NULL;
    struct machine_reading reading = {.profile = alloc_zeroed(1, sizeof *reading.profile)};
    struct job_node *root = NULL;
    if (reading.profile == NULL)
        return no_memory(path, err);
    enum muster_status status =
        job_yaml_parse(bytes > 0 ? yaml : "", bytes, NULL, &reading.issues, &root, err);
    reading.root = root;
    if (status == MUSTER_OK && root != NULL)
        profile_read(&reading);
    if (status == MUSTER_OK)
        status = reading_finish(&reading, path, report, err);
    if (status == MUSTER_OK) {
        *out = reading.profile;
        reading.profile = NULL;
    }
    job_node_destroy(root);
    job_issues_release(&reading.issues);
    machine_profile_destroy(reading.profile);
    return status;
}

enum muster_status machine_profile_load(const char *path, struct job_report *report,
                                        struct machine_profile **out, struct muster_error *err)
{
    char *yaml = NULL;
    size_t bytes = 0;
    *out = NULL;
    enum muster_status status = fs_file_read(path, JOB_YAML_BYTES_MAX, &yaml, &bytes, err);
    if (status == MUSTER_ERR_IO)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "machine profile: cannot read %s", path);
    if (status == MUSTER_OK)
        status = machine_profile_parse(path, yaml, bytes, report, out, err);
    alloc_free(yaml);
    return status;
}

static void field_write(const struct job_field *field, const struct machine_profile *profile,
                        struct text *out)
{
    text_print(out, "%s%s: ", field->section[0] != '\0' ? "  " : "", field->key);
    job_value_print(field, profile, out);
    text_print(out, "\n");
}

/* Whether the field says more than its default. */
static bool field_is_set(const struct job_field *field, const struct machine_profile *profile)
{
    char value[JOB_NUMBER_SIZE];
    if (field->type == JOB_FIELD_TEXT)
        return *(char *const *)(const void *)((const char *)profile + field->offset) != NULL;
    if (field->fallback == NULL)
        return true;
    job_value_format(field, profile, value);
    return strcmp(value, field->fallback) != 0;
}

enum muster_status machine_profile_write(const struct machine_profile *profile, struct text *out,
                                         struct muster_error *err)
{
    const char *section = "";
    for (int i = 0; i < machine_field_count; i++) {
        const struct job_field *field = &machine_fields[i];
        if (!field_is_set(field, profile))
            continue;
        if (strcmp(field->section, section) != 0)
            text_print(out, "%s:\n", section = field->section);
        field_write(field, profile, out);
    }
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write a machine profile")
                       : MUSTER_OK;
}
