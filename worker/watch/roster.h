/* SPDX-License-Identifier: MIT
 *
 * Who the ranks of a job are, known to every rank from the start: when one is lost it cannot be asked any
 * more.
 */
#ifndef MUSTER_WORKER_ROSTER_H
#define MUSTER_WORKER_ROSTER_H

#include "comm/comm.h"

enum { ROSTER_HOST_SIZE = 64, ROSTER_NAME_SIZE = 128 };

struct roster_entry {
    char host[ROSTER_HOST_SIZE];
    int32_t gpu; /* as CUDA counts, -1 on the CPU */
};

struct roster {
    struct roster_entry *entries; /* [count], by rank */
    int count;
};

/** Collective. \param gpu  this rank's, or -1 */
enum muster_status roster_collect(struct roster *roster, struct comm *comm, int gpu,
                                  struct muster_error *err);
void roster_release(struct roster *roster);

/** "rank 5 (node07, GPU 1)". */
void roster_name(const struct roster *roster, int rank, char out[ROSTER_NAME_SIZE]);

#endif
