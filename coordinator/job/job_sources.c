/* SPDX-License-Identifier: MIT
 *
 * Entries of a list of data files have a table of fields of their own, read by the same code as a job's
 * fields. Whether the files exist is not looked at here.
 */
#include "coordinator/job/job_sources.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job_value.h"

enum { PATH_FIELD = 0, WEIGHT_FIELD, LABELS_FIELD };

/* One entry being read: where it goes, and how messages name it. */
struct entry {
    struct job_reading *reading;
    int index; /* of data.train or data.val in job_fields */
    char name[JOB_KEY_SIZE + 24];
    struct job_source *source;
};

static void entry_error(struct entry *entry, struct job_place place, const char *key, const char *message)
{
    job_issues_error(entry->reading->issues, place, "%s%s%s: %s", entry->name, key[0] != '\0' ? "." : "", key,
                     message);
    entry->reading->bad[entry->index] = true;
}

/* `key` names the value in messages: "" for an entry that is a bare path. */
static void entry_value_read(struct entry *entry, int field, const char *key, const struct job_node *node)
{
    struct muster_error problem;
    if (node->kind == JOB_NODE_REFUSED) {
        entry->reading->bad[entry->index] = true;
        return;
    }
    enum muster_status status = job_value_read(&job_source_fields[field], node, entry->source, &problem);
    if (status == MUSTER_ERR_NO_MEMORY)
        entry->reading->no_memory = true;
    else if (status != MUSTER_OK)
        entry_error(entry, node->place, key, problem.text);
}

static void entry_key_read(struct entry *entry, const struct job_node *node)
{
    const char *keys[8];
    char shown[JOB_SHOWN_SIZE], message[JOB_SHOWN_SIZE + 128];
    for (int i = 0; i < job_source_field_count; i++) {
        keys[i] = job_source_fields[i].key;
        if (strcmp(keys[i], node->key) == 0) {
            entry_value_read(entry, i, keys[i], node);
            return;
        }
    }
    const char *near = text_nearest(node->key, keys, (size_t)job_source_field_count);
    job_text_show(shown, node->key);
    if (near != NULL)
        snprintf(message, sizeof message, "unknown key %s; did you mean %s?", shown, near);
    else
        snprintf(message, sizeof message, "unknown key %s; known here: path, weight, labels", shown);
    entry_error(entry, node->key_place, "", message);
}

static void entry_read(struct entry *entry, const struct job_node *node, bool is_whole_list)
{
    entry->source->line = node->place.setting == NULL ? node->place.line : 0;
    entry->source->column = node->place.column;
    if (node->kind == JOB_NODE_MAPPING) {
        bool has_path = false;
        for (const struct job_node *child = node->first; child != NULL; child = child->next) {
            has_path |= strcmp(child->key, job_source_fields[PATH_FIELD].key) == 0;
            entry_key_read(entry, child);
        }
        if (!has_path)
            entry_error(entry, node->place, "path", "is required, but missing");
    } else if (node->kind == JOB_NODE_SEQUENCE && !is_whole_list) {
        entry_error(entry, node->place, "", "expected a path or a mapping with path, read a list");
    } else {
        entry_value_read(entry, PATH_FIELD, "", node);
    }
}

static struct job_sources *sources_of(struct job_reading *reading, int index)
{
    return (struct job_sources *)(void *)((char *)reading->job + job_fields[index].offset);
}

void job_sources_read(struct job_reading *reading, int index)
{
    const struct job_node *node = reading->given[index];
    struct job_sources *sources = sources_of(reading, index);
    bool is_list = node->kind == JOB_NODE_SEQUENCE;
    int count = is_list ? 0 : 1;
    char key[JOB_KEY_SIZE];
    for (const struct job_node *child = is_list ? node->first : NULL; child != NULL; child = child->next)
        count++;
    if (count == 0) {
        job_reading_error(reading, job_fields[index].offset, "names no file");
        return;
    }
    sources->items = alloc_zeroed((size_t)count, sizeof *sources->items);
    if (sources->items == NULL) {
        reading->no_memory = true;
        return;
    }
    sources->count = count;
    job_field_key(&job_fields[index], key);
    const struct job_node *child = is_list ? node->first : node;
    for (int i = 0; i < count; i++, child = child->next) {
        struct entry entry = {.reading = reading, .index = index, .source = &sources->items[i]};
        if (is_list)
            snprintf(entry.name, sizeof entry.name, "%s[%d]", key, i);
        else
            snprintf(entry.name, sizeof entry.name, "%s", key);
        entry_read(&entry, child, !is_list);
    }
}

void job_sources_release(struct job_sources *sources)
{
    for (int i = 0; i < sources->count; i++) {
        alloc_free(sources->items[i].path);
        alloc_free(sources->items[i].labels);
    }
    alloc_free(sources->items);
    *sources = (struct job_sources){0};
}

void job_sources_print(const struct job_sources *sources, struct text *out)
{
    for (int i = 0; i < sources->count; i++) {
        const struct job_source *source = &sources->items[i];
        text_print(out, "    - {path: ");
        job_value_print(&job_source_fields[PATH_FIELD], source, out);
        if (source->weight > 0) {
            text_print(out, ", weight: ");
            job_value_print(&job_source_fields[WEIGHT_FIELD], source, out);
        }
        if (source->labels != NULL) {
            text_print(out, ", labels: ");
            job_value_print(&job_source_fields[LABELS_FIELD], source, out);
        }
        text_print(out, "}\n");
    }
}
