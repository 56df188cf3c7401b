/* SPDX-License-Identifier: MIT
 *
 * Which libraries and driver a rank would compute and talk with, as plain bytes that the ranks exchange: two
 * hosts that differ there fail late, or give other bits.
 */
#ifndef MUSTER_WORKER_DOCTOR_VERSIONS_H
#define MUSTER_WORKER_DOCTOR_VERSIONS_H

#include <stdbool.h>

enum doctor_part {
    DOCTOR_MPI,
    DOCTOR_DRIVER, /* the kernel's, of NVIDIA GPUs */
    DOCTOR_CUDA,
    DOCTOR_CUBLAS,
    DOCTOR_CUDNN,
    DOCTOR_NCCL,
    DOCTOR_PART_COUNT
};

enum { DOCTOR_VERSION_SIZE = 48 };

struct doctor_versions {
    char text[DOCTOR_PART_COUNT][DOCTOR_VERSION_SIZE]; /* "2.28.9"; "" = not there, or not asked for */
};

/** "NCCL" …; "" for MPI, whose version has its name in it. */
const char *doctor_part_name(enum doctor_part part);

/** \param gpu  the CUDA plug-in is open: its libraries are asked too */
void doctor_versions_find(bool gpu, struct doctor_versions *versions);

#endif
