/* SPDX-License-Identifier: MIT
 *
 * The MPI transport, on a duplicate of MPI_COMM_WORLD. MPI counts in int, so every call cuts its data into
 * messages of at most `message_bytes_max`. Errors come back as MUSTER_ERR_PEER naming the collective and its
 * number. Tables are made once: no call allocates. Waits have no deadline here, because MPI has none: the
 * rank's watchdog reads `sequence` and ends the job.
 */
#include <mpi.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/host.h"
#include "comm/mpi_launch.h"
#include "comm/mpi_test.h"

/* What MPI adds is cut further: small enough that its temporary buffers stay mapped between calls. Measured
 * best of 256 KiB to 1 GiB on two and four ranks of one host. */
enum { REDUCE_BYTES = 1 << 20, ALL_REDUCE_BYTES = 16 << 20 };

struct comm_mpi {
    struct comm base; /* first: the operations cast back */
    MPI_Comm world;   /* MPI_COMM_NULL until duplicated */
    bool owns_mpi;    /* MPI_Init was ours, so is MPI_Finalize */
    int64_t message_bytes_max;
    int *counts, *displacements; /* [size], for the calls that take int */
    int *expected;               /* [size], bytes of the receives in `requests` */
    MPI_Request *requests;       /* [2 · size]: receives, then sends */
    char transport[64];
};

static struct comm_mpi *mpi_of(struct comm *c)
{
    return (struct comm_mpi *)c;
}

static enum muster_status mpi_check(const struct comm_mpi *m, int code, const char *collective,
                                    struct muster_error *err)
{
    if (code == MPI_SUCCESS)
        return MUSTER_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(code, text, &length);
    return muster_error_set(err, MUSTER_ERR_PEER, "%s #%lld on rank %d: %s", collective,
                            (long long)m->base.sequence, m->base.rank, text);
}

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

static enum muster_status mpi_barrier(struct comm *c, struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    return mpi_check(m, MPI_Barrier(m->world), "barrier", err);
}

static enum muster_status mpi_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                        struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    int code = MPI_SUCCESS;
    for (int64_t at = 0; at < bytes && code == MPI_SUCCESS; at += m->message_bytes_max)
        code = MPI_Bcast((char *)data + at, (int)min_i64(bytes - at, m->message_bytes_max), MPI_BYTE, root,
                         m->world);
    return mpi_check(m, code, "broadcast", err);
}

/* One step of the ring below: one block to the right while another comes from the left, in messages. */
static int block_pass(struct comm_mpi *m, const char *out, int64_t out_bytes, char *in, int64_t in_bytes)
{
    int right = (m->base.rank + 1) % m->base.size;
    int left = (m->base.rank + m->base.size - 1) % m->base.size;
    int code = MPI_SUCCESS;
    for (int64_t at = 0; at < max_i64(out_bytes, in_bytes) && code == MPI_SUCCESS;
         at += m->message_bytes_max) {
        int64_t out_now = max_i64(0, min_i64(out_bytes - at, m->message_bytes_max));
        int64_t in_now = max_i64(0, min_i64(in_bytes - at, m->message_bytes_max));
        code = MPI_Sendrecv(out_now > 0 ? out + at : NULL, (int)out_now, MPI_BYTE,
                            out_now > 0 ? right : MPI_PROC_NULL, 0, in_now > 0 ? in + at : NULL, (int)in_now,
                            MPI_BYTE, in_now > 0 ? left : MPI_PROC_NULL, 0, m->world, MPI_STATUS_IGNORE);
    }
    return code;
}

static int64_t block_begin(const int64_t *counts, int block)
{
    int64_t at = 0;
    for (int r = 0; r < block; r++)
        at += counts[r];
    return at;
}

/* MPI_Allgatherv places blocks with int displacements; what is larger goes round a ring, in messages. */
static int ring_all_gather(struct comm_mpi *m, char *all, const int64_t *counts)
{
    int size = m->base.size, code = MPI_SUCCESS;
    for (int step = 0; step < size - 1 && code == MPI_SUCCESS; step++) {
        int out = (m->base.rank + size - step) % size, in = (out + size - 1) % size;
        code = block_pass(m, all + block_begin(counts, out), counts[out], all + block_begin(counts, in),
                          counts[in]);
    }
    return code;
}

static enum muster_status mpi_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                         struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    int code;
    if (counts_total(m, counts_bytes) <= m->message_bytes_max) {
        counts_narrow(m, counts_bytes);
        code = MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, m->counts, m->displacements, MPI_BYTE,
                              m->world);
    } else {
        code = ring_all_gather(m, all, counts_bytes);
    }
    return mpi_check(m, code, "all_gather", err);
}

/* Posts message number `at / message_bytes_max` of every pair that has one; all receives first. Peers are
 * taken in an order shifted by the rank, so that no rank is everybody's first. */
static int exchange_post(struct comm_mpi *m, const void *const *send, const int64_t *send_bytes,
                         void *const *receive, const int64_t *receive_bytes, int64_t at, int *receive_count,
                         int *request_count)
{
    int rank = m->base.rank, size = m->base.size, count = 0, code = MPI_SUCCESS;
    for (int shift = 1; shift < size && code == MPI_SUCCESS; shift++) {
        int from = (rank + size - shift) % size;
        if (receive_bytes[from] <= at)
            continue;
        m->expected[count] = (int)min_i64(receive_bytes[from] - at, m->message_bytes_max);
        code = MPI_Irecv((char *)receive[from] + at, m->expected[count], MPI_BYTE, from, 0, m->world,
                         &m->requests[count]);
        count += code == MPI_SUCCESS;
    }
    *receive_count = count;
    for (int shift = 1; shift < size && code == MPI_SUCCESS; shift++) {
        int to = (rank + shift) % size;
        if (send_bytes[to] <= at)
            continue;
        code = MPI_Isend((const char *)send[to] + at, (int)min_i64(send_bytes[to] - at, m->message_bytes_max),
                         MPI_BYTE, to, 0, m->world, &m->requests[count]);
        count += code == MPI_SUCCESS;
    }
    *request_count = count;
    return code;
}

/* Waits for what was posted, and refuses a message of another length than agreed. One by one, because
 * MPI_Waitall of Open MPI 4.1 never returns when one of its requests had failed before the call. */
static enum muster_status exchange_wait(struct comm_mpi *m, int receive_count, int request_count,
                                        struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < request_count && status == MUSTER_OK; i++) {
        MPI_Status received;
        int bytes = 0;
        status = mpi_check(m, MPI_Wait(&m->requests[i], &received), "exchange", err);
        if (status != MUSTER_OK || i >= receive_count)
            continue;
        MPI_Get_count(&received, MPI_BYTE, &bytes);
        if (bytes != m->expected[i])
            status = muster_error_set(
                err, MUSTER_ERR_PEER, "exchange #%lld on rank %d: rank %d sent %d bytes where %d were due",
                (long long)m->base.sequence, m->base.rank, received.MPI_SOURCE, bytes, m->expected[i]);
    }
    return status;
}

static enum muster_status mpi_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                       void *const *receive, const int64_t *receive_bytes,
                                       struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    int64_t longest = 0;
    for (int r = 0; r < c->size; r++)
        if (r != c->rank)
            longest = max_i64(longest, max_i64(send_bytes[r], receive_bytes[r]));
    enum muster_status status = MUSTER_OK;
    for (int64_t at = 0; at < longest && status == MUSTER_OK; at += m->message_bytes_max) {
        int receive_count, request_count;
        int code =
            exchange_post(m, send, send_bytes, receive, receive_bytes, at, &receive_count, &request_count);
        status = mpi_check(m, code, "exchange", err);
        if (status == MUSTER_OK)
            status = exchange_wait(m, receive_count, request_count, err);
    }
    return status;
}

/* One MPI_Reduce after the other, in pieces, each to its owner: 2 to 10 times as fast as MPI_Reduce_scatter
 * of Open MPI 4.1, whose buffers are as large as the data. The sum is made inside `data`, so `mine` may be
 * any memory, also part of `data`. */
static enum muster_status mpi_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                                 float *mine, struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    int64_t piece = min_i64(REDUCE_BYTES, m->message_bytes_max) / (int64_t)sizeof(float);
    int code = MPI_SUCCESS;
    float *block = data;
    for (int owner = 0; owner < c->size; block += counts[owner++]) {
        bool own = owner == c->rank;
        for (int64_t at = 0; at < counts[owner] && code == MPI_SUCCESS; at += piece)
            code = MPI_Reduce(own ? MPI_IN_PLACE : block + at, own ? block + at : NULL,
                              (int)min_i64(counts[owner] - at, piece), MPI_FLOAT, MPI_SUM, owner, m->world);
        if (own && code == MPI_SUCCESS && counts[owner] > 0 && mine != block)
            memmove(mine, block, (size_t)counts[owner] * sizeof(float));
    }
    return mpi_check(m, code, "reduce_scatter", err);
}

static enum muster_status mpi_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                             struct muster_error *err)
{
    struct comm_mpi *m = mpi_of(c);
    int64_t piece = min_i64(ALL_REDUCE_BYTES, m->message_bytes_max) / (int64_t)sizeof(float);
    int code = MPI_SUCCESS;
    for (int64_t at = 0; at < count && code == MPI_SUCCESS; at += piece)
        code = MPI_Allreduce(MPI_IN_PLACE, data + at, (int)min_i64(count - at, piece), MPI_FLOAT, MPI_SUM,
                             m->world);
    return mpi_check(m, code, "all_reduce", err);
}

static const char *mpi_transport(struct comm *c)
{
    return mpi_of(c)->transport;
}

static void mpi_abort(struct comm *c, int exit_code)
{
    MPI_Abort(mpi_of(c)->world, exit_code);
}

static void mpi_destroy(struct comm *c)
{
    struct comm_mpi *m = mpi_of(c);
    bool owns_mpi = m->owns_mpi;
    if (m->world != MPI_COMM_NULL)
        MPI_Comm_free(&m->world);
    alloc_free(m->counts);
    alloc_free(m->displacements);
    alloc_free(m->expected);
    alloc_free(m->requests);
    alloc_free(m);
    if (owns_mpi)
        MPI_Finalize();
}

static const struct comm_ops mpi_ops = {
    .name = "mpi",
    .destroy = mpi_destroy,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .all_gather = mpi_all_gather,
    .exchange = mpi_exchange,
    .reduce_scatter_f32 = mpi_reduce_scatter_f32,
    .all_reduce_f32 = mpi_all_reduce_f32,
    .begin_after = comm_host_order,
    .end_before = comm_host_order,
    .transport = mpi_transport,
    .abort = mpi_abort,
};

static enum muster_status mpi_start(struct comm_mpi *m, struct muster_error *err)
{
    int started = 0, ended = 0, provided = MPI_THREAD_SINGLE;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (ended)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "MPI was already ended in this process");
    if (started) {
        MPI_Query_thread(&provided);
    } else {
        int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
        if (code != MPI_SUCCESS)
            return mpi_check(m, code, "MPI_Init_thread", err);
        m->owns_mpi = true;
    }
    if (provided < MPI_THREAD_FUNNELED)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "this MPI cannot serve a program with threads");
    m->base.any_thread = provided >= MPI_THREAD_SERIALIZED;
    int code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* the duplicate inherits it */
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(MPI_COMM_WORLD, &m->world);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(m->world, &m->base.rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(m->world, &m->base.size);
    return mpi_check(m, code, "start of MPI", err);
}

static enum muster_status mpi_singletons_refuse(const struct comm_mpi *m, struct muster_error *err)
{
    const char *variable;
    int launched = mpi_launch_size(getenv, &variable);
    if (m->base.size > 1 || launched == 1)
        return MUSTER_OK;
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    MPI_Get_library_version(library, &length);
    library[strcspn(library, ",\n")] = '\0';
    return muster_error_set(
        err, MUSTER_ERR_BAD_INPUT,
        "the launcher started %d processes (%s=%d), but each sees itself as the only rank: "
        "the launcher and the MPI library (%s) do not belong together. Start with that "
        "library's own mpirun, or under Slurm with 'srun --mpi=pmix'",
        launched, variable, launched, library);
}

static enum muster_status mpi_tables_create(struct comm_mpi *m, struct muster_error *err)
{
    size_t size = (size_t)m->base.size;
    m->counts = alloc_zeroed(size, sizeof(*m->counts));
    m->displacements = alloc_zeroed(size, sizeof(*m->displacements));
    m->expected = alloc_zeroed(size, sizeof(*m->expected));
    m->requests = alloc_zeroed(2 * size, sizeof(MPI_Request));
    if (!m->counts || !m->displacements || !m->expected || !m->requests)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator of %d ranks",
                                m->base.size);
    return MUSTER_OK;
}

static enum muster_status mpi_nodes_find(struct comm_mpi *m, struct muster_error *err)
{
    MPI_Comm local = MPI_COMM_NULL;
    int first = m->base.rank;
    int code = MPI_Comm_split_type(m->world, MPI_COMM_TYPE_SHARED, m->base.rank, MPI_INFO_NULL, &local);
    if (code == MPI_SUCCESS)
        code = MPI_Bcast(&first, 1, MPI_INT, 0, local);
    if (code == MPI_SUCCESS)
        code = MPI_Allgather(&first, 1, MPI_INT, m->counts, 1, MPI_INT, m->world);
    if (code == MPI_SUCCESS)
        mpi_launch_nodes(&m->base, m->counts);
    if (local != MPI_COMM_NULL)
        MPI_Comm_free(&local);
    return mpi_check(m, code, "search for the ranks of each host", err);
}

enum muster_status comm_mpi_create(struct comm **out, struct muster_error *err)
{
    *out = NULL;
    struct comm_mpi *m = alloc_zeroed(1, sizeof(*m));
    if (!m)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator");
    m->base.ops = &mpi_ops;
    m->world = MPI_COMM_NULL;
    m->message_bytes_max = (int64_t)1 << 30;
    enum muster_status status = mpi_start(m, err);
    if (status == MUSTER_OK)
        status = mpi_singletons_refuse(m, err);
    if (status == MUSTER_OK)
        status = mpi_tables_create(m, err);
    if (status == MUSTER_OK)
        status = mpi_nodes_find(m, err);
    if (status != MUSTER_OK) {
        mpi_destroy(&m->base);
        return status;
    }
    mpi_launch_transport(m->base.node_count, getenv, m->transport, sizeof(m->transport));
    *out = &m->base;
    return MUSTER_OK;
}

void comm_mpi_message_max_set(struct comm *c, int64_t message_bytes_max)
{
    mpi_of(c)->message_bytes_max = message_bytes_max;
}
