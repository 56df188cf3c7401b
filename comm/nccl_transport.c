/* SPDX-License-Identifier: MIT
 *
 * See nccl_transport.h. The lines looked at have had the same form since NCCL 2.4; names of network plug-ins
 * begin with IB for those that speak InfiniBand ("IBext_v8").
 */
#include "comm/nccl_transport.h"

#include <stdio.h>
#include <string.h>

/* The first `needle` within [begin, end), or NULL. */
static const char *range_find(const char *begin, const char *end, const char *needle)
{
    size_t length = strlen(needle);
    for (; (size_t)(end - begin) >= length; begin++)
        if (memcmp(begin, needle, length) == 0)
            return begin;
    return NULL;
}

static bool range_starts(const char *begin, const char *end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - begin) >= length && memcmp(begin, word, length) == 0;
}

/* `name` is what follows "via NET/": the network's name up to the next '/'. */
static void network_note(struct nccl_transport *transport, const char *name, const char *end)
{
    if (range_starts(name, end, "Socket"))
        transport->sockets = true;
    else if (range_starts(name, end, "IB"))
        transport->infiniband = true;
    else
        snprintf(transport->plugin, sizeof(transport->plugin), "%.*s", (int)strcspn(name, "/\n"), name);
    transport->gpu_direct |= range_find(name, end, "/GDRDMA") != NULL;
}

static void line_note(struct nccl_transport *transport, const char *line, const char *end)
{
    const char *via = range_find(line, end, " via ");
    if (via && range_find(line, via, "Channel ")) {
        via += strlen(" via ");
        transport->peer_to_peer |= range_starts(via, end, "P2P/");
        transport->shared_memory |= range_starts(via, end, "SHM/");
        if (range_starts(via, end, "NET/"))
            network_note(transport, via + strlen("NET/"), end);
    }
    const char *devices = range_find(line, end, "NET/IB : Using");
    transport->roce |= devices && range_find(devices, end, "/RoCE");
}

struct nccl_transport nccl_transport_parse(const char *log)
{
    struct nccl_transport transport = {0};
    while (*log) {
        const char *end = log + strcspn(log, "\n");
        line_note(&transport, log, end);
        log = *end ? end + 1 : end;
    }
    return transport;
}

void nccl_transport_describe(const struct nccl_transport *transport, char *text, size_t size)
{
    const char *parts[5];
    int count = 0;
    size_t length = 0;
    if (transport->peer_to_peer)
        parts[count++] = "GPU peer-to-peer";
    if (transport->shared_memory)
        parts[count++] = "shared memory";
    if (transport->infiniband)
        parts[count++] = transport->roce ? "RoCE" : "InfiniBand";
    if (transport->plugin[0])
        parts[count++] = transport->plugin;
    if (transport->sockets)
        parts[count++] = "sockets";
    text[0] = '\0';
    for (int i = 0; i < count && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "", parts[i]);
    if (transport->gpu_direct && length < size)
        snprintf(text + length, size - length, " with GPUDirect");
}
