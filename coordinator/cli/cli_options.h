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
#include "coordinator/job/job.h"

enum cli_option_kind {
    CLI_OPTION_FLAG,   /* bool */
    CLI_OPTION_INT,    /* int64_t in [min, max] */
    CLI_OPTION_NUMBER, /* double in [min, max] */
    CLI_OPTION_TEXT,   /* const char *, points into argv */
    CLI_OPTION_SET,    /* struct job_settings; may be given again and again */
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

/** Rows that several verbs have. */
#define CLI_OPTION_RANKS(place)                                                                              \
    {                                                                                                        \
        .name = "ranks", .letter = 'n', .kind = CLI_OPTION_INT, .value = (place), .min = 1, .max = 65536     \
    }
#define CLI_OPTION_SETTINGS(place)                                                                           \
    {                                                                                                        \
        .name = "set", .kind = CLI_OPTION_SET, .value = (place)                                              \
    }

/**
 * Reads argv[1…] (and reorders it). \return false when the verb is to return *exit_code at once: its help was
 * printed, or an error was told.
 */
bool cli_options_parse(struct cli *cli, const struct cli_option *options, int count, int argc, char **argv,
                       struct cli_operands *operands, int *exit_code);

/** Takes the words behind "--", which are meant for another program, off the operands. */
char *const *cli_operands_split(struct cli_operands *operands, int *count);

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
