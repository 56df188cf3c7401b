/* SPDX-License-Identifier: MIT
 *
 * data.train and data.val: a path, a mapping, or a list of either.
 */
#ifndef MUSTER_COORDINATOR_JOB_SOURCES_H
#define MUSTER_COORDINATOR_JOB_SOURCES_H

#include "coordinator/job/job_read.h"

/** Reads the list given for field `index`; errors are added to the reading and mark the field bad. */
void job_sources_read(struct job_reading *reading, int index);

void job_sources_release(struct job_sources *sources);

/** The list as lines of YAML below its key, "    - {path: …}". */
void job_sources_print(const struct job_sources *sources, struct text *out);

#endif
