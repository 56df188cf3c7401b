/* SPDX-License-Identifier: MIT
 *
 * Whether hosts answer: before a run, because mpirun says of a host it cannot reach only that some daemon did
 * not start, and takes minutes to say it; after a death, to go on with those that are left; and later, to see
 * which are back.
 */
#ifndef MUSTER_COORDINATOR_REACH_H
#define MUSTER_COORDINATOR_REACH_H

#include "coordinator/cluster/hosts.h"

enum { REACH_WHY_SIZE = 512 };

/* The hosts of an allocation are asked by a step that does nothing: Slurm starts it in this folder, and calls
 * a node lost by itself only after SlurmdTimeout, five minutes by default. */
struct reach_question {
    const char *worker; /* must be there, and be a program */
    const char *folder; /* must be there: the ranks start in it */
    int connect_s;      /* for a host to take up the conversation; ssh's ConnectTimeout */
    int timeout_ms;     /* for all hosts to have answered: a slow login shell is no dead host */
};

struct reach_answer {
    bool asked; /* by the caller: this host is to be asked */
    bool good;
    char why[REACH_WHY_SIZE]; /* "ssh: connect to host node3 port 22: No route to host"; "" when good */
};

/**
 * Asks hosts, all at once: those of a file through ssh or what OMPI_MCA_plm_rsh_agent (5.0:
 * PRTE_MCA_plm_ssh_agent) names, those of an allocation by srun. This host is good without being asked.
 * \param answers  one for each host \return not MUSTER_OK when the question could not be asked at all (no
 * ssh, no srun); the answers mean nothing then.
 */
enum muster_status reach_ask(const struct hosts *hosts, const struct reach_question *question,
                             struct reach_answer *answers, struct muster_error *err);

#endif
