/* SPDX-License-Identifier: MIT
 *
 * `muster doctor`: starts ranks exactly as `muster run` would and has them look around instead of train
 * (worker/doctor/doctor.h). Here only what prevents that is told.
 */
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/launch.h"

static const char doctor_usage[] =
    "usage: muster doctor [JOB.yaml [--set KEY=VALUE]…] [-n RANKS] [--hostfile FILE] [--floor GB_PER_S]\n"
    "                     [-- MPIRUN_OPTION…]\n"
    "\n"
    "Starts that many ranks as `muster run` would and has them look at what a run needs: that they see each\n"
    "other, the same program, job, data and run folder; clocks, memory, free space and write speed; a GPU\n"
    "each; the speed of an all-reduce. Prints a table, and under each red line what to do.\n"
    "\n"
    "  -n, --ranks N        how many ranks (1)\n"
    "      --set KEY=VALUE  as if the job file said so; again for each key\n"
    "      --hostfile FILE  hosts as mpirun reads them\n"
    "      --floor X        an all-reduce below X GB/s is red (0.1)\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster doctor configs/quickstart.yaml -n 2\n"
    "\n"
    "exit codes: 0 nothing stands in the way, 1 a line is red, 2 wrong words\n";

struct doctor_words {
    int64_t ranks;
    double floor_gb_per_s;
    const char *hostfile, *job;
    struct job_settings settings;
    char *const *extra;
    int extra_count;
};

static void red_print(struct cli *cli, const char *what, const char *found, const char *remedy)
{
    fprintf(cli->out, "%-5s %-16s %s\n%-5s %-16s   -> %s\n", "RED", what, found, "", "", remedy);
}

static int ranks_start(struct cli *cli, const struct launch_command *command)
{
    const struct launch_supervision supervision = {.err = cli->err,
                                                   .repeat_ms = LAUNCH_REPEAT_MS,
                                                   .kill_after_ms = LAUNCH_KILL_AFTER_MS,
                                                   .orphan_ms = LAUNCH_ORPHAN_MS};
    struct launch_outcome outcome;
    struct muster_error err;
    fflush(cli->out);
    if (launch_run(command, &supervision, &outcome, &err) != MUSTER_OK) {
        red_print(cli, "MPI", err.text, "muster needs Open MPI's mpirun in PATH");
        return MUSTER_EXIT_FAILED;
    }
    if (outcome.failed)
        red_print(cli, "MPI", outcome.cause,
                  "what mpirun says above; does `mpirun -n 2 hostname` work on these hosts?");
    return outcome.exit_code == MUSTER_EXIT_DONE ? MUSTER_EXIT_DONE : MUSTER_EXIT_FAILED;
}

static int doctor_start(struct cli *cli, const struct doctor_words *words)
{
    char worker[FS_PATH_MAX], floor[32];
    const char *const worker_options[] = {"--doctor", "--floor", floor, NULL};
    const struct launch_options options = {
        .ranks = (int)words->ranks,
        .cores = cli_job_cores(),
        .worker = worker,
        .worker_options = worker_options,
        .job_path = words->job,
        .settings = &words->settings,
        .hostfile = words->hostfile,
        .extra = words->extra,
        .extra_count = words->extra_count,
    };
    struct launch_command command = {.argc = 0};
    struct muster_error err;
    snprintf(floor, sizeof floor, "%.17g", words->floor_gb_per_s);
    int exit_code = MUSTER_EXIT_FAILED;
    if (launch_worker_path(worker, &err) != MUSTER_OK)
        red_print(cli, "programs", err.text, "install muster-worker beside muster");
    else if (launch_command_build(&command, &options, &err) != MUSTER_OK)
        exit_code = cli_fail(cli, &err);
    else
        exit_code = ranks_start(cli, &command);
    launch_command_release(&command);
    return exit_code;
}

static int doctor_run_verb(struct cli *cli, int argc, char **argv)
{
    struct doctor_words words = {.ranks = 1, .floor_gb_per_s = 0.1};
    const struct cli_option options[] = {
        CLI_OPTION_RANKS(&words.ranks),
        CLI_OPTION_SETTINGS(&words.settings),
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &words.hostfile},
        {.name = "floor", .kind = CLI_OPTION_NUMBER, .value = &words.floor_gb_per_s, .min = 0, .max = 1e6},
    };
    struct cli_operands operands;
    int exit_code;
    if (!cli_options_parse(cli, options, 4, argc, argv, &operands, &exit_code))
        return exit_code;
    words.extra = cli_operands_split(&operands, &words.extra_count);
    if (!cli_operands_count(cli, &operands, 0, 1, "the job file", &exit_code))
        return exit_code;
    words.job = operands.count == 1 ? operands.items[0] : NULL;
    return doctor_start(cli, &words);
}

const struct cli_verb cli_verb_doctor = {
    .name = "doctor",
    .summary = "look at hosts, network, disks and GPUs before a run",
    .usage = doctor_usage,
    .run = doctor_run_verb,
};
