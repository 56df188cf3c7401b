/* SPDX-License-Identifier: MIT
 *
 * Two jobs key by key: which values differ, and which of the differences change what is computed.
 */
#ifndef MUSTER_COORDINATOR_JOB_COMPARE_H
#define MUSTER_COORDINATOR_JOB_COMPARE_H

#include "coordinator/job/job_fields.h"

struct job_change {
    char key[JOB_KEY_SIZE];
    const char *was, *is; /* as one would write them; a list of data files over several lines */
    bool shapes;          /* the two jobs compute something else because of this key */
    bool is_list;
};

/** Calls `visit` for every key whose values differ, in the order of the table. A key that a job's types have
 * no use for counts as "(not used)". */
void job_compare(const struct job *was, const struct job *is,
                 void (*visit)(void *context, const struct job_change *change), void *context);

/** BAD_INPUT when a word of the comma-separated `list` (NULL: none) is no key of a job. */
enum muster_status job_keys_check(const char *list, struct muster_error *err);

/** Whether `key` is among the comma-separated keys of `list` (NULL: none). */
bool job_key_listed(const char *list, const char *key);

#endif
