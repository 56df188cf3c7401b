/* SPDX-License-Identifier: MIT
 *
 * `muster data`: text into token shards, and what is in data files.
 */
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/data/dataset.h"

static const char data_usage[] =
    "usage: muster data prepare --output DIR [--suffixes LIST] [--val-fraction F] [--max-bytes N] FILE…\n"
    "       muster data info [--format F] [--seq-len N] FILE…\n"
    "\n"
    "prepare turns text into token shards, a byte a token: DIR/train.bin and DIR/val.bin. Folders are "
    "walked.\n"
    "  -o, --output DIR      where the shards go; those of an earlier preparation are replaced, others are "
    "not\n"
    "      --suffixes LIST   which files of a folder are text (.txt,.md,.c,.h)\n"
    "      --val-fraction F  the share kept for validation (0.05; 0 = none)\n"
    "      --max-bytes N     stop after so much text\n"
    "\n"
    "info tells format, counts and the largest token of data files.\n"
    "      --format F        auto, bytes, u16, u32, llmc or idx (auto)\n"
    "      --seq-len N       tokens a sample (1024)\n"
    "\n"
    "  -h, --help            this text\n"
    "\n"
    "example:\n"
    "  muster data prepare --output out/quickstart/data /usr/include\n"
    "  muster data info out/quickstart/data/train.bin\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 no text, or files that are not data\n";

static int data_prepare(struct cli *cli, int argc, char **argv)
{
    struct dataset_prepare_options prepare = {.val_fraction = 0.05};
    const struct cli_option options[] = {
        {.name = "output", .letter = 'o', .kind = CLI_OPTION_TEXT, .value = &prepare.output_dir},
        {.name = "suffixes", .kind = CLI_OPTION_TEXT, .value = &prepare.suffixes},
        {.name = "val-fraction", .kind = CLI_OPTION_NUMBER, .value = &prepare.val_fraction, .max = 0.9},
        {.name = "max-bytes", .kind = CLI_OPTION_INT, .value = &prepare.bytes_max, .min = 1, .max = 1e15},
    };
    struct cli_operands operands;
    struct muster_error err;
    struct text text;
    int exit_code;
    if (!cli_options_parse(cli, options, 4, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, argc, "a file or folder of text", &exit_code))
        return exit_code;
    if (prepare.output_dir == NULL) {
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "--output DIR is missing");
        return cli_fail_usage(cli, &err);
    }
    if (prepare.val_fraction == 0)
        prepare.val_fraction = -1; /* there 0 means the default */
    prepare.inputs = (const char *const *)operands.items;
    prepare.input_count = operands.count;
    text_init(&text);
    return cli_finish(cli, dataset_prepare(&prepare, &text, &err), &err, &text);
}

static bool data_format_find(struct cli *cli, const char *name, enum job_data_format *format, int *exit_code)
{
    const char *names[JOB_DATA_IDX + 1];
    struct muster_error err;
    for (int i = 0; i <= JOB_DATA_IDX; i++) {
        names[i] = job_data_format_name((enum job_data_format)i);
        *format = (enum job_data_format)i;
        if (strcmp(names[i], name) == 0)
            return true;
    }
    const char *near = text_nearest(name, names, JOB_DATA_IDX + 1);
    muster_error_set(
        &err, MUSTER_ERR_BAD_INPUT, "--format: \"%s\" is none of auto, bytes, u16, u32, llmc, idx%s%s%s",
        name, near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "");
    *exit_code = cli_fail_usage(cli, &err);
    return false;
}

static int data_info(struct cli *cli, int argc, char **argv)
{
    const char *format_name = "auto";
    int64_t seq_len = 1024;
    enum job_data_format format;
    const struct cli_option options[] = {
        {.name = "format", .kind = CLI_OPTION_TEXT, .value = &format_name},
        {.name = "seq-len", .kind = CLI_OPTION_INT, .value = &seq_len, .min = 1, .max = 1 << 20},
    };
    struct cli_operands operands;
    struct muster_error err;
    struct text text;
    int exit_code;
    if (!cli_options_parse(cli, options, 2, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, argc, "a data file", &exit_code) ||
        !data_format_find(cli, format_name, &format, &exit_code))
        return exit_code;
    struct job_source *items = alloc_zeroed((size_t)operands.count, sizeof *items);
    if (items == NULL) {
        muster_error_set(&err, MUSTER_ERR_NO_MEMORY, "no memory for %d file names", operands.count);
        return cli_fail(cli, &err);
    }
    for (int i = 0; i < operands.count; i++)
        items[i].path = operands.items[i];
    const struct job_sources sources = {.items = items, .count = operands.count};
    text_init(&text);
    enum muster_status status = dataset_describe(&sources, format, seq_len, &text, &err);
    alloc_free(items);
    return cli_finish(cli, status, &err, &text);
}

static int data_run(struct cli *cli, int argc, char **argv)
{
    static const char *const names[] = {"prepare", "info"};
    int exit_code;
    int action = cli_action_find(cli, argc, argv, names, 2, &exit_code);
    if (action < 0)
        return exit_code;
    return action == 0 ? data_prepare(cli, argc - 1, argv + 1) : data_info(cli, argc - 1, argv + 1);
}

const struct cli_verb cli_verb_data = {
    .name = "data",
    .summary = "make token shards from text; look into data files",
    .usage = data_usage,
    .run = data_run,
};
