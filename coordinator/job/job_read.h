/* SPDX-License-Identifier: MIT
 *
 * From the tree of a file to a struct job: which value stands where, which values can be trusted, and where a
 * message about a key points. job_rules.h goes on from there.
 */
#ifndef MUSTER_COORDINATOR_JOB_READ_H
#define MUSTER_COORDINATOR_JOB_READ_H

#include "coordinator/job/job_fields.h"
#include "coordinator/job/job_yaml.h"

struct job_reading {
    struct job *job;
    struct job_issues *issues;
    const struct job_node *root;
    const struct job_node *given[JOB_FIELDS_MAX]; /* the value in the file, or NULL */
    bool bad[JOB_FIELDS_MAX];                     /* reported: no rule may look at the value */
    bool no_memory;
};

/**
 * Fills reading->job from reading->root: every key of the file, then defaults. Unknown keys, wrong values and
 * missing keys are added to the issues. Derived defaults are left to job_rules_apply.
 */
void job_read(struct job_reading *reading);

/** Where to point for the field at this offset: its value, else its section, else the file's beginning. */
struct job_place job_reading_place(const struct job_reading *reading, size_t offset);

/** Whether all fields at the offsets hold values that can be trusted. */
bool job_reading_trusts(const struct job_reading *reading, const size_t *offsets, int count);

/** Whether the file gives the field at this offset. */
bool job_reading_has(const struct job_reading *reading, size_t offset);

/** Adds "section.key: …" at the field's place and marks it bad. */
void job_reading_error(struct job_reading *reading, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Adds "section.key …" (no colon) as a note at the field's place. */
void job_reading_note(struct job_reading *reading, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
