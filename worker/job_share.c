/* SPDX-License-Identifier: MIT
 *
 * The text that travels is the resolved job, so a rank on another host needs neither the file nor the same
 * defaults.
 */
#include "worker/job_share.h"

#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/run_folder.h"

static enum muster_status job_share_report(const struct job_report *report, enum muster_status status,
                                           struct text *lines, struct muster_error *err)
{
    if (report->error_count == 0)
        return status;
    text_append(lines, report->errors.data, report->errors.length);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "the job has %d error%s", report->error_count,
                            report->error_count == 1 ? "" : "s");
}

static enum muster_status job_share_load(struct job_share *share, const char *path,
                                         const struct job_settings *settings, struct text *yaml,
                                         struct text *lines, struct muster_error *err)
{
    struct job_report report;
    job_report_init(&report);
    enum muster_status status = job_load(path, settings, &report, &share->job, err);
    if (!status) {
        share->config = job_model_config(share->job);
        status = dataset_check_job(share->job, &share->config, &report, err);
    }
    status = job_share_report(&report, status, lines, err);
    if (!status)
        status = job_write_yaml(share->job, yaml, err);
    job_report_release(&report);
    return status;
}

static enum muster_status job_share_receive(struct job_share *share, struct comm *comm, const char *path,
                                            struct text *yaml, struct text *lines, struct muster_error *err)
{
    int64_t length = (int64_t)yaml->length;
    enum muster_status status = comm_broadcast(comm, &length, sizeof length, 0, err);
    char *copy = alloc_zeroed(1, (size_t)length + 1);
    if (!copy)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the job");
    if (comm->rank == 0)
        memcpy(copy, yaml->data, (size_t)length);
    if (!status)
        status = comm_broadcast(comm, copy, length, 0, err);
    if (!status)
        status = comm_broadcast(comm, &share->config, sizeof share->config, 0, err);
    if (!status && comm->rank != 0) {
        struct job_report report;
        job_report_init(&report);
        status = job_parse(path, copy, (size_t)length, &report, &share->job, err);
        status = job_share_report(&report, status, lines, err);
        job_report_release(&report);
    }
    alloc_free(copy);
    return status;
}

enum muster_status job_share_read(struct job_share *share, struct comm *comm, const char *path,
                                  const struct job_settings *settings, struct text *report,
                                  struct muster_error *err)
{
    memset(share, 0, sizeof *share);
    struct text yaml;
    text_init(&yaml);
    enum muster_status status = MUSTER_OK;
    if (comm->rank == 0)
        status = job_share_load(share, path, settings, &yaml, report, err);
    status = run_folder_share_status(comm, 0, status, err);
    if (!status)
        status = job_share_receive(share, comm, path, &yaml, report, err);
    text_release(&yaml);
    return status;
}

/* Cores this process may use, shared out among the ranks of the host. */
static int job_share_threads(const struct job *job, const struct comm *comm)
{
    if (job->parallel.threads > 0)
        return (int)job->parallel.threads;
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int threads = cores / comm->local_size;
    return threads > 1 ? threads : 1;
}

static enum muster_status job_share_compare(struct comm *comm, const struct plan *plan,
                                            struct muster_error *err)
{
    struct hash128 first = plan->hash;
    enum muster_status status = comm_broadcast(comm, &first, sizeof first, 0, err);
    if (status)
        return status;
    if (!hash_equal(first, plan->hash))
        return muster_error_set(
            err, MUSTER_ERR_PEER,
            "rank %d planned another job than rank 0: the hosts run different builds of muster", comm->rank);
    return MUSTER_OK;
}

enum muster_status job_share_plan(struct job_share *share, struct comm *comm, bool on_device,
                                  struct muster_error *err)
{
    int threads = job_share_threads(share->job, comm);
    enum muster_status status = comm_broadcast(comm, &threads, sizeof threads, 0, err);
    if (status)
        return status;
    struct plan_topology topology = {.ranks = comm->size, .threads = threads, .on_device = on_device};
    status =
        checkpoint_agree(comm, plan_create(share->job, &share->config, &topology, &share->plan, err), err);
    return status ? status : job_share_compare(comm, share->plan, err);
}

void job_share_release(struct job_share *share)
{
    plan_destroy(share->plan);
    job_destroy(share->job);
    memset(share, 0, sizeof *share);
}
