/* SPDX-License-Identifier: MIT
 *
 * The hosts of a run while it goes on, be they a hostfile's or a Slurm allocation's: who is struck off after
 * a death, who is asked whether it is back, and what the next launch gets. On this host alone there is
 * nothing to decide.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_ROSTER_H
#define MUSTER_COORDINATOR_SUPERVISE_ROSTER_H

#include "base/fs.h"
#include "coordinator/cli/launch.h"
#include "coordinator/job/job.h"

struct supervise_roster {
    struct hosts *hosts; /* the run's */
    const char *worker;  /* must be on every host */
    double retry_s;      /* how long a host is left out */
    int failures_max;
    const struct launch_supervision *supervision; /* where a person is told */
};

/** After a death at `now_s` (Unix time): leaves out hosts that do not answer, when one was lost (srun does
 * not say so: there they are always asked), or the host where a rank died once too often. */
void supervise_roster_blame(struct supervise_roster *roster, const struct launch_outcome *outcome,
                            double now_s);

/** Asks the hosts that are left out and due whether they are back. \param training  a launch is going on
 * without them \return true when one is back. Takes up to eight seconds, rarely (every retry_s). */
bool supervise_roster_come_back(struct supervise_roster *roster, double now_s, bool training);

/**
 * Ranks and hosts of the next launch: as the person has them while no host is left out; otherwise fewer ranks
 * and, for the hosts of a file, a file in the run's folder, its name in `path`. PEER when no host is left.
 */
enum muster_status supervise_roster_choose(const struct supervise_roster *roster,
                                           struct launch_options *options, const char *folder,
                                           char path[FS_PATH_MAX], struct muster_error *err);

#endif
