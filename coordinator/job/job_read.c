/* SPDX-License-Identifier: MIT
 *
 * The file is walked once to find which value belongs to which field, then the table is walked in its order.
 * A key that was nearly right counts as given but wrong, so that one slip makes one message.
 */
#include "coordinator/job/job_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/job/job_sources.h"
#include "coordinator/job/job_texts.h"
#include "coordinator/job/job_value.h"

static const struct job_node *section_node(const struct job_reading *reading, const char *name)
{
    const struct job_section *section = job_section_find(name);
    const struct job_node *node = reading->root->kind == JOB_NODE_MAPPING ? reading->root->first : NULL;
    while (node != NULL && (section == NULL || job_section_find(node->key) != section))
        node = node->next;
    return node;
}

struct job_place job_reading_place(const struct job_reading *reading, size_t offset)
{
    int index = job_field_at(offset);
    if (reading->given[index] != NULL)
        return reading->given[index]->place;
    const struct job_node *section = section_node(reading, job_fields[index].section);
    return section != NULL ? section->key_place : reading->root->place;
}

bool job_reading_trusts(const struct job_reading *reading, const size_t *offsets, int count)
{
    for (int i = 0; i < count; i++) {
        if (reading->bad[job_field_at(offsets[i])])
            return false;
    }
    return true;
}

bool job_reading_has(const struct job_reading *reading, size_t offset)
{
    return reading->given[job_field_at(offset)] != NULL;
}

void job_reading_error(struct job_reading *reading, size_t offset, const char *format, ...)
{
    char key[JOB_KEY_SIZE], message[1024];
    int index = job_field_at(offset);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    job_field_key(&job_fields[index], key);
    job_issues_error(reading->issues, job_reading_place(reading, offset), "%s: %s", key, message);
    reading->bad[index] = true;
}

void job_reading_note(struct job_reading *reading, size_t offset, const char *format, ...)
{
    char key[JOB_KEY_SIZE], message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    job_field_key(&job_fields[job_field_at(offset)], key);
    job_issues_note(reading->issues, job_reading_place(reading, offset), "%s %s", key, message);
}

/* A key as a message names it: quoted text from the file without the quotes. */
static void key_show(const char *section, const char *key, char out[JOB_SHOWN_SIZE + JOB_KEY_SIZE])
{
    char shown[JOB_SHOWN_SIZE];
    job_word_show(shown, key);
    snprintf(out, JOB_SHOWN_SIZE + JOB_KEY_SIZE, "%s%s%s", section, section[0] != '\0' ? "." : "", shown);
}

static const char *stranger_answer(const char *key)
{
    for (int i = 0; i < job_stranger_count; i++) {
        if (strcmp(job_strangers[i].key, key) == 0)
            return job_strangers[i].answer;
    }
    return NULL;
}

/* The one field of another section that has this key or alias, or -1. */
static int field_elsewhere(const char *section, const char *key)
{
    int found = -1;
    for (int i = 0; i < job_section_count; i++) {
        int index =
            strcmp(job_sections[i].name, section) != 0 ? job_field_find(job_sections[i].name, key) : -1;
        if (index >= 0 && found >= 0)
            return -1;
        found = index >= 0 ? index : found;
    }
    return found;
}

/* Keys, aliases and, at the top level, sections. */
static int section_candidates(const char *section, const char *candidates[JOB_SECTION_KEYS_MAX])
{
    int count = 0;
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        if (strcmp(field->section, section) != 0)
            continue;
        if (count < JOB_SECTION_KEYS_MAX)
            candidates[count++] = field->key;
        for (int a = 0; a < JOB_FIELD_ALIASES_MAX && field->aliases[a] != NULL; a++) {
            if (count < JOB_SECTION_KEYS_MAX)
                candidates[count++] = field->aliases[a];
        }
    }
    for (int i = 1; i < job_section_count && section[0] == '\0' && count < JOB_SECTION_KEYS_MAX; i++)
        candidates[count++] = job_sections[i].name;
    return count;
}

static void known_keys_list(const char *section, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < job_field_count; i++) {
        size_t length = strlen(out);
        if (strcmp(job_fields[i].section, section) == 0)
            snprintf(out + length, size - length, "%s%s", length > 0 ? ", " : "", job_fields[i].key);
    }
    for (int i = 1; i < job_section_count && section[0] == '\0'; i++) {
        size_t length = strlen(out);
        snprintf(out + length, size - length, ", %s", job_sections[i].name);
    }
}

static void unknown_key_report(struct job_reading *reading, const char *section, const struct job_node *node)
{
    const char *candidates[JOB_SECTION_KEYS_MAX], *answer = stranger_answer(node->key), *where = "";
    char key[JOB_SHOWN_SIZE + JOB_KEY_SIZE], suggestion[JOB_KEY_SIZE], known[512];
    key_show(section, node->key, key);
    if (answer != NULL) {
        job_issues_error(reading->issues, node->key_place, "%s: %s", key, answer);
        return;
    }
    int count = section_candidates(section, candidates), index = field_elsewhere(section, node->key);
    const char *near = index < 0 ? text_nearest(node->key, candidates, (size_t)count) : NULL;
    if (near != NULL)
        index = job_field_find(section, near);
    if (index >= 0) {
        const struct job_field *field = &job_fields[index];
        bool is_setting = node->key_place.setting != NULL;
        if (near == NULL || is_setting)
            job_field_key(field, suggestion);
        else
            snprintf(suggestion, sizeof suggestion, "%s", field->key);
        if (near == NULL && !is_setting && field->section[0] == '\0')
            where = " at the top level";
        reading->bad[index] = true;
    } else if (near != NULL) {
        snprintf(suggestion, sizeof suggestion, "%s", near);
    } else {
        known_keys_list(section, known, sizeof known);
        job_issues_error(reading->issues, node->key_place, "%s: unknown key; known here: %s", key, known);
        return;
    }
    job_issues_error(reading->issues, node->key_place, "%s: unknown key; did you mean %s%s?", key, suggestion,
                     where);
}

/* Notes which field a key of the file gives. */
static void key_collect(struct job_reading *reading, const char *section, const struct job_node *node)
{
    int index = job_field_find(section, node->key);
    if (index < 0) {
        unknown_key_report(reading, section, node);
        return;
    }
    const struct job_field *field = &job_fields[index];
    char key[JOB_KEY_SIZE];
    job_field_key(field, key);
    const char *dot = section[0] != '\0' ? "." : "";
    if (reading->given[index] != NULL) {
        job_issues_error(reading->issues, node->key_place, "%s%s%s: gives %s twice, first on line %d",
                         section, dot, node->key, key, reading->given[index]->key_place.line);
        return;
    }
    reading->given[index] = node;
    if (strcmp(field->key, node->key) != 0)
        job_issues_note(reading->issues, node->key_place, "%s%s%s is read as %s", section, dot, node->key,
                        key);
}

/* Every key of a section is reported only once, with the section: nothing is missing from a broken one. */
static void section_distrust(struct job_reading *reading, const char *section)
{
    for (int i = 0; i < job_field_count; i++) {
        if (strcmp(job_fields[i].section, section) == 0)
            reading->bad[i] = true;
    }
}

static void section_collect(struct job_reading *reading, const struct job_section *section,
                            const struct job_node *node)
{
    const struct job_node *first = section_node(reading, section->name);
    if (first != node) {
        job_issues_error(reading->issues, node->key_place, "%s: gives section %s twice, first on line %d",
                         node->key, section->name, first->key_place.line);
        return;
    }
    if (strcmp(section->name, node->key) != 0)
        job_issues_note(reading->issues, node->key_place, "section %s is read as %s", node->key,
                        section->name);
    if (node->kind != JOB_NODE_MAPPING && !job_node_is_null(node)) {
        if (node->kind != JOB_NODE_REFUSED)
            job_issues_error(reading->issues, node->place,
                             "%s: is a section: expected lines of \"key: value\" below it", node->key);
        section_distrust(reading, section->name);
        return;
    }
    for (const struct job_node *child = node->first; child != NULL; child = child->next)
        key_collect(reading, section->name, child);
}

/* A section whose name is nearly right (and reported) is read all the same, for the errors in it. */
static void section_guess(struct job_reading *reading, const struct job_node *node)
{
    const char *candidates[JOB_SECTION_KEYS_MAX];
    int count = section_candidates("", candidates);
    const char *near =
        node->kind == JOB_NODE_MAPPING ? text_nearest(node->key, candidates, (size_t)count) : NULL;
    if (near == NULL || job_section_find(near) == NULL || section_node(reading, near) != NULL)
        return;
    for (const struct job_node *child = node->first; child != NULL; child = child->next)
        key_collect(reading, near, child);
}

static void root_collect(struct job_reading *reading)
{
    for (const struct job_node *node = reading->root->first; node != NULL; node = node->next) {
        const struct job_section *section = job_section_find(node->key);
        if (section != NULL) {
            section_collect(reading, section, node);
        } else {
            key_collect(reading, "", node);
            section_guess(reading, node);
        }
    }
}

static void field_read(struct job_reading *reading, int index)
{
    const struct job_field *field = &job_fields[index];
    const struct job_node *node = reading->given[index];
    struct muster_error problem = {0};
    enum muster_status status;
    if (node == NULL) {
        status = job_value_reset(field, reading->job, &problem);
    } else if (node->kind == JOB_NODE_REFUSED) {
        reading->bad[index] = true;
        return;
    } else if (field->type == JOB_FIELD_SOURCES) {
        job_sources_read(reading, index);
        return;
    } else if (field->type == JOB_FIELD_TEXTS) {
        job_texts_read(reading, index);
        return;
    } else {
        status = job_value_read(field, node, reading->job, &problem);
    }
    if (status == MUSTER_ERR_NO_MEMORY)
        reading->no_memory = true;
    else if (status != MUSTER_OK)
        job_reading_error(reading, field->offset, "%s", problem.text);
}

/* "the key" of a field whose type has no use for it: set back to its default, with a word about it. */
static void unused_report(struct job_reading *reading, int index)
{
    const struct job_field *field = &job_fields[index], *type = &job_fields[job_field_at(field->decided_by)];
    char type_key[JOB_KEY_SIZE];
    struct muster_error problem;
    job_field_key(type, type_key);
    const char *name = type->names[job_field_enum(type, reading->job)];
    if (field->flags & JOB_FIELD_STRICT) {
        job_reading_error(reading, field->offset, "means nothing with %s %s; remove it", type_key, name);
        return;
    }
    job_reading_note(reading, field->offset, "is not used with %s %s", type_key, name);
    if (job_value_reset(field, reading->job, &problem) == MUSTER_ERR_NO_MEMORY)
        reading->no_memory = true;
}

static void usage_check(struct job_reading *reading, int index)
{
    const struct job_field *field = &job_fields[index];
    bool given = reading->given[index] != NULL, bad = reading->bad[index];
    if (field->decided_by != 0 && reading->bad[job_field_at(field->decided_by)]) {
        reading->bad[index] |= !given && field->fallback == NULL;
        return;
    }
    bool used = job_field_is_used(field, reading->job);
    if (given && !used && !bad)
        unused_report(reading, index);
    else if (!given && used && !bad && (field->flags & JOB_FIELD_REQUIRED))
        job_reading_error(reading, field->offset, "is required, but missing");
}

void job_read(struct job_reading *reading)
{
    if (reading->root->kind != JOB_NODE_MAPPING) {
        if (reading->root->kind != JOB_NODE_REFUSED)
            job_issues_error(reading->issues, reading->root->place,
                             "a job file is a mapping: lines of \"section:\" and \"key: value\"");
        for (int i = 0; i < job_field_count; i++)
            reading->bad[i] = true;
        return;
    }
    root_collect(reading);
    for (int i = 0; i < job_field_count; i++)
        field_read(reading, i);
    for (int i = 0; i < job_field_count; i++)
        usage_check(reading, i);
}
