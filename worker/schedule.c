/* SPDX-License-Identifier: MIT
 *
 * Learning-rate shapes. `progress` runs from 0 at the end of warm-up to 1 where the fall ends; beyond it the
 * rate stays at min_lr.
 */
#include "worker/schedule.h"

#include <math.h>

static double schedule_fall(const struct job *job, double progress, double shape)
{
    double low = job->scheduler.min_lr, high = job->optimizer.lr;
    return progress >= 1.0 ? low : low + (high - low) * shape;
}

double schedule_lr(const struct job *job, int64_t step)
{
    int64_t warmup = job->scheduler.warmup_steps, decay = job->scheduler.decay_steps;
    double lr = job->optimizer.lr;
    if (step < warmup)
        return lr * (double)(step + 1) / (double)warmup;
    if (job->scheduler.type == JOB_SCHEDULER_CONSTANT)
        return lr;
    int64_t begin = warmup, length = decay ? decay : job->train.max_steps - warmup;
    if (job->scheduler.type == JOB_SCHEDULER_WSD) {
        length = decay ? decay : job->train.max_steps / 5;
        begin = job->train.max_steps - length;
        if (step < begin)
            return lr;
    }
    double progress = length > 0 ? (double)(step - begin) / (double)length : 1.0;
    if (job->scheduler.type == JOB_SCHEDULER_COSINE)
        return schedule_fall(job, progress, 0.5 * (1.0 + cos(3.14159265358979323846 * progress)));
    return schedule_fall(job, progress, 1.0 - progress);
}
