/* SPDX-License-Identifier: MIT
 *
 * `muster doctor`, the part that needs ranks: started on the hosts, in the number and by the launcher of the
 * run to come, they look at what the run will need and rank 0 prints a table with what to do about each red
 * line.
 */
#ifndef MUSTER_WORKER_DOCTOR_H
#define MUSTER_WORKER_DOCTOR_H

#include "base/text.h"
#include "comm/comm.h"
#include "coordinator/job/job.h"

struct doctor_options {
    const char *job_path; /* NULL: without a job; then data, memory and GPUs are not judged */
    struct job_settings settings;
    double floor_gb_per_s; /* an all-reduce slower than this is red */
};

/**
 * Collective. \param out  receives the table (rank 0) \param red_count  out, on all ranks: lines that stand
 * in the way of the run
 */
enum muster_status doctor_run(struct comm *comm, const struct doctor_options *options, struct text *out,
                              int *red_count, struct muster_error *err);

#endif
