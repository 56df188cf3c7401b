/* SPDX-License-Identifier: MIT
 *
 * Numbers going wrong: is this step's loss a NaN or a spike, and what does the job want done about it. The
 * answer follows from the reduced loss and gradient norm, which every rank holds to the last bit, and from a
 * state that is part of every checkpoint; so all ranks give the same answer, on any number of them, and again
 * after a restart.
 *
 * The mean and deviation that make a spike are weighted exponentially, with 2 / (window + 1) for the newest
 * step: three numbers, where a window of single losses would be hundreds in every checkpoint. Source: Finch,
 * "Incremental calculation of weighted mean and variance", 2009, section 9.
 */
#ifndef MUSTER_WORKER_HEALTH_H
#define MUSTER_WORKER_HEALTH_H

#include <stdbool.h>

#include "coordinator/ckpt/ckpt.h"
#include "coordinator/job/job.h"

enum health_action {
    HEALTH_GO,       /* the step counts */
    HEALTH_SKIP,     /* it changes no weight */
    HEALTH_ROLLBACK, /* back to health_target, and on with other data */
    HEALTH_REPLAY,   /* compute it once more: nothing was changed yet */
    HEALTH_STOP
};

enum health_trouble { HEALTH_WELL, HEALTH_NAN, HEALTH_SPIKE };

struct health {
    const struct job *job;
    struct ckpt_health state;
    bool replaying;                /* the step in hand is computed the second time */
    double first_loss, first_norm; /* of its first time */
};

/** What was found in a step, for people. */
struct health_finding {
    enum health_action action;
    enum health_trouble trouble;
    bool replayed, differs; /* computed twice; with another result: an error of the machine */
    char text[256];         /* "loss nan and gradient norm 3 must be finite; …"; empty when well at once */
};

void health_init(struct health *health, const struct job *job);

/** Goes on from what a checkpoint kept; nothing where it kept nothing. */
void health_resume(struct health *health, const struct ckpt_health *kept);

/** After the exchange of step `number` (0 for the first), before anything is changed. */
void health_judge(struct health *health, int64_t number, double loss, double grad_norm,
                  struct health_finding *finding);

/** The step count to go back to from a bad step `number`, and the state for going on: the data of the steps
 * in between, and of the bad one, is left out. */
int64_t health_rollback(struct health *health, int64_t number);

#endif
