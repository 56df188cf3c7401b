/* SPDX-License-Identifier: MIT
 *
 * Silent corruption: every rank holds a copy of the same weights, so their hashes must be equal. A rank whose
 * copy differs from what most ranks hold is named. Asked for after the backward pass and before the update,
 * when the copies have been in use for a whole step.
 */
#ifndef MUSTER_WORKER_PARAM_CHECK_H
#define MUSTER_WORKER_PARAM_CHECK_H

#include "comm/comm.h"
#include "worker/rank_state.h"

enum { PARAM_CHECK_EQUAL = -2, PARAM_CHECK_NO_MAJORITY = -1 };

struct param_check;

/** \param comm  of host memory */
enum muster_status param_check_create(struct rank_state *state, struct comm *comm, struct param_check **out,
                                      struct muster_error *err);
/** Takes NULL. */
void param_check_destroy(struct param_check *check);

/** Whether the job wants the weights compared in step `number` (0 for the first). */
bool param_check_due(const struct param_check *check, int64_t number);

/**
 * Compares. Allocates nothing. Collective.
 * \param odd_rank  out: the first rank that differs from the majority; -1 when none does or there is no
 * majority \return PEER, on all ranks alike, when the copies are not equal: the text says who differs.
 */
enum muster_status param_check_run(struct param_check *check, int64_t number, int *odd_rank,
                                   struct muster_error *err);

/** Of this rank's copy, a weight in host memory that another rank owns and will send again; NULL when there
 * is none. For tests that spoil it. */
void *param_check_foreign(const struct param_check *check);

#endif
