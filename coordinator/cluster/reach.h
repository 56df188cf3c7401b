/* SPDX-License-Identifier: MIT
 *
 * Whether the hosts of a hostfile answer, asked before mpirun does: mpirun says of a host it cannot reach
 * only that some daemon did not start, and takes minutes to say it.
 */
#ifndef MUSTER_COORDINATOR_REACH_H
#define MUSTER_COORDINATOR_REACH_H

#include "coordinator/cluster/hosts.h"

struct reach_question {
    const char *worker; /* must be there, and be a program */
    const char *folder; /* must be there: the ranks start in it */
    int connect_s;      /* for a host to take up the conversation; ssh's ConnectTimeout */
    int timeout_ms;     /* for all hosts to have answered: a slow login shell is no dead host */
};

/**
 * Asks every host that is not lost and not this one, all at once, through ssh or what OMPI_MCA_plm_rsh_agent
 * names. Each host that does not answer, or lacks what is asked for, is marked lost and gets a line in
 * `report`: "node3: ssh: connect to host node3 port 22: No route to host". \return how many were marked; -1
 * when the question could not be asked at all, with `err`.
 */
int reach_check(struct hosts *hosts, const struct reach_question *question, struct text *report,
                struct muster_error *err);

#endif
