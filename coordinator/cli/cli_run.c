/* SPDX-License-Identifier: MIT
 *
 * `muster run`: nothing is started before everything that can be known to be wrong was told.
 */
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/supervise/supervise.h"

static const char run_usage[] =
    "usage: muster run JOB.yaml [-n RANKS] [--resume auto|never|PATH] [--hostfile FILE] [--no-restart]\n"
    "                  [--dry-run] [-- MPIRUN_OPTION…]\n"
    "\n"
    "Checks the job, says the plan, and trains on that many ranks. When ranks die they are started again "
    "from\n"
    "the newest checkpoint (section `supervisor` of the job file says how often). A run that was stopped is\n"
    "continued by the same command, with any number of ranks.\n"
    "\n"
    "  -n, --ranks N        how many ranks (1)\n"
    "      --resume auto    from the newest checkpoint that verifies, if there is one\n"
    "      --resume never   from the beginning\n"
    "      --resume PATH    from this checkpoint; without --resume as the job says\n"
    "      --hostfile FILE  hosts as mpirun reads them; without it this host, or the batch system's\n"
    "      --no-restart     a death ends the run\n"
    "      --dry-run        print the command and stop\n"
    "  -h, --help           this text\n"
    "\n"
    "Ctrl-C (SIGINT), SIGTERM, SIGHUP or SIGUSR1 once: save a checkpoint after the step and stop with 75.\n"
    "Ctrl-C or SIGTERM twice: end at once.\n"
    "\n"
    "example:\n"
    "  muster run configs/quickstart.yaml -n 2\n"
    "\n"
    "exit codes: 0 trained to the end, 1 failed and given up, 2 the job is wrong, 75 stopped with a "
    "checkpoint\n";

struct run_words {
    int64_t ranks;
    const char *resume, *hostfile;
    bool dry_run, no_restart;
    char *const *extra;
    int extra_count;
};

/* The first paragraph of the plan. Too many ranks are refused here. */
static enum muster_status plan_summary(const struct cli_job *job, int64_t ranks, struct text *out,
                                       struct muster_error *err)
{
    struct plan *plan = NULL;
    struct text text;
    struct plan_topology topology = cli_job_topology(job->job, ranks, 0);
    text_init(&text);
    enum muster_status status = plan_create(job->job, &job->config, &topology, &plan, err);
    if (status == MUSTER_OK)
        status = plan_print(plan, job->job, false, &text, err);
    if (status == MUSTER_OK) {
        const char *end = strstr(text.data, "\n\n");
        text_append(out, text.data, end != NULL ? (size_t)(end - text.data) + 1 : text.length);
    }
    text_release(&text);
    plan_destroy(plan);
    return status;
}

static int run_supervised(struct cli *cli, const struct cli_job *job, const struct launch_options *launch,
                          bool no_restart)
{
    const struct supervise_options options = {
        .job = job->job, .launch = *launch, .no_restart = no_restart, .err = cli->err};
    struct muster_error err;
    int exit_code;
    if (supervise_run(&options, &exit_code, &err) != MUSTER_OK)
        return cli_fail(cli, &err);
    return exit_code;
}

static int run_job(struct cli *cli, const struct cli_job *job, const struct run_words *words)
{
    char worker[FS_PATH_MAX];
    struct launch_options options = {
        .ranks = (int)words->ranks,
        .cores = cli_job_cores(),
        .worker = worker,
        .job_path = job->job->path,
        .resume = words->resume,
        .hostfile = words->hostfile,
        .extra = words->extra,
        .extra_count = words->extra_count,
        .live = isatty(fileno(cli->out)) == 1,
    };
    struct launch_command command = {.argc = 0};
    struct muster_error err;
    struct text text;
    text_init(&text);
    enum muster_status status = plan_summary(job, words->ranks, &text, &err);
    if (status == MUSTER_OK)
        status = launch_worker_path(worker, &err);
    if (status == MUSTER_OK && words->dry_run)
        status = launch_command_build(&command, &options, &err);
    if (status == MUSTER_OK && words->dry_run)
        launch_command_print(&command, &text);
    int exit_code = status == MUSTER_OK ? cli_write(cli, &text) : cli_fail(cli, &err);
    if (exit_code == MUSTER_EXIT_DONE && !words->dry_run)
        exit_code = run_supervised(cli, job, &options, words->no_restart);
    launch_command_release(&command);
    text_release(&text);
    return exit_code;
}

static int run_run(struct cli *cli, int argc, char **argv)
{
    struct run_words words = {.ranks = 1};
    const struct cli_option options[] = {
        {.name = "ranks",
         .letter = 'n',
         .kind = CLI_OPTION_INT,
         .value = &words.ranks,
         .min = 1,
         .max = 65536},
        {.name = "resume", .kind = CLI_OPTION_TEXT, .value = &words.resume},
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &words.hostfile},
        {.name = "no-restart", .kind = CLI_OPTION_FLAG, .value = &words.no_restart},
        {.name = "dry-run", .kind = CLI_OPTION_FLAG, .value = &words.dry_run},
    };
    struct cli_operands operands;
    struct cli_job job;
    int exit_code;
    if (!cli_options_parse(cli, options, 5, argc, argv, &operands, &exit_code))
        return exit_code;
    words.extra = operands.items + operands.count_before_dashes;
    words.extra_count = operands.count - operands.count_before_dashes;
    operands.count = operands.count_before_dashes;
    if (!cli_operands_count(cli, &operands, 1, 1, "the job file", &exit_code))
        return exit_code;
    exit_code = cli_job_open(cli, operands.items[0], CLI_JOB_DATA_ALL, NULL, &job);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = run_job(cli, &job, &words);
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_verb_run = {
    .name = "run",
    .summary = "train, and continue a run that was stopped or died",
    .usage = run_usage,
    .run = run_run,
};
