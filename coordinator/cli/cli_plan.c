/* SPDX-License-Identifier: MIT
 *
 * `muster plan`: what a job will need, from the same function that the run uses. Data files are opened only
 * where the model's shape depends on them, so that a laptop can plan for a cluster that holds the data.
 */
#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"

static const char plan_usage[] =
    "usage: muster plan JOB.yaml [-n RANKS] [--threads T] [--tensors] [--json]\n"
    "\n"
    "Says who does what and what every rank allocates, to the byte. Starts nothing. The data need not be\n"
    "there, except for an mlp, whose width they decide.\n"
    "\n"
    "  -n, --ranks N    how many ranks (1)\n"
    "      --threads T  threads of each rank (as the job says; otherwise this machine's cores / ranks)\n"
    "      --tensors    also every tensor's place\n"
    "      --json       all of it, for a program\n"
    "  -h, --help       this text\n"
    "\n"
    "example:\n"
    "  muster plan configs/gpt2-124m.yaml -n 8\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the job is wrong or does not fit that many ranks\n";

static int plan_say(struct cli *cli, const struct cli_job *job, struct plan_topology topology, bool json,
                    bool tensors)
{
    struct plan *plan = NULL;
    struct muster_error err;
    struct text text;
    text_init(&text);
    enum muster_status status = plan_create(job->job, &job->config, &topology, &plan, &err);
    if (status == MUSTER_OK && json)
        status = plan_write_json(plan, job->job, &text, &err);
    else if (status == MUSTER_OK)
        status = plan_print(plan, job->job, tensors, &text, &err);
    int exit_code = status == MUSTER_OK ? cli_write(cli, &text) : cli_fail(cli, &err);
    text_release(&text);
    plan_destroy(plan);
    return exit_code;
}

static int plan_run(struct cli *cli, int argc, char **argv)
{
    int64_t ranks = 1, threads = 0;
    bool json = false, tensors = false;
    const struct cli_option options[] = {
        {.name = "ranks", .letter = 'n', .kind = CLI_OPTION_INT, .value = &ranks, .min = 1, .max = 65536},
        {.name = "threads", .kind = CLI_OPTION_INT, .value = &threads, .min = 1, .max = 4096},
        {.name = "json", .kind = CLI_OPTION_FLAG, .value = &json},
        {.name = "tensors", .kind = CLI_OPTION_FLAG, .value = &tensors},
    };
    struct cli_operands operands;
    struct cli_job job;
    int exit_code;
    if (!cli_options_parse(cli, options, 4, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, 1, "the job file", &exit_code))
        return exit_code;
    exit_code = cli_job_open(cli, operands.items[0], CLI_JOB_DATA_NEEDED, NULL, &job);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = plan_say(cli, &job, cli_job_topology(job.job, ranks, threads), json, tensors);
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_verb_plan = {
    .name = "plan",
    .summary = "say who does what and what every rank allocates",
    .usage = plan_usage,
    .run = plan_run,
};
