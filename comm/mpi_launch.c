/* SPDX-License-Identifier: MIT
 *
 * What the launcher says, apart from MPI so that it can be tested with invented environments and hosts.
 */
#include "comm/mpi_launch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Slurm numbers the batch script, salloc's interactive shell and the like from here up; they are not tasks
 * of a program. */
static const long long SLURM_STEP_ID_SPECIAL = 0xfffffff0;

static long long number_of(char *(*lookup)(const char *name), const char *name)
{
    const char *text = lookup(name);
    char *end = NULL;
    long long value = text ? strtoll(text, &end, 10) : -1;
    return text && end != text && *end == '\0' && value >= 0 ? value : -1;
}

int mpi_launch_size(char *(*lookup)(const char *name), const char **variable)
{
    static const char *const counts[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (int i = 0; i < 2; i++) {
        long long size = number_of(lookup, counts[i]);
        if (size >= 1) {
            *variable = counts[i];
            return (int)size;
        }
    }
    long long step = number_of(lookup, "SLURM_STEP_ID");
    if (step >= 0 && step < SLURM_STEP_ID_SPECIAL) {
        *variable = lookup("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
        long long size = number_of(lookup, *variable);
        if (size >= 1)
            return (int)size;
    }
    *variable = "";
    return 1;
}

void mpi_launch_nodes(struct comm *c, const int *node_first, int *node_of)
{
    c->node_count = c->local_rank = c->local_size = 0;
    for (int r = 0; r < c->size; r++)
        node_of[r] = node_first[r] == r ? c->node_count++ : node_of[node_first[r]];
    c->node = node_of[c->rank];
    for (int r = 0; r < c->size; r++) {
        c->local_size += node_of[r] == c->node;
        c->local_rank += node_of[r] == c->node && r < c->rank;
    }
}

enum muster_status mpi_launch_pretend(char *(*lookup)(const char *name), int size, int *node_first,
                                      struct muster_error *err)
{
    const char *text = lookup("MUSTER_PRETEND_HOSTS"), *at = text;
    if (!text)
        return MUSTER_OK;
    for (int r = 0; r < size; r++) {
        char *end;
        long host = strtol(at, &end, 10);
        if (end == at || host < 0 || host > INT_MAX || *end != (r == size - 1 ? '\0' : ','))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "MUSTER_PRETEND_HOSTS=%s: a host's number for each of %d ranks is wanted",
                                    text, size);
        node_first[r] = (int)host;
        at = end + 1;
    }
    for (int r = size - 1; r >= 0; r--)
        for (int first = 0; first <= r; first++)
            if (node_first[first] == node_first[r]) {
                node_first[r] = first;
                break;
            }
    return MUSTER_OK;
}

void mpi_launch_transport(int node_count, char *(*lookup)(const char *name), char *text, size_t size)
{
    const char *pml = lookup("OMPI_MCA_pml"), *btl = lookup("OMPI_MCA_btl");
    bool chosen = btl && *btl && *btl != '^'; /* with '^' it names what not to use */
    bool shared = node_count == 1 && (!chosen || strstr(btl, "vader") || strstr(btl, "sm"));
    if (pml && *pml && *pml != '^' && strcmp(pml, "ob1") != 0)
        snprintf(text, size, "MPI (pml %s)", pml);
    else if (shared)
        snprintf(text, size, "shared memory");
    else if (chosen)
        snprintf(text, size, "MPI (btl %s)", btl);
    else
        snprintf(text, size, "MPI");
}
