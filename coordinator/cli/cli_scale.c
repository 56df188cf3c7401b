/* SPDX-License-Identifier: MIT
 *
 * `muster scale`: short runs of one job on different numbers of ranks, by the same `muster run` that a person
 * would type. Repeats go round all numbers of ranks before any is measured again, so that a slow minute of
 * the machine falls on all of them.
 */
#include "coordinator/cli/cli_scale.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/text.h"
#include "coordinator/cli/cli_options.h"

enum { RANKS_MAX = 64, NUMBER_SIZE = 24 };

static const char scale_usage[] =
    "usage: muster scale JOB.yaml --ranks 1,2,4,8 [--weak] [--steps N] [--warmup N] [--repeat N]\n"
    "                    [--hostfile FILE] [--submit | --collect] [--set KEY=VALUE]…\n"
    "\n"
    "Runs some steps of the job on each number of ranks and says how its speed grows: medians with their "
    "spread,\n"
    "speed-up, efficiency, what of the communication was waited for, joules where this host meters them. "
    "Writes a\n"
    "CSV and, where gnuplot is installed, two SVG plots to OUTPUT_DIR/scale. Nothing is resumed from or kept "
    "of the\n"
    "job's own run.\n"
    "\n"
    "      --ranks LIST     numbers of ranks, with commas between\n"
    "      --set KEY=VALUE  as if the job file said so; again for each key\n"
    "      --weak           the batch grows with the ranks (without it: the same batch on more ranks)\n"
    "      --steps N        measured steps of a run (20)\n"
    "      --warmup N       steps before them that do not count (3)\n"
    "      --repeat N       runs of each number of ranks (3)\n"
    "      --hostfile FILE  as for muster run\n"
    "      --submit         each number of ranks as a Slurm job of its own, once\n"
    "      --collect        only read what such jobs have measured\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster scale configs/quickstart.yaml --ranks 1,2\n"
    "\n"
    "exit codes: 0 done, 1 a run failed, 2 the job is wrong or does not fit that many ranks\n";

/* "1,2,4" into numbers; 0 for anything else. */
static int ranks_parse(const char *text, int ranks[RANKS_MAX])
{
    int count = 0;
    while (count < RANKS_MAX) {
        char word[NUMBER_SIZE];
        size_t length = strcspn(text, ",");
        int64_t number;
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), text);
        if (length >= sizeof word || !text_parse_int64(word, &number) || number < 1 || number > 65536)
            return 0;
        ranks[count++] = (int)number;
        if (text[length] == '\0')
            return count;
        text += length + 1;
    }
    return 0;
}

static enum muster_status ranks_check(const struct cli_scale *s, struct muster_error *err)
{
    for (int i = 0; i < s->scale.count; i++) {
        int ranks = s->scale.points[i].ranks, first = s->scale.points[0].ranks;
        if (s->weak && ranks % first != 0)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--weak: %d ranks are no multiple of %d",
                                    ranks, first);
        int64_t usable = s->weak ? s->workers * ranks / first : s->workers;
        if (ranks > usable)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%d ranks, but the job has parallel.logical_workers %lld for them", ranks,
                                    (long long)usable);
    }
    return MUSTER_OK;
}

static enum muster_status scaling_prepare(struct cli_scale *s, const int *ranks, int count,
                                          struct muster_error *err)
{
    struct job *job = s->job;
    s->batch = job->train.global_batch_size;
    s->workers = job->parallel.logical_workers;
    job->train.max_steps = s->steps + s->warmup;
    job->scheduler.type = JOB_SCHEDULER_CONSTANT;
    job->scheduler.warmup_steps = 0;
    job->eval.interval = 0;
    job->checkpoint.save_interval = 0;
    job->slurm.requeue = false;
    job->logging.jsonl = true;
    enum muster_status status = fs_program_path(s->program, err);
    if (status == MUSTER_OK)
        status = fs_path_join(s->folder, job->output_dir, "scale", err);
    if (status == MUSTER_OK)
        status = scale_init(&s->scale, job->name, s->weak, ranks, count, err);
    if (status == MUSTER_OK)
        status = ranks_check(s, err);
    const struct placement_request request = {
        .job = job, .hostfile = s->hostfile, .ranks = s->scale.points[s->scale.count - 1].ranks};
    if (status == MUSTER_OK && !s->submit && !s->collect)
        status = placement_open(&s->placement, &request, err);
    return status == MUSTER_OK ? fs_folder_create(s->folder, err) : status;
}

static int scaling_run(struct cli_scale *s, const int *ranks, int count)
{
    struct muster_error err;
    bool good = true;
    if (scaling_prepare(s, ranks, count, &err) != MUSTER_OK)
        return cli_fail(s->cli, &err);
    for (int64_t round = 0; round < s->repeat && good; round++) {
        for (int i = 0; i < s->scale.count; i++)
            good &= cli_scale_point_measure(s, &s->scale.points[i], round);
    }
    int exit_code = s->submit ? MUSTER_EXIT_DONE : cli_scale_report(s);
    return good ? exit_code : MUSTER_EXIT_FAILED;
}

static int run_scale(struct cli *cli, int argc, char **argv)
{
    struct cli_scale s = {.cli = cli, .steps = 20, .warmup = 3, .repeat = 3};
    struct job_settings settings = {.count = 0};
    const struct cli_option options[] = {
        {.name = "ranks", .letter = 'n', .kind = CLI_OPTION_TEXT, .value = &s.ranks},
        CLI_OPTION_SETTINGS(&settings),
        {.name = "weak", .kind = CLI_OPTION_FLAG, .value = &s.weak},
        {.name = "steps", .kind = CLI_OPTION_INT, .value = &s.steps, .min = 1, .max = 1e6},
        {.name = "warmup", .kind = CLI_OPTION_INT, .value = &s.warmup, .min = 0, .max = 1e6},
        {.name = "repeat", .kind = CLI_OPTION_INT, .value = &s.repeat, .min = 1, .max = 1000},
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &s.hostfile},
        {.name = "submit", .kind = CLI_OPTION_FLAG, .value = &s.submit},
        {.name = "collect", .kind = CLI_OPTION_FLAG, .value = &s.collect},
    };
    struct cli_operands operands;
    struct cli_job job;
    struct muster_error err;
    int ranks[RANKS_MAX], exit_code;
    if (!cli_options_parse(cli, options, 9, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, 1, "the job file", &exit_code))
        return exit_code;
    int count = s.ranks != NULL ? ranks_parse(s.ranks, ranks) : 0;
    if (count == 0 || (s.submit && s.collect)) {
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "%s",
                         count == 0
                             ? "--ranks wants numbers from 1 to 65536 with commas between, such as 1,2,4"
                             : "--submit and --collect are two steps");
        return cli_fail_usage(cli, &err);
    }
    if (s.submit || s.collect)
        s.repeat = 1;
    exit_code = cli_job_open(cli, operands.items[0], &settings, CLI_JOB_DATA_ALL, NULL, &job);
    s.job = job.job;
    s.opened = &job;
    if (exit_code == MUSTER_EXIT_DONE)
        exit_code = scaling_run(&s, ranks, count);
    scale_release(&s.scale);
    placement_release(&s.placement);
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_verb_scale = {
    .name = "scale",
    .summary = "measure a job on several numbers of ranks",
    .usage = scale_usage,
    .run = run_scale,
};
