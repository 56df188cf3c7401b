/* SPDX-License-Identifier: MIT
 *
 * How verbs speak: one shape for every error, one place that notices an output which cannot be written.
 */
#include "coordinator/cli/cli.h"

#include <errno.h>

int cli_fail(struct cli *cli, const struct muster_error *err)
{
    fflush(cli->out);
    fprintf(cli->err, "muster %s: %s\n", cli->verb->name, err->text);
    return muster_status_exit_code(err->status);
}

int cli_fail_usage(struct cli *cli, const struct muster_error *err)
{
    fprintf(cli->err, "muster %s: %s\nTry: muster %s --help\n", cli->verb->name, err->text, cli->verb->name);
    return MUSTER_EXIT_BAD_INPUT;
}

int cli_write(struct cli *cli, const struct text *text)
{
    struct muster_error err;
    if (text->failed) {
        muster_error_set(&err, MUSTER_ERR_NO_MEMORY, "no memory for the output");
        return cli_fail(cli, &err);
    }
    if (fwrite(text->data, 1, text->length, cli->out) != text->length || fflush(cli->out) != 0) {
        muster_error_set_errno(&err, errno, "write the output");
        return cli_fail(cli, &err);
    }
    return MUSTER_EXIT_DONE;
}

int cli_finish(struct cli *cli, enum muster_status status, const struct muster_error *err, struct text *text)
{
    int exit_code = cli_write(cli, text);
    if (status != MUSTER_OK)
        exit_code = cli_fail(cli, err);
    text_release(text);
    return exit_code;
}
