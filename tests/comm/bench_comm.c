/* SPDX-License-Identifier: MIT
 *
 * What exactness costs: the exact reduce-scatter and an all-gather beside the library's own reduce-scatter
 * and all-reduce, for buckets of 1, 16 and 124 million floats. The ways alternate within each round, so that
 * both meet the same state of the machine; medians of the slowest rank are printed.
 *
 *     mpirun -n 2 bench_comm [rounds]
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "comm/exact_reduce.h"

enum { WAYS = 4, ROUNDS_MAX = 101 };

static const char *const way_names[WAYS] = {"exact reduce-scatter", "library reduce-scatter", "all-gather",
                                            "library all-reduce"};

struct bench {
    struct comm *comm;
    struct exact_reduce *reduce;
    int64_t floats;
    int64_t *owned_begin, *counts, *counts_bytes;
    float *data, *mine;
    void *receive;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum muster_status way_run(struct bench *bench, int way, struct muster_error *err)
{
    switch (way) {
    case 0:
        return exact_reduce_run(bench->reduce, &bench->data, bench->owned_begin, bench->mine, bench->receive,
                                err);
    case 1:
        return comm_reduce_scatter_f32(bench->comm, bench->data, bench->counts, bench->mine, err);
    case 2:
        return comm_all_gather(bench->comm, bench->data, bench->counts_bytes, err);
    default:
        return comm_all_reduce_f32(bench->comm, bench->data, bench->floats, err);
    }
}

/* Seconds on the slowest rank, all starting from a barrier. */
static enum muster_status way_time(struct bench *bench, int way, double *seconds, struct muster_error *err)
{
    enum muster_status status = comm_barrier(bench->comm, err);
    double begin = clock_seconds();
    if (status == MUSTER_OK)
        status = way_run(bench, way, err);
    double mine = clock_seconds() - begin;
    MPI_Allreduce(&mine, seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return status;
}

static enum muster_status size_bench(struct bench *bench, int rounds, struct muster_error *err)
{
    static double seconds[WAYS][ROUNDS_MAX];
    double warm_up;
    enum muster_status status = MUSTER_OK;
    for (int way = 0; way < WAYS && status == MUSTER_OK; way++)
        status = way_time(bench, way, &warm_up, err);
    for (int round = 0; round < rounds && status == MUSTER_OK; round++)
        for (int way = 0; way < WAYS && status == MUSTER_OK; way++)
            status = way_time(bench, way, &seconds[way][round], err);
    if (status != MUSTER_OK || bench->comm->rank != 0)
        return status;
    for (int way = 0; way < WAYS; way++) {
        qsort(seconds[way], (size_t)rounds, sizeof(double), compare_doubles);
        double median = seconds[way][rounds / 2], bytes = (double)bench->floats * sizeof(float);
        double moved = bytes * (bench->comm->size - 1) / bench->comm->size;
        printf("%10lld floats  %-22s %9.3f ms  %7.2f GB/s of bucket  %7.2f GB/s per rank moved\n",
               (long long)bench->floats, way_names[way], median * 1e3, bytes / median / 1e9,
               moved / median / 1e9);
    }
    return status;
}

static enum muster_status bench_run(struct bench *bench, int64_t floats, int rounds, struct muster_error *err)
{
    int size = bench->comm->size, rank = bench->comm->rank;
    bench->floats = floats;
    for (int r = 0; r <= size; r++)
        bench->owned_begin[r] = floats * r / size;
    for (int r = 0; r < size; r++) {
        bench->counts[r] = bench->owned_begin[r + 1] - bench->owned_begin[r];
        bench->counts_bytes[r] = bench->counts[r] * (int64_t)sizeof(float);
    }
    int64_t receive_bytes = exact_reduce_receive_bytes(bench->reduce, bench->counts[rank]);
    bench->data = malloc((size_t)floats * sizeof(float));
    bench->receive = malloc((size_t)receive_bytes + 1);
    enum muster_status status = MUSTER_OK;
    if (!bench->data || !bench->receive) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %lld floats", (long long)floats);
    } else {
        for (int64_t i = 0; i < floats; i++)
            bench->data[i] = 1e-30f * (float)(i % 1000);
        bench->mine = bench->data + bench->owned_begin[rank];
        status = size_bench(bench, rounds, err);
    }
    free(bench->data);
    free(bench->receive);
    return status;
}

static enum muster_status ranks_bench(struct bench *bench, int rounds, struct muster_error *err)
{
    static const int64_t floats[] = {1000000, 16000000, 124000000};
    size_t size = (size_t)bench->comm->size;
    int *block_begin = calloc(size + 1, sizeof(int));
    bench->owned_begin = calloc(size + 1, sizeof(int64_t));
    bench->counts = calloc(size, sizeof(int64_t));
    bench->counts_bytes = calloc(size, sizeof(int64_t));
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    if (block_begin && bench->owned_begin && bench->counts && bench->counts_bytes) {
        for (int r = 0; r <= bench->comm->size; r++)
            block_begin[r] = r;
        status = exact_reduce_create(bench->comm, bench->comm->size, block_begin, &bench->reduce, err);
    }
    for (int i = 0; i < 3 && status == MUSTER_OK; i++)
        status = bench_run(bench, floats[i], rounds, err);
    exact_reduce_destroy(bench->reduce);
    free(block_begin);
    free(bench->owned_begin);
    free(bench->counts);
    free(bench->counts_bytes);
    return status;
}

int main(int argc, char **argv)
{
    struct muster_error err = {0};
    struct bench bench = {0};
    int rounds = argc > 1 ? atoi(argv[1]) : 11;
    if (rounds < 1 || rounds > ROUNDS_MAX)
        rounds = 11;
    enum muster_status status = comm_mpi_create(&bench.comm, &err);
    if (status == MUSTER_OK)
        status = ranks_bench(&bench, rounds, &err);
    if (status != MUSTER_OK) {
        fprintf(stderr, "bench_comm: %s\n", err.text);
        if (bench.comm)
            comm_abort(bench.comm, muster_status_exit_code(status));
    }
    comm_destroy(bench.comm);
    return muster_status_exit_code(status);
}
