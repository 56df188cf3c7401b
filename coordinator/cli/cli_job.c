/* SPDX-License-Identifier: MIT
 *
 * The same two checks, in the same order, as rank 0 of a run makes them: what passes here is not refused
 * there.
 */
#include "coordinator/cli/cli_job.h"

#include <sched.h>

#include "coordinator/data/dataset.h"

enum muster_status cli_job_read(const char *path, const struct job_settings *settings, enum cli_job_data data,
                                struct job_report *report, struct cli_job *out, struct muster_error *err)
{
    *out = (struct cli_job){.job = NULL};
    enum muster_status status = job_load(path, settings, report, &out->job, err);
    if (status != MUSTER_OK)
        return status;
    out->config = job_model_config(out->job);
    if (data == CLI_JOB_DATA_NEEDED && out->config.type != MODEL_MLP)
        return MUSTER_OK;
    return dataset_check_job(out->job, &out->config, report, err);
}

int cli_job_open(struct cli *cli, const char *path, const struct job_settings *settings,
                 enum cli_job_data data, FILE *notes, struct cli_job *out)
{
    struct job_report report;
    struct muster_error err = {.status = MUSTER_OK};
    job_report_init(&report);
    enum muster_status status = cli_job_read(path, settings, data, &report, out, &err);
    if (notes != NULL)
        fputs(report.notes.data, notes);
    return cli_job_report(cli, status, &err, &report, path);
}

int cli_job_report(struct cli *cli, enum muster_status status, const struct muster_error *err,
                   struct job_report *report, const char *what)
{
    int exit_code = MUSTER_EXIT_DONE;
    fputs(report->errors.data, cli->err);
    if (report->error_count > 0) {
        fprintf(cli->err, "muster %s: %d error%s in %s\n", cli->verb->name, report->error_count,
                report->error_count == 1 ? "" : "s", what);
        exit_code = muster_status_exit_code(status);
    } else if (status != MUSTER_OK) {
        exit_code = cli_fail(cli, err);
    }
    job_report_release(report);
    return exit_code;
}

void cli_job_release(struct cli_job *job)
{
    job_destroy(job->job);
    job->job = NULL;
}

int cli_job_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

struct plan_topology cli_job_topology(const struct job *job, int64_t ranks, int64_t threads)
{
    if (threads == 0)
        threads = job->parallel.threads;
    if (threads == 0)
        threads = cli_job_cores() / ranks;
    return (struct plan_topology){.ranks = (int)ranks, .threads = threads > 1 ? (int)threads : 1};
}
