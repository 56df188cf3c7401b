/* SPDX-License-Identifier: MIT
 *
 * libyaml's events become a small tree. The event interface is used because its document interface expands
 * aliases and drops places. A job file needs nothing of YAML that can grow or mean two things: anchors,
 * aliases, tags, merge keys, duplicate keys and further documents are refused, and size, depth and the number
 * of nodes are limited. Syntax errors and limits end the reading; everything else is reported and read on.
 */
#include "coordinator/job/job_yaml.h"

#include <string.h>
#include <yaml.h>

#include "base/alloc.h"

struct builder {
    yaml_parser_t parser;
    yaml_event_t event;
    bool event_held;
    struct job_issues *issues;
    const char *text; /* the whole input, for places libyaml does not give */
    size_t bytes;
    const char *setting; /* job_place.setting of everything in it */
    const char *section; /* the top-level key being read, for messages; or NULL */
    int node_count;
    bool no_memory;
};

static struct job_place place_of(const struct builder *builder, yaml_mark_t mark)
{
    return (struct job_place){
        .line = (int)mark.line + 1, .column = (int)mark.column + 1, .setting = builder->setting};
}

static struct job_place place_of_offset(const struct builder *builder, size_t offset)
{
    struct job_place place = {.line = 1, .column = 1, .setting = builder->setting};
    for (size_t i = 0; i < offset && i < builder->bytes; i++) {
        place.column++;
        if (builder->text[i] == '\n')
            place = (struct job_place){.line = place.line + 1, .column = 1, .setting = builder->setting};
    }
    return place;
}

static void syntax_report(struct builder *builder)
{
    const yaml_parser_t *parser = &builder->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be parsed";
    if (parser->error == YAML_MEMORY_ERROR) {
        builder->no_memory = true;
    } else if (parser->error == YAML_READER_ERROR) {
        job_issues_error(builder->issues, place_of_offset(builder, parser->problem_offset),
                         "not valid YAML: %s", problem);
    } else {
        struct job_place place = place_of(builder, parser->problem_mark);
        bool tab = strstr(problem, "cannot start any token") != NULL;
        const char *hint =
            tab ? "; indent with spaces, not tabs, and quote text with special characters" : "";
        if (parser->context != NULL)
            job_issues_error(builder->issues, place, "not valid YAML: %s, %s that began on line %d%s",
                             problem, parser->context, place_of(builder, parser->context_mark).line, hint);
        else
            job_issues_error(builder->issues, place, "not valid YAML: %s%s", problem, hint);
    }
}

/* Makes the next event the current one; false when the text ends the reading. */
static bool event_next(struct builder *builder)
{
    if (builder->event_held)
        yaml_event_delete(&builder->event);
    builder->event_held = yaml_parser_parse(&builder->parser, &builder->event) != 0;
    if (!builder->event_held)
        syntax_report(builder);
    return builder->event_held;
}

static struct job_node *node_create(struct builder *builder, enum job_node_kind kind)
{
    struct job_node *node = alloc_zeroed(1, sizeof *node);
    if (node == NULL) {
        builder->no_memory = true;
        return NULL;
    }
    node->kind = kind;
    node->place = place_of(builder, builder->event.start_mark);
    return node;
}

void job_node_destroy(struct job_node *node)
{
    if (node == NULL)
        return;
    for (struct job_node *child = node->first; child != NULL;) {
        struct job_node *next = child->next;
        job_node_destroy(child);
        child = next;
    }
    alloc_free(node->text);
    alloc_free(node->key);
    alloc_free(node);
}

bool job_node_is_null(const struct job_node *node)
{
    return node->kind == JOB_NODE_SCALAR && node->plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

static bool limits_keep(struct builder *builder, int depth)
{
    struct job_place place = place_of(builder, builder->event.start_mark);
    if (depth > JOB_YAML_DEPTH_MAX)
        job_issues_error(builder->issues, place, "nested deeper than %d levels", JOB_YAML_DEPTH_MAX);
    else if (++builder->node_count > JOB_YAML_NODES_MAX)
        job_issues_error(builder->issues, place, "more than %d values in one file", JOB_YAML_NODES_MAX);
    else
        return true;
    return false;
}

static void property_refuse(struct builder *builder, const char *what, const yaml_char_t *name)
{
    char shown[JOB_SHOWN_SIZE];
    if (name == NULL)
        return;
    job_text_show(shown, (const char *)name);
    job_issues_error(builder->issues, place_of(builder, builder->event.start_mark),
                     "%s %s: job files have no anchors, aliases or tags; write the value out", what, shown);
}

static struct job_node *scalar_build(struct builder *builder)
{
    const yaml_event_t *event = &builder->event;
    property_refuse(builder, "anchor", event->data.scalar.anchor);
    property_refuse(builder, "tag", event->data.scalar.tag);
    const char *value = (const char *)event->data.scalar.value;
    if (strlen(value) != event->data.scalar.length) {
        job_issues_error(builder->issues, place_of(builder, event->start_mark), "the text holds a zero byte");
        return node_create(builder, JOB_NODE_REFUSED);
    }
    struct job_node *node = node_create(builder, JOB_NODE_SCALAR);
    if (node == NULL)
        return NULL;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = alloc_text(value);
    if (node->text == NULL) {
        builder->no_memory = true;
        job_node_destroy(node);
        return NULL;
    }
    return node;
}

void job_node_append(struct job_node *parent, struct job_node *child)
{
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

static struct job_node *node_build(struct builder *builder, int depth);

static struct job_node *sequence_build(struct builder *builder, int depth)
{
    property_refuse(builder, "anchor", builder->event.data.sequence_start.anchor);
    property_refuse(builder, "tag", builder->event.data.sequence_start.tag);
    struct job_node *node = node_create(builder, JOB_NODE_SEQUENCE);
    while (node != NULL) {
        if (event_next(builder) && builder->event.type == YAML_SEQUENCE_END_EVENT)
            return node;
        struct job_node *child = builder->event_held ? node_build(builder, depth + 1) : NULL;
        if (child == NULL)
            break;
        job_node_append(node, child);
    }
    job_node_destroy(node);
    return NULL;
}

/* Whether the pair may join the mapping; if not, it has been reported. */
static bool key_accept(struct builder *builder, const struct job_node *mapping, const struct job_node *key)
{
    char shown[JOB_SHOWN_SIZE];
    const char *prefix = builder->section != NULL ? builder->section : "";
    const char *dot = builder->section != NULL ? "." : "";
    if (key->kind != JOB_NODE_SCALAR) {
        if (key->kind != JOB_NODE_REFUSED)
            job_issues_error(builder->issues, key->place, "a key must be a word, not a list or a mapping");
        return false;
    }
    if (key->plain && strcmp(key->text, "<<") == 0) {
        job_issues_error(builder->issues, key->place, "merge keys (<<) are not read; write the keys out");
        return false;
    }
    for (const struct job_node *other = mapping->first; other != NULL; other = other->next) {
        if (strcmp(other->key, key->text) == 0) {
            job_word_show(shown, key->text);
            job_issues_error(builder->issues, key->place, "%s%s%s: given twice, first on line %d", prefix,
                             dot, shown, other->key_place.line);
            return false;
        }
    }
    return true;
}

/* Reads the value of `key`, which is consumed, into the mapping; false when the reading ends. */
static bool pair_build(struct builder *builder, struct job_node *mapping, struct job_node *key, int depth)
{
    bool accepted = key_accept(builder, mapping, key);
    if (accepted && depth == 1)
        builder->section = key->text;
    struct job_node *value = event_next(builder) ? node_build(builder, depth + 1) : NULL;
    if (depth == 1)
        builder->section = NULL;
    if (value != NULL && accepted) {
        value->key = key->text;
        value->key_place = key->place;
        key->text = NULL;
        job_node_append(mapping, value);
    } else {
        job_node_destroy(value);
    }
    job_node_destroy(key);
    return value != NULL;
}

static struct job_node *mapping_build(struct builder *builder, int depth)
{
    property_refuse(builder, "anchor", builder->event.data.mapping_start.anchor);
    property_refuse(builder, "tag", builder->event.data.mapping_start.tag);
    struct job_node *node = node_create(builder, JOB_NODE_MAPPING);
    while (node != NULL) {
        if (event_next(builder) && builder->event.type == YAML_MAPPING_END_EVENT)
            return node;
        struct job_node *key = builder->event_held ? node_build(builder, depth + 1) : NULL;
        if (key == NULL || !pair_build(builder, node, key, depth))
            break;
    }
    job_node_destroy(node);
    return NULL;
}

/* The node that begins with the current event; NULL when the reading ends. */
static struct job_node *node_build(struct builder *builder, int depth)
{
    if (!limits_keep(builder, depth))
        return NULL;
    switch (builder->event.type) {
    case YAML_SCALAR_EVENT:
        return scalar_build(builder);
    case YAML_SEQUENCE_START_EVENT:
        return sequence_build(builder, depth);
    case YAML_MAPPING_START_EVENT:
        return mapping_build(builder, depth);
    default:
        property_refuse(builder, "alias", builder->event.data.alias.anchor);
        return node_create(builder, JOB_NODE_REFUSED);
    }
}

/* What follows the first document: nothing, or an error. */
static bool stream_end(struct builder *builder)
{
    if (!event_next(builder) || !event_next(builder)) /* the document's end, the stream's end */
        return false;
    if (builder->event.type == YAML_STREAM_END_EVENT)
        return true;
    job_issues_error(builder->issues, place_of(builder, builder->event.start_mark),
                     "a second document begins here; a job file holds one");
    return false;
}

static struct job_node *document_build(struct builder *builder)
{
    if (!event_next(builder) || !event_next(builder)) /* the stream's start, the document's start */
        return NULL;
    if (builder->event.type == YAML_STREAM_END_EVENT) {
        const struct job_place place = {.line = 1, .column = 1, .setting = builder->setting};
        job_issues_error(builder->issues, place, "%s",
                         builder->setting != NULL ? "no value is given" : "the file is empty");
        return NULL;
    }
    struct job_node *root = event_next(builder) ? node_build(builder, 1) : NULL;
    if (root != NULL && !stream_end(builder)) {
        job_node_destroy(root);
        root = NULL;
    }
    return root;
}

enum muster_status job_yaml_parse(const char *yaml, size_t bytes, const char *setting,
                                  struct job_issues *issues, struct job_node **root, struct muster_error *err)
{
    struct builder builder = {.issues = issues, .text = yaml, .bytes = bytes, .setting = setting};
    *root = NULL;
    if (bytes > JOB_YAML_BYTES_MAX) {
        job_issues_error(issues, (struct job_place){.setting = setting},
                         "larger than %d bytes, the most a job file may have", JOB_YAML_BYTES_MAX);
        return MUSTER_OK;
    }
    if (!yaml_parser_initialize(&builder.parser))
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "parse YAML: out of memory");
    yaml_parser_set_input_string(&builder.parser, (const unsigned char *)yaml, bytes);
    *root = document_build(&builder);
    if (builder.event_held)
        yaml_event_delete(&builder.event);
    yaml_parser_delete(&builder.parser);
    if (builder.no_memory)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "parse YAML: out of memory");
    return MUSTER_OK;
}
