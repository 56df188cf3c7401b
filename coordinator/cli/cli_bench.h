/* SPDX-License-Identifier: MIT
 *
 * What the actions of `muster bench` share: the ranks measure, because the coordinator has neither kernels nor
 * MPI.
 */
#ifndef MUSTER_COORDINATOR_CLI_BENCH_H
#define MUSTER_COORDINATOR_CLI_BENCH_H

#include <stdbool.h>

#include "coordinator/cli/cli.h"

extern const struct cli_verb cli_bench_comm;

/**
 * Runs so many workers with these words (up to NULL) to their end.
 * \param hostfile  NULL: this host \param one_a_host  ranks are dealt out to the hosts in turn
 * \return the exit code; what went wrong was told
 */
int cli_bench_start(struct cli *cli, int ranks, const char *hostfile, bool one_a_host,
                    const char *const *words);

#endif
