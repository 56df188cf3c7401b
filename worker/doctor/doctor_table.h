/* SPDX-License-Identifier: MIT
 *
 * Judges what the ranks have seen. Pure: facts of machines nobody has can be put in front of it.
 */
#ifndef MUSTER_WORKER_DOCTOR_TABLE_H
#define MUSTER_WORKER_DOCTOR_TABLE_H

#include "base/text.h"
#include "worker/doctor/doctor_facts.h"

struct doctor_case {
    const struct doctor_facts *facts;
    int rank_count, node_count;
    const char *transport;   /* comm_transport */
    const char *folder;      /* that was looked at */
    const char *job_problem; /* NULL: the job is good, or there is none */
    bool has_job;
    const char *device_problem; /* NULL: none */
    const char *device;         /* "CPU", "NVIDIA H100" … ; NULL without a job */
    int64_t rank_bytes;         /* host memory a rank allocates; 0 = not known */
    int64_t checkpoint_bytes;   /* of one checkpoint; 0 = not known */
    int64_t checkpoint_count;   /* kept at once, one being written included */
    double bandwidth_bytes_per_s, floor_bytes_per_s;
};

/** Adds a line for each check ("ok", "note" or "RED", what was looked at, what was found) and under each red
 * one what to do. \return how many are red */
int doctor_table_print(const struct doctor_case *given, struct text *out);

#endif
