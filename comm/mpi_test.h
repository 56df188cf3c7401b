/* SPDX-License-Identifier: MIT
 *
 * What only tests may turn on the MPI transport, apart from comm.h so that nothing else does.
 */
#ifndef MUSTER_COMM_MPI_TEST_H
#define MUSTER_COMM_MPI_TEST_H

#include "comm/comm.h"

/** From here on messages are cut at this size, a multiple of 4 (1 GiB at first); the same on every rank. */
void comm_mpi_message_max_set(struct comm *c, int64_t message_bytes_max);

#endif
