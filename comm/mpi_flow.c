/* SPDX-License-Identifier: MIT
 *
 * Data on its way between two ranks, as messages. Between hosts they are short and several are under way at
 * once: a message above the eager limit of Open MPI's TCP (64 KiB with its header) waits for a word from the
 * receiver, which waits behind the receiver's own data on the same connection, so that long messages that
 * cross go one after the other and take twice as long (measured with 4.1.4, docs/COMMUNICATION.md). On one
 * host a long message is one copy, and cutting it would only cost.
 */
#include "comm/mpi_internal.h"

enum { WIRE_BYTES = 60 << 10 };

static int64_t message_bytes(const struct comm_mpi *m, int peer)
{
    bool wire = m->nodes[peer] != m->base.node && WIRE_BYTES < m->message_bytes_max;
    return wire ? WIRE_BYTES : m->message_bytes_max;
}

int64_t comm_mpi_flow_windows(const struct comm_mpi *m, int peer, int64_t bytes)
{
    int64_t window = COMM_MPI_IN_FLIGHT * message_bytes(m, peer);
    return (bytes + window - 1) / window;
}

int comm_mpi_flow_post(struct comm_mpi *m, const struct comm_mpi_flow *flow, int64_t window)
{
    int64_t most = message_bytes(m, flow->peer), at = window * COMM_MPI_IN_FLIGHT * most;
    int code = MPI_SUCCESS;
    for (int i = 0; i < COMM_MPI_IN_FLIGHT && at < flow->bytes && code == MPI_SUCCESS; i++, at += most) {
        int bytes = (int)(flow->bytes - at < most ? flow->bytes - at : most);
        struct comm_mpi_message *message = &m->messages[m->posted];
        *message = (struct comm_mpi_message){.peer = flow->peer, .bytes = bytes, .is_sent = flow->is_sent};
        if (flow->is_sent)
            code = MPI_Isend(flow->data + at, bytes, MPI_BYTE, flow->peer, 0, m->world, &message->request);
        else
            code = MPI_Irecv(flow->data + at, bytes, MPI_BYTE, flow->peer, 0, m->world, &message->request);
        m->posted += code == MPI_SUCCESS;
    }
    return code;
}

/* One by one, because MPI_Waitall of Open MPI 4.1 never returns when one of its requests had failed before
 * the call. */
enum muster_status comm_mpi_flow_wait(struct comm_mpi *m, const char *collective, struct muster_error *err)
{
    struct patience patience = {0};
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < m->posted && status == MUSTER_OK; i++) {
        struct comm_mpi_message *message = &m->messages[i];
        MPI_Status received;
        int bytes = 0;
        status =
            comm_mpi_wait_next(m, &message->request, &received, message->peer, &patience, collective, err);
        if (status != MUSTER_OK || message->is_sent)
            continue;
        MPI_Get_count(&received, MPI_BYTE, &bytes);
        if (bytes != message->bytes)
            status = muster_error_set(
                err, MUSTER_ERR_PEER, "%s #%lld on rank %d: rank %d sent %d bytes where %d were due",
                collective, (long long)m->base.sequence, m->base.rank, message->peer, bytes, message->bytes);
    }
    m->posted = 0;
    return status;
}
