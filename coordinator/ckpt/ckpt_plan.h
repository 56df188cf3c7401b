/* SPDX-License-Identifier: MIT
 *
 * Where plans and checkpoints meet: what a run of a plan saves. Apart from ckpt.h, which knows no plans, so
 * that tools and fuzzers read checkpoints without models.
 */
#ifndef MUSTER_COORDINATOR_CKPT_PLAN_H
#define MUSTER_COORDINATOR_CKPT_PLAN_H

#include "coordinator/ckpt/ckpt.h"
#include "coordinator/plan/plan.h"

/** The layout of the state that runs of `plan` save, whatever their number of ranks: a tensor for each
 * parameter, kinds by the optimizer. `tensors` has room for plan->graph->param_count of them; the layout
 * points to it. */
struct ckpt_layout ckpt_layout_of_plan(const struct plan *plan, struct ckpt_tensor *tensors);

#endif
