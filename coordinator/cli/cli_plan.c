/* SPDX-License-Identifier: MIT
 *
 * `muster plan`: what a job will need, from the same function that the run uses, and how long its steps will
 * take. Data files are opened only
 * where the model's shape depends on them, so that a laptop can plan for a cluster that holds the data.
 */
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/cli_predict.h"

static const char plan_usage[] =
    "usage: muster plan JOB.yaml [-n RANKS | --nodes N --gpus-per-node G] [--profile NAME] [--device "
    "cpu|cuda]\n"
    "                   [--threads T] [--set KEY=VALUE]… [--tensors] [--json]\n"
    "\n"
    "Says who does what, what every rank allocates, to the byte, and, for a machine whose profile is known, "
    "how\n"
    "long a step takes. Starts nothing. The data need not be there, except for an mlp, whose width they "
    "decide.\n"
    "\n"
    "  -n, --ranks N          how many ranks (1)\n"
    "      --nodes N          how many hosts\n"
    "      --gpus-per-node G  ranks on each host (as the profile says)\n"
    "      --profile NAME     predict for this machine: a shipped profile (h200-ndr ...) or a file; without "
    "it\n"
    "                         as the job's machine.profile says, which is what `muster bench machine` "
    "measured\n"
    "      --device cpu|cuda  plan for CPUs or GPUs (as the job or the profile says, otherwise CPUs)\n"
    "      --threads T        threads of each rank (as the job says; otherwise the host's cores / ranks)\n"
    "      --set KEY=VALUE    as if the job file said so; again for each key\n"
    "      --tensors          also every tensor's place\n"
    "      --json             all of it, for a program\n"
    "  -h, --help             this text\n"
    "\n"
    "example:\n"
    "  muster plan configs/gpt2-124m.yaml -n 8\n"
    "  muster plan configs/gpt2-124m.yaml --nodes 2 --gpus-per-node 8 --profile h200-ndr\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the job or profile is wrong or does not fit that many ranks\n";

/* The plan as text, with the prediction where the machine is known. */
static enum muster_status plan_write(const struct plan *plan, const struct job *job,
                                     const struct cli_predict *predict, bool json, bool tensors,
                                     struct text *out, struct muster_error *err)
{
    struct cost_prediction cost;
    struct text text;
    text_init(&text);
    enum muster_status status =
        json ? plan_write_json(plan, job, &text, err) : plan_print(plan, job, tensors, out, err);
    if (status == MUSTER_OK && predict->profile != NULL) {
        status = cost_predict(plan, predict->profile, &predict->cluster, &cost, err);
        if (status == MUSTER_OK && json)
            status = cost_write_json(&cost, predict->profile, &predict->cluster, text.data, out, err);
        else if (status == MUSTER_OK)
            status = cost_print(&cost, plan, predict->profile, &predict->cluster, out, err);
    } else if (json) {
        text_append(out, text.data, text.length);
    }
    text_release(&text);
    return status;
}

static int plan_say(struct cli *cli, const struct cli_job *job, const struct cli_predict *predict, bool json,
                    bool tensors)
{
    struct plan *plan = NULL;
    struct muster_error err;
    struct text text;
    text_init(&text);
    enum muster_status status = plan_create(job->job, &job->config, &predict->topology, &plan, &err);
    if (status == MUSTER_OK)
        status = plan_write(plan, job->job, predict, json, tensors, &text, &err);
    int exit_code = status == MUSTER_OK ? cli_write(cli, &text) : cli_fail(cli, &err);
    text_release(&text);
    plan_destroy(plan);
    return exit_code;
}

static int plan_run(struct cli *cli, int argc, char **argv)
{
    struct cli_predict_words words = {.ranks = 0};
    bool json = false, tensors = false;
    struct job_settings settings = {.count = 0};
    const struct cli_option options[] = {
        CLI_OPTION_SETTINGS(&settings),
        CLI_OPTION_RANKS(&words.ranks),
        {.name = "nodes", .kind = CLI_OPTION_INT, .value = &words.nodes, .min = 1, .max = 65536},
        {.name = "gpus-per-node",
         .kind = CLI_OPTION_INT,
         .value = &words.ranks_per_node,
         .min = 1,
         .max = 4096},
        {.name = "profile", .kind = CLI_OPTION_TEXT, .value = &words.profile},
        {.name = "device", .kind = CLI_OPTION_TEXT, .value = &words.device},
        {.name = "threads", .kind = CLI_OPTION_INT, .value = &words.threads, .min = 1, .max = 4096},
        {.name = "json", .kind = CLI_OPTION_FLAG, .value = &json},
        {.name = "tensors", .kind = CLI_OPTION_FLAG, .value = &tensors},
    };
    struct cli_operands operands;
    struct cli_job job;
    struct cli_predict predict = {.profile = NULL};
    int exit_code;
    if (!cli_options_parse(cli, options, 9, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, 1, "the job file", &exit_code))
        return exit_code;
    exit_code = cli_job_open(cli, operands.items[0], &settings, CLI_JOB_DATA_NEEDED, NULL, &job);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = cli_predict_open(cli, &job, &words, &predict);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = plan_say(cli, &job, &predict, json, tensors);
    cli_predict_release(&predict);
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_verb_plan = {
    .name = "plan",
    .summary = "say who does what, what every rank allocates, and how long a step takes",
    .usage = plan_usage,
    .run = plan_run,
};
