/* SPDX-License-Identifier: MIT
 *
 * `muster status` and `muster cancel`, and what they share with `muster submit`. What a run did is read from
 * its folder and not from Slurm, so the verbs say something useful on a laptop too, and of jobs Slurm has
 * forgotten.
 */
#include "coordinator/cli/cli_slurm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/cli/cli_options.h"
#include "coordinator/job/job.h"

enum { TAIL_BYTES = 65536, OPERANDS_MAX = 1000 };

static const char status_usage[] =
    "usage: muster status [--set KEY=VALUE]… JOB.yaml|FOLDER…\n"
    "\n"
    "Says of each run where its newest Slurm job stands, what the run did last, and its newest checkpoint.\n"
    "\n"
    "      --set KEY=VALUE  as it was submitted with (which run it is, output_dir says)\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster status configs/gpt2-124m.yaml\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the job is wrong or has no run\n";

static const char cancel_usage[] =
    "usage: muster cancel [--now] [--set KEY=VALUE]… JOB.yaml|FOLDER…\n"
    "\n"
    "Takes the newest Slurm job of each run out of the queue. A run that trains saves a checkpoint first and "
    "is not\n"
    "requeued; muster submit continues it.\n"
    "\n"
    "      --now            end it at once, without a checkpoint\n"
    "      --set KEY=VALUE  as it was submitted with\n"
    "  -h, --help           this text\n"
    "\n"
    "example:\n"
    "  muster cancel configs/gpt2-124m.yaml\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the job is wrong or was never submitted\n";

enum muster_status cli_slurm_run_of(struct cli *cli, const char *what, const struct job_settings *settings,
                                    char run[FS_PATH_MAX], struct muster_error *err)
{
    struct job_report report;
    struct job *job = NULL;
    if (fs_is_folder(what)) {
        snprintf(run, FS_PATH_MAX, "%s", what);
        return MUSTER_OK;
    }
    job_report_init(&report);
    enum muster_status status = job_load(what, settings, &report, &job, err);
    if (report.error_count > 1)
        fputs(report.errors.data, cli->err);
    if (status == MUSTER_OK)
        snprintf(run, FS_PATH_MAX, "%s", job->output_dir);
    job_destroy(job);
    job_report_release(&report);
    return status;
}

enum muster_status cli_slurm_job_of(struct cli *cli, const char *what, const struct job_settings *settings,
                                    char id[SLURM_ID_SIZE], struct muster_error *err)
{
    char run[FS_PATH_MAX];
    struct slurm_record record;
    if (slurm_id_is_safe(what)) {
        snprintf(id, SLURM_ID_SIZE, "%s", what);
        return MUSTER_OK;
    }
    enum muster_status status = cli_slurm_run_of(cli, what, settings, run, err);
    if (status == MUSTER_OK)
        status = slurm_record_newest(run, &record, err);
    if (status == MUSTER_OK && record.id[0] == '\0')
        status =
            muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s was never submitted to Slurm from here", what);
    if (status == MUSTER_OK)
        snprintf(id, SLURM_ID_SIZE, "%s", record.id);
    return status;
}

static void queue_print(const struct slurm_record *record, struct text *out)
{
    struct slurm_state state;
    struct muster_error err;
    text_print(out, "  job         %s, submitted %s: ", record->id, record->submitted);
    if (slurm_state_read(record->id, &state, &err) != MUSTER_OK)
        text_print(out, "%s\n", err.text);
    else if (!state.known)
        text_print(out, "no longer known to Slurm\n");
    else if (strcmp(state.name, "PENDING") == 0)
        text_print(out, "PENDING (%s), starts %s\n", state.reason, state.start);
    else
        text_print(out, "%s for %s of %s on %s\n", state.name, state.elapsed, state.limit, state.nodes);
    text_print(out, "  log         %s\n", record->log);
}

/* The end of a file, from the beginning of a line on; NULL when there is none. */
static char *tail_read(const char *path)
{
    FILE *file = fopen(path, "re");
    char *bytes = alloc_zeroed(TAIL_BYTES + 1, 1);
    if (file == NULL || bytes == NULL) {
        if (file != NULL)
            fclose(file);
        alloc_free(bytes);
        return NULL;
    }
    if (fseek(file, -TAIL_BYTES, SEEK_END) != 0)
        rewind(file);
    size_t count = fread(bytes, 1, TAIL_BYTES, file);
    bytes[count] = '\0';
    fclose(file);
    return bytes;
}

/* The last line of metrics.jsonl that tells of a step. */
static void progress_print(const char *run, struct text *out)
{
    char path[FS_PATH_MAX], *rest = NULL;
    char *bytes = fs_path_join(path, run, "metrics.jsonl", NULL) == MUSTER_OK ? tail_read(path) : NULL;
    json_t *last = NULL;
    for (char *line = bytes != NULL ? strtok_r(bytes, "\n", &rest) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        json_t *value = json_loads(line, 0, NULL);
        if (json_is_number(json_object_get(value, "loss"))) {
            json_decref(last);
            last = json_incref(value);
        }
        json_decref(value);
    }
    if (last == NULL)
        text_print(out, bytes != NULL ? "  last step   none was done\n"
                                      : "  last step   not known: there is no metrics.jsonl\n");
    else
        text_print(out, "  last step   %lld, loss %.4f, %.0f ms a step\n",
                   (long long)json_integer_value(json_object_get(last, "step")),
                   json_number_value(json_object_get(last, "loss")),
                   json_number_value(json_object_get(last, "step_ms")));
    json_decref(last);
    alloc_free(bytes);
}

static void checkpoint_print(const char *run, struct text *out)
{
    char folder[FS_PATH_MAX];
    struct ckpt_catalogue catalogue;
    if (fs_path_join(folder, run, "checkpoints", NULL) != MUSTER_OK ||
        ckpt_catalogue_read(folder, &catalogue, NULL) != MUSTER_OK)
        return;
    int newest = 0;
    while (newest < catalogue.count && !catalogue.entries[newest].committed)
        newest++;
    if (newest < catalogue.count)
        text_print(out, "  checkpoint  %s\n", catalogue.entries[newest].folder);
    else
        text_print(out, "  checkpoint  none\n");
    ckpt_catalogue_release(&catalogue);
    ckpt_given_up_print(folder, "  set aside   ", out);
}

/* A folder that is no run, or that cannot be looked into, would otherwise be told as a run that has done
 * nothing. */
static enum muster_status run_check(const char *run, const struct slurm_record *record,
                                    struct muster_error *err)
{
    char logs[FS_PATH_MAX];
    enum muster_status status = fs_path_join(logs, run, "logs", err);
    if (status != MUSTER_OK || record->id[0] != '\0' || access(logs, R_OK) == 0)
        return status;
    if (errno != ENOENT)
        return muster_error_set_errno(err, errno, "read %s", logs);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: no run was submitted or started there", run);
}

static enum muster_status status_print(struct cli *cli, const char *what, const struct job_settings *settings,
                                       struct text *out, struct muster_error *err)
{
    char run[FS_PATH_MAX];
    struct slurm_record record;
    enum muster_status status = cli_slurm_run_of(cli, what, settings, run, err);
    if (status == MUSTER_OK)
        status = slurm_record_newest(run, &record, err);
    if (status == MUSTER_OK)
        status = run_check(run, &record, err);
    if (status != MUSTER_OK)
        return status;
    text_print(out, "%s\n", run);
    if (record.id[0] != '\0')
        queue_print(&record, out);
    else
        text_print(out, "  job         was not submitted to Slurm from here\n");
    progress_print(run, out);
    checkpoint_print(run, out);
    return MUSTER_OK;
}

static enum muster_status cancel_one(struct cli *cli, const char *what, const struct job_settings *settings,
                                     bool now, struct text *out, struct muster_error *err)
{
    char id[SLURM_ID_SIZE], run[FS_PATH_MAX];
    struct slurm_state state;
    enum muster_status status = cli_slurm_run_of(cli, what, settings, run, err);
    if (status == MUSTER_OK)
        status = cli_slurm_job_of(cli, what, settings, id, err);
    if (status == MUSTER_OK)
        status = slurm_state_read(id, &state, err);
    if (status != MUSTER_OK)
        return status;
    if (!slurm_state_is_alive(&state)) {
        text_print(out, "job %s: %s already\n", id, state.known ? state.name : "forgotten by Slurm");
        return MUSTER_OK;
    }
    bool save = !now && strcmp(state.name, "RUNNING") == 0;
    status = slurm_record_mark(run, "cancelled", id, "by muster cancel", err);
    if (status == MUSTER_OK)
        status = slurm_cancel(id, save, err);
    if (status == MUSTER_OK)
        text_print(out, "job %s: %s\n", id,
                   save ? "saves a checkpoint after its step and stops" : "cancelled");
    return status;
}

static int each_operand(struct cli *cli, const struct cli_operands *operands,
                        const struct job_settings *settings, bool cancel, bool now)
{
    struct muster_error err;
    struct text out;
    int exit_code = MUSTER_EXIT_DONE;
    text_init(&out);
    for (int i = 0; i < operands->count && exit_code == MUSTER_EXIT_DONE; i++) {
        enum muster_status status = cancel ? cancel_one(cli, operands->items[i], settings, now, &out, &err)
                                           : status_print(cli, operands->items[i], settings, &out, &err);
        exit_code = status == MUSTER_OK ? MUSTER_EXIT_DONE : cli_fail(cli, &err);
    }
    int written = cli_write(cli, &out);
    text_release(&out);
    return exit_code != MUSTER_EXIT_DONE ? exit_code : written;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
    struct job_settings settings = {.count = 0};
    const struct cli_option options[] = {CLI_OPTION_SETTINGS(&settings)};
    struct cli_operands operands;
    int exit_code;
    if (!cli_options_parse(cli, options, 1, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, OPERANDS_MAX, "the job file or run folder", &exit_code))
        return exit_code;
    return each_operand(cli, &operands, &settings, false, false);
}

static int run_cancel(struct cli *cli, int argc, char **argv)
{
    bool now = false;
    struct job_settings settings = {.count = 0};
    const struct cli_option options[] = {
        CLI_OPTION_SETTINGS(&settings),
        {.name = "now", .kind = CLI_OPTION_FLAG, .value = &now},
    };
    struct cli_operands operands;
    int exit_code;
    if (!cli_options_parse(cli, options, 2, argc, argv, &operands, &exit_code) ||
        !cli_operands_count(cli, &operands, 1, OPERANDS_MAX, "the job file or run folder", &exit_code))
        return exit_code;
    return each_operand(cli, &operands, &settings, true, now);
}

const struct cli_verb cli_verb_status = {
    .name = "status",
    .summary = "say where a run stands, in Slurm and by itself",
    .usage = status_usage,
    .run = run_status,
};

const struct cli_verb cli_verb_cancel = {
    .name = "cancel",
    .summary = "let a submitted run save and stop",
    .usage = cancel_usage,
    .run = run_cancel,
};
