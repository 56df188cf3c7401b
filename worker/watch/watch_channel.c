/* SPDX-License-Identifier: MIT
 *
 * Opening is one broadcast (where to connect, or why not), connections, one vote. Afterwards every socket is
 * non-blocking, and each peer has room for one message in each direction.
 */
#include "worker/watch/watch_channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/watch/watch_connect.h"

struct peer {
    int fd; /* -1: closed */
    bool closed_untold;
    size_t in_bytes, out_bytes, out_done;
    struct watch_message in, out, kept; /* kept: waits behind `out`; kind 0: nothing */
};

struct watch_channel {
    struct peer *peers; /* [size] by rank */
    struct pollfd *poll_fds;
    int size, rank, next;
};

enum watch_wire watch_channel_wire(const struct comm *comm)
{
    const char *tcp = getenv("MUSTER_WATCHDOG_TCP");
    return comm->node_count > 1 || (tcp != NULL && strcmp(tcp, "1") == 0) ? WATCH_WIRE_TCP : WATCH_WIRE_UNIX;
}

static enum muster_status channel_create(const struct comm *comm, struct watch_channel **out,
                                         struct muster_error *err)
{
    struct watch_channel *channel = alloc_zeroed(1, sizeof *channel);
    if (channel != NULL) {
        channel->size = comm->size;
        channel->rank = comm->rank;
        channel->peers = alloc_zeroed((size_t)comm->size, sizeof *channel->peers);
        channel->poll_fds = alloc_zeroed((size_t)comm->size, sizeof *channel->poll_fds);
    }
    *out = channel;
    if (channel == NULL || channel->peers == NULL || channel->poll_fds == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the watchdog's connections");
    for (int rank = 0; rank < comm->size; rank++)
        channel->peers[rank].fd = -1;
    return MUSTER_OK;
}

static enum muster_status channel_accept(struct watch_channel *channel, const struct watch_offer *offer,
                                         int listener, struct muster_error *err)
{
    for (int missing = channel->size - 1; missing > 0;) {
        int fd = -1, rank = 0;
        enum muster_status status = watch_connect_accept(offer, listener, channel->size, &fd, &rank, err);
        if (status != MUSTER_OK)
            return status;
        if (channel->peers[rank].fd >= 0) {
            close(fd);
            continue;
        }
        channel->peers[rank].fd = fd;
        missing--;
    }
    return MUSTER_OK;
}

/* Rank 0 offers an address, the others come; everybody takes part in both collectives whatever fails. */
static enum muster_status channel_connect(struct watch_channel *channel, struct comm *comm,
                                          enum watch_wire wire, enum muster_status status,
                                          struct muster_error *err)
{
    struct watch_offer offer = {.wire = wire};
    int listener = -1;
    if (status == MUSTER_OK && comm->rank == 0)
        status = watch_connect_listen(&offer, &listener, err);
    enum muster_status sent = comm_broadcast(comm, &offer, sizeof offer, 0, err);
    if (sent != MUSTER_OK) {
        status = sent;
        goto out;
    }
    if (status == MUSTER_OK && comm->rank == 0)
        status = channel_accept(channel, &offer, listener, err);
    else if (status == MUSTER_OK)
        status = watch_connect_to(&offer, comm->rank, &channel->peers[0].fd, err);
    status = checkpoint_agree(comm, status, err);
out:
    if (listener >= 0)
        close(listener);
    return status;
}

enum muster_status watch_channel_open(struct comm *comm, enum watch_wire wire, struct watch_channel **out,
                                      struct muster_error *err)
{
    enum muster_status status = channel_create(comm, out, err);
    if (comm->size > 1)
        status = channel_connect(*out, comm, wire, status, err);
    if (status != MUSTER_OK) {
        watch_channel_close(*out);
        *out = NULL;
    }
    return status;
}

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

void watch_channel_close(struct watch_channel *channel)
{
    if (channel == NULL)
        return;
    for (int rank = 0; channel->peers != NULL && rank < channel->size; rank++)
        peer_close(&channel->peers[rank]);
    alloc_free(channel->peers);
    alloc_free(channel->poll_fds);
    alloc_free(channel);
}

void watch_channel_wait(struct watch_channel *channel, int timeout_ms)
{
    int count = 0;
    for (int rank = 0; rank < channel->size; rank++) {
        const struct peer *peer = &channel->peers[rank];
        if (peer->closed_untold)
            return;
        if (peer->fd >= 0)
            channel->poll_fds[count++] = (struct pollfd){.fd = peer->fd, .events = POLLIN};
    }
    poll(channel->poll_fds, (nfds_t)count, timeout_ms);
}

/* Reads towards one whole message. */
static enum watch_input peer_read(struct peer *peer)
{
    while (peer->fd >= 0 && peer->in_bytes < sizeof peer->in) {
        ssize_t got = recv(peer->fd, (char *)&peer->in + peer->in_bytes, sizeof peer->in - peer->in_bytes,
                           MSG_DONTWAIT);
        if (got > 0) {
            peer->in_bytes += (size_t)got;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return WATCH_INPUT_NONE;
        } else {
            peer_close(peer);
            peer->closed_untold = true;
        }
    }
    if (peer->in_bytes == sizeof peer->in) {
        peer->in_bytes = 0;
        return WATCH_INPUT_MESSAGE;
    }
    bool closed = peer->closed_untold;
    peer->closed_untold = false;
    return closed ? WATCH_INPUT_CLOSED : WATCH_INPUT_NONE;
}

enum watch_input watch_channel_take(struct watch_channel *channel, int *rank, struct watch_message *message)
{
    for (int i = 0; i < channel->size; i++) {
        *rank = channel->next;
        channel->next = (channel->next + 1) % channel->size;
        struct peer *peer = &channel->peers[*rank];
        enum watch_input input = peer_read(peer);
        if (input == WATCH_INPUT_MESSAGE) {
            *message = peer->in;
            message->text[sizeof message->text - 1] = '\0';
        }
        if (input != WATCH_INPUT_NONE)
            return input;
    }
    return WATCH_INPUT_NONE;
}

/* False when the peer takes no more for now, or is gone: reading tells which. */
static bool peer_write(struct peer *peer)
{
    while (peer->fd >= 0 && peer->out_done < peer->out_bytes) {
        ssize_t sent = send(peer->fd, (const char *)&peer->out + peer->out_done,
                            peer->out_bytes - peer->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        peer->out_done += sent > 0 ? (size_t)sent : 0;
    }
    return peer->fd >= 0;
}

static void peer_flush(struct peer *peer)
{
    if (!peer_write(peer) || peer->kept.kind == 0)
        return;
    peer->out = peer->kept;
    peer->kept.kind = 0;
    peer->out_done = 0;
    peer_write(peer);
}

/* Behind a message that is half sent there is room for one more, and reports do not get it. */
static void peer_send(struct peer *peer, const struct watch_message *message)
{
    peer_flush(peer);
    if (peer->out_done == peer->out_bytes) {
        peer->out = *message;
        peer->out_bytes = sizeof peer->out;
        peer->out_done = 0;
        peer_flush(peer);
    } else if (message->kind != WATCH_MESSAGE_REPORT && peer->kept.kind == 0) {
        peer->kept = *message;
    }
}

static bool peer_is_idle(const struct peer *peer)
{
    return peer->fd < 0 || (peer->out_done == peer->out_bytes && peer->kept.kind == 0);
}

void watch_channel_send(struct watch_channel *channel, const struct watch_message *message)
{
    for (int rank = 0; rank < channel->size; rank++)
        peer_send(&channel->peers[rank], message);
}

bool watch_channel_flush(struct watch_channel *channel)
{
    bool is_idle = true;
    for (int rank = 0; rank < channel->size; rank++) {
        peer_flush(&channel->peers[rank]);
        is_idle = is_idle && peer_is_idle(&channel->peers[rank]);
    }
    return is_idle;
}
