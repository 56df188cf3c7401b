/* SPDX-License-Identifier: MIT
 *
 * What the table of fields cannot say: defaults that follow from other keys, and keys that must fit together.
 */
#ifndef MUSTER_COORDINATOR_JOB_RULES_H
#define MUSTER_COORDINATOR_JOB_RULES_H

#include "coordinator/job/job_read.h"

/**
 * After job_read: fills in derived defaults and adds an error for every rule that is broken. A rule that
 * needs a value already reported is skipped. \param path  of the job file; its name is the default for `name`
 */
void job_rules_apply(struct job_reading *reading, const char *path);

/** The part of the above about data, names and folders (job_rules_data.c). */
void job_rules_data_check(struct job_reading *reading);

/** The part about what other programs are told: launchers, Slurm (job_rules_cluster.c). */
void job_rules_cluster_check(struct job_reading *reading);

/** The part about faults (job_rules_fault.c). */
void job_rules_fault_check(struct job_reading *reading);

/** A file name that cannot surprise anybody: not empty, no '/', no leading '.', no control characters. */
bool job_name_is_usable(const char *name);

/** The steps between which the learning rate falls; both 0 when it never does. */
void job_decay_span(const struct job *job, int64_t *begin, int64_t *end);

#define JOB_AT(member) offsetof(struct job, member)

/** Whether all the members named can be trusted: job_rules_trust(r, JOB_AT(a), JOB_AT(b)). */
#define job_rules_trust(reading, ...)                                                                        \
    job_reading_trusts(reading, (const size_t[]){__VA_ARGS__},                                               \
                       (int)(sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t)))

#endif
