/* SPDX-License-Identifier: MIT
 *
 * The hash of what shapes the result: every flagged field by name and value, folded in the order of the
 * table. Resolved values are hashed, so that comments, order, aliases and spelled-out defaults do not matter.
 * A fold of hashes needs no memory, and so can not fail.
 */
#include <stdio.h>
#include <string.h>

#include "coordinator/job/job_rules.h"
#include "coordinator/job/job_value.h"

static void hash_fold(struct hash128 *hash, const char *key, const char *value)
{
    char line[3 * HASH_TEXT_SIZE];
    hash_format(*hash, line);
    hash_format(hash_xxh3(key, strlen(key)), line + HASH_TEXT_SIZE - 1);
    hash_format(hash_xxh3(value, strlen(value)), line + 2 * (HASH_TEXT_SIZE - 1));
    *hash = hash_xxh3(line, 3 * (HASH_TEXT_SIZE - 1));
}

static void number_fold(struct hash128 *hash, const char *key, int64_t value)
{
    char text[JOB_NUMBER_SIZE];
    snprintf(text, sizeof text, "%lld", (long long)value);
    hash_fold(hash, key, text);
}

static void sources_fold(struct hash128 *hash, const char *key, const struct job_sources *sources)
{
    char weight[JOB_NUMBER_SIZE];
    number_fold(hash, key, sources->count);
    for (int i = 0; i < sources->count; i++) {
        const struct job_source *source = &sources->items[i];
        job_number_format(weight, source->weight);
        hash_fold(hash, "path", source->path);
        hash_fold(hash, "weight", weight);
        hash_fold(hash, "labels", source->labels != NULL ? source->labels : "");
    }
}

/* The length of a run shapes a result only where a decay ends with it. */
static void decay_fold(struct hash128 *hash, const struct job *job)
{
    int64_t begin = 0, end = 0;
    job_decay_span(job, &begin, &end);
    number_fold(hash, "scheduler.decay_begin", begin);
    number_fold(hash, "scheduler.decay_end", end);
}

struct hash128 job_hash(const struct job *job)
{
    struct hash128 hash = {0};
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        char key[JOB_KEY_SIZE], value[JOB_NUMBER_SIZE];
        if (!(field->flags & JOB_FIELD_SHAPES) || !job_field_is_used(field, job))
            continue;
        job_field_key(field, key);
        if (field->offset == offsetof(struct job, scheduler.decay_steps)) {
            decay_fold(&hash, job);
        } else if (field->type == JOB_FIELD_SOURCES) {
            sources_fold(&hash, key,
                         (const struct job_sources *)(const void *)((const char *)job + field->offset));
        } else {
            job_value_format(field, job, value);
            if (field->flags & JOB_FIELD_ADDED && strcmp(value, field->fallback) == 0)
                continue;
            hash_fold(&hash, key, value);
        }
    }
    return hash;
}
