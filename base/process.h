/* SPDX-License-Identifier: MIT
 *
 * What the system says of processes that others have started: the ranks are mpirun's children, and only
 * mpirun is the supervisor's.
 */
#ifndef MUSTER_BASE_PROCESS_H
#define MUSTER_BASE_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/** Nobody, or only what a parent has not asked after yet. */
bool process_has_ended(pid_t pid);

/** Whether a living process of this user was started with NAME=VALUE in its environment. */
bool process_has_setting(pid_t pid, const char *setting);

/** The name of the program that it runs, without its folder, at most 15 bytes; "" where the system does not
 * tell. */
void process_name(pid_t pid, char name[16]);

/** How many children of this process have not ended, or with `setting` not NULL, how many were started with
 * it. 0 too where the system does not tell. */
int process_children_count(pid_t pid, const char *setting);

#endif
