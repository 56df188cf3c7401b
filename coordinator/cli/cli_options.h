/* SPDX-License-Identifier: MIT
 *
 * Options of a verb as a table. Long options take "--name VALUE" or "--name=VALUE", short ones "-n VALUE" or
 * "-nVALUE"; "--" ends the options. --help is understood by every verb.
 */
#ifndef MUSTER_COORDINATOR_CLI_OPTIONS_H
#define MUSTER_COORDINATOR_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/cli/cli.h"

enum cli_option_kind {
    CLI_OPTION_FLAG,   /* bool */
    CLI_OPTION_INT,    /* int64_t in [min, max] */
    CLI_OPTION_NUMBER, /* double in [min, max] */
    CLI_OPTION_TEXT,   /* const char *, points into argv */
};

struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* 0 = none */
    enum cli_option_kind kind;
    void *value;
    double min, max;
};

/** What was not an option, in order; points into argv. */
struct cli_operands {
    char **items;
    int count;
    int count_before_dashes; /* those that stood before "--" */
};

/**
 * Reads argv[1…] (and reorders it). \return false when the verb is to return *exit_code at once: its help was
 * printed, or an error was told.
 */
bool cli_options_parse(struct cli *cli, const struct cli_option *options, int count, int argc, char **argv,
                       struct cli_operands *operands, int *exit_code);

/**
 * The second word of verbs such as `ckpt ls`. \return its index in `names`; -1 when the verb is to return
 * *exit_code at once, as above.
 */
int cli_action_find(struct cli *cli, int argc, char **argv, const char *const *names, int count,
                    int *exit_code);

/** The operands of a verb that takes from `min` to `max` of them; `what` names one in the error. */
bool cli_operands_count(struct cli *cli, const struct cli_operands *operands, int min, int max,
                        const char *what, int *exit_code);

#endif
