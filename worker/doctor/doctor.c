/* SPDX-License-Identifier: MIT
 *
 * The order is that of a run: job, device, plan, folder, network. A stage that fails makes its line red, and
 * the rest is looked at without it.
 */
#include "worker/doctor/doctor.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "worker/device/device.h"
#include "worker/doctor/doctor_table.h"
#include "worker/job_share.h"

enum { PROBE_BYTES = 32 << 20, REDUCE_BYTES = 8 << 20 };

struct doctor {
    struct comm *comm;
    struct job_share share;
    bool has_share; /* the job was read: it is good */
    struct device device;
    struct doctor_facts *facts;
    struct doctor_case given;
    struct text report;
    struct muster_error job_error, device_error;
    char device_text[128];
};

/* Only a broken transport is an error. */
static enum muster_status doctor_read_job(struct doctor *d, const struct doctor_options *options,
                                          struct muster_error *err)
{
    enum muster_status status =
        job_share_read(&d->share, d->comm, options->job_path, &options->settings, &d->report, &d->job_error);
    d->given.has_job = true;
    d->has_share = status == MUSTER_OK;
    if (status == MUSTER_ERR_PEER)
        return muster_error_set(err, status, "%s", d->job_error.text);
    if (status != MUSTER_OK)
        d->given.job_problem = d->job_error.text;
    return MUSTER_OK;
}

static enum muster_status doctor_find_device(struct doctor *d, struct muster_error *err)
{
    enum muster_status status = device_choose(d->share.job, d->comm, &d->device, &d->device_error);
    if (status == MUSTER_ERR_PEER)
        return muster_error_set(err, status, "%s", d->device_error.text);
    if (status != MUSTER_OK)
        d->given.device_problem = d->device_error.text;
    else if (d->device.plugin == NULL)
        snprintf(d->device_text, sizeof d->device_text, "CPU");
    else
        snprintf(d->device_text, sizeof d->device_text, "a GPU for each rank (rank 0: %s)",
                 d->device.info.name);
    d->given.device = d->device_text;
    return MUSTER_OK;
}

/* What the plan needs of memory and disk; a job that cannot be planned for so many ranks is red. */
static enum muster_status doctor_plan(struct doctor *d, struct muster_error *err)
{
    struct plan_memory memory;
    enum muster_status status = job_share_plan(&d->share, d->comm, d->device.plugin != NULL, &d->job_error);
    if (status == MUSTER_ERR_PEER)
        return muster_error_set(err, status, "%s", d->job_error.text);
    if (status == MUSTER_OK)
        status = plan_rank_memory(d->share.plan, 0, &memory, &d->job_error);
    if (status != MUSTER_OK) {
        d->given.job_problem = d->job_error.text;
        return MUSTER_OK;
    }
    const struct plan *plan = d->share.plan;
    d->given.rank_bytes = plan->on_device ? memory.host_bytes : memory.total_bytes;
    d->given.checkpoint_bytes = plan->flat_count * (int64_t)sizeof(float) * (1 + plan->state_count);
    d->given.checkpoint_count = d->share.job->checkpoint.keep_last + 1;
    return MUSTER_OK;
}

static enum muster_status doctor_look(struct doctor *d, const struct doctor_options *options,
                                      struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    if (options->job_path != NULL)
        status = doctor_read_job(d, options, err);
    if (status == MUSTER_OK && d->has_share)
        status = doctor_find_device(d, err);
    if (status == MUSTER_OK && d->has_share)
        status = doctor_plan(d, err);
    d->given.folder = d->has_share ? d->share.job->output_dir : ".";
    if (status == MUSTER_OK)
        status = doctor_facts_gather(d->comm, d->has_share ? &d->share : NULL, d->device.plugin != NULL,
                                     d->given.folder, PROBE_BYTES, d->facts, err);
    if (status == MUSTER_OK)
        status = doctor_bandwidth(d->comm, REDUCE_BYTES, &d->given.bandwidth_bytes_per_s, err);
    return status;
}

enum muster_status doctor_run(struct comm *comm, const struct doctor_options *options, struct text *out,
                              int *red_count, struct muster_error *err)
{
    struct doctor d = {
        .comm = comm,
        .given = {.rank_count = comm->size,
                  .node_count = comm->node_count,
                  .floor_bytes_per_s = 1e9 * options->floor_gb_per_s},
    };
    text_init(&d.report);
    *red_count = 0;
    d.facts = alloc_zeroed((size_t)comm->size, sizeof *d.facts);
    enum muster_status status = MUSTER_OK;
    if (d.facts == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare %d ranks", comm->size);
    if (status == MUSTER_OK)
        status = doctor_look(&d, options, err);
    if (status == MUSTER_OK) {
        d.given.facts = d.facts;
        d.given.transport = comm_transport(comm);
        text_append(out, d.report.data, d.report.length);
        int32_t red =
            doctor_table_print(&d.given, out); /* speeds differ from rank to rank: rank 0's count holds */
        status = comm_broadcast(comm, &red, sizeof red, 0, err);
        *red_count = red;
    }
    alloc_free(d.facts);
    job_share_release(&d.share);
    text_release(&d.report);
    return status;
}
