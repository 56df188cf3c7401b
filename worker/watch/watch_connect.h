/* SPDX-License-Identifier: MIT
 *
 * Making the watchdogs' connections: one rank listens for seconds, the others come with a token. Every wait
 * has a deadline.
 */
#ifndef MUSTER_WORKER_WATCH_CONNECT_H
#define MUSTER_WORKER_WATCH_CONNECT_H

#include <sys/socket.h>

#include "worker/watch/watch_channel.h"

enum { WATCH_TOKEN_BYTES = 16, WATCH_ADDRESSES_MAX = 16 };

/** What rank 0 tells the others over MPI. */
struct watch_offer {
    int32_t wire, address_count; /* 0 addresses: rank 0 could not listen */
    unsigned char token[WATCH_TOKEN_BYTES];
    struct sockaddr_storage addresses[WATCH_ADDRESSES_MAX];
    socklen_t address_bytes[WATCH_ADDRESSES_MAX];
};

/** Listens on a Unix socket without a file, or on a free TCP port of this host's network interfaces. */
enum muster_status watch_connect_listen(struct watch_offer *offer, int *listener, struct muster_error *err);

/** The next rank that comes with the token; strangers are sent away. \param size  ranks of the job */
enum muster_status watch_connect_accept(const struct watch_offer *offer, int listener, int size, int *fd,
                                        int *rank, struct muster_error *err);

/** Tries the offered addresses in turn. */
enum muster_status watch_connect_to(const struct watch_offer *offer, int rank, int *fd,
                                    struct muster_error *err);

#endif
