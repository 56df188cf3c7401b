/* SPDX-License-Identifier: MIT
 *
 * The machine and the cluster that `muster plan` predicts for: from the person's words, the job, and what was
 * measured on this host.
 */
#ifndef MUSTER_COORDINATOR_CLI_PREDICT_H
#define MUSTER_COORDINATOR_CLI_PREDICT_H

#include "coordinator/cli/cli_job.h"
#include "coordinator/cost/cost.h"

/** As given; 0 and NULL where not. */
struct cli_predict_words {
    int64_t ranks, threads, nodes, ranks_per_node;
    const char *profile, *device;
};

struct cli_predict {
    struct machine_profile *profile; /* NULL: nothing is predicted */
    struct plan_topology topology;
    struct cost_cluster cluster;
};

/**
 * Settles where the job would run. A profile that a person named decides over CPU or GPU; one that was only
 * found is left aside where it does not fit. \return an exit code; errors were told. Release in every case.
 */
int cli_predict_open(struct cli *cli, const struct cli_job *job, const struct cli_predict_words *words,
                     struct cli_predict *out);
void cli_predict_release(struct cli_predict *predict);

#endif
