/* SPDX-License-Identifier: MIT
 *
 * One point: the job for that many ranks is written down and run by the same program that a person would use,
 * in a process of its own.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/subprocess.h"
#include "coordinator/cli/cli_predict.h"
#include "coordinator/cli/cli_scale.h"
#include "coordinator/cluster/energy.h"

enum { NUMBER_SIZE = 24, SUBMIT_MS = 60000 };

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
static enum muster_status point_path(const struct cli_scale *s, int ranks, const char *ending,
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
static enum muster_status point_write(struct cli_scale *s, struct scale_point *point, char path[FS_PATH_MAX],
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
    if (status == MUSTER_OK)
        status = text_replace(&job->checkpoint.resume, "never", err);
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
static int hosts_filled(const struct cli_scale *s, int ranks)
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
static void point_predict(const struct cli_scale *s, struct scale_point *point)
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

static enum muster_status point_read(struct cli_scale *s, struct scale_point *point, struct muster_error *err)
{
    char run[FS_PATH_MAX], path[FS_PATH_MAX];
    enum muster_status status = point_path(s, point->ranks, "", run, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, run, "metrics.jsonl", err);
    return status == MUSTER_OK ? scale_point_read(point, path, s->warmup, err) : status;
}

static enum muster_status point_run(struct cli_scale *s, struct scale_point *point, const char *path,
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

static enum muster_status point_submit(struct cli_scale *s, const char *path, struct muster_error *err)
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

bool cli_scale_point_measure(struct cli_scale *s, struct scale_point *point, int64_t round)
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
