/* SPDX-License-Identifier: MIT
 *
 * The table of everything a job file may say. Reading, defaults, ranges, the resolved job, the hash and the
 * reference page all walk this table: a new key is one entry in job_fields_*.def and one member of struct
 * job.
 */
#ifndef MUSTER_COORDINATOR_JOB_FIELDS_H
#define MUSTER_COORDINATOR_JOB_FIELDS_H

#include <stddef.h>

#include "coordinator/job/job.h"

enum job_field_type {
    JOB_FIELD_INT,      /* int64_t */
    JOB_FIELD_REAL,     /* double */
    JOB_FIELD_BOOL,     /* bool */
    JOB_FIELD_ENUM,     /* an enum whose values count up from 0, as in `names` */
    JOB_FIELD_TEXT,     /* char *, owned by the job */
    JOB_FIELD_DURATION, /* double, seconds; read as a number or as "1h30m" */
    JOB_FIELD_SOURCES,  /* struct job_sources */
    JOB_FIELD_TEXTS     /* struct job_texts */
};

enum job_field_flags {
    JOB_FIELD_REQUIRED = 1 << 0,
    JOB_FIELD_SHAPES = 1 << 1,    /* shapes the result: part of job_hash */
    JOB_FIELD_ABOVE_MIN = 1 << 2, /* the minimum itself is not allowed */
    JOB_FIELD_BELOW_MAX = 1 << 3, /* nor the maximum */
    JOB_FIELD_STRICT = 1 << 4,    /* an error, not a note, where the chosen type has no use for it */
    JOB_FIELD_ADDED = 1 << 5, /* newer than checkpoints in use: part of job_hash only where not the default */
    JOB_FIELD_PAIRS = 1 << 6  /* a list of texts that may be written as a mapping of names to values */
};

enum { JOB_FIELD_ALIASES_MAX = 6, JOB_FIELDS_MAX = 128, JOB_SECTION_KEYS_MAX = 64, JOB_KEY_SIZE = 64 };

struct job_field {
    const char *section; /* "" at the top level */
    const char *key;
    enum job_field_type type;
    unsigned flags;
    size_t offset;        /* in struct job */
    const char *fallback; /* the default as one would write it; NULL when required or derived */
    const char *derived;  /* how the default follows from other keys, for the reference page */
    double min, max;      /* for numbers: both inclusive unless flagged; max 0 = no range */
    const char *const *names;
    const char *unit, *doc;
    size_t decided_by; /* offset of the section's (or the model's) type that says whether this is used; 0 =
                          always */
    unsigned used_by;  /* with decided_by: a bit per enum value */
    const char *aliases[JOB_FIELD_ALIASES_MAX];
};

extern const struct job_field job_fields[];
extern const int job_field_count;

/** Keys of one entry of data.train and data.val; offsets are in struct job_source. */
extern const struct job_field job_source_fields[];
extern const int job_source_field_count;

struct job_section {
    const char *name, *alias, *doc;
};
extern const struct job_section job_sections[];
extern const int job_section_count; /* the first is the top level, "" */

/** Keys other trainers have and muster has not: what to tell a person who writes one. */
struct job_stranger {
    const char *key, *answer;
};
extern const struct job_stranger job_strangers[];
extern const int job_stranger_count;

/** The field at this offset of struct job; an offset that is not in the table is a bug and gives 0. */
int job_field_at(size_t offset);

/** Index of the field of a section with this key or alias, or -1. */
int job_field_find(const char *section, const char *key);

/** The section of this name or alias, or NULL; never the top level. */
const struct job_section *job_section_find(const char *name);

/** "section.key" or "key". */
void job_field_key(const struct job_field *field, char out[JOB_KEY_SIZE]);

/** The enum value at a field's place, as an int. */
int job_field_enum(const struct job_field *field, const void *base);

/** Whether the job's types have a use for the field. */
bool job_field_is_used(const struct job_field *field, const struct job *job);

#endif
