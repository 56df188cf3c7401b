/* SPDX-License-Identifier: MIT
 *
 * A field that is a list of texts: written as one text, as a list, or (where the field is flagged so) as a
 * mapping of names to values.
 */
#ifndef MUSTER_COORDINATOR_JOB_TEXTS_H
#define MUSTER_COORDINATOR_JOB_TEXTS_H

#include "coordinator/job/job_read.h"

/** Reads the list given for field `index`; errors are added to the reading and mark the field bad. */
void job_texts_read(struct job_reading *reading, int index);

void job_texts_release(struct job_texts *texts);

/** The list as lines of YAML below its key, "    - "text"". */
void job_texts_print(const struct job_texts *texts, struct text *out);

#endif
