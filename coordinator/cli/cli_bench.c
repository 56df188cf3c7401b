/* SPDX-License-Identifier: MIT
 *
 * `muster bench`: has muster-worker measure, because the coordinator has neither kernels nor MPI. One row of
 * the table for each thing that can be measured.
 */
#include "coordinator/cli/cli_bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/launch.h"
#include "coordinator/cost/machine.h"

enum { PROFILE_BYTES_MAX = 1 << 20 };

static const char bench_usage[] =
    "usage: muster bench machine [--output FILE] [--device cpu|cuda] [--hostfile FILE] [--brief]\n"
    "       muster bench comm …    (muster bench comm --help)\n"
    "\n"
    "Measures what predictions are made of (about half a minute), with nothing else running on this host: "
    "matrix\n"
    "products, attention, memory, and the link between two ranks. Writes a machine profile, which `muster "
    "plan` and\n"
    "the summary at the end of a run use from then on.\n"
    "\n"
    "      --output FILE      the profile ($XDG_CACHE_HOME/muster/machine.yaml, or "
    "~/.cache/muster/machine.yaml)\n"
    "      --device cpu|cuda  what is measured (cpu)\n"
    "      --hostfile FILE    two hosts as mpirun reads them: also the link between them\n"
    "      --brief            only to see that it works: the numbers are not to be relied on\n"
    "  -h, --help             this text\n"
    "\n"
    "example:\n"
    "  muster bench machine\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the options are wrong\n";

struct machine_words {
    const char *output, *device, *hostfile;
    bool brief;
};

int cli_bench_start(struct cli *cli, int ranks, const char *hostfile, bool one_a_host,
                    const char *const *words)
{
    static char *const spread[] = {"--map-by", "node"};
    char worker[FS_PATH_MAX];
    struct launch_options options = {.ranks = ranks,
                                     .extra = spread,
                                     .extra_count = one_a_host ? 2 : 0,
                                     .cores = cli_job_cores(),
                                     .worker = worker,
                                     .worker_options = words,
                                     .hostfile = hostfile};
    const struct launch_supervision supervision = {.err = cli->err,
                                                   .repeat_ms = LAUNCH_REPEAT_MS,
                                                   .kill_after_ms = LAUNCH_KILL_AFTER_MS,
                                                   .orphan_ms = LAUNCH_ORPHAN_MS};
    struct launch_command command = {.argc = 0};
    struct muster_error err;
    struct launch_outcome outcome = {.exit_code = MUSTER_EXIT_FAILED};
    enum muster_status status = launch_worker_path(worker, &err);
    if (status == MUSTER_OK)
        status = launch_command_build(&command, &options, &err);
    if (status == MUSTER_OK)
        status = launch_run(&command, &supervision, &outcome, &err);
    if (status == MUSTER_OK && outcome.failed)
        status = muster_error_set(&err, MUSTER_ERR_PEER, "%s", outcome.cause);
    launch_command_release(&command);
    return status == MUSTER_OK ? outcome.exit_code : cli_fail(cli, &err);
}

static int profile_show(struct cli *cli, const char *path)
{
    char *yaml = NULL;
    size_t bytes = 0;
    struct text text;
    struct muster_error err;
    text_init(&text);
    enum muster_status status = fs_file_read(path, PROFILE_BYTES_MAX, &yaml, &bytes, &err);
    if (status == MUSTER_OK)
        text_print(&text, "# %s\n%s", path, yaml);
    int exit_code = status == MUSTER_OK ? cli_write(cli, &text) : cli_fail(cli, &err);
    alloc_free(yaml);
    text_release(&text);
    return exit_code;
}

/* The folder of the cache is made; a folder that a person names has to be there. */
static enum muster_status output_choose(const char *output, char path[FS_PATH_MAX], struct muster_error *err)
{
    if (output != NULL)
        return fs_path_join(path, "", output, err);
    enum muster_status status = machine_profile_cache_path(path, err);
    char folder[FS_PATH_MAX];
    if (status != MUSTER_OK)
        return status;
    memcpy(folder, path, sizeof folder);
    *strrchr(folder, '/') = '\0';
    return fs_folder_create(folder, err);
}

static int bench_machine(struct cli *cli, const struct machine_words *words)
{
    char path[FS_PATH_MAX];
    struct muster_error err = {.status = MUSTER_OK};
    bool device = words->device != NULL && strcmp(words->device, "cuda") == 0;
    if (words->device != NULL && !device && strcmp(words->device, "cpu") != 0) {
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "--device: \"%.32s\" is neither cpu nor cuda",
                         words->device);
        return cli_fail_usage(cli, &err);
    }
    if (output_choose(words->output, path, &err) != MUSTER_OK)
        return cli_fail(cli, &err);
    const char *const rates[] = {"--measure", path, device ? "cuda" : "cpu", words->brief ? "brief" : "full",
                                 NULL};
    const char *const link[] = {"--measure-link", path, NULL};
    int exit_code = cli_bench_start(cli, 1, NULL, false, rates);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = cli_bench_start(cli, 2, NULL, false, link);
    if (exit_code == MUSTER_EXIT_DONE && words->hostfile != NULL)
        exit_code = cli_bench_start(cli, 2, words->hostfile, true, link);
    return exit_code == MUSTER_EXIT_DONE ? profile_show(cli, path) : exit_code;
}

static int bench_machine_run(struct cli *cli, int argc, char **argv)
{
    struct machine_words words = {.output = NULL};
    const struct cli_option options[] = {
        {.name = "output", .kind = CLI_OPTION_TEXT, .value = &words.output},
        {.name = "device", .kind = CLI_OPTION_TEXT, .value = &words.device},
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &words.hostfile},
        {.name = "brief", .kind = CLI_OPTION_FLAG, .value = &words.brief},
    };
    struct cli_operands operands;
    int exit_code;
    if (!cli_options_parse(cli, options, 4, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 0, 0, "no operand", &exit_code))
        return exit_code;
    return bench_machine(cli, &words);
}

static int bench_comm_run(struct cli *cli, int argc, char **argv)
{
    cli->verb = &cli_bench_comm;
    return cli->verb->run(cli, argc, argv);
}

static const struct {
    const char *name;
    int (*run)(struct cli *cli, int argc, char **argv);
} bench_actions[] = {
    {"machine", bench_machine_run},
    {"comm", bench_comm_run},
};
enum { ACTION_COUNT = sizeof bench_actions / sizeof bench_actions[0] };

static int bench_run(struct cli *cli, int argc, char **argv)
{
    const char *names[ACTION_COUNT];
    int exit_code;
    for (int i = 0; i < ACTION_COUNT; i++)
        names[i] = bench_actions[i].name;
    int action = cli_action_find(cli, argc, argv, names, ACTION_COUNT, &exit_code);
    return action < 0 ? exit_code : bench_actions[action].run(cli, argc - 1, argv + 1);
}

const struct cli_verb cli_verb_bench = {
    .name = "bench",
    .summary = "measure this machine, for predictions; time collectives",
    .usage = bench_usage,
    .run = bench_run,
};
