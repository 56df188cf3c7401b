/* SPDX-License-Identifier: MIT
 *
 * `muster check`: everything that can be known to be wrong before a run, and the two views of the table of
 * keys (the resolved job and the reference page).
 */
#include <string.h>

#include "coordinator/ckpt/ckpt.h"
#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/cli_predict.h"
#include "coordinator/cost/machine.h"

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

/* A checkpoint that is not here may be on the cluster; one that is here must be one. */
static void check_resume(const struct job *job, struct job_report *report)
{
    const char *resume = job->checkpoint.resume;
    struct muster_error cause;
    struct ckpt *ckpt = NULL;
    if (strcmp(resume, "auto") == 0 || strcmp(resume, "never") == 0)
        return;
    bool here = fs_exists(resume);
    if (here && ckpt_open(resume, &ckpt, &cause) == MUSTER_OK) {
        ckpt_close(ckpt);
        return;
    }
    struct text *out = here ? &report->errors : &report->notes;
    job_spot_print(job, job->spots.resume, out);
    if (here)
        text_print(out, "checkpoint.resume: %s: give a checkpoint's folder, .../step-...\n", cause.text);
    else
        text_print(out,
                   "checkpoint.resume: WARNING: there is no %s on this host; the hosts that train need it\n",
                   resume);
    report->error_count += here;
}

static bool profile_is_named(const struct job *job)
{
    return strcmp(job->machine.profile, "auto") != 0 && strcmp(job->machine.profile, "none") != 0;
}

static bool profile_is_here(const struct job *job)
{
    char path[FS_PATH_MAX];
    return machine_profile_find(job->machine.profile, path, NULL) == MUSTER_OK && fs_exists(path);
}

/* A name is one of those that are shipped; a file may be on the cluster only. */
static void check_profile(const struct job *job, struct job_report *report)
{
    const char *profile = job->machine.profile;
    char path[FS_PATH_MAX];
    struct muster_error cause;
    if (!profile_is_named(job) || profile_is_here(job))
        return;
    bool known = machine_profile_find(profile, path, &cause) == MUSTER_OK;
    struct text *out = known ? &report->notes : &report->errors;
    job_spot_print(job, job->spots.profile, out);
    if (known)
        text_print(out, "machine.profile: WARNING: there is no %s on this host: no prediction\n", profile);
    else
        text_print(out, "machine.profile: %s\n", cause.text);
    report->error_count += !known;
}

/* The job, its data, and what it names besides them: all that is wrong, at once. A run does without a
 * profile, and looks for its checkpoint itself. */
static int check_open(struct cli *cli, const char *path, const struct job_settings *settings, FILE *notes,
                      struct cli_job *job)
{
    struct job_report report;
    struct muster_error err = {.status = MUSTER_OK};
    job_report_init(&report);
    enum muster_status status = cli_job_read(path, settings, CLI_JOB_DATA_ALL, &report, job, &err);
    if (job->job != NULL) {
        check_resume(job->job, &report);
        check_profile(job->job, &report);
    }
    if (status == MUSTER_OK && report.error_count > 0)
        status = MUSTER_ERR_BAD_INPUT;
    fputs(report.notes.data, notes);
    return cli_job_report(cli, status, &err, &report, path);
}

/* Whether a host of the job's machine holds it, where the job names one and may fill it with ranks. */
static int check_memory(struct cli *cli, const struct cli_job *job, struct text *out)
{
    const struct cli_predict_words words = {.nodes = 1};
    struct cli_predict predict = {.profile = NULL};
    struct cost_prediction cost;
    struct muster_error err;
    struct plan *plan = NULL;
    if (!profile_is_named(job->job) || !profile_is_here(job->job))
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
    exit_code = check_open(cli, operands.items[0], &settings, resolved ? cli->err : cli->out, &job);
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
