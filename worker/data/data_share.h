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

/** Collective. \param key  of the job, for the message \param out  what all ranks have \return BAD_INPUT on
 * all ranks, naming the first that has something else than rank 0 */
enum muster_status data_share(struct comm *comm, const struct dataset *dataset, const char *key,
                              struct ckpt_data *out, struct muster_error *err);

#endif
