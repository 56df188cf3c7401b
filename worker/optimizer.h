/* SPDX-License-Identifier: MIT
 *
 * Updates the ranges a rank holds, each in one call: where weight decay begins and ends in it is found once.
 * An element's update depends on nothing but its own history, so the cuts cannot change a bit. With offload
 * the gradient is copied to the host, updated there and the rounded weights are copied back, one bucket after
 * the other.
 */
#ifndef MUSTER_WORKER_OPTIMIZER_H
#define MUSTER_WORKER_OPTIMIZER_H

#include "worker/rank_state.h"

struct optimizer;

enum muster_status optimizer_create(struct rank_state *state, struct optimizer **out,
                                    struct muster_error *err);
/** Takes NULL. */
void optimizer_destroy(struct optimizer *optimizer);

/**
 * Updates the held range of one bucket.
 * \param gradient   reduced gradient of the held range, its first element first
 * \param step       steps already done before this one
 * \param grad_scale clipping coefficient
 */
enum muster_status optimizer_update_bucket(struct optimizer *optimizer, int bucket, const float *gradient,
                                           int64_t step, double lr, float grad_scale,
                                           struct muster_error *err);

#endif
