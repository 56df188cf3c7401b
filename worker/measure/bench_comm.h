/* SPDX-License-Identifier: MIT
 *
 * `muster bench comm` as one rank runs it: every collective over a range of sizes, in the columns of
 * nccl-tests, beside the exact reduction.
 */
#ifndef MUSTER_WORKER_BENCH_COMM_H
#define MUSTER_WORKER_BENCH_COMM_H

#include <stdio.h>

#include "comm/comm.h"

enum bench_comm_format { BENCH_COMM_TABLE = 0, BENCH_COMM_JSON, BENCH_COMM_CSV };

struct bench_comm_options {
    int64_t min_bytes, max_bytes; /* of the whole buffer, see below; each size is four times the one before */
    int64_t iterations;           /* timed together; 0 = as many as fill a fifth of a second, 3 to 1000 */
    bool on_gpu;                  /* between GPUs over NCCL; otherwise between processes over MPI */
    bool hierarchy;               /* over MPI: hosts add first */
    enum bench_comm_format format;
};

/**
 * Reads "--min=BYTES --max=BYTES --iterations=N --backend=mpi|nccl --hierarchy=auto|off
 * --format=table|json|csv" from argv[1…] over what `options` holds. \return BAD_INPUT naming the word.
 */
enum muster_status bench_comm_parse(int argc, char **argv, struct bench_comm_options *options,
                                    struct muster_error *err);

/**
 * A line on rank 0's `out` for every collective and size. `bytes` is what a rank ends up with (all_reduce,
 * all_gather, broadcast), begins with (reduce_scatter, exact reduce_scatter), or sends, itself included
 * (exchange). The time is the slowest rank's mean of the iterations; algbw = bytes / time; busbw = algbw
 * times what the operation has to move at least, as nccl-tests defines it: 2(n-1)/n for all_reduce, 1 for
 * broadcast, (n-1)/n for the others. GB are 10^9 bytes. Collective over `comm`, which stays the caller's.
 */
enum muster_status bench_comm_run(struct comm *comm, const struct bench_comm_options *options, FILE *out,
                                  struct muster_error *err);

#endif
