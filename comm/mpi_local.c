/* SPDX-License-Identifier: MIT
 *
 * The memory that the ranks of a host share is a nameless file (memfd) which the first of them makes and the
 * others open through /proc/PID/fd: whatever kills them, nothing is left behind. Where a host cannot do that,
 * nobody uses shared memory, and everything goes through MPI.
 *
 * The barrier is a counter a rank, each in its own cache line: a rank counts itself up and waits for the
 * others to catch up. A long wait asks MPI now and then, which moves data only while somebody asks: another
 * rank of this host may need what this rank has sent.
 */
#include "comm/mpi_internal.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/local.h"
#include "comm/patience.h"

enum { LINE_BYTES = 64, PAGE_BYTES = 4096 };

/* How the other ranks of the host find the file. */
struct offer {
    int64_t pid, fd;
    uint64_t token; /* the file's first word, so that nobody takes another one for it */
};

/* The token and the counters come before the slots. */
static size_t header_bytes(const struct comm_mpi *m)
{
    size_t lines = (size_t)m->base.local_size + 1;
    return (lines * LINE_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static size_t map_bytes(const struct comm_mpi *m)
{
    return header_bytes(m) + 2 * (size_t)m->base.local_size * COMM_LOCAL_HALF_BYTES;
}

static _Atomic uint64_t *counter_of(const struct comm_mpi *m, int local_rank)
{
    return (_Atomic uint64_t *)(void *)(m->shared + (size_t)(local_rank + 1) * LINE_BYTES);
}

static void file_map(struct comm_mpi *m, int fd)
{
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, map_bytes(m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m->shared = map == MAP_FAILED ? NULL : map;
}

/* On the first rank of the host. The file descriptor stays open until the others have theirs. */
static int file_make(struct comm_mpi *m, struct offer *offer)
{
    int fd = memfd_create("muster", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)map_bytes(m)) == 0)
        file_map(m, fd);
    *offer = (struct offer){.pid = getpid(), .fd = fd, .token = (uint64_t)clock_monotonic_ns()};
    if (m->shared)
        *(uint64_t *)(void *)m->shared = offer->token;
    return fd;
}

static int file_open(struct comm_mpi *m, const struct offer *offer)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%lld/fd/%lld", (long long)offer->pid, (long long)offer->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && lseek(fd, 0, SEEK_END) == (off_t)map_bytes(m))
        file_map(m, fd);
    if (m->shared && *(uint64_t *)(void *)m->shared != offer->token)
        comm_mpi_local_close(m);
    return fd;
}

enum muster_status comm_mpi_local_open(struct comm_mpi *m, struct muster_error *err)
{
    MPI_Comm host = MPI_COMM_NULL;
    struct offer offer = {0};
    int fd = -1, alone = m->base.local_size == 1;
    if (m->base.node_count == m->base.size)
        return MUSTER_OK;
    int code = MPI_Comm_split(m->world, m->base.node, m->base.rank, &host);
    if (code == MPI_SUCCESS && m->base.local_rank == 0 && !alone)
        fd = file_make(m, &offer);
    if (code == MPI_SUCCESS)
        code = MPI_Bcast(&offer, sizeof(offer), MPI_BYTE, 0, host);
    if (code == MPI_SUCCESS && m->base.local_rank > 0)
        fd = file_open(m, &offer);
    int good = alone || m->shared;
    if (code == MPI_SUCCESS)
        code = MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, m->world);
    if (fd >= 0)
        close(fd);
    if (host != MPI_COMM_NULL)
        MPI_Comm_free(&host);
    if (code == MPI_SUCCESS && good) {
        m->local.slots = m->shared ? m->shared + header_bytes(m) : NULL;
        m->base.local = &m->local;
        m->has_local = true;
    } else {
        comm_mpi_local_close(m);
    }
    return comm_mpi_check(m, code, "set-up of shared memory", err);
}

void comm_mpi_local_close(struct comm_mpi *m)
{
    if (m->shared)
        munmap(m->shared, map_bytes(m));
    m->shared = NULL;
    m->base.local = NULL;
    m->has_local = false;
}

enum muster_status comm_mpi_local_barrier(struct comm *c, struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    uint64_t count = atomic_load_explicit(counter_of(m, c->local_rank), memory_order_relaxed) + 1;
    struct patience patience = {0};
    atomic_store_explicit(counter_of(m, c->local_rank), count, memory_order_release);
    for (int r = 0; r < c->local_size; r++)
        while (atomic_load_explicit(counter_of(m, r), memory_order_acquire) < count) {
            int there;
            if (patience_is_long(&patience))
                MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, m->world, &there, MPI_STATUS_IGNORE);
            if (!patience_go_on(&patience, c->timeout_ms))
                return comm_mpi_wait_over(m, -1, "barrier of a host", err);
        }
    return MUSTER_OK;
}
