/* SPDX-License-Identifier: MIT
 *
 * Powers of two only, so that scaling and unscaling lose no bit.
 */
#include "worker/loss_scaler.h"

#define LOSS_SCALE_MAX 16777216.0

void loss_scaler_init(struct loss_scaler *scaler, const struct job *job)
{
    bool scales = job->train.precision == JOB_PRECISION_FP16, fixed = job->train.loss_scale > 0.0;
    *scaler = (struct loss_scaler){
        .scale = !scales ? 1.0
                 : fixed ? job->train.loss_scale
                         : job->train.initial_loss_scale,
        .window = scales && !fixed ? job->train.loss_scale_window : 0,
    };
}

enum muster_status loss_scaler_update(struct loss_scaler *scaler, bool overflowed, struct muster_error *err)
{
    if (overflowed && (scaler->window == 0 || scaler->scale <= 1.0))
        return muster_error_set(err, MUSTER_ERR_NUMERIC,
                                "the gradient is not finite at a loss scale of %g, which cannot be lowered",
                                scaler->scale);
    if (scaler->window == 0)
        return MUSTER_OK;
    if (overflowed) {
        scaler->scale /= 2.0;
        scaler->good_steps = 0;
    } else if (++scaler->good_steps >= scaler->window) {
        scaler->scale = scaler->scale * 2.0 > LOSS_SCALE_MAX ? scaler->scale : scaler->scale * 2.0;
        scaler->good_steps = 0;
    }
    return MUSTER_OK;
}
