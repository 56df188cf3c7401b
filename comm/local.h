/* SPDX-License-Identifier: MIT
 *
 * Memory that the ranks of a host share: one slot a rank, which its rank writes and all read. A slot has two
 * halves that are used in turn, so that a single barrier a turn is enough:
 *
 *   write comm_local_slot(my local rank) → comm_local_barrier → read the others' slots → comm_local_turn
 *
 * Who is a turn ahead writes the other half, and nobody gets two turns ahead. All ranks of a host take the
 * same turns in the same order.
 */
#ifndef MUSTER_COMM_LOCAL_H
#define MUSTER_COMM_LOCAL_H

#include "comm/comm.h"

enum { COMM_LOCAL_HALF_BYTES = 4 << 20 };

struct comm_local {
    char *slots; /* [local_size] of two halves; NULL where a rank is alone on its host */
    int turn;
};

/** The half of a slot that this turn is about: COMM_LOCAL_HALF_BYTES, aligned to a page. */
static inline char *comm_local_slot(const struct comm *c, int local_rank)
{
    return c->local->slots + (2 * local_rank + (c->local->turn & 1)) * (int64_t)COMM_LOCAL_HALF_BYTES;
}

static inline void comm_local_turn(struct comm *c)
{
    c->local->turn++;
}

/** Waits until all ranks of this host are here; counts as a collective. What they wrote before is to be seen
 * after it. */
enum muster_status comm_local_barrier(struct comm *c, struct muster_error *err);

#endif
