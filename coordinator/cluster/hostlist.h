/* SPDX-License-Identifier: MIT
 *
 * Slurm's short forms of host names and counts, written out. Read here and not with `scontrol show
 * hostnames`, so that it costs no process and the same text always means the same hosts.
 */
#ifndef MUSTER_COORDINATOR_HOSTLIST_H
#define MUSTER_COORDINATOR_HOSTLIST_H

#include <stdbool.h>

#include "base/error.h"

enum { HOSTLIST_MAX = 65536, HOSTLIST_NAME_SIZE = 256 };

struct hostlist {
    char **names;
    int count;
};

/**
 * "node[01-03,7]-ib,login" is node01-ib node02-ib node03-ib node7-ib login, in this order; several brackets
 * in a name count like the digits of a number. BAD_INPUT for anything else, for names that are no host names
 * and for more than HOSTLIST_MAX of them. Release in every case.
 */
enum muster_status hostlist_expand(const char *text, struct hostlist *list, struct muster_error *err);
void hostlist_release(struct hostlist *list);

/** "2(x3),1" is 2 2 2 1: as SLURM_TASKS_PER_NODE counts. BAD_INPUT unless it is exactly `count` numbers. */
enum muster_status hostlist_counts(const char *text, int count, int *numbers, struct muster_error *err);

/** A name that ssh, mpirun and Slurm take for a host, and for nothing else. */
bool hostlist_name_is_safe(const char *name);

#endif
