/* SPDX-License-Identifier: MIT
 *
 * `muster scale`: short runs of one job on different numbers of ranks, by the same `muster run` that a person
 * would type. Repeats go round all numbers of ranks before any is measured again, so that a slow minute of
 * the machine falls on all of them.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/subprocess.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/cli_predict.h"
#include "coordinator/cluster/energy.h"
#include "coordinator/cluster/placement.h"
#include "coordinator/cluster/scale.h"

enum { RANKS_MAX = 64, NUMBER_SIZE = 24, GNUPLOT_MS = 60000, SUBMIT_MS = 60000 };

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

struct scaling {
    struct cli *cli;
    struct job *job;              /* changed for each point */
    const struct cli_job *opened; /* it, with its model */
    const char *ranks, *hostfile;
    bool weak, submit, collect;
    int64_t steps, warmup, repeat;
    int64_t batch, workers; /* of the job as it was */
    char program[FS_PATH_MAX], folder[FS_PATH_MAX];
    struct placement placement; /* of the most ranks; empty with --submit and --collect */
    struct scale scale;
};

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

static enum muster_status text_replace(char **place, const char *text, struct muster_error *err)
{
    char *copy = alloc_text(text);
    if (copy == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a job");
    alloc_free(*place);
    *place = copy;
    return MUSTER_OK;
}

/* FOLDER/strong-4, or with an ending FOLDER/strong-4.yaml */
static enum muster_status point_path(const struct scaling *s, int ranks, const char *ending,
                                     char path[FS_PATH_MAX], struct muster_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%d%s", s->weak ? "weak" : "strong", ranks, ending);
    return fs_path_join(path, s->folder, name, err);
}

/* As many nodes as that many ranks need. */
static void nodes_set(struct job *job, int64_t tasks_per_node, int ranks)
{
    if (tasks_per_node == 0)
        tasks_per_node = job->slurm.gpus_per_node > 0 ? job->slurm.gpus_per_node : 1;
    job->slurm.ntasks_per_node = tasks_per_node < ranks ? tasks_per_node : ranks;
    job->slurm.nodes = (ranks + job->slurm.ntasks_per_node - 1) / job->slurm.ntasks_per_node;
    if (job->slurm.gpus_per_node > job->slurm.ntasks_per_node)
        job->slurm.gpus_per_node = job->slurm.ntasks_per_node;
}

/* Writes the job of a point: the same work, without what is not part of a step. */
static enum muster_status point_write(struct scaling *s, struct scale_point *point, char path[FS_PATH_MAX],
                                      struct muster_error *err)
{
    struct job *job = s->job;
    char run[FS_PATH_MAX], checkpoints[FS_PATH_MAX];
    struct text yaml;
    int64_t times = s->weak ? point->ranks / s->scale.points[0].ranks : 1;
    int64_t tasks = job->slurm.ntasks_per_node, gpus = job->slurm.gpus_per_node;
    text_init(&yaml);
    enum muster_status status = point_path(s, point->ranks, "", run, err);
    if (status == MUSTER_OK)
        status = point_path(s, point->ranks, ".yaml", path, err);
    if (status == MUSTER_OK)
        status = fs_path_join(checkpoints, run, "checkpoints", err);
    if (status == MUSTER_OK)
        status = text_replace(&job->output_dir, run, err);
    if (status == MUSTER_OK)
        status = text_replace(&job->checkpoint.dir, checkpoints, err);
    job->train.global_batch_size = s->batch * times;
    job->parallel.logical_workers = s->workers * times;
    point->samples = job->train.global_batch_size;
    nodes_set(job, tasks, point->ranks);
    if (status == MUSTER_OK)
        status = job_write_yaml(job, &yaml, err);
    job->slurm.ntasks_per_node = tasks;
    job->slurm.gpus_per_node = gpus;
    if (status == MUSTER_OK && !s->collect)
        status = fs_remove_tree(run, err); /* what an earlier measurement left */
    if (status == MUSTER_OK && !s->collect)
        status = fs_file_write(path, yaml.data, yaml.length, err);
    text_release(&yaml);
    return status;
}

/* How many hosts the ranks of a point fill evenly; 0 when they do not. */
static int hosts_filled(const struct scaling *s, int ranks)
{
    const struct hosts *hosts = &s->placement.hosts;
    int needed = hosts_needed(hosts, ranks);
    if (s->submit || s->collect)
        return ranks % s->job->slurm.nodes == 0 ? (int)s->job->slurm.nodes : 0;
    for (int i = 0; i < needed && needed > 1; i++) {
        if (hosts->items[i].slots * needed != ranks)
            return 0;
    }
    return needed;
}

/* What the cost model says of the job of a point, where this machine's profile is known and the ranks are
 * spread evenly. */
static void point_predict(const struct scaling *s, struct scale_point *point)
{
    int hosts = hosts_filled(s, point->ranks);
    const struct cli_predict_words words = {
        .ranks = point->ranks, .nodes = hosts, .ranks_per_node = hosts > 0 ? point->ranks / hosts : 0};
    struct cli_predict predict = {.profile = NULL};
    struct cost_prediction cost;
    struct plan *plan = NULL;
    if (hosts > 0 && cli_predict_open(s->cli, s->opened, &words, &predict) == MUSTER_EXIT_DONE &&
        predict.profile != NULL &&
        plan_create(s->job, &s->opened->config, &predict.topology, &plan, NULL) == MUSTER_OK &&
        cost_predict(plan, predict.profile, &predict.cluster, &cost, NULL) == MUSTER_OK)
        point->predicted_ms = cost.step_s * 1e3;
    plan_destroy(plan);
    cli_predict_release(&predict);
}

static enum muster_status point_read(struct scaling *s, struct scale_point *point, struct muster_error *err)
{
    char run[FS_PATH_MAX], path[FS_PATH_MAX];
    enum muster_status status = point_path(s, point->ranks, "", run, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, run, "metrics.jsonl", err);
    return status == MUSTER_OK ? scale_point_read(point, path, s->warmup, err) : status;
}

static enum muster_status point_run(struct scaling *s, struct scale_point *point, const char *path,
                                    struct muster_error *err)
{
    char number[NUMBER_SIZE];
    const char *words[] = {s->program,  "run", path, "-n", number, s->hostfile != NULL ? "--hostfile" : NULL,
                           s->hostfile, NULL};
    struct subprocess process;
    struct energy before, after;
    snprintf(number, sizeof number, "%d", point->ranks);
    subprocess_init(&process, words);
    energy_read(&before, "/sys");
    enum muster_status status = subprocess_run(&process, INT_MAX, err);
    energy_read(&after, "/sys");
    subprocess_release(&process);
    if (status == MUSTER_OK)
        status = point_read(s, point, err);
    double joules = energy_between_j(&before, &after);
    if (status == MUSTER_OK && joules >= 0 && s->placement.hosts.count <= 1) {
        point->joules += joules;
        point->steps_run += s->steps + s->warmup;
    }
    return status;
}

static enum muster_status point_submit(struct scaling *s, const char *path, struct muster_error *err)
{
    const char *words[] = {s->program, "submit", path, NULL};
    struct subprocess process;
    subprocess_init(&process, words);
    enum muster_status status = subprocess_run(&process, SUBMIT_MS, err);
    if (status == MUSTER_OK)
        fputs(process.out.data, s->cli->out);
    subprocess_release(&process);
    return status;
}

/* One point, once; what went wrong with it is told, and the others go on. */
static bool point_do(struct scaling *s, struct scale_point *point, int64_t round)
{
    char path[FS_PATH_MAX];
    struct muster_error err = {.text = ""};
    enum muster_status status = point_write(s, point, path, &err);
    if (status == MUSTER_OK && !s->submit && round == 0)
        point_predict(s, point);
    if (status == MUSTER_OK && s->collect)
        status = point_read(s, point, &err);
    else if (status == MUSTER_OK && s->submit)
        status = point_submit(s, path, &err);
    else if (status == MUSTER_OK)
        status = point_run(s, point, path, &err);
    if (status != MUSTER_OK)
        fprintf(s->cli->err, "muster scale: %d rank%s: %s\n", point->ranks, point->ranks == 1 ? "" : "s",
                err.text);
    else if (!s->submit && !s->collect)
        fprintf(s->cli->err, "%lld of %lld: %d rank%s measured\n", (long long)round + 1, (long long)s->repeat,
                point->ranks, point->ranks == 1 ? "" : "s");
    return status == MUSTER_OK;
}

static enum muster_status file_write(const struct scaling *s, const char *ending, const struct text *text,
                                     struct text *said, struct muster_error *err)
{
    char name[64], path[FS_PATH_MAX];
    snprintf(name, sizeof name, "%s%s", s->weak ? "weak" : "strong", ending);
    enum muster_status status = fs_path_join(path, s->folder, name, err);
    if (status == MUSTER_OK)
        status = fs_file_write(path, text->data, text->length, err);
    if (status == MUSTER_OK && said != NULL)
        text_print(said, "  %s\n", path);
    return status;
}

/* Without gnuplot the program for it is kept, and that is said. */
static enum muster_status plot_write(const struct scaling *s, enum scale_plot plot, const char *name,
                                     struct text *said, struct muster_error *err)
{
    char program[64], path[FS_PATH_MAX], ending[40];
    struct text text;
    struct subprocess process;
    text_init(&text);
    scale_print_gnuplot(&s->scale, plot, &text);
    snprintf(ending, sizeof ending, "-%s.gnuplot", name);
    snprintf(program, sizeof program, "%s%s", s->weak ? "weak" : "strong", ending);
    enum muster_status status = file_write(s, ending, &text, NULL, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, s->folder, program, err);
    text_release(&text);
    if (status != MUSTER_OK)
        return status;
    const char *words[] = {"gnuplot", path, NULL};
    subprocess_init(&process, words);
    status = subprocess_run(&process, GNUPLOT_MS, err);
    snprintf(ending, sizeof ending, "-%s.svg", name);
    if (status == MUSTER_OK) {
        status = file_write(s, ending, &process.out, said, err);
    } else if (status == MUSTER_ERR_UNSUPPORTED) {
        text_print(said, "  %s (gnuplot is not installed: no picture)\n", path);
        status = MUSTER_OK;
    }
    subprocess_release(&process);
    return status;
}

static int scaling_report(struct scaling *s)
{
    struct muster_error err;
    struct text said, csv;
    text_init(&said);
    text_init(&csv);
    scale_summarise(&s->scale);
    scale_print(&s->scale, &said);
    scale_print_csv(&s->scale, &csv);
    enum muster_status status = file_write(s, ".csv", &csv, &said, &err);
    if (status == MUSTER_OK)
        status = plot_write(s, SCALE_PLOT_SPEEDUP, "speedup", &said, &err);
    if (status == MUSTER_OK)
        status = plot_write(s, SCALE_PLOT_TIME, "time", &said, &err);
    int written = cli_write(s->cli, &said);
    text_release(&said);
    text_release(&csv);
    return status == MUSTER_OK ? written : cli_fail(s->cli, &err);
}

static enum muster_status ranks_check(const struct scaling *s, struct muster_error *err)
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

static enum muster_status scaling_prepare(struct scaling *s, const int *ranks, int count,
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
    if (text_replace(&job->checkpoint.resume, "never", err) != MUSTER_OK)
        return err->status;
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

static int scaling_run(struct scaling *s, const int *ranks, int count)
{
    struct muster_error err;
    bool good = true;
    if (scaling_prepare(s, ranks, count, &err) != MUSTER_OK)
        return cli_fail(s->cli, &err);
    for (int64_t round = 0; round < s->repeat && good; round++) {
        for (int i = 0; i < s->scale.count; i++)
            good &= point_do(s, &s->scale.points[i], round);
    }
    int exit_code = s->submit ? MUSTER_EXIT_DONE : scaling_report(s);
    return good ? exit_code : MUSTER_EXIT_FAILED;
}

static int run_scale(struct cli *cli, int argc, char **argv)
{
    struct scaling s = {.cli = cli, .steps = 20, .warmup = 3, .repeat = 3};
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
