/* SPDX-License-Identifier: MIT
 *
 * The table of everything a machine profile may say. It has the shape of the job's table (job_fields.h), so
 * that numbers, ranges and words are read, refused and written by the same code; offsets are in struct
 * machine_profile.
 */
#ifndef MUSTER_COORDINATOR_MACHINE_FIELDS_H
#define MUSTER_COORDINATOR_MACHINE_FIELDS_H

#include "coordinator/cost/machine.h"
#include "coordinator/job/job_fields.h"

extern const struct job_field machine_fields[];
extern const int machine_field_count;

extern const struct job_section machine_sections[];
extern const int machine_section_count; /* the first is the top level, "" */

/** Index of the field with this key in a section, or -1. */
int machine_field_find(const char *section, const char *key);

#endif
