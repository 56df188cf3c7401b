/* SPDX-License-Identifier: MIT
 *
 * The learning rate of a step: a pure function of the job and the step number, so a resume needs to remember
 * nothing.
 */
#ifndef MUSTER_WORKER_SCHEDULE_H
#define MUSTER_WORKER_SCHEDULE_H

#include <stdint.h>

#include "coordinator/job/job.h"

/**
 * \param step  steps already done, 0 for the first
 * Warm-up rises linearly from lr/warmup_steps to lr; then constant, or a fall to min_lr over decay_steps
 * (until max_steps when 0): linear, half a cosine, or (wsd) constant first and linear over the last
 * decay_steps (a fifth of the run when 0).
 */
double schedule_lr(const struct job *job, int64_t step);

#endif
