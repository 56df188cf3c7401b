/* SPDX-License-Identifier: MIT
 *
 * The factor on the loss that keeps small fp16 gradients from vanishing. Dynamic: halved when a gradient
 * overflowed, doubled after a window of good steps. Decisions follow from the reduced gradient norm, which is
 * the same on every rank, so the scale is too; it is part of a checkpoint. Source: Micikevicius et al.,
 * "Mixed Precision Training", 2018, section 3.2.
 */
#ifndef MUSTER_WORKER_LOSS_SCALER_H
#define MUSTER_WORKER_LOSS_SCALER_H

#include "coordinator/job/job.h"

struct loss_scaler {
    double scale;       /* 1 unless fp16 */
    int64_t good_steps; /* since the scale last changed */
    int64_t window;     /* 0: the scale is fixed */
};

void loss_scaler_init(struct loss_scaler *scaler, const struct job *job);

/** After a step: its gradient overflowed, or not.
 * \return NUMERIC when the gradient overflows at a scale that cannot shrink any more (1, or a fixed one). */
enum muster_status loss_scaler_update(struct loss_scaler *scaler, bool overflowed, struct muster_error *err);

#endif
