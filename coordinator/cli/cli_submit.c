/* SPDX-License-Identifier: MIT
 *
 * `muster submit`: the job is checked as for a run, written down beside its results as it is now, and handed
 * to Slurm as a batch script. Editing the job file later changes nothing about what was submitted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "coordinator/cli/cli_job.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/cli/cli_slurm.h"
#include "coordinator/cluster/slurm_record.h"
#include "coordinator/cluster/slurm_script.h"

enum { JOB_BYTES_MAX = 1 << 20, STAMP_SIZE = 64, ARRAY_MAX = 1000 };

static const char submit_usage[] =
    "usage: muster submit JOB.yaml [--set KEY=VALUE]… [--dry-run] [--after WHAT] [--after-any WHAT]\n"
    "                     [-- SBATCH_OPTION…]\n"
    "       muster submit JOB.yaml JOB.yaml… --array [--at-once N] [--dry-run] [--after WHAT]\n"
    "\n"
    "Checks the job, writes a batch script from its section slurm, and submits it. The job's file is copied "
    "to\n"
    "OUTPUT_DIR/slurm first; what is edited later does not change what was submitted. The run saves and "
    "stops\n"
    "before its time limit and on pre-emption, goes back to the queue, and continues from its checkpoint.\n"
    "\n"
    "      --set KEY=VALUE   as if the job file said so; again for each key\n"
    "      --dry-run         print the script and stop\n"
    "      --array           the job files are the tasks of one array; resources are those of the first\n"
    "      --at-once N       of an array, how many tasks may run at the same time (all)\n"
    "      --after WHAT      start when that job has ended well: a Slurm job's number, a job file or a run "
    "folder\n"
    "      --after-any WHAT  start when that job has ended in any way\n"
    "  -h, --help            this text\n"
    "\n"
    "example:\n"
    "  muster submit configs/gpt2-124m.yaml --dry-run\n"
    "\n"
    "exit codes: 0 submitted, 1 failed, 2 the job is wrong\n";

struct submission {
    struct cli *cli;
    struct cli_job *jobs;
    const char **paths; /* the copies, absolute; owned */
    int count;
    int64_t at_once;
    struct job_settings settings;
    const char *after, *after_any;
    bool dry_run;
    char *const *extra;
    int extra_count;
    char directory[FS_PATH_MAX], muster[FS_PATH_MAX], stamp[STAMP_SIZE];
    struct text script, log, dependency;
};

static enum muster_status path_absolute(const struct submission *submission, const char *path,
                                        char out[FS_PATH_MAX], struct muster_error *err)
{
    if (path[0] != '/')
        return fs_path_join(out, submission->directory, path, err);
    if (snprintf(out, FS_PATH_MAX, "%s", path) >= FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "path too long: %.200s", path);
    return MUSTER_OK;
}

static enum muster_status here_find(struct submission *submission, struct muster_error *err)
{
    enum muster_status status = fs_program_path(submission->muster, err);
    if (status != MUSTER_OK)
        return status;
    if (getcwd(submission->directory, sizeof submission->directory) == NULL)
        return muster_error_set_errno(err, errno, "find the current folder");
    char utc[32];
    clock_format_utc(clock_unix_ms(), utc, sizeof utc);
    snprintf(submission->stamp, sizeof submission->stamp, "%.19s.%d", utc, (int)getpid());
    return MUSTER_OK;
}

/* RUN/slurm/STAMP/JOB.yaml, and the folder it is in. */
static enum muster_status copy_path(const struct submission *submission, const struct job *job,
                                    char folder[FS_PATH_MAX], char path[FS_PATH_MAX],
                                    struct muster_error *err)
{
    char run[FS_PATH_MAX], top[FS_PATH_MAX];
    const char *slash = strrchr(job->path, '/');
    enum muster_status status = path_absolute(submission, job->output_dir, run, err);
    if (status == MUSTER_OK)
        status = fs_path_join(top, run, "slurm", err);
    if (status == MUSTER_OK)
        status = fs_path_join(folder, top, submission->stamp, err);
    return status == MUSTER_OK ? fs_path_join(path, folder, slash != NULL ? slash + 1 : job->path, err)
                               : status;
}

static enum muster_status paths_name(struct submission *submission, struct muster_error *err)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < submission->count && status == MUSTER_OK; i++) {
        status = copy_path(submission, submission->jobs[i].job, folder, path, err);
        if (status == MUSTER_OK && (submission->paths[i] = alloc_text(path)) == NULL)
            status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a path");
    }
    return status;
}

static enum muster_status copies_write(const struct submission *submission, struct muster_error *err)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX], *bytes = NULL;
    size_t count = 0;
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < submission->count && status == MUSTER_OK; i++) {
        const struct job *job = submission->jobs[i].job;
        status = copy_path(submission, job, folder, path, err);
        if (status == MUSTER_OK)
            status = fs_folder_create(folder, err);
        if (status == MUSTER_OK)
            status = fs_file_read(job->path, JOB_BYTES_MAX, &bytes, &count, err);
        if (status == MUSTER_OK)
            status = fs_file_write(path, bytes, count, err);
        alloc_free(bytes);
        bytes = NULL;
    }
    return status;
}

static enum muster_status dependency_add(struct submission *submission, const char *kind, const char *what,
                                         struct muster_error *err)
{
    char id[SLURM_ID_SIZE];
    if (what == NULL)
        return MUSTER_OK;
    enum muster_status status = cli_slurm_job_of(submission->cli, what, NULL, id, err);
    if (status == MUSTER_OK)
        text_print(&submission->dependency, "%s%s:%s", submission->dependency.length > 0 ? "," : "", kind,
                   id);
    return status;
}

static enum muster_status script_build(struct submission *submission, struct muster_error *err)
{
    char run[FS_PATH_MAX], folder[FS_PATH_MAX];
    const struct job *first = submission->jobs[0].job;
    enum muster_status status = path_absolute(submission, first->output_dir, run, err);
    if (status == MUSTER_OK)
        status = fs_path_join(folder, run, "slurm", err);
    if (status == MUSTER_OK)
        status = slurm_script_log_print(&submission->log, folder,
                                        submission->count > 1 ? "%A_%a.log" : "%j.log", err);
    if (status == MUSTER_OK)
        status = dependency_add(submission, "afterok", submission->after, err);
    if (status == MUSTER_OK)
        status = dependency_add(submission, "afterany", submission->after_any, err);
    struct slurm_script script = {
        .job = first,
        .muster = submission->muster,
        .directory = submission->directory,
        .log = submission->log.data,
        .job_paths = submission->paths,
        .job_count = submission->count,
        .settings = &submission->settings,
        .at_once = submission->at_once,
        .dependency = submission->dependency.length > 0 ? submission->dependency.data : NULL,
    };
    return status == MUSTER_OK ? slurm_script_write(&script, &submission->script, err) : status;
}

/* The number Slurm gave, and where this job's words will be. */
static enum muster_status submission_record(const struct submission *submission, const char *id, int task,
                                            struct slurm_record *record, struct muster_error *err)
{
    char run[FS_PATH_MAX], folder[FS_PATH_MAX];
    bool array = submission->count > 1;
    *record = (struct slurm_record){.id = ""};
    if (array)
        snprintf(record->id, sizeof record->id, "%.32s_%d", id, task);
    else
        snprintf(record->id, sizeof record->id, "%s", id);
    clock_format_utc(clock_unix_ms(), record->submitted, sizeof record->submitted);
    enum muster_status status = path_absolute(submission, submission->jobs[0].job->output_dir, run, err);
    if (status == MUSTER_OK)
        status = fs_path_join(folder, run, "slurm", err);
    if (status == MUSTER_OK &&
        snprintf(record->log, sizeof record->log, "%s/%s.log", folder, record->id) >= (int)sizeof record->log)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "path too long: %.200s", folder);
    return status == MUSTER_OK ? slurm_record_add(submission->jobs[task].job->output_dir, record, err)
                               : status;
}

static enum muster_status submission_send(struct submission *submission, struct text *said,
                                          struct muster_error *err)
{
    char path[FS_PATH_MAX], folder[FS_PATH_MAX], id[SLURM_ID_SIZE];
    enum muster_status status = copies_write(submission, err);
    if (status == MUSTER_OK)
        status = copy_path(submission, submission->jobs[0].job, folder, path, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, folder, "submit.sh", err);
    if (status == MUSTER_OK)
        status = fs_file_write(path, submission->script.data, submission->script.length, err);
    if (status == MUSTER_OK)
        status = slurm_submit(path, submission->extra, submission->extra_count, id, err);
    for (int i = 0; i < submission->count && status == MUSTER_OK; i++) {
        struct slurm_record record;
        status = submission_record(submission, id, i, &record, err);
        if (status == MUSTER_OK)
            text_print(said, "job %s: %s\n  log     %s\n", record.id, submission->jobs[i].job->name,
                       record.log);
    }
    if (status == MUSTER_OK)
        text_print(said, "  script  %s\n", path);
    return status;
}

static int submission_run(struct submission *submission)
{
    struct muster_error err;
    struct text said;
    text_init(&said);
    enum muster_status status = here_find(submission, &err);
    if (status == MUSTER_OK)
        status = paths_name(submission, &err);
    if (status == MUSTER_OK)
        status = script_build(submission, &err);
    if (status == MUSTER_OK && !submission->dry_run)
        status = submission_send(submission, &said, &err);
    int exit_code = status == MUSTER_OK
                        ? cli_write(submission->cli, submission->dry_run ? &submission->script : &said)
                        : cli_fail(submission->cli, &err);
    text_release(&said);
    return exit_code;
}

/* Opens and checks every job; the rest is done when all are good. */
static int submission_open(struct submission *submission, const struct cli_operands *operands)
{
    struct muster_error err;
    int exit_code = MUSTER_EXIT_DONE, count = operands->count;
    text_init(&submission->script);
    text_init(&submission->log);
    text_init(&submission->dependency);
    submission->jobs = alloc_zeroed((size_t)count, sizeof *submission->jobs);
    submission->paths = alloc_zeroed((size_t)count, sizeof *submission->paths);
    if (submission->jobs == NULL || submission->paths == NULL) {
        muster_error_set(&err, MUSTER_ERR_NO_MEMORY, "no memory for %d jobs", count);
        return cli_fail(submission->cli, &err);
    }
    for (int i = 0; i < count && exit_code == MUSTER_EXIT_DONE; i++) {
        exit_code = cli_job_open(submission->cli, operands->items[i], &submission->settings, CLI_JOB_DATA_ALL,
                                 NULL, &submission->jobs[i]);
        submission->count++;
    }
    return exit_code == MUSTER_EXIT_DONE ? submission_run(submission) : exit_code;
}

static void submission_close(struct submission *submission)
{
    for (int i = 0; i < submission->count; i++) {
        cli_job_release(&submission->jobs[i]);
        alloc_free((char *)submission->paths[i]);
    }
    alloc_free(submission->jobs);
    alloc_free(submission->paths);
    text_release(&submission->script);
    text_release(&submission->log);
    text_release(&submission->dependency);
}

static int run_submit(struct cli *cli, int argc, char **argv)
{
    struct submission submission = {.cli = cli};
    bool array = false;
    const struct cli_option options[] = {
        CLI_OPTION_SETTINGS(&submission.settings),
        {.name = "dry-run", .kind = CLI_OPTION_FLAG, .value = &submission.dry_run},
        {.name = "array", .kind = CLI_OPTION_FLAG, .value = &array},
        {.name = "at-once", .kind = CLI_OPTION_INT, .value = &submission.at_once, .min = 1, .max = ARRAY_MAX},
        {.name = "after", .kind = CLI_OPTION_TEXT, .value = &submission.after},
        {.name = "after-any", .kind = CLI_OPTION_TEXT, .value = &submission.after_any},
    };
    struct cli_operands operands;
    int exit_code;
    if (!cli_options_parse(cli, options, 6, argc, argv, &operands, &exit_code))
        return exit_code;
    submission.extra = cli_operands_split(&operands, &submission.extra_count);
    if (!cli_operands_count(cli, &operands, array ? 2 : 1, array ? ARRAY_MAX : 1,
                            array ? "a second job file (an array has at least two)" : "the job file",
                            &exit_code))
        return exit_code;
    exit_code = submission_open(&submission, &operands);
    submission_close(&submission);
    return exit_code;
}

const struct cli_verb cli_verb_submit = {
    .name = "submit",
    .summary = "hand a job, a sweep or a chain of jobs to Slurm",
    .usage = submit_usage,
    .run = run_submit,
};
