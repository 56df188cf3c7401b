/* SPDX-License-Identifier: MIT
 *
 * What one rank sees of its host, as a block of plain bytes that the ranks exchange.
 */
#ifndef MUSTER_WORKER_DOCTOR_FACTS_H
#define MUSTER_WORKER_DOCTOR_FACTS_H

#include <stdbool.h>

#include "base/hash.h"
#include "comm/comm.h"
#include "worker/doctor/doctor_versions.h"
#include "worker/job_share.h"

enum { DOCTOR_HOST_SIZE = 64, DOCTOR_REASON_SIZE = 200 };

struct doctor_facts {
    char host[DOCTOR_HOST_SIZE];
    int node, local_size;
    struct hash128 program; /* of the bytes of the running executable */
    struct doctor_versions versions;
    double clock_ahead_s;               /* of rank 0's, smallest over a few barriers */
    int64_t memory_bytes, shared_bytes; /* free now: for processes (cgroup limits counted), in /dev/shm */
    bool sees_folder;                   /* the file that rank 0 put into the run's folder */
    bool is_writer;                     /* measured the folder's speed: the first rank of each host */
    int64_t folder_free_bytes;          /* -1 = not known */
    double write_bytes_per_s;           /* 0 = could not write */
    char folder_reason[DOCTOR_REASON_SIZE], data_reason[DOCTOR_REASON_SIZE]; /* what went wrong, or "" */
};

/**
 * Looks around and shares what was seen: all[0 … size). `folder` is the run's folder, or the current one
 * without a job; a file of `probe_bytes` is written to it, and removed. \param share  NULL without a job
 * \param gpu  the ranks would compute on GPUs. Collective.
 */
enum muster_status doctor_facts_gather(struct comm *comm, const struct job_share *share, bool gpu,
                                       const char *folder, int64_t probe_bytes, struct doctor_facts *all,
                                       struct muster_error *err);

/** Bytes a second and rank of an all-reduce of `bytes`, over the wire ("bus bandwidth": 2 (n-1)/n times the
 * data in the time it took); 0 for one rank. Collective. */
enum muster_status doctor_bandwidth(struct comm *comm, int64_t bytes, double *bytes_per_s,
                                    struct muster_error *err);

#endif
