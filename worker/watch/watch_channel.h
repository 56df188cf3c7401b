/* SPDX-License-Identifier: MIT
 *
 * How watchdogs talk: a star of stream connections with rank 0 in the middle, apart from MPI, because MPI may
 * be what a rank is stuck in. On one host they are Unix sockets, between hosts TCP. Rank 0 listens only while
 * the ranks connect (seconds), each must show a random token that came over MPI, and then nobody listens any
 * more. The end of a process closes its connection at once; a message waits for nobody.
 */
#ifndef MUSTER_WORKER_WATCH_CHANNEL_H
#define MUSTER_WORKER_WATCH_CHANNEL_H

#include "comm/comm.h"
#include "worker/watch/watch_table.h"

enum watch_wire { WATCH_WIRE_UNIX, WATCH_WIRE_TCP };

enum watch_message_kind {
    WATCH_MESSAGE_REPORT = 1, /* still alive, and here */
    WATCH_MESSAGE_VERDICT,    /* `rank` is lost: end */
    WATCH_MESSAGE_FAILED,     /* `rank` ends by an error of its own, `text` */
    WATCH_MESSAGE_BYE         /* this connection ends in peace */
};

enum { WATCH_TEXT_SIZE = 512 };

/** As it is on the wire: all ranks of a job run the same program on the same kind of machine. */
struct watch_message {
    int32_t kind, rank;
    struct watch_report report;
    char text[WATCH_TEXT_SIZE];
};

enum watch_input { WATCH_INPUT_NONE, WATCH_INPUT_MESSAGE, WATCH_INPUT_CLOSED };

struct watch_channel;

/** The wire that all ranks of this communicator can use. */
enum watch_wire watch_channel_wire(const struct comm *comm);

/**
 * Connects all ranks. Collective; the same status on all ranks: PEER when one could not be connected within
 * seconds, with its reason. One rank needs no connection.
 */
enum muster_status watch_channel_open(struct comm *comm, enum watch_wire wire, struct watch_channel **out,
                                      struct muster_error *err);
/** Takes NULL. The peers see the end of the connection. */
void watch_channel_close(struct watch_channel *channel);

/** Waits until there is something to take, or so long. */
void watch_channel_wait(struct watch_channel *channel, int timeout_ms);

/** One message, or one end of a connection (told once). Does not wait. \param rank  out: whose */
enum watch_input watch_channel_take(struct watch_channel *channel, int *rank, struct watch_message *message);

/** To every rank that is connected to this one. Never waits: a peer that does not read misses reports;
 * anything else is kept for it and goes out with a later call. */
void watch_channel_send(struct watch_channel *channel, const struct watch_message *message);

/** Tries again what is kept. \return true when nothing is. */
bool watch_channel_flush(struct watch_channel *channel);

#endif
