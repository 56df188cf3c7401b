/* SPDX-License-Identifier: MIT
 *
 * `muster ckpt`: which action, and the three that take nothing but a path. What they say is in
 * coordinator/ckpt/ckpt_command.c; the actions with options are in cli_ckpt_actions.c.
 */
#include "coordinator/cli/cli_ckpt.h"

#include "coordinator/ckpt/ckpt_tools.h"

static const char ckpt_usage[] =
    "usage: muster ckpt ls|verify|hash PATH\n"
    "       muster ckpt inspect|diff|prune|export|import …    (muster ckpt ACTION --help)\n"
    "\n"
    "PATH is a checkpoint, a folder of checkpoints, or the folder of a run.\n"
    "\n"
    "  ls       the checkpoints, newest first, and copies on the nodes' own disks that can be seen from "
    "here\n"
    "  verify   read every byte and compare it with what was recorded when it was written\n"
    "  hash     the state of each as 32 digits; equal digits mean bit-identical weights and optimizer\n"
    "  inspect  what is in one: step, sizes, and the numbers of every tensor\n"
    "  diff     in which tensors and job keys two differ\n"
    "  prune    remove old ones; what stays is verified first\n"
    "  export   the weights for Hugging Face's transformers, NumPy or HDF5\n"
    "  import   a Hugging Face model as the start of a job\n"
    "\n"
    "  -h, --help  this text\n"
    "\n"
    "example:\n"
    "  muster ckpt verify out/quickstart\n"
    "\n"
    "exit codes: 0 done, 1 a checkpoint does not verify, 2 there is no checkpoint\n";

enum { ACTION_COUNT = 8, PLAIN_COUNT = 3 };

static int plain_run(struct cli *cli, int action, int argc, char **argv)
{
    static enum muster_status (*const commands[PLAIN_COUNT])(
        const char *, struct text *, struct muster_error *) = {ckpt_command_ls, ckpt_command_verify,
                                                               ckpt_command_hash};
    struct cli_ckpt_action plain;
    if (!cli_ckpt_begin(&plain, cli, NULL, 0, argc, argv, 1, "the folder"))
        return plain.exit_code;
    return cli_ckpt_end(&plain, commands[action](plain.operands.items[0], &plain.text, &plain.err));
}

static int ckpt_run(struct cli *cli, int argc, char **argv)
{
    static const char *const names[ACTION_COUNT] = {"ls",   "verify", "hash",   "inspect",
                                                    "diff", "prune",  "export", "import"};
    static const struct cli_verb *const actions[ACTION_COUNT] = {NULL,
                                                                 NULL,
                                                                 NULL,
                                                                 &cli_ckpt_inspect,
                                                                 &cli_ckpt_diff,
                                                                 &cli_ckpt_prune,
                                                                 &cli_ckpt_export,
                                                                 &cli_ckpt_import};
    int exit_code;
    int action = cli_action_find(cli, argc, argv, names, ACTION_COUNT, &exit_code);
    if (action < 0)
        return exit_code;
    if (action < PLAIN_COUNT)
        return plain_run(cli, action, argc - 1, argv + 1);
    cli->verb = actions[action];
    return cli->verb->run(cli, argc - 1, argv + 1);
}

const struct cli_verb cli_verb_ckpt = {
    .name = "ckpt",
    .summary = "look into checkpoints, verify, compare, prune, export and import them",
    .usage = ckpt_usage,
    .run = ckpt_run,
};
