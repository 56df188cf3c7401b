/* SPDX-License-Identifier: MIT
 *
 * `muster ckpt`: the words of the command; what it says is in coordinator/ckpt/ckpt_command.c.
 */
#include "coordinator/cli/cli_options.h"
#include "coordinator/ckpt/ckpt.h"

static const char ckpt_usage[] =
    "usage: muster ckpt ls|verify|hash PATH\n"
    "\n"
    "PATH is a checkpoint, a folder of checkpoints, or the folder of a run.\n"
    "\n"
    "  ls      the checkpoints, newest first\n"
    "  verify  read every byte and compare it with what was recorded when it was written\n"
    "  hash    the state of each as 32 digits; equal digits mean bit-identical weights and optimizer\n"
    "\n"
    "  -h, --help  this text\n"
    "\n"
    "example:\n"
    "  muster ckpt verify out/quickstart\n"
    "\n"
    "exit codes: 0 done, 1 a checkpoint does not verify, 2 there is no checkpoint\n";

static int ckpt_run(struct cli *cli, int argc, char **argv)
{
    static const char *const names[] = {"ls", "verify", "hash"};
    static enum muster_status (*const commands[])(const char *, struct text *, struct muster_error *) = {
        ckpt_command_list, ckpt_command_verify, ckpt_command_hash};
    struct cli_operands operands;
    struct muster_error err;
    struct text text;
    int exit_code;
    int action = cli_action_find(cli, argc, argv, names, 3, &exit_code);
    if (action < 0 || !cli_options_parse(cli, NULL, 0, argc - 1, argv + 1, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, 1, "the folder", &exit_code))
        return exit_code;
    text_init(&text);
    enum muster_status status = commands[action](operands.items[0], &text, &err);
    exit_code = cli_write(cli, &text);
    if (status != MUSTER_OK)
        exit_code = cli_fail(cli, &err);
    text_release(&text);
    return exit_code;
}

const struct cli_verb cli_verb_ckpt = {
    .name = "ckpt",
    .summary = "list, verify and hash checkpoints",
    .usage = ckpt_usage,
    .run = ckpt_run,
};
