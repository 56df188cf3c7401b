/* SPDX-License-Identifier: MIT
 *
 * See health.h.
 */
#include "worker/guard/health.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void health_init(struct health *health, const struct job *job)
{
    *health = (struct health){.job = job, .state = {.bad_step = -1}};
    health->state.known = job->fault.on_spike != JOB_ON_SPIKE_IGNORE;
}

void health_resume(struct health *health, const struct ckpt_health *kept)
{
    if (kept->known)
        health->state = *kept;
}

static enum health_trouble trouble_of(const struct health *health, double loss, double grad_norm)
{
    const struct ckpt_health *state = &health->state;
    if (!isfinite(loss) || !isfinite(grad_norm))
        return HEALTH_NAN;
    bool is_sure = state->seen >= health->job->fault.spike_window;
    double limit = state->mean + health->job->fault.spike_sigma * sqrt(state->variance);
    bool looked_for = health->job->fault.on_spike != JOB_ON_SPIKE_IGNORE;
    return looked_for && is_sure && loss > limit ? HEALTH_SPIKE : HEALTH_WELL;
}

static void loss_count(struct health *health, double loss)
{
    struct ckpt_health *state = &health->state;
    double weight = 2.0 / ((double)health->job->fault.spike_window + 1.0);
    double difference = loss - state->mean, increment = weight * difference;
    if (state->seen++ == 0) {
        state->mean = loss;
        return;
    }
    state->mean += increment;
    state->variance = (1.0 - weight) * (state->variance + difference * increment);
}

static enum health_action wish_of(const struct health *health, enum health_trouble trouble)
{
    static const enum health_action on_nan[] = {HEALTH_STOP, HEALTH_SKIP, HEALTH_ROLLBACK};
    static const enum health_action on_spike[] = {HEALTH_GO, HEALTH_STOP, HEALTH_SKIP, HEALTH_ROLLBACK};
    return trouble == HEALTH_NAN ? on_nan[health->job->fault.on_nan] : on_spike[health->job->fault.on_spike];
}

/* The wish, unless it has been tried too often already. */
static enum health_action action_of(struct health *health, enum health_action wish, int64_t number)
{
    struct ckpt_health *state = &health->state;
    state->known = true;
    if (wish == HEALTH_SKIP) {
        state->skipped++;
        state->tries++;
    } else if (wish == HEALTH_ROLLBACK) {
        state->rollbacks++;
        state->tries = number > state->bad_step ? 1 : state->tries + 1;
        state->bad_step = number > state->bad_step ? number : state->bad_step;
    }
    return state->tries > health->job->fault.limit ? HEALTH_STOP : wish;
}

static void finding_print(const struct health *health, double loss, double grad_norm,
                          struct health_finding *finding)
{
    const struct ckpt_health *state = &health->state;
    char what[128], again[96] = "";
    if (finding->trouble == HEALTH_NAN)
        snprintf(what, sizeof what, "loss %g and gradient norm %g must be finite", loss, grad_norm);
    else if (finding->trouble == HEALTH_SPIKE)
        snprintf(what, sizeof what, "loss %g is more than %g deviations of %g above the mean of %g", loss,
                 health->job->fault.spike_sigma, sqrt(state->variance), state->mean);
    else
        snprintf(what, sizeof what, "loss %g instead of %g", loss, health->first_loss);
    if (finding->replayed && finding->differs)
        snprintf(again, sizeof again, "; computed again it differs: an error of the machine (soft error)");
    else if (finding->replayed)
        snprintf(again, sizeof again, "; computed again it is the same: the data or the model (hard error)");
    snprintf(finding->text, sizeof finding->text, "%s%s", what, again);
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

void health_judge(struct health *health, int64_t number, double loss, double grad_norm,
                  struct health_finding *finding)
{
    *finding = (struct health_finding){.trouble = trouble_of(health, loss, grad_norm),
                                       .replayed = health->replaying};
    finding->differs = health->replaying &&
                       (!same_bits(loss, health->first_loss) || !same_bits(grad_norm, health->first_norm));
    if (finding->trouble != HEALTH_WELL || finding->replayed)
        finding_print(health, loss, grad_norm, finding);
    if (finding->trouble != HEALTH_WELL && health->job->fault.replay && !health->replaying) {
        health->replaying = true;
        health->first_loss = loss;
        health->first_norm = grad_norm;
        finding->action = HEALTH_REPLAY;
        return;
    }
    health->replaying = false;
    if (finding->trouble != HEALTH_WELL) {
        finding->action = action_of(health, wish_of(health, finding->trouble), number);
        return;
    }
    loss_count(health, loss);
    if (number >= health->state.bad_step)
        health->state.tries = 0;
}

int64_t health_rollback(struct health *health, int64_t number)
{
    const struct job *job = health->job;
    int64_t target = number - job->fault.rollback_steps, interval = job->checkpoint.save_interval;
    target = target > 0 && interval > 0 ? target / interval * interval : 0;
    health->state.data_offset += number + 1 - target;
    return target;
}
