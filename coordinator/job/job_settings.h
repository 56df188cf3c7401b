/* SPDX-License-Identifier: MIT
 *
 * Words of a command line ("train.max_steps=100") in the tree of a job file, before anything looks at it: so
 * they are read, refused and explained by the same code as the file.
 */
#ifndef MUSTER_COORDINATOR_JOB_SETTINGS_H
#define MUSTER_COORDINATOR_JOB_SETTINGS_H

#include "coordinator/job/job_yaml.h"

/** Puts each value in the place of the file's, or adds it. What is no setting, or has a value that is no
 * YAML, is added to `issues`; an unknown key is left in the tree for job_read to answer. \return NO_MEMORY or
 * OK. */
enum muster_status job_settings_apply(const struct job_settings *settings, struct job_node *root,
                                      struct job_issues *issues, struct muster_error *err);

#endif
