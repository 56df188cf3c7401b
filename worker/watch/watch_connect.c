/* SPDX-License-Identifier: MIT
 *
 * See watch_connect.h. Between hosts rank 0 cannot know which of its addresses the others reach, so it offers
 * all that are not the loopback, or the loopback where there is nothing else.
 */
#include "worker/watch/watch_connect.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { ACCEPT_MS = 20000, CONNECT_MS = 3000, HELLO_MS = 2000 };

static const uint32_t hello_magic = 0x6d757374; /* "must" */

struct hello {
    uint32_t magic;
    int32_t rank;
    unsigned char token[WATCH_TOKEN_BYTES];
};

/* Takes as long whatever differs. */
static bool token_equal(const unsigned char *a, const unsigned char *b)
{
    unsigned difference = 0;
    for (int i = 0; i < WATCH_TOKEN_BYTES; i++)
        difference |= (unsigned)(a[i] ^ b[i]);
    return difference == 0;
}

static int socket_open(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* A name that is no file: it goes with the socket, and only this network namespace can see it. */
static void unix_address(struct watch_offer *offer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "muster-watch-");
    unsigned char name[8];
    if (getrandom(name, sizeof name, 0) != sizeof name)
        memset(name, 0, sizeof name);
    for (size_t i = 0; i < sizeof name; i++)
        length += snprintf(address.sun_path + 1 + length, 3, "%02x", name[i]);
    memcpy(&offer->addresses[0], &address, sizeof address);
    offer->address_bytes[0] = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    offer->address_count = 1;
}

static void tcp_address_add(struct watch_offer *offer, const struct sockaddr *address, in_port_t port)
{
    if (offer->address_count == WATCH_ADDRESSES_MAX)
        return;
    struct sockaddr_in copy;
    memcpy(&copy, address, sizeof copy);
    copy.sin_port = port;
    memcpy(&offer->addresses[offer->address_count], &copy, sizeof copy);
    offer->address_bytes[offer->address_count++] = sizeof copy;
}

static void tcp_addresses(struct watch_offer *offer, in_port_t port)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        return;
    for (int loopback = 0; loopback < 2 && offer->address_count == 0; loopback++) {
        for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
            bool is_loopback = at->ifa_flags & IFF_LOOPBACK;
            if (at->ifa_addr != NULL && at->ifa_addr->sa_family == AF_INET && (at->ifa_flags & IFF_UP) &&
                is_loopback == (loopback == 1))
                tcp_address_add(offer, at->ifa_addr, port);
        }
    }
    freeifaddrs(list);
}

enum muster_status watch_connect_listen(struct watch_offer *offer, int *listener, struct muster_error *err)
{
    bool is_tcp = offer->wire == WATCH_WIRE_TCP;
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t any_bytes = sizeof any;
    offer->address_count = 0;
    if (!is_tcp)
        unix_address(offer);
    *listener = socket_open(is_tcp ? AF_INET : AF_UNIX);
    const struct sockaddr *address = is_tcp ? (struct sockaddr *)&any : (struct sockaddr *)offer->addresses;
    if (*listener < 0 || getrandom(offer->token, sizeof offer->token, 0) != sizeof offer->token ||
        bind(*listener, address, is_tcp ? any_bytes : offer->address_bytes[0]) != 0 ||
        listen(*listener, SOMAXCONN) != 0 ||
        (is_tcp && getsockname(*listener, (struct sockaddr *)&any, &any_bytes) != 0)) {
        offer->address_count = 0;
        return muster_error_set_errno(err, errno, "listen for the other ranks' watchdogs");
    }
    if (is_tcp)
        tcp_addresses(offer, any.sin_port);
    return offer->address_count > 0
               ? MUSTER_OK
               : muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "this host has no network address");
}

static void socket_timeout(int fd, int timeout_ms)
{
    const struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout); /* of connect too */
}

static void socket_ready(int fd, bool is_tcp)
{
    const int on = 1;
    if (is_tcp)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

enum muster_status watch_connect_accept(const struct watch_offer *offer, int listener, int size, int *fd,
                                        int *rank, struct muster_error *err)
{
    int64_t deadline = clock_monotonic_ns() + ACCEPT_MS * (int64_t)1000000;
    for (;;) {
        int64_t left_ms = (deadline - clock_monotonic_ns()) / 1000000;
        struct pollfd event = {.fd = listener, .events = POLLIN};
        if (left_ms <= 0 || poll(&event, 1, (int)left_ms) == 0)
            return muster_error_set(err, MUSTER_ERR_PEER, "not all ranks' watchdogs connected within %d s",
                                    ACCEPT_MS / 1000);
        int found = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (found < 0)
            continue;
        struct hello hello;
        socket_timeout(found, HELLO_MS);
        ssize_t got = recv(found, &hello, sizeof hello, MSG_WAITALL);
        if (got == sizeof hello && hello.magic == hello_magic && token_equal(hello.token, offer->token) &&
            hello.rank > 0 && hello.rank < size) {
            socket_ready(found, offer->wire == WATCH_WIRE_TCP);
            *fd = found;
            *rank = hello.rank;
            return MUSTER_OK;
        }
        close(found);
    }
}

enum muster_status watch_connect_to(const struct watch_offer *offer, int rank, int *fd,
                                    struct muster_error *err)
{
    struct hello hello = {.magic = hello_magic, .rank = rank};
    int error = ENETUNREACH;
    memcpy(hello.token, offer->token, sizeof hello.token);
    for (int i = 0; i < offer->address_count; i++) {
        const struct sockaddr *address = (const struct sockaddr *)&offer->addresses[i];
        int found = socket_open(address->sa_family);
        socket_timeout(found, CONNECT_MS);
        if (found >= 0 && connect(found, address, offer->address_bytes[i]) == 0 &&
            send(found, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello) {
            socket_ready(found, offer->wire == WATCH_WIRE_TCP);
            *fd = found;
            return MUSTER_OK;
        }
        error = errno;
        if (found >= 0)
            close(found);
    }
    return muster_error_set_errno(err, error, "connect to the watchdog of rank 0 (%d addresses)",
                                  offer->address_count);
}
