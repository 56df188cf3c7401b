/* SPDX-License-Identifier: MIT
 *
 * `muster check`: everything that can be known to be wrong before a run, and the two views of the table of
 * keys (the resolved job and the reference page).
 */
#include <string.h>

#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/cli_predict.h"

static const char check_usage[] =
    "usage: muster check JOB.yaml [--set KEY=VALUE]… [--resolved]\n"
    "       muster check --reference\n"
    "\n"
    "Reads a job file and the beginning of its data and tells everything that is wrong with them, as\n"
    "file:line:column: key: what is wrong; and whether it fits a host of the machine that the job names\n"
    "(machine.profile). Starts nothing and writes nothing.\n"
    "\n"
    "      --set KEY=VALUE  as if the file said so; again for each key\n"
    "      --resolved       print the job with every key and default written out\n"
    "      --reference      print the reference page of all keys (docs/JOB_FILE.md)\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster check configs/quickstart.yaml\n"
    "\n"
    "exit codes: 0 the job is good, 1 the check failed, 2 the job is wrong\n";

static int check_reference(struct cli *cli)
{
    struct text page;
    text_init(&page);
    job_write_reference(&page);
    int exit_code = cli_write(cli, &page);
    text_release(&page);
    return exit_code;
}

/* Whether a host of the job's machine holds it, where the job names one and may fill it with ranks. */
static int check_memory(struct cli *cli, const struct cli_job *job, struct text *out)
{
    const struct cli_predict_words words = {.nodes = 1};
    struct cli_predict predict = {.profile = NULL};
    struct cost_prediction cost;
    struct muster_error err;
    struct plan *plan = NULL;
    const char *wanted = job->job->machine.profile;
    if (strcmp(wanted, "auto") == 0 || strcmp(wanted, "none") == 0)
        return MUSTER_EXIT_DONE;
    int exit_code = cli_predict_open(cli, job, &words, &predict);
    if (exit_code == MUSTER_EXIT_DONE && predict.topology.ranks <= job->job->parallel.logical_workers) {
        enum muster_status status = plan_create(job->job, &job->config, &predict.topology, &plan, &err);
        if (status == MUSTER_OK)
            status = cost_predict(plan, predict.profile, &predict.cluster, &cost, &err);
        if (status != MUSTER_OK)
            exit_code = cli_fail(cli, &err);
        else {
            text_print(out, "note: on one host of %d rank%s like %s:\n", plan->ranks,
                       plan->ranks == 1 ? "" : "s", predict.profile->name);
            cost_print_memory(&cost, plan, predict.profile, &predict.cluster, out);
        }
    }
    plan_destroy(plan);
    cli_predict_release(&predict);
    return exit_code;
}

static int check_report(struct cli *cli, const struct job *job, bool resolved, const struct text *memory)
{
    struct text text;
    struct muster_error err;
    int exit_code;
    text_init(&text);
    if (resolved && job_write_yaml(job, &text, &err) != MUSTER_OK) {
        exit_code = cli_fail(cli, &err);
    } else {
        if (!resolved)
            text_print(&text, "ok: %s: %s, %lld steps of %lld samples, on up to %lld ranks\n", job->path,
                       job->name, (long long)job->train.max_steps, (long long)job->train.global_batch_size,
                       (long long)job->parallel.logical_workers);
        text_append(&text, memory->data, memory->length);
        exit_code = cli_write(cli, &text);
    }
    text_release(&text);
    return exit_code;
}

static int check_run(struct cli *cli, int argc, char **argv)
{
    bool resolved = false, reference = false;
    struct job_settings settings = {.count = 0};
    const struct cli_option options[] = {
        {.name = "resolved", .kind = CLI_OPTION_FLAG, .value = &resolved},
        CLI_OPTION_SETTINGS(&settings),
        {.name = "reference", .kind = CLI_OPTION_FLAG, .value = &reference},
    };
    struct cli_operands operands;
    struct cli_job job;
    struct text memory;
    int exit_code;
    if (!cli_options_parse(cli, options, 3, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, !reference, !reference, "the job file", &exit_code))
        return exit_code;
    if (reference)
        return check_reference(cli);
    exit_code = cli_job_open(cli, operands.items[0], &settings, CLI_JOB_DATA_ALL,
                             resolved ? cli->err : cli->out, &job);
    text_init(&memory);
    if (exit_code == MUSTER_EXIT_DONE && !resolved)
        exit_code = check_memory(cli, &job, &memory);
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = check_report(cli, job.job, resolved, &memory);
    text_release(&memory);
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_verb_check = {
    .name = "check",
    .summary = "tell everything that is wrong with a job file",
    .usage = check_usage,
    .run = check_run,
};
