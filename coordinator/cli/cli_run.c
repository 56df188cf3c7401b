/* SPDX-License-Identifier: MIT
 *
 * `muster run`: nothing is started before everything that can be known to be wrong was told.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cluster/placement.h"
#include "coordinator/cluster/reach.h"
#include "coordinator/cluster/slurm.h"
#include "coordinator/cluster/slurm_requeue.h"
#include "coordinator/supervise/supervise.h"

enum { CONNECT_S = 8, REACH_MS = 30000 };

static const char run_usage[] =
    "usage: muster run JOB.yaml [-n RANKS] [--set KEY=VALUE]… [--resume auto|never|PATH] [--hostfile FILE]\n"
    "                  [--no-restart] [--allow-change KEY,...] [--requeue] [--dry-run] [-- MPIRUN_OPTION…]\n"
    "\n"
    "Checks the job, says the plan, and trains on that many ranks. When ranks die they are started again "
    "from\n"
    "the newest checkpoint (section `supervisor` of the job file says how often). A run that was stopped is\n"
    "continued by the same command, with any number of ranks.\n"
    "\n"
    "  -n, --ranks N        how many ranks (1; with a hostfile or inside a Slurm allocation: one a place)\n"
    "      --set KEY=VALUE  as if the job file said so: --set train.max_steps=100; again for each key\n"
    "      --resume auto    from the newest checkpoint that verifies, if there is one\n"
    "      --resume never   from the beginning; checkpoints that are there are set aside, not deleted\n"
    "      --resume PATH    from this checkpoint; without --resume as the job says. A restart goes on from "
    "what\n"
    "                       the run has saved since\n"
    "      --allow-change KEY,...  go on from a checkpoint though these keys of the job, which change what "
    "is\n"
    "                       computed, are not what they were\n"
    "      --hostfile FILE  hosts as mpirun reads them; without it this host, or the batch system's\n"
    "      --no-restart     a death ends the run\n"
    "      --requeue        in a Slurm batch job: a run that stopped with a checkpoint goes back to the "
    "queue\n"
    "      --dry-run        print the command and stop\n"
    "  -h, --help           this text\n"
    "\n"
    "Ctrl-C (SIGINT), SIGTERM, SIGHUP or SIGUSR1 once: save a checkpoint after the step and stop with 75.\n"
    "So does the end of what reads its output through a pipe. Ctrl-C or SIGTERM twice: end at once.\n"
    "\n"
    "example:\n"
    "  muster run configs/quickstart.yaml -n 2\n"
    "\n"
    "exit codes: 0 trained to the end, 1 failed and given up, 2 the job is wrong, 75 stopped with a "
    "checkpoint\n";

struct run_words {
    int64_t ranks;
    const char *resume, *hostfile, *allow_changes;
    struct job_settings settings;
    bool dry_run, no_restart, requeue;
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
                          struct hosts *hosts, bool no_restart)
{
    const struct supervise_options options = {
        .job = job->job, .launch = *launch, .hosts = hosts, .no_restart = no_restart, .err = cli->err};
    struct muster_error err;
    int exit_code;
    if (supervise_run(&options, &exit_code, &err) != MUSTER_OK)
        return cli_fail(cli, &err);
    return exit_code;
}

/* A line for each host that cannot be used; returns how many. */
static int hosts_refuse(FILE *out, const struct hosts *hosts, const struct reach_answer *answers)
{
    int lost = 0;
    for (int i = 0; i < hosts->count; i++) {
        lost += !answers[i].good;
        if (!answers[i].good)
            fprintf(out, "%s: %s\n", hosts->items[i].name, answers[i].why);
    }
    return lost;
}

/* Hosts that do not answer are named before anything is started. Those of an allocation are Slurm's to vouch
 * for. */
static enum muster_status hosts_reach(struct cli *cli, const struct hosts *hosts, const char *worker,
                                      struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    const struct reach_question question = {
        .worker = worker, .folder = folder, .connect_s = CONNECT_S, .timeout_ms = REACH_MS};
    if (hosts->source != HOSTS_FILE)
        return MUSTER_OK;
    if (getcwd(folder, sizeof folder) == NULL)
        return muster_error_set_errno(err, errno, "find the current folder");
    struct reach_answer *answers = alloc_zeroed((size_t)hosts->count, sizeof *answers);
    if (answers == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to ask the hosts");
    for (int i = 0; i < hosts->count; i++)
        answers[i].asked = true;
    enum muster_status status = reach_ask(hosts, &question, answers, err);
    int lost = status == MUSTER_OK ? hosts_refuse(cli->err, hosts, answers) : 0;
    if (lost > 0)
        status = muster_error_set(err, MUSTER_ERR_PEER, "%d of %d hosts cannot be used; nothing was started",
                                  lost, hosts->count);
    alloc_free(answers);
    return status;
}

static enum muster_status run_prepare(struct cli *cli, const struct cli_job *job,
                                      const struct run_words *words, struct placement *placement,
                                      char worker[FS_PATH_MAX], struct text *text, struct muster_error *err)
{
    struct placement_request request = {.job = job->job,
                                        .hostfile = words->hostfile,
                                        .ranks = words->ranks,
                                        .launcher_words = words->extra_count > 0};
    enum muster_status status = placement_open(placement, &request, err);
    if (status == MUSTER_OK)
        status = plan_summary(job, placement->ranks, text, err);
    if (status == MUSTER_OK)
        status = launch_worker_path(worker, err);
    if (status == MUSTER_OK && !words->dry_run)
        status = hosts_reach(cli, &placement->hosts, worker, err);
    if (status == MUSTER_OK)
        placement_print(placement, job->job, text);
    return status;
}

static int run_launch(struct cli *cli, const struct cli_job *job, const struct run_words *words,
                      const struct launch_options *options, struct hosts *hosts)
{
    slurm_end_time_export();
    int exit_code = run_supervised(cli, job, options, hosts, words->no_restart);
    if (exit_code == MUSTER_EXIT_RESUMABLE && words->requeue)
        slurm_requeue(job->job, cli->err);
    return exit_code;
}

static int run_job(struct cli *cli, const struct cli_job *job, const struct run_words *words)
{
    char worker[FS_PATH_MAX];
    struct launch_command command = {.argc = 0};
    struct placement placement;
    struct muster_error err;
    struct text text;
    text_init(&text);
    enum muster_status status = run_prepare(cli, job, words, &placement, worker, &text, &err);
    struct launch_options options = {
        .ranks = placement.ranks,
        .cores = cli_job_cores(),
        .worker = worker,
        .job_path = job->job->path,
        .settings = &words->settings,
        .resume = words->resume,
        .allow_changes = words->allow_changes,
        .hostfile = words->hostfile,
        .hosts = &placement.hosts,
        .srun = placement.srun,
        .interface = job->job->cluster.interface,
        .forward = &job->job->cluster.forward,
        .extra = words->extra,
        .extra_count = words->extra_count,
        .live = isatty(fileno(cli->out)) == 1,
    };
    if (status == MUSTER_OK && words->dry_run)
        status = launch_command_build(&command, &options, &err);
    if (status == MUSTER_OK && words->dry_run)
        launch_command_print(&command, &text);
    int exit_code = status == MUSTER_OK ? cli_write(cli, &text) : cli_fail(cli, &err);
    if (exit_code == MUSTER_EXIT_DONE && !words->dry_run)
        exit_code = run_launch(cli, job, words, &options, &placement.hosts);
    launch_command_release(&command);
    placement_release(&placement);
    text_release(&text);
    return exit_code;
}

static int run_run(struct cli *cli, int argc, char **argv)
{
    struct run_words words = {.ranks = 0};
    const struct cli_option options[] = {
        CLI_OPTION_RANKS(&words.ranks),
        CLI_OPTION_SETTINGS(&words.settings),
        {.name = "resume", .kind = CLI_OPTION_TEXT, .value = &words.resume},
        {.name = "allow-change", .kind = CLI_OPTION_TEXT, .value = &words.allow_changes},
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &words.hostfile},
        {.name = "no-restart", .kind = CLI_OPTION_FLAG, .value = &words.no_restart},
        {.name = "requeue", .kind = CLI_OPTION_FLAG, .value = &words.requeue},
        {.name = "dry-run", .kind = CLI_OPTION_FLAG, .value = &words.dry_run},
    };
    struct cli_operands operands;
    struct cli_job job;
    int exit_code;
    if (!cli_options_parse(cli, options, 8, argc, argv, &operands, &exit_code))
        return exit_code;
    words.extra = cli_operands_split(&operands, &words.extra_count);
    if (!cli_operands_count(cli, &operands, 1, 1, "the job file", &exit_code))
        return exit_code;
    exit_code = cli_job_open(cli, operands.items[0], &words.settings, CLI_JOB_DATA_ALL, NULL, &job);
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
