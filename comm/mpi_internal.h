/* SPDX-License-Identifier: MIT
 *
 * What the files of the MPI transport share: the communicator (mpi.c makes and ends it, mpi_calls.c holds the
 * collectives) and the one way to wait (mpi_wait.c).
 */
#ifndef MUSTER_COMM_MPI_INTERNAL_H
#define MUSTER_COMM_MPI_INTERNAL_H

#include <mpi.h>

#include "comm/combine.h"
#include "comm/comm.h"
#include "comm/host_reduce.h"
#include "comm/local.h"
#include "comm/patience.h"

/** Messages of one flow that are under way at once. */
enum { COMM_MPI_IN_FLIGHT = 16 };

struct comm_mpi_message {
    MPI_Request request;
    int peer, bytes;
    bool is_sent;
};

struct comm_mpi {
    struct comm base; /* first: the operations cast back */
    MPI_Comm world;   /* MPI_COMM_NULL until duplicated */
    bool owns_mpi;    /* MPI_Init was ours, so is MPI_Finalize */
    bool concurrent;  /* several threads may be inside MPI at once */
    int64_t message_bytes_max;
    int *counts, *displacements;       /* [size], for the calls that take int */
    struct comm_mpi_message *messages; /* [2 · size · COMM_MPI_IN_FLIGHT] under way */
    int posted;                        /* of them */
    int *nodes;                        /* [size], base.node_of */
    int *ring;                         /* [size] ranks ordered by host: neighbours share one where they can */
    int ring_place;                    /* mine in `ring` */
    char *shared;                      /* what the ranks of this host have in common (mpi_local.c), or NULL */
    struct comm_local local;           /* base.local points here while hierarchy is on */
    uint32_t local_barriers;           /* so far, of this host */
    bool has_local;                    /* all hosts could offer it */
    struct host_reduce *fast;          /* the library's sums, which need no tree */
    int64_t *owned_begin, *block_bytes; /* [size + 1], [size]: arguments of `fast` and all_gather */
    float *fast_receive;
    struct combine sum;        /* of one array a rank, by rank (mpi_sum.c) */
    const float **sum_sources; /* [size] */
    int64_t fast_receive_bytes;
    char transport[64];
};

static inline struct comm_mpi *comm_mpi_of(struct comm *c)
{
    return (struct comm_mpi *)c;
}

/** MPI's code as a status; the text says "all_gather #12 on rank 3: …". */
enum muster_status comm_mpi_check(const struct comm_mpi *m, int code, const char *collective,
                                  struct muster_error *err);

/** The error of a wait that comm_timeout_set cut short. \param peer  the rank waited for; -1: several */
enum muster_status comm_mpi_wait_over(const struct comm_mpi *m, int peer, const char *collective,
                                      struct muster_error *err);

/** Waits patiently (patience.h), so that a thread which computes on the same core loses next to nothing.
 * After a failure the request is left to the end of the job. \param peer  the rank waited for, for the
 * message; -1: several */
enum muster_status comm_mpi_wait(struct comm_mpi *m, MPI_Request *request, int peer, const char *collective,
                                 struct muster_error *err);

/** The same for one of several requests, waited for one after the other. \param patience  of all of them */
enum muster_status comm_mpi_wait_next(struct comm_mpi *m, MPI_Request *request, MPI_Status *received,
                                      int peer, struct patience *patience, const char *collective,
                                      struct muster_error *err);

/** To or from one rank; `data` is only read when it is sent. */
struct comm_mpi_flow {
    int peer;
    bool is_sent;
    char *data;
    int64_t bytes;
};

/** A flow goes by in windows, each as many messages as may be under way at once; how many it takes. */
int64_t comm_mpi_flow_windows(const struct comm_mpi *m, int peer, int64_t bytes);
/** Starts the messages of one window (none when the flow is over by then). \return MPI's code */
int comm_mpi_flow_post(struct comm_mpi *m, const struct comm_mpi_flow *flow, int64_t window);
/** Waits for all that was posted; PEER when a message has another length than was due. */
enum muster_status comm_mpi_flow_wait(struct comm_mpi *m, const char *collective, struct muster_error *err);

/**
 * Memory that the ranks of a host share. Collective; where a host cannot offer it nobody has it, which is no
 * error.
 */
enum muster_status comm_mpi_local_open(struct comm_mpi *m, struct muster_error *err);
void comm_mpi_local_close(struct comm_mpi *m);
enum muster_status comm_mpi_local_barrier(struct comm *c, struct muster_error *err);

/** The all-reduce where all ranks are on one host and `local` is there. */
enum muster_status comm_mpi_local_sum(struct comm_mpi *m, float *data, int64_t count,
                                      struct muster_error *err);

/* The collectives, as struct comm_ops has them. */
enum muster_status comm_mpi_barrier(struct comm *c, struct muster_error *err);
enum muster_status comm_mpi_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                      struct muster_error *err);
enum muster_status comm_mpi_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                       struct muster_error *err);
enum muster_status comm_mpi_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                     void *const *receive, const int64_t *receive_bytes,
                                     struct muster_error *err);
enum muster_status comm_mpi_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                               float *mine, struct muster_error *err);
enum muster_status comm_mpi_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                           struct muster_error *err);

#endif
