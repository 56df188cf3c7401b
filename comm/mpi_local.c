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
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/local.h"

enum { HEADER_BYTES = 4096, LOOKS = 2000, YIELDING_NS = 300000, SLEEP_NS = 1000000 };

/* What comes before the slots. */
struct header {
    uint64_t token;                         /* of the offer that led here */
    _Alignas(64) _Atomic uint32_t arrivals; /* of all ranks in all barriers; wraps */
    _Alignas(64) _Atomic uint32_t sleepers;
};

/* How the other ranks of the host find the file. */
struct offer {
    int64_t pid, fd;
    uint64_t token; /* the file's first word, so that nobody takes another one for it */
};

static size_t map_bytes(const struct comm_mpi *m)
{
    return HEADER_BYTES + 2 * (size_t)m->base.local_size * COMM_LOCAL_HALF_BYTES;
}

static struct header *header_of(const struct comm_mpi *m)
{
    return (struct header *)(void *)m->shared;
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
        header_of(m)->token = offer->token;
    return fd;
}

static int file_open(struct comm_mpi *m, const struct offer *offer)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%lld/fd/%lld", (long long)offer->pid, (long long)offer->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && lseek(fd, 0, SEEK_END) == (off_t)map_bytes(m))
        file_map(m, fd);
    if (m->shared && header_of(m)->token != offer->token)
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
        m->local.slots = m->shared ? m->shared + HEADER_BYTES : NULL;
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

static void core_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* `arrivals` wraps: a barrier is complete when they are not behind its number of them. */
static bool is_complete(uint32_t arrivals, uint32_t due)
{
    return (int32_t)(arrivals - due) >= 0;
}

/* Returns when all are there, after a millisecond, or for no reason. */
static void barrier_sleep(struct header *header, uint32_t due)
{
    const struct timespec most = {.tv_nsec = SLEEP_NS};
    atomic_fetch_add(&header->sleepers, 1);
    uint32_t seen = atomic_load(&header->arrivals);
    if (!is_complete(seen, due))
        syscall(SYS_futex, &header->arrivals, FUTEX_WAIT, seen, &most, NULL, 0);
    atomic_fetch_sub(&header->sleepers, 1);
}

enum muster_status comm_mpi_local_barrier(struct comm *c, struct muster_error *err)
{
    struct comm_mpi *m = comm_mpi_of(c);
    struct header *header = header_of(m);
    uint32_t due = ++m->local_barriers * (uint32_t)c->local_size;
    if (atomic_fetch_add(&header->arrivals, 1) + 1 == due) {
        if (atomic_load(&header->sleepers) > 0)
            syscall(SYS_futex, &header->arrivals, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        return MUSTER_OK;
    }
    int64_t begin_ns = 0, waited_ns = 0;
    for (int look = 0; !is_complete(atomic_load_explicit(&header->arrivals, memory_order_acquire), due);) {
        int there;
        if (look++ < LOOKS) {
            core_relax();
            continue;
        }
        begin_ns = begin_ns ? begin_ns : clock_monotonic_ns();
        waited_ns = clock_monotonic_ns() - begin_ns;
        if (waited_ns < YIELDING_NS) {
            sched_yield();
            continue;
        }
        barrier_sleep(header, due);
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, m->world, &there, MPI_STATUS_IGNORE);
        if (c->timeout_ms > 0 && waited_ns > c->timeout_ms * 1000000)
            return comm_mpi_wait_over(m, -1, "barrier of a host", err);
    }
    return MUSTER_OK;
}
