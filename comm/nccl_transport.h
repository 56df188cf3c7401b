/* SPDX-License-Identifier: MIT
 *
 * Which way NCCL talks, read from its own log: it has no call that says so, and a job that silently fell back
 * from InfiniBand to sockets trains at a tenth of its speed. Pure functions; nccl_setup.c brings the log.
 */
#ifndef MUSTER_COMM_NCCL_TRANSPORT_H
#define MUSTER_COMM_NCCL_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

struct nccl_transport {
    bool peer_to_peer;  /* GPU to GPU: NVLink or PCIe, the log does not say which */
    bool shared_memory; /* through the host's memory */
    bool sockets;
    bool infiniband, roce; /* roce: of the InfiniBand kind over Ethernet */
    bool gpu_direct;       /* the network card reads GPU memory itself */
    char plugin[32];       /* name of any other network, or empty */
};

/** Reads the lines "Channel … via P2P/…", "via SHM/…", "via NET/name/…" and "NET/IB : Using …"; what is not
 * understood is passed over. `log` may be cut anywhere. */
struct nccl_transport nccl_transport_parse(const char *log);

/** "GPU peer-to-peer, InfiniBand with GPUDirect"; empty when nothing was seen. */
void nccl_transport_describe(const struct nccl_transport *transport, char *text, size_t size);

#endif
