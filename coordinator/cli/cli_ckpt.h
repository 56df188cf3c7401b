/* SPDX-License-Identifier: MIT
 *
 * The actions of `muster ckpt`. Each has its own options and its own help, so each is a verb to the functions
 * that speak (cli.h): "muster ckpt inspect: …".
 */
#ifndef MUSTER_COORDINATOR_CLI_CKPT_H
#define MUSTER_COORDINATOR_CLI_CKPT_H

#include "coordinator/cli/cli_options.h"

/** What every action has: where it speaks, what it was given, the lines it says. */
struct cli_ckpt_action {
    struct cli *cli;
    struct cli_operands operands;
    struct muster_error err;
    struct text text;
    int exit_code; /* when it did not begin */
};

/** Reads options and exactly `operand_count` operands. \param operand  what is missing when one is \return
 * false when that failed, was told, and exit_code says how */
bool cli_ckpt_begin(struct cli_ckpt_action *action, struct cli *cli, const struct cli_option *options,
                    int option_count, int argc, char **argv, int operand_count, const char *operand);

/** Prints the lines, and the error where the status is one. \return the exit code */
int cli_ckpt_end(struct cli_ckpt_action *action, enum muster_status status);

extern const struct cli_verb cli_ckpt_inspect;
extern const struct cli_verb cli_ckpt_diff;
extern const struct cli_verb cli_ckpt_prune;
extern const struct cli_verb cli_ckpt_export;
extern const struct cli_verb cli_ckpt_import;

#endif
