/* SPDX-License-Identifier: MIT
 *
 * NCCL's own log, caught for the time of set-up in a private file: it is the only place where NCCL says which
 * way it talks. A person who asked for that log (any of NCCL_DEBUG, NCCL_DEBUG_SUBSYS, NCCL_DEBUG_FILE)
 * keeps it, and then nothing is caught.
 */
#ifndef MUSTER_COMM_NCCL_LOG_H
#define MUSTER_COMM_NCCL_LOG_H

#include <stdbool.h>

#include "comm/nccl_transport.h"

struct nccl_log {
    char path[256]; /* empty: nothing is caught */
};

/** Before NCCL is first called in this process, which reads the variables once. */
void nccl_log_begin(struct nccl_log *log);

/** What the log said; false when there is none. */
bool nccl_log_read(const struct nccl_log *log, struct nccl_transport *transport);

/** Removes the file and what was set in the environment; may be called twice. */
void nccl_log_end(struct nccl_log *log);

#endif
