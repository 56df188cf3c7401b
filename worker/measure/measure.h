/* SPDX-License-Identifier: MIT
 *
 * What `muster bench machine` measures: the rates of a machine profile (coordinator/cost/machine.h), by
 * running the operations that training runs, through the same back ends, and the link between two ranks.
 */
#ifndef MUSTER_WORKER_MEASURE_H
#define MUSTER_WORKER_MEASURE_H

#include "comm/comm.h"
#include "coordinator/cost/machine.h"
#include "kernels/cuda/cuda_plugin.h"

/** Who computes while a rate is taken. */
struct measure_setup {
    const struct cuda_plugin *plugin; /* NULL: the CPU */
    int device;                       /* of the plug-in */
    int instances;                    /* back ends at work at the same time, as ranks of a host are */
    int threads;                      /* of each */
    int windows; /* an operation is run so many times (at most MEASURE_WINDOWS_MAX) for so long; the second best
                    counts */
    double window_s;
};
enum { MEASURE_WINDOWS_MAX = 16 };

/**
 * The rates of one core of each instance (of the device), averaged over the instances. Types that the back
 * end lacks stay 0. Takes some seconds.
 */
enum muster_status measure_rates(const struct measure_setup *setup, struct machine_rates *rates,
                                 struct muster_error *err);

/**
 * The link between ranks 0 and 1, both directions at once, in pieces as the exact reduction sends them.
 * Collective over a communicator on host memory of two ranks. \param link  filled on both
 */
enum muster_status measure_link(struct comm *comm, struct machine_link *link, struct muster_error *err);

/** Queries that the CPU's attention, and what is assumed of a GPU's, takes at a time. */
enum { MEASURE_BLOCK_CPU = 64, MEASURE_BLOCK_DEVICE = 128 };

/** Measures this host or its first GPU and writes the profile to `path`. */
enum muster_status measure_machine(const char *path, bool on_device, bool brief, struct muster_error *err);

/** Measures the link between the two ranks of `comm` and adds it to the profile in `path` (read and written
 * by rank 0). Collective. */
enum muster_status measure_add_link(struct comm *comm, const char *path, struct muster_error *err);

#endif
