/* SPDX-License-Identifier: MIT
 *
 * Ranks read their own files. On hosts that do not share them, a copy that is older or cut short would train
 * another model without a word; so the ranks compare what they have opened before the first step.
 */
#ifndef MUSTER_WORKER_DATA_SHARE_H
#define MUSTER_WORKER_DATA_SHARE_H

#include "comm/comm.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/data/dataset.h"

/**
 * Opens the job's list `key`, data.train or data.val. Collective. \param out  the caller closes it, in every
 * case \param data  what all ranks have \return the same on all: the first rank's trouble, or BAD_INPUT
 * naming the first that has something else than rank 0
 */
enum muster_status data_open_shared(struct comm *comm, const struct job *job, const char *key,
                                    struct dataset **out, struct ckpt_data *data, struct muster_error *err);

#endif
