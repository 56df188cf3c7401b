/* SPDX-License-Identifier: MIT
 *
 * Every text is read by the reader of single texts, so the same things are refused in a list: line breaks,
 * control characters, empty ones.
 */
#include "coordinator/job/job_texts.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job_value.h"

enum { TEXTS_MAX = 256 };

/* A field of type text at the place of one item. */
static const struct job_field item_field = {.section = "", .key = "", .type = JOB_FIELD_TEXT, .offset = 0};

static void item_error(struct job_reading *reading, int index, int item, const struct job_node *node,
                       const char *message)
{
    char key[JOB_KEY_SIZE];
    job_field_key(&job_fields[index], key);
    job_issues_error(reading->issues, node->place, "%s[%d]: %s", key, item, message);
    reading->bad[index] = true;
}

/* "NAME=VALUE" from a key and its value. */
static void pair_join(struct job_reading *reading, const char *name, char **item)
{
    struct text pair;
    text_init(&pair);
    text_print(&pair, "%s=%s", name, *item);
    alloc_free(*item);
    *item = pair.failed ? NULL : alloc_text(pair.data);
    reading->no_memory |= *item == NULL;
    text_release(&pair);
}

static void item_read(struct job_reading *reading, int index, int item, const struct job_node *node,
                      bool is_pair, char **place)
{
    struct muster_error problem;
    if (node->kind == JOB_NODE_REFUSED) {
        reading->bad[index] = true;
        return;
    }
    enum muster_status status = job_value_read(&item_field, node, place, &problem);
    if (status == MUSTER_ERR_NO_MEMORY)
        reading->no_memory = true;
    else if (status != MUSTER_OK)
        item_error(reading, index, item, node, problem.text);
    else if (is_pair && strchr(node->key, '=') != NULL)
        item_error(reading, index, item, node, "a name has no '=' in it");
    else if (is_pair)
        pair_join(reading, node->key, place);
}

static int node_count(const struct job_node *first)
{
    int count = 0;
    for (; first != NULL; first = first->next)
        count++;
    return count;
}

void job_texts_read(struct job_reading *reading, int index)
{
    const struct job_field *field = &job_fields[index];
    const struct job_node *node = reading->given[index];
    struct job_texts *texts = (struct job_texts *)(void *)((char *)reading->job + field->offset);
    bool is_pairs = node->kind == JOB_NODE_MAPPING;
    if (is_pairs && !(field->flags & JOB_FIELD_PAIRS)) {
        job_reading_error(reading, field->offset,
                          "expected a text or a list of texts, read a mapping of keys");
        return;
    }
    bool is_one = node->kind == JOB_NODE_SCALAR;
    const struct job_node *item = is_one ? node : node->first;
    int count = is_one ? 1 : node_count(item);
    if (count > TEXTS_MAX) {
        job_reading_error(reading, field->offset, "has more than %d entries", TEXTS_MAX);
        return;
    }
    texts->items = alloc_zeroed((size_t)count, sizeof *texts->items);
    if (texts->items == NULL) {
        reading->no_memory = true;
        return;
    }
    texts->count = count;
    for (int i = 0; i < count; i++, item = item->next)
        item_read(reading, index, i, item, is_pairs, &texts->items[i]);
}

void job_texts_release(struct job_texts *texts)
{
    for (int i = 0; i < texts->count; i++)
        alloc_free(texts->items[i]);
    alloc_free(texts->items);
    *texts = (struct job_texts){0};
}

void job_texts_print(const struct job_texts *texts, struct text *out)
{
    for (int i = 0; i < texts->count; i++) {
        text_print(out, "    - ");
        job_value_print(&item_field, &texts->items[i], out);
        text_print(out, "\n");
    }
}
