/* SPDX-License-Identifier: MIT
 *
 * `muster generate`: checks the words and becomes muster-worker, which has the kernels.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/launch.h"

static const char generate_usage[] =
    "usage: muster generate RUN_OR_CHECKPOINT [--prompt TEXT] [--tokens N] [--temperature T] [--top-k K]\n"
    "                       [--seed S]\n"
    "\n"
    "Writes text with a trained model: the newest good checkpoint of a run, or the one that is named. The\n"
    "same words give the same text.\n"
    "\n"
    "  -p, --prompt TEXT    what to go on from (a new line)\n"
    "      --tokens N       how much (200)\n"
    "      --temperature T  0 = always the likeliest (0.8)\n"
    "      --top-k K        choose among the K likeliest; 0 = all (0)\n"
    "      --seed S         (1)\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster generate out/quickstart --prompt '#include <'\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 there is no checkpoint, or the options are wrong\n";

static enum muster_status generate_become_worker(char **argv, struct muster_error *err)
{
    char worker[FS_PATH_MAX];
    enum muster_status status = launch_worker_path(worker, err);
    if (status != MUSTER_OK)
        return status;
    execv(worker, argv);
    return muster_error_set_errno(err, errno, "start %s", worker);
}

static int generate_run(struct cli *cli, int argc, char **argv)
{
    const char *prompt = "";
    int64_t tokens = 200, top_k = 0, seed = 1;
    double temperature = 0.8;
    const struct cli_option options[] = {
        {.name = "prompt", .letter = 'p', .kind = CLI_OPTION_TEXT, .value = &prompt},
        {.name = "tokens", .kind = CLI_OPTION_INT, .value = &tokens, .max = 1e9},
        {.name = "temperature", .kind = CLI_OPTION_NUMBER, .value = &temperature, .max = 100},
        {.name = "top-k", .kind = CLI_OPTION_INT, .value = &top_k, .max = 1e9},
        {.name = "seed", .kind = CLI_OPTION_INT, .value = &seed, .max = 9007199254740992.0},
    };
    struct cli_operands operands;
    struct muster_error err;
    char text[4][32];
    int exit_code;
    if (!cli_options_parse(cli, options, 5, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, 1, "the run or checkpoint", &exit_code))
        return exit_code;
    snprintf(text[0], sizeof text[0], "%" PRId64, tokens);
    snprintf(text[1], sizeof text[1], "%.17g", temperature);
    snprintf(text[2], sizeof text[2], "%" PRId64, top_k);
    snprintf(text[3], sizeof text[3], "%" PRId64, seed);
    const char *words[] = {"muster-worker", "--generate", operands.items[0], "--prompt", prompt,
                           "--tokens",      text[0],      "--temperature",   text[1],    "--top-k",
                           text[2],         "--seed",     text[3],           NULL};
    generate_become_worker((char **)words, &err);
    return cli_fail(cli, &err);
}

const struct cli_verb cli_verb_generate = {
    .name = "generate",
    .summary = "write text with a trained model",
    .usage = generate_usage,
    .run = generate_run,
};
