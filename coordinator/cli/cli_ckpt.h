/* SPDX-License-Identifier: MIT
 *
 * The actions of `muster ckpt`. Each has its own options and its own help, so each is a verb to the functions
 * that speak (cli.h): "muster ckpt inspect: …".
 */
#ifndef MUSTER_COORDINATOR_CLI_CKPT_H
#define MUSTER_COORDINATOR_CLI_CKPT_H

#include "coordinator/cli/cli_options.h"

extern const struct cli_verb cli_ckpt_inspect;
extern const struct cli_verb cli_ckpt_diff;
extern const struct cli_verb cli_ckpt_prune;
extern const struct cli_verb cli_ckpt_export;
extern const struct cli_verb cli_ckpt_import;

#endif
