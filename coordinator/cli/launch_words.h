/* SPDX-License-Identifier: MIT
 *
 * The words of the launcher's command line. Each launcher is a list of what it has to be told; the worker's
 * own words are the same for both.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_WORDS_H
#define MUSTER_COORDINATOR_LAUNCH_WORDS_H

#include "coordinator/cli/launch.h"

/** Fills command->argv; false when memory is short. */
bool launch_words_add(struct launch_command *command, const struct launch_options *options);

#endif
