/* SPDX-License-Identifier: MIT
 *
 * Checkpoints of small real models, for the tools that look through the job inside: every element has a value
 * of its own that a test can compute.
 */
#ifndef MUSTER_TESTS_MODEL_CKPT_H
#define MUSTER_TESTS_MODEL_CKPT_H

#include "base/fs.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/plan/plan.h"

enum { MODEL_CKPT_KINDS = 3 };

struct model_ckpt {
    struct job *job;
    struct model_config config;
    struct plan *plan;
    struct ckpt_tensor *tensors;
    struct ckpt_layout layout;
    float *state[MODEL_CKPT_KINDS]; /* [flat_count] each, zero in the padding */
};

/** A job with this content of its "model: {…}"; the test fails when it is wrong. */
void model_ckpt_init(struct model_ckpt *model, const char *keys);
void model_ckpt_release(struct model_ckpt *model);

/** The first element of a tensor of a kind; the test fails when there is none. */
float *model_ckpt_tensor(const struct model_ckpt *model, int kind, const char *name);

/** Writes the state as `writers` ranks would have, under FOLDER itself. */
void model_ckpt_write(const struct model_ckpt *model, const char *folder, int64_t step, int writers);

#endif
