/* SPDX-License-Identifier: MIT
 *
 * One value of a job: from YAML into the struct, and from the struct into text. Lists of data files have
 * their own reader (job_sources.h).
 */
#ifndef MUSTER_COORDINATOR_JOB_VALUE_H
#define MUSTER_COORDINATOR_JOB_VALUE_H

#include "coordinator/job/job_fields.h"
#include "coordinator/job/job_yaml.h"

enum { JOB_NUMBER_SIZE = 40 };

/**
 * Reads a node into base + field->offset, checking type and range; a text is copied and an older one freed.
 * \return BAD_INPUT with what is wrong in `problem`, the struct untouched; NO_MEMORY.
 */
enum muster_status job_value_read(const struct job_field *field, const struct job_node *node, void *base,
                                  struct muster_error *problem);

/** Stores the field's default, or zero (a text: NULL) where it has none. */
enum muster_status job_value_reset(const struct job_field *field, void *base, struct muster_error *problem);

/** Number, truth value or enum as one would write it; not for texts and lists. */
void job_value_format(const struct job_field *field, const void *base, char out[JOB_NUMBER_SIZE]);

/** The same, and texts as double-quoted YAML. */
void job_value_print(const struct job_field *field, const void *base, struct text *out);

/** The shortest decimal that reads back as `value`, with a point before an exponent for YAML 1.1 readers. */
void job_number_format(char out[JOB_NUMBER_SIZE], double value);

/** "from 1 to 4096", "above 0 and below 1"; empty when the field has no range. */
void job_value_range(const struct job_field *field, char *out, size_t size);

#endif
