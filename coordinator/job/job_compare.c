/* SPDX-License-Identifier: MIT
 *
 * The same walk over the table as job_hash.c, with the same exception: the length of a run and of its decay
 * shape a result only through the steps between which the learning rate falls.
 */
#include "coordinator/job/job_compare.h"

#include <string.h>

#include "coordinator/job/job_rules.h"
#include "coordinator/job/job_sources.h"
#include "coordinator/job/job_texts.h"
#include "coordinator/job/job_value.h"

static void value_print(const struct job_field *field, const struct job *job, struct text *out)
{
    text_clear(out);
    if (!job_field_is_used(field, job)) {
        text_print(out, "(not used)");
    } else if (field->type == JOB_FIELD_TEXT &&
               *(char *const *)(const void *)((const char *)job + field->offset) == NULL) {
        text_print(out, "(not given)");
    } else if (field->type == JOB_FIELD_SOURCES) {
        const void *sources = (const char *)job + field->offset;
        job_sources_print(sources, out);
    } else if (field->type == JOB_FIELD_TEXTS) {
        const void *texts = (const char *)job + field->offset;
        job_texts_print(texts, out);
    } else {
        job_value_print(field, job, out);
    }
}

static bool decays_differ(const struct job *a, const struct job *b)
{
    int64_t begin[2] = {0, 0}, end[2] = {0, 0};
    job_decay_span(a, &begin[0], &end[0]);
    job_decay_span(b, &begin[1], &end[1]);
    return begin[0] != begin[1] || end[0] != end[1];
}

static bool field_shapes(const struct job_field *field, const struct job *was, const struct job *is)
{
    if (field->offset == JOB_AT(scheduler.decay_steps) || field->offset == JOB_AT(train.max_steps))
        return decays_differ(was, is);
    return field->flags & JOB_FIELD_SHAPES;
}

void job_compare(const struct job *was, const struct job *is,
                 void (*visit)(void *context, const struct job_change *change), void *context)
{
    struct text values[2];
    text_init(&values[0]);
    text_init(&values[1]);
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        value_print(field, was, &values[0]);
        value_print(field, is, &values[1]);
        if (strcmp(values[0].data, values[1].data) == 0)
            continue;
        struct job_change change = {.was = values[0].data,
                                    .is = values[1].data,
                                    .shapes = field_shapes(field, was, is),
                                    .is_list =
                                        field->type == JOB_FIELD_SOURCES || field->type == JOB_FIELD_TEXTS};
        job_field_key(field, change.key);
        visit(context, &change);
    }
    text_release(&values[0]);
    text_release(&values[1]);
}

static bool key_exists(const char *word, size_t length)
{
    for (int i = 0; i < job_field_count; i++) {
        char key[JOB_KEY_SIZE];
        job_field_key(&job_fields[i], key);
        if (strlen(key) == length && strncmp(key, word, length) == 0)
            return true;
    }
    return false;
}

enum muster_status job_keys_check(const char *list, struct muster_error *err)
{
    while (list != NULL && *list != '\0') {
        size_t word = strcspn(list, ",");
        if (!key_exists(list, word))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "\"%.*s\" is no key of a job; keys are written as in optimizer.lr",
                                    (int)(word < JOB_KEY_SIZE ? word : JOB_KEY_SIZE), list);
        list += word + (list[word] == ',');
    }
    return MUSTER_OK;
}

bool job_key_listed(const char *list, const char *key)
{
    size_t length = strlen(key);
    while (list != NULL && *list != '\0') {
        size_t word = strcspn(list, ",");
        if (word == length && strncmp(list, key, length) == 0)
            return true;
        list += word + (list[word] == ',');
    }
    return false;
}
