/* SPDX-License-Identifier: MIT
 *
 * Collectives between ranks, as bytes or fp32. A communicator is a base struct and a table of functions:
 * `mpi`, `loopback` (one rank), `nccl` and `staged` (device memory, nccl.h); wrappers (fault, trace) own an
 * inner one. Nothing here decides an order of floating-point adds except exact_reduce.h; the two `fast` calls
 * hand that to the library underneath.
 *
 * Every call is collective over all ranks, in the same order, from one thread at a time per communicator. A
 * failed call returns MUSTER_ERR_PEER with the collective's name and number; the job cannot go on after it.
 */
#ifndef MUSTER_COMM_COMM_H
#define MUSTER_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tree.h"

struct comm;

enum { COMM_MARKS = 64 };

struct comm_ops {
    const char *name;
    void (*destroy)(struct comm *c);
    enum muster_status (*barrier)(struct comm *c, struct muster_error *err);
    /* `bytes` from root to all */
    enum muster_status (*broadcast)(struct comm *c, void *data, int64_t bytes, int root,
                                    struct muster_error *err);
    /* all[counts[0] + … + counts[r-1] …] = rank r's block; my block is already in place (counts in bytes) */
    enum muster_status (*all_gather)(struct comm *c, void *all, const int64_t *counts_bytes,
                                     struct muster_error *err);
    /* to rank r: send[r], send_bytes[r]; from rank r: receive[r], receive_bytes[r]; entries for myself are
     * ignored */
    enum muster_status (*exchange)(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                   void *const *receive, const int64_t *receive_bytes,
                                   struct muster_error *err);
    /* fast: mine[0 … counts[rank]) = sum over ranks of data's rank-th block (counts in floats); data may be
     * destroyed; mine lies apart from data or is that block */
    enum muster_status (*reduce_scatter_f32)(struct comm *c, float *data, const int64_t *counts, float *mine,
                                             struct muster_error *err);
    /* fast: data = sum over ranks, in the library's order */
    enum muster_status (*all_reduce_f32)(struct comm *c, float *data, int64_t count,
                                         struct muster_error *err);
    /* The two that order a communicator on device memory with the computation; on the host they do nothing.
     * begin_after: what is called from now on waits for all that `stream` holds so far. end_before: what
     * `stream` gets from now on waits for all that was called so far, and so does the caller, as long as the
     * time limit lets it. */
    enum muster_status (*begin_after)(struct comm *c, void *stream, struct muster_error *err);
    enum muster_status (*end_before)(struct comm *c, void *stream, struct muster_error *err);
    /* Where calls return early: mark remembers all that was called so far as mark 0 … COMM_MARKS-1, and what
     * `stream` gets after wait_mark waits for that. The caller goes on: end_before comes before it waits for
     * the stream. NULL elsewhere. */
    enum muster_status (*mark)(struct comm *c, int mark, struct muster_error *err);
    enum muster_status (*wait_mark)(struct comm *c, void *stream, int mark, struct muster_error *err);
    /* out = the sum of `count` floats of each term where the buffers are (exact_reduce's adds), in order with
     * the calls above; out may be one of the terms. NULL on the host: the caller adds itself. */
    enum muster_status (*sum_f32)(struct comm *c, float *out, const struct tree_terms *terms, int64_t count,
                                  struct muster_error *err);
    /* see comm/local.h; called only where `local` is and the host has several ranks */
    enum muster_status (*local_barrier)(struct comm *c, struct muster_error *err);
    /* "shared memory", "NVLink", "InfiniBand", "sockets"… as read back, for people; never NULL */
    const char *(*transport)(struct comm *c);
    /* see comm_give_up; NULL where nothing has to be done */
    void (*give_up)(struct comm *c);
    /* Ends every rank of the job with this exit code; does not return where the transport can do that. */
    void (*abort)(struct comm *c, int exit_code);
};

struct comm {
    const struct comm_ops *ops;
    int rank, size;
    int node, node_count;       /* which host, in order of first rank; how many */
    int local_rank, local_size; /* among the ranks of my host */
    const int *node_of;         /* [size] the host of each rank; NULL: all are on one */
    struct comm_local *local; /* memory that ranks of a host share (comm/local.h); NULL: none, on all ranks */
    bool any_thread;          /* calls may come from any thread, one at a time */
    bool returns_early;       /* a call may return before its work is done; then there are marks */
    _Atomic int64_t sequence; /* number of the collective in progress or last done; a watchdog reads it */
    int64_t bytes_sent; /* payload handed to other ranks, by messages once per receiver, through shared memory
                           once */
    int64_t bytes_across; /* of these, what went to ranks on other hosts */
    int64_t timeout_ms;   /* see comm_timeout_set */
};

/** One rank, no transport. */
enum muster_status comm_loopback_create(struct comm **out, struct muster_error *err);

/**
 * The MPI transport on MPI_COMM_WORLD; calls MPI_Init_thread (MULTIPLE wanted, FUNNELED accepted) if needed.
 * BAD_INPUT when the launcher's environment says more ranks than MPI sees (OMPI_COMM_WORLD_SIZE, PMI_SIZE,
 * PMIX_… or SLURM_NTASKS with SLURM_STEP_ID): N singletons that would each train alone.
 */
enum muster_status comm_mpi_create(struct comm **out, struct muster_error *err);

/** What the MPI library at hand calls itself, "Open MPI 4.1.4"; also before MPI is started. */
void comm_mpi_library(char *out, size_t size);

/**
 * A second communicator over the ranks of `c`, for another thread: calls on `c` and on the duplicate may be
 * inside MPI at the same time and do not wait for each other. Each keeps to one thread at a time, has its own
 * order of collectives and its own numbers (sequence, bytes_sent begin at 0), and takes `c`'s time limit.
 *
 * Collective on `c`, like a call of it: nobody may be inside `c` meanwhile. Destroy it with comm_destroy on
 * all ranks before `c`, when no call of it is in progress. For a communicator of one rank without MPI the
 * duplicate is another one of that kind.
 * \return UNSUPPORTED where MPI does not offer MPI_THREAD_MULTIPLE, or `c` is not over MPI.
 */
enum muster_status comm_mpi_duplicate(struct comm *c, struct comm **out, struct muster_error *err);

/**
 * Whether the ranks of a host add among themselves first and only then talk to other hosts (at first they do,
 * where the host lets them share memory). The bits of an exact sum are the same both ways. To be called with
 * the same value on all ranks, before reductions are set up on `c`; nothing happens but over MPI.
 */
enum muster_status comm_mpi_hierarchy_set(struct comm *c, bool on, struct muster_error *err);

/**
 * The longest time one wait for other ranks may take, 0 (at first) for no limit. MPI only; NCCL has its own
 * (struct nccl_options). A wait that lasts longer ends with MUSTER_ERR_PEER, naming the collective and, where
 * it is one, the rank. What was sent and posted cannot be taken back: the buffers stay in use to the end of
 * the job, whose end is near (comm_abort).
 *
 * Waits over MPI are patient: they ask MPI without pause for some tens of microseconds, then let other
 * threads run in between, and after a tenth of a millisecond sleep in between. A long wait takes about 15% of
 * a core (docs/COMMUNICATION.md). Data moves only while some thread of the rank is inside a call of MPI.
 */
void comm_timeout_set(struct comm *c, int64_t timeout_ms);

/** Ends MPI too when the communicator started it. Waits for the other ranks, which do the same. Takes NULL.
 */
void comm_destroy(struct comm *c);

/** This rank has failed, and the others do not know yet: comm_destroy, which is all that may follow, will not
 * wait for them. What waits for a collective on the GPU goes on. Takes NULL. */
void comm_give_up(struct comm *c);

enum muster_status comm_barrier(struct comm *c, struct muster_error *err);
enum muster_status comm_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                  struct muster_error *err);
enum muster_status comm_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                   struct muster_error *err);
enum muster_status comm_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                 void *const *receive, const int64_t *receive_bytes,
                                 struct muster_error *err);
enum muster_status comm_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts, float *mine,
                                           struct muster_error *err);
enum muster_status comm_all_reduce_f32(struct comm *c, float *data, int64_t count, struct muster_error *err);
enum muster_status comm_begin_after(struct comm *c, void *stream, struct muster_error *err);
enum muster_status comm_end_before(struct comm *c, void *stream, struct muster_error *err);
const char *comm_transport(struct comm *c);
void comm_abort(struct comm *c, int exit_code);

#endif
