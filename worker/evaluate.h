/* SPDX-License-Identifier: MIT
 *
 * Validation loss: the first eval.iters micro-batches of the validation set in file order, shared out among
 * the ranks, added in one order on all of them, so the number does not depend on how many ranks there are.
 */
#ifndef MUSTER_WORKER_EVALUATE_H
#define MUSTER_WORKER_EVALUATE_H

#include "worker/data/loader.h"
#include "worker/rank_state.h"

struct evaluator;

/** `iters` micro-batches, or as many as the set holds. Takes all parts by reference. */
enum muster_status evaluator_create(struct rank_state *state, struct comm *comm,
                                    const struct dataset *dataset, int64_t iters, struct evaluator **out,
                                    struct muster_error *err);
/** Takes NULL. */
void evaluator_destroy(struct evaluator *evaluator);

/** Mean loss and accuracy. Collective. */
enum muster_status evaluator_run(struct evaluator *evaluator, double *loss, double *accuracy,
                                 struct muster_error *err);

#endif
