/* SPDX-License-Identifier: MIT
 *
 * What the verbs of `muster` share. A verb is a row of a table (main.c): it parses its own words, does its
 * work through the libraries, and returns the exit code of the process. Verbs write to the two streams they
 * are given and never exit.
 */
#ifndef MUSTER_COORDINATOR_CLI_H
#define MUSTER_COORDINATOR_CLI_H

#include <stdio.h>

#include "base/error.h"
#include "base/text.h"

struct cli;

struct cli_verb {
    const char *name;
    const char *summary; /* one line of `muster --help` */
    const char *usage;   /* all of `muster VERB --help`, with an example */
    /** argv[0] is the verb's name. Returns an exit code of base/error.h. */
    int (*run)(struct cli *cli, int argc, char **argv);
};

struct cli {
    FILE *out, *err;
    const struct cli_verb *verb;
};

extern const struct cli_verb cli_verb_bench;
extern const struct cli_verb cli_verb_cancel;
extern const struct cli_verb cli_verb_check;
extern const struct cli_verb cli_verb_ckpt;
extern const struct cli_verb cli_verb_data;
extern const struct cli_verb cli_verb_doctor;
extern const struct cli_verb cli_verb_generate;
extern const struct cli_verb cli_verb_plan;
extern const struct cli_verb cli_verb_run;
extern const struct cli_verb cli_verb_scale;
extern const struct cli_verb cli_verb_status;
extern const struct cli_verb cli_verb_submit;

/** Says "muster VERB: what happened" and returns the status's exit code. */
int cli_fail(struct cli *cli, const struct muster_error *err);

/** As cli_fail for words that are wrong: bad input, with a pointer to the verb's help. */
int cli_fail_usage(struct cli *cli, const struct muster_error *err);

/** Writes the text to the output; an output that cannot be written to (a full disk) is a failure. */
int cli_write(struct cli *cli, const struct text *text);

/** Writes and releases what there is of the text, then says the error, if it is one. */
int cli_finish(struct cli *cli, enum muster_status status, const struct muster_error *err, struct text *text);

#endif
