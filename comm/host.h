/* SPDX-License-Identifier: MIT
 *
 * What communicators on host memory have in common: their calls are done when they return, so there is
 * nothing to order with a stream.
 */
#ifndef MUSTER_COMM_HOST_H
#define MUSTER_COMM_HOST_H

#include "comm/comm.h"

/** The begin_after and end_before of a communicator on host memory. */
enum muster_status comm_host_order(struct comm *c, void *stream, struct muster_error *err);

#endif
