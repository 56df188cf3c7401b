/* SPDX-License-Identifier: MIT
 *
 * alpha and beta of the link between two ranks. Messages are of the size that the exact reduction sends and
 * come from memory as large as gradients, so that they are not read from a cache.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/ops.h"
#include "worker/measure/measure.h"

enum { LINK_WINDOWS = 5, LINK_SMALL_BYTES = 8, LINK_SMALL_COUNT = 500, LINK_POOL_BYTES = 64 << 20 };
static const int64_t link_large_bytes = OPS_REDUCE_PIECE * (int64_t)sizeof(float);

struct link_memory {
    char *send, *receive;
};

/* `count` exchanges of `bytes` each way, through the pool; seconds of one. */
static enum muster_status exchanges_time(struct comm *comm, const struct link_memory *memory, int64_t bytes,
                                         int count, double *seconds, struct muster_error *err)
{
    int peer = 1 - comm->rank;
    enum muster_status status = comm_barrier(comm, err);
    double started = clock_seconds();
    for (int i = 0; i < count && status == MUSTER_OK; i++) {
        int64_t at = i * bytes % LINK_POOL_BYTES;
        const void *send[2] = {memory->send + at, memory->send + at};
        void *receive[2] = {memory->receive + at, memory->receive + at};
        int64_t sizes[2] = {0, 0};
        sizes[peer] = bytes;
        status = comm_exchange(comm, send, sizes, receive, sizes, err);
    }
    *seconds = (clock_seconds() - started) / count;
    return status;
}

static enum muster_status exchanges_best(struct comm *comm, const struct link_memory *memory, int64_t bytes,
                                         int count, double *best, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int window = 0; window < LINK_WINDOWS && status == MUSTER_OK; window++) {
        double seconds;
        status = exchanges_time(comm, memory, bytes, count, &seconds, err);
        if (window == 0 || seconds < *best)
            *best = seconds;
    }
    return status;
}

enum muster_status measure_link(struct comm *comm, struct machine_link *link, struct muster_error *err)
{
    struct link_memory memory = {alloc_zeroed(1, LINK_POOL_BYTES), alloc_zeroed(1, LINK_POOL_BYTES)};
    double small = 0.0, large = 0.0;
    enum muster_status status = MUSTER_OK;
    if (comm->size != 2)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "a link is measured between 2 ranks, not %d",
                                  comm->size);
    else if (memory.send == NULL || memory.receive == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to measure a link with");
    if (!status)
        status = exchanges_best(comm, &memory, LINK_SMALL_BYTES, LINK_SMALL_COUNT, &small, err);
    if (!status)
        status = exchanges_best(comm, &memory, link_large_bytes, (int)(LINK_POOL_BYTES / link_large_bytes),
                                &large, err);
    double sums[2] = {small, large}; /* of rank 0, for both */
    if (!status)
        status = comm_broadcast(comm, sums, sizeof sums, 0, err);
    link->latency_s = sums[0];
    link->bandwidth = (double)link_large_bytes / (sums[1] > sums[0] ? sums[1] - sums[0] : sums[1]);
    alloc_free(memory.send);
    alloc_free(memory.receive);
    return status;
}
