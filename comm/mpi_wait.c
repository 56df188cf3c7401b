/* SPDX-License-Identifier: MIT
 *
 * Waiting for MPI without MPI_Wait, which holds its core until the message is there. MPI moves data only
 * while somebody asks, so the wait must go on asking; patience.h says how often.
 */
#include "comm/mpi_internal.h"

#include <stdio.h>

enum muster_status comm_mpi_check(const struct comm_mpi *m, int code, const char *collective,
                                  struct muster_error *err)
{
    if (code == MPI_SUCCESS)
        return MUSTER_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(code, text, &length);
    return muster_error_set(err, MUSTER_ERR_PEER, "%s #%lld on rank %d: %s", collective,
                            (long long)m->base.sequence, m->base.rank, text);
}

enum muster_status comm_mpi_wait_over(const struct comm_mpi *m, int peer, const char *collective,
                                      struct muster_error *err)
{
    char whom[32] = "another rank";
    if (peer >= 0)
        snprintf(whom, sizeof(whom), "rank %d", peer);
    return muster_error_set(
        err, MUSTER_ERR_PEER, "%s #%lld on rank %d waited %lld ms for %s, which is gone or stands still",
        collective, (long long)m->base.sequence, m->base.rank, (long long)m->base.timeout_ms, whom);
}

enum muster_status comm_mpi_wait_next(struct comm_mpi *m, MPI_Request *request, MPI_Status *received,
                                      int peer, struct patience *patience, const char *collective,
                                      struct muster_error *err)
{
    for (;;) {
        int done = 0;
        int code = MPI_Test(request, &done, received);
        if (code != MPI_SUCCESS || done) {
            patience_moved(patience);
            return comm_mpi_check(m, code, collective, err);
        }
        if (!patience_go_on(patience, m->base.timeout_ms))
            return comm_mpi_wait_over(m, peer, collective, err);
    }
}

enum muster_status comm_mpi_wait(struct comm_mpi *m, MPI_Request *request, int peer, const char *collective,
                                 struct muster_error *err)
{
    struct patience patience = {0};
    return comm_mpi_wait_next(m, request, MPI_STATUS_IGNORE, peer, &patience, collective, err);
}
