/* SPDX-License-Identifier: MIT
 *
 * Every launch of a run takes the next number, its epoch, kept in <output_dir>/epoch. A process of an older
 * one (ranks that live on behind a cut network) finds a newer number there and may change nothing any more.
 */
#ifndef MUSTER_BASE_EPOCH_H
#define MUSTER_BASE_EPOCH_H

#include <stdint.h>

#include "base/error.h"

#define EPOCH_FILE_NAME   "epoch"
#define EPOCH_ENVIRONMENT "MUSTER_EPOCH"

/** The epoch this process was launched in; -1 where nobody counts (no supervisor). */
int64_t epoch_of_process(void);

/** The newest launch's number; 0 when the folder has none. CORRUPT when the file holds no number. */
enum muster_status epoch_read(const char *folder, int64_t *epoch, struct muster_error *err);

/**
 * Asks whether `mine` may still change the run's files. MUSTER_OK for -1.
 * \return FENCED when a newer launch has been counted; IO or CORRUPT when that cannot be known.
 */
enum muster_status epoch_check(const char *folder, int64_t mine, struct muster_error *err);

#endif
