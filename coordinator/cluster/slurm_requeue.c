/* SPDX-License-Identifier: MIT
 *
 * A job that is requeued without having done a step would be started for ever; the step of the newest
 * checkpoint at the last requeue is remembered beside the job's number.
 */
#include "coordinator/cluster/slurm_requeue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ckpt/ckpt.h"
#include "coordinator/cluster/slurm.h"
#include "coordinator/cluster/slurm_record.h"

/* Of the newest committed checkpoint; -1 = there is none. */
static int64_t newest_step(const struct job *job)
{
    struct ckpt_catalogue catalogue;
    int64_t step = -1;
    if (ckpt_catalogue_read(job->checkpoint.dir, &catalogue, NULL) != MUSTER_OK)
        return -1;
    for (int i = 0; i < catalogue.count && step < 0; i++)
        step = catalogue.entries[i].committed ? catalogue.entries[i].step : -1;
    ckpt_catalogue_release(&catalogue);
    return step;
}

/* Why the job stays out of the queue, or NULL. */
static const char *reason_to_stay_out(const struct job *job, const char *id, const char *step)
{
    char text[SLURM_FIELD_SIZE];
    if (!job->slurm.requeue)
        return "slurm.requeue is false";
    if (slurm_record_marked(job->output_dir, "cancelled", id, text))
        return "it was cancelled";
    if (slurm_record_marked(job->output_dir, "requeued", id, text) && strcmp(text, step) == 0)
        return "no step was done since it was requeued; give it more time (slurm.time, slurm.signal_margin)";
    return NULL;
}

/* This process's job as `muster submit` recorded it; false outside Slurm. */
static bool own_id(char id[SLURM_ID_SIZE])
{
    const char *job = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID");
    const char *task = getenv("SLURM_ARRAY_TASK_ID");
    if (job == NULL)
        return false;
    if (array != NULL && task != NULL)
        snprintf(id, SLURM_ID_SIZE, "%s_%s", array, task);
    else
        snprintf(id, SLURM_ID_SIZE, "%s", job);
    return true;
}

void slurm_requeue(const struct job *job, FILE *err)
{
    struct muster_error problem;
    char step[32], id[SLURM_ID_SIZE];
    if (!own_id(id)) {
        fprintf(err, "muster run: --requeue: this is no Slurm job\n");
        return;
    }
    snprintf(step, sizeof step, "%" PRId64, newest_step(job));
    const char *reason = reason_to_stay_out(job, id, step);
    if (reason != NULL) {
        fprintf(err, "muster run: job %s is not requeued: %s\n", id, reason);
        return;
    }
    enum muster_status status = slurm_record_mark(job->output_dir, "requeued", id, step, &problem);
    fprintf(err, "muster run: requeueing job %s\n", id);
    fflush(err);
    if (status == MUSTER_OK)
        status = slurm_requeue_job(id, &problem);
    if (status != MUSTER_OK)
        fprintf(err, "muster run: job %s is not requeued: %s\n", id, problem.text);
}
