/* SPDX-License-Identifier: MIT
 *
 * The collectives over MPI. MPI counts in int, so every call cuts its data into messages of at most
 * `message_bytes_max`. Calls start something and wait patiently (mpi_wait.c); errors come back as
 * MUSTER_ERR_PEER naming the collective and its number.
 */
#include "comm/mpi_internal.h"

#include <string.h>

#include "comm/local.h"

/* Sums between hosts: up to here MPI's. Longer ones are a reduce-scatter and an all-gather, block by block.
 */
enum { SHORT_SUM_BYTES = 64 << 10, SUM_FLOATS = 65536 };

/* An all-gather between hosts goes round the ring from here on: then each block goes to a host once. */
enum { RING_BYTES = 256 << 10 };

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t counts_total(const struct comm_mpi *m, const int64_t *counts)
{
    int64_t total = 0;
    for (int r = 0; r < m->base.size; r++)
        total += counts[r];
    return total;
}

static void counts_narrow(struct comm_mpi *m, const int64_t *counts)
{
    int at = 0;
    for (int r = 0; r < m->base.size; r++) {
        m->counts[r] = (int)counts[r];
        m->displacements[r] = at;
        at += m->counts[r];
    }
}

enum muster_status comm_mpi_barrier(struct comm *c, struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    MPI_Request request;
    enum muster_status status = comm_mpi_check(m, MPI_Ibarrier(m->world, &request), "barrier", err);
    return status ? status : comm_mpi_wait(m, &request, -1, "barrier", err);
}

enum muster_status comm_mpi_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                      struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    enum muster_status status = MUSTER_OK;
    for (int64_t at = 0; at < bytes && status == MUSTER_OK; at += m->message_bytes_max) {
        MPI_Request request;
        int now = (int)min_i64(bytes - at, m->message_bytes_max);
        int code = MPI_Ibcast((char *)data + at, now, MPI_BYTE, root, m->world, &request);
        status = comm_mpi_check(m, code, "broadcast", err);
        if (status == MUSTER_OK)
            status = comm_mpi_wait(m, &request, c->rank == root ? -1 : root, "broadcast", err);
    }
    return status;
}

/* One step of the ring below: one block to the right while another comes from the left. */
static enum muster_status block_pass(struct comm_mpi *m, char *out, int64_t out_bytes, char *in,
                                     int64_t in_bytes, struct muster_error *err)
{
    int size = m->base.size, right = m->ring[(m->ring_place + 1) % size];
    int left = m->ring[(m->ring_place + size - 1) % size];
    const struct comm_mpi_flow from = {.peer = left, .data = in, .bytes = in_bytes};
    const struct comm_mpi_flow to = {.peer = right, .is_sent = true, .data = out, .bytes = out_bytes};
    int64_t windows =
        max_i64(comm_mpi_flow_windows(m, left, in_bytes), comm_mpi_flow_windows(m, right, out_bytes));
    enum muster_status status = MUSTER_OK;
    if (m->nodes[right] != m->base.node)
        m->base.bytes_across += out_bytes;
    for (int64_t window = 0; window < windows && status == MUSTER_OK; window++) {
        int code = comm_mpi_flow_post(m, &from, window);
        if (code == MPI_SUCCESS)
            code = comm_mpi_flow_post(m, &to, window);
        status = comm_mpi_check(m, code, "all_gather", err);
        if (status == MUSTER_OK)
            status = comm_mpi_flow_wait(m, "all_gather", err);
    }
    return status;
}

static int64_t block_begin(const int64_t *counts, int block)
{
    int64_t at = 0;
    for (int r = 0; r < block; r++)
        at += counts[r];
    return at;
}

/* Also for what is too long for MPI_Iallgatherv, which places blocks with int displacements. */
static enum muster_status ring_all_gather(struct comm_mpi *m, char *all, const int64_t *counts,
                                          struct muster_error *err)
{
    int size = m->base.size;
    enum muster_status status = MUSTER_OK;
    for (int step = 0; step < size - 1 && status == MUSTER_OK; step++) {
        int place = m->ring_place + size - step;
        int out = m->ring[place % size], in = m->ring[(place + size - 1) % size];
        status = block_pass(m, all + block_begin(counts, out), counts[out], all + block_begin(counts, in),
                            counts[in], err);
    }
    return status;
}

static enum muster_status mpi_all_gather(struct comm_mpi *m, char *all, const int64_t *counts,
                                         struct muster_error *err)
{
    MPI_Request request;
    counts_narrow(m, counts);
    m->base.bytes_across += counts[m->base.rank] * (m->base.size - m->base.local_size);
    int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, m->counts, m->displacements, MPI_BYTE,
                               m->world, &request);
    enum muster_status status = comm_mpi_check(m, code, "all_gather", err);
    return status ? status : comm_mpi_wait(m, &request, -1, "all_gather", err);
}

/* All ranks are on one host: each writes its block into its slot, a half of it a turn, and reads the others'.
 */
static enum muster_status local_all_gather(struct comm_mpi *m, char *all, const int64_t *counts,
                                           struct muster_error *err)
{
    struct comm *c = &m->base;
    int64_t longest = 0, my_begin = block_begin(counts, c->rank);
    enum muster_status status = MUSTER_OK;
    for (int r = 0; r < c->size; r++)
        longest = max_i64(longest, counts[r]);
    for (int64_t at = 0; at < longest && status == MUSTER_OK; at += COMM_LOCAL_HALF_BYTES) {
        int64_t mine = min_i64(counts[c->rank] - at, COMM_LOCAL_HALF_BYTES);
        if (mine > 0)
            memcpy(comm_local_slot(c, c->rank), all + my_begin + at, (size_t)mine);
        status = comm_mpi_local_barrier(c, err);
        char *block = all;
        for (int r = 0; r < c->size && status == MUSTER_OK; block += counts[r++]) {
            int64_t theirs = min_i64(counts[r] - at, COMM_LOCAL_HALF_BYTES);
            if (r != c->rank && theirs > 0)
                memcpy(block + at, comm_local_slot(c, r), (size_t)theirs);
        }
        comm_local_turn(c);
    }
    return status;
}

enum muster_status comm_mpi_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                       struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    int64_t total = counts_total(m, counts_bytes);
    if (c->local && c->node_count == 1)
        return local_all_gather(m, all, counts_bytes, err);
    if (total > m->message_bytes_max || (total >= RING_BYTES && c->node_count > 1))
        return ring_all_gather(m, all, counts_bytes, err);
    return mpi_all_gather(m, all, counts_bytes, err);
}

/* Posts one window of every pair; all receives first. Peers are taken in an order shifted by the rank, so
 * that no rank is everybody's first. */
static int exchange_post(struct comm_mpi *m, const void *const *send, const int64_t *send_bytes,
                         void *const *receive, const int64_t *receive_bytes, int64_t window)
{
    int rank = m->base.rank, size = m->base.size, code = MPI_SUCCESS;
    for (int shift = 1; shift < size && code == MPI_SUCCESS; shift++) {
        int from = (rank + size - shift) % size;
        struct comm_mpi_flow flow = {.peer = from, .data = receive[from], .bytes = receive_bytes[from]};
        code = comm_mpi_flow_post(m, &flow, window);
    }
    for (int shift = 1; shift < size && code == MPI_SUCCESS; shift++) {
        int to = (rank + shift) % size;
        struct comm_mpi_flow flow = {
            .peer = to, .is_sent = true, .data = (char *)(uintptr_t)send[to], .bytes = send_bytes[to]};
        code = comm_mpi_flow_post(m, &flow, window);
    }
    return code;
}

enum muster_status comm_mpi_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                     void *const *receive, const int64_t *receive_bytes,
                                     struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    int64_t windows = 0;
    for (int r = 0; r < c->size; r++)
        if (r != c->rank)
            windows = max_i64(windows, max_i64(comm_mpi_flow_windows(m, r, send_bytes[r]),
                                               comm_mpi_flow_windows(m, r, receive_bytes[r])));
    enum muster_status status = MUSTER_OK;
    for (int64_t window = 0; window < windows && status == MUSTER_OK; window++) {
        int code = exchange_post(m, send, send_bytes, receive, receive_bytes, window);
        status = comm_mpi_check(m, code, "exchange", err);
        if (status == MUSTER_OK)
            status = comm_mpi_flow_wait(m, "exchange", err);
    }
    return status;
}

enum muster_status comm_mpi_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                               float *mine, struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    for (int r = 0; r < c->size; r++)
        m->owned_begin[r + 1] = m->owned_begin[r] + counts[r];
    return host_reduce_run(m->fast, &data, m->owned_begin, mine, m->fast_receive, err);
}

static enum muster_status short_all_reduce(struct comm_mpi *m, float *data, int64_t count,
                                           struct muster_error *err)
{
    MPI_Request request;
    int code = MPI_Iallreduce(MPI_IN_PLACE, data, (int)count, MPI_FLOAT, MPI_SUM, m->world, &request);
    enum muster_status status = comm_mpi_check(m, code, "all_reduce", err);
    return status ? status : comm_mpi_wait(m, &request, -1, "all_reduce", err);
}

/* A block: each rank adds its share in place, then all have it. */
static enum muster_status block_all_reduce(struct comm *c, float *data, int64_t count,
                                           struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    for (int r = 0; r < c->size; r++) {
        m->owned_begin[r + 1] = count * (r + 1) / c->size;
        m->block_bytes[r] = (m->owned_begin[r + 1] - m->owned_begin[r]) * (int64_t)sizeof(float);
    }
    float *mine = data + m->owned_begin[c->rank];
    enum muster_status status = host_reduce_run(m->fast, &data, m->owned_begin, mine, m->fast_receive, err);
    return status ? status : comm_mpi_all_gather(c, data, m->block_bytes, err);
}

enum muster_status comm_mpi_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                           struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    int64_t block = (int64_t)SUM_FLOATS * c->size;
    enum muster_status status = MUSTER_OK;
    if (c->local && c->node_count == 1)
        return comm_mpi_local_sum(m, data, count, err);
    if (count * (int64_t)sizeof(float) <= min_i64(SHORT_SUM_BYTES, m->message_bytes_max))
        return short_all_reduce(m, data, count, err);
    for (int64_t at = 0; at < count && status == MUSTER_OK; at += block)
        status = block_all_reduce(c, data + at, min_i64(block, count - at), err);
    return status;
}
