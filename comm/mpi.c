/* SPDX-License-Identifier: MIT
 *
 * The MPI transport, on a duplicate of MPI_COMM_WORLD: how it starts, is duplicated for another thread, and
 * ends. The collectives are in mpi_calls.c. Tables are made once: no call allocates.
 */
#include "comm/mpi_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/host.h"
#include "comm/mpi_launch.h"
#include "comm/mpi_test.h"

/* Floats of each owner's range that a round of a fast sum is about: what all ranks write stays in the cache.
 */
enum { FAST_PIECE = 65536 };

static const char *mpi_transport(struct comm *c)
{
    return comm_mpi_of(c)->transport;
}

static void mpi_abort(struct comm *c, int exit_code)
{
    MPI_Abort(comm_mpi_of(c)->world, exit_code);
}

/* One rank's array after the other. */
static enum muster_status mpi_sum_create(struct comm_mpi *m, struct muster_error *err)
{
    size_t size = (size_t)m->base.size;
    int *program = alloc_zeroed(2 * size, sizeof(*program));
    enum muster_status status = MUSTER_OK;
    m->sum_sources = alloc_zeroed(size, sizeof(*m->sum_sources));
    if (!program || !m->sum_sources)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a sum of %d ranks", m->base.size);
    for (int r = 1; r < m->base.size && !status; r++) {
        program[2 * r - 1] = r;
        program[2 * r] = -1;
    }
    if (!status)
        status = combine_init(&m->sum, program, 2 * m->base.size - 1, m->base.size, err);
    alloc_free(program);
    return status;
}

static void mpi_fast_destroy(struct comm_mpi *m)
{
    host_reduce_destroy(m->fast);
    alloc_pages_free(m->fast_receive, (size_t)m->fast_receive_bytes);
    m->fast = NULL;
    m->fast_receive = NULL;
}

/* The sum that `fast` means, over the hosts as they are now. */
static enum muster_status mpi_fast_create(struct comm_mpi *m, struct muster_error *err)
{
    struct reduce_recipe recipe;
    struct reduce_hosts hosts = host_reduce_hosts(&m->base, m->counts);
    mpi_fast_destroy(m);
    enum muster_status status = reduce_recipe_plain(&recipe, &hosts, err);
    if (!status)
        status = host_reduce_create(&m->base, &recipe, FAST_PIECE, &m->fast, err);
    if (status)
        return status;
    m->fast_receive_bytes = host_reduce_receive_count(m->fast, FAST_PIECE) * (int64_t)sizeof(float);
    m->fast_receive = alloc_pages((size_t)m->fast_receive_bytes + sizeof(float));
    m->fast_receive_bytes += (int64_t)sizeof(float);
    return m->fast_receive ? MUSTER_OK
                           : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to receive sums");
}

static void mpi_destroy(struct comm *c)
{
    struct comm_mpi *m = comm_mpi_of(c);
    bool owns_mpi = m->owns_mpi;
    if (m->world != MPI_COMM_NULL)
        MPI_Comm_free(&m->world);
    alloc_free(m->counts);
    alloc_free(m->displacements);
    alloc_free(m->messages);
    alloc_free(m->nodes);
    alloc_free(m->ring);
    alloc_free(m->owned_begin);
    alloc_free(m->block_bytes);
    comm_mpi_local_close(m);
    mpi_fast_destroy(m);
    combine_release(&m->sum);
    alloc_free(m->sum_sources);
    alloc_free(m);
    if (owns_mpi)
        MPI_Finalize();
}

static const struct comm_ops mpi_ops = {
    .name = "mpi",
    .destroy = mpi_destroy,
    .barrier = comm_mpi_barrier,
    .broadcast = comm_mpi_broadcast,
    .all_gather = comm_mpi_all_gather,
    .exchange = comm_mpi_exchange,
    .reduce_scatter_f32 = comm_mpi_reduce_scatter_f32,
    .all_reduce_f32 = comm_mpi_all_reduce_f32,
    .local_barrier = comm_mpi_local_barrier,
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
            return comm_mpi_check(m, code, "MPI_Init_thread", err);
        m->owns_mpi = true;
    }
    if (provided < MPI_THREAD_FUNNELED)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "this MPI cannot serve a program with threads");
    m->base.any_thread = provided >= MPI_THREAD_SERIALIZED;
    m->concurrent = provided >= MPI_THREAD_MULTIPLE;
    int code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* the duplicate inherits it */
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(MPI_COMM_WORLD, &m->world);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(m->world, &m->base.rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(m->world, &m->base.size);
    return comm_mpi_check(m, code, "start of MPI", err);
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
    m->messages = alloc_zeroed(2 * size * COMM_MPI_IN_FLIGHT, sizeof(*m->messages));
    m->nodes = alloc_zeroed(size, sizeof(*m->nodes));
    m->ring = alloc_zeroed(size, sizeof(*m->ring));
    m->owned_begin = alloc_zeroed(size + 1, sizeof(*m->owned_begin));
    m->block_bytes = alloc_zeroed(size, sizeof(*m->block_bytes));
    m->base.node_of = m->nodes;
    if (!m->owned_begin || !m->block_bytes || !m->nodes || !m->ring || !m->counts || !m->displacements ||
        !m->messages)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator of %d ranks",
                                m->base.size);
    return MUSTER_OK;
}

/* Ranks in the order of their hosts, which is that of their numbers in most launches. */
static void mpi_ring_order(struct comm_mpi *m)
{
    int at = 0;
    for (int node = 0; node < m->base.node_count; node++)
        for (int r = 0; r < m->base.size; r++) {
            if (m->nodes[r] != node)
                continue;
            if (r == m->base.rank)
                m->ring_place = at;
            m->ring[at++] = r;
        }
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
    if (local != MPI_COMM_NULL)
        MPI_Comm_free(&local);
    if (code != MPI_SUCCESS)
        return comm_mpi_check(m, code, "search for the ranks of each host", err);
    enum muster_status status = mpi_launch_pretend(getenv, m->base.size, m->counts, err);
    if (status == MUSTER_OK) {
        mpi_launch_nodes(&m->base, m->counts, m->nodes);
        mpi_ring_order(m);
    }
    return status;
}

static struct comm_mpi *mpi_allocate(struct muster_error *err)
{
    struct comm_mpi *m = alloc_zeroed(1, sizeof(*m));
    if (!m) {
        muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator");
        return NULL;
    }
    m->base.ops = &mpi_ops;
    m->world = MPI_COMM_NULL;
    m->message_bytes_max = (int64_t)1 << 30;
    return m;
}

enum muster_status comm_mpi_create(struct comm **out, struct muster_error *err)
{
    *out = NULL;
    struct comm_mpi *m = mpi_allocate(err);
    if (!m)
        return MUSTER_ERR_NO_MEMORY;
    enum muster_status status = mpi_start(m, err);
    if (status == MUSTER_OK)
        status = mpi_singletons_refuse(m, err);
    if (status == MUSTER_OK)
        status = mpi_tables_create(m, err);
    if (status == MUSTER_OK)
        status = mpi_nodes_find(m, err);
    if (status == MUSTER_OK)
        status = comm_mpi_local_open(m, err);
    if (status == MUSTER_OK && m->has_local)
        status = mpi_sum_create(m, err);
    if (status == MUSTER_OK)
        status = mpi_fast_create(m, err);
    if (status != MUSTER_OK) {
        mpi_destroy(&m->base);
        return status;
    }
    mpi_launch_transport(m->base.node_count, getenv, m->transport, sizeof(m->transport));
    *out = &m->base;
    return MUSTER_OK;
}

/* "Open MPI v4.1.4, package: …", or several lines. */
void comm_mpi_library(char *out, size_t size)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (size == 0 || MPI_Get_library_version(text, &length) != MPI_SUCCESS)
        length = 0;
    text[length] = '\0';
    text[strcspn(text, ",\n")] = '\0';
    char *number = strstr(text, " v");
    if (number != NULL)
        memmove(number + 1, number + 2, strlen(number + 1));
    snprintf(out, size, "%s", text);
}

enum muster_status comm_mpi_duplicate(struct comm *c, struct comm **out, struct muster_error *err)
{
    *out = NULL;
    if (c->ops->name != mpi_ops.name) /* a table that only wraps this one keeps the name */
        return c->size == 1 ? comm_loopback_create(out, err)
                            : muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                               "a communicator over %s cannot be duplicated", c->ops->name);
    struct comm_mpi *of = comm_mpi_of(c);
    if (!of->concurrent)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "this MPI does not serve two threads at once (MPI_THREAD_MULTIPLE)");
    struct comm_mpi *m = mpi_allocate(err);
    if (!m)
        return MUSTER_ERR_NO_MEMORY;
    m->base = of->base;
    m->base.sequence = m->base.bytes_sent = m->base.bytes_across = 0;
    m->base.local = NULL;
    m->concurrent = true;
    m->message_bytes_max = of->message_bytes_max;
    memcpy(m->transport, of->transport, sizeof(m->transport));
    enum muster_status status = mpi_tables_create(m, err);
    if (status == MUSTER_OK) {
        memcpy(m->nodes, of->nodes, (size_t)c->size * sizeof(*m->nodes));
        mpi_ring_order(m);
        status = mpi_fast_create(m, err);
    }
    if (status == MUSTER_OK)
        status = comm_mpi_check(m, MPI_Comm_dup(of->world, &m->world), "duplicate", err);
    if (status != MUSTER_OK) {
        mpi_destroy(&m->base);
        return status;
    }
    *out = &m->base;
    return MUSTER_OK;
}

enum muster_status comm_mpi_hierarchy_set(struct comm *c, bool on, struct muster_error *err)
{
    if (c->ops->name != mpi_ops.name) /* a table that only wraps this one keeps the name */
        return MUSTER_OK;
    struct comm_mpi *m = comm_mpi_of(c);
    struct comm_local *local = on && m->has_local ? &m->local : NULL;
    if (local == c->local)
        return MUSTER_OK;
    c->local = local;
    return mpi_fast_create(m, err);
}

void comm_mpi_message_max_set(struct comm *c, int64_t message_bytes_max)
{
    comm_mpi_of(c)->message_bytes_max = message_bytes_max;
}
