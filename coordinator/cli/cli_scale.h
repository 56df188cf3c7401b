/* SPDX-License-Identifier: MIT
 *
 * What the parts of `muster scale` share: one measurement, its points (a number of ranks each) and where they
 * are kept.
 */
#ifndef MUSTER_COORDINATOR_CLI_SCALE_H
#define MUSTER_COORDINATOR_CLI_SCALE_H

#include "base/fs.h"
#include "coordinator/cli/cli_job.h"
#include "coordinator/cluster/placement.h"
#include "coordinator/cluster/scale.h"

struct cli_scale {
    struct cli *cli;
    struct job *job;              /* changed for each point */
    const struct cli_job *opened; /* it, with its model */
    const char *ranks, *hostfile;
    bool weak, submit, collect;
    int64_t steps, warmup, repeat;
    int64_t batch, workers; /* of the job as it was */
    char program[FS_PATH_MAX], folder[FS_PATH_MAX];
    struct placement placement; /* of the most ranks; empty with --submit and --collect */
    struct scale scale;
};

/** One point, once: run, submitted or collected. What went wrong with it is told, and false is returned; the
 * others go on. */
bool cli_scale_point_measure(struct cli_scale *s, struct scale_point *point, int64_t round);

/** Table, CSV and pictures of what the points have. \return an exit code */
int cli_scale_report(struct cli_scale *s);

#endif
