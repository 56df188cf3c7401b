/* SPDX-License-Identifier: MIT
 *
 * Where and how the ranks of one run are started: on which hosts, how many, by which launcher. Decided once,
 * from the job, the words of the command line and the allocation this process runs in.
 */
#ifndef MUSTER_COORDINATOR_PLACEMENT_H
#define MUSTER_COORDINATOR_PLACEMENT_H

#include "coordinator/cluster/hosts.h"
#include "coordinator/job/job.h"

struct placement_request {
    const struct job *job;
    const char *hostfile; /* NULL = none */
    int64_t ranks;        /* 0 = one for every place, as far as the job can use them */
    bool launcher_words;  /* the person has given words for mpirun: auto does not choose srun */
};

struct placement {
    struct hosts hosts;
    int ranks;
    bool srun;
};

/**
 * BAD_INPUT when there are too few places, when their number cannot be known, or when srun is asked for
 * outside an allocation. Release in every case.
 */
enum muster_status placement_open(struct placement *placement, const struct placement_request *request,
                                  struct muster_error *err);
void placement_release(struct placement *placement);

/** "hosts: node1:4,node2:2 (by mpirun); network here: Ethernet eth0 (10000 Mb/s)"; nothing for a run on this
 * host alone. */
void placement_print(const struct placement *placement, const struct job *job, struct text *out);

#endif
