/* SPDX-License-Identifier: MIT
 *
 * Everything a rank trains with, put together as the trainer does it, for one rank without transport: what
 * the tests of the training step run.
 */
#ifndef MUSTER_TESTS_WORKER_TRAIN_FIXTURE_H
#define MUSTER_TESTS_WORKER_TRAIN_FIXTURE_H

#include "worker/train_step.h"

struct train_fixture {
    struct job *job;
    struct model_config config;
    struct plan *plan;
    struct comm *comm;
    struct rank_state *state;
    struct comm_queue *queue;
    struct reducer *reducer;
    struct optimizer *optimizer;
    struct train_step *step;
    struct loss_scaler scaler;
    struct health health;
    struct dataset *dataset;
    struct sampler *sampler;
};

/** A job of a transformer over a file of bytes that data_files.h made: 12 slots of 2 samples. */
struct train_fixture_options {
    const char *type, *precision, *data_path;
    int logical_workers, threads, zero_stage, ranks; /* more than one rank: plan and state of rank 0 only */
};

/** Job, plan, data; fails the test when something is wrong. */
void train_fixture_init(struct train_fixture *fixture, const struct train_fixture_options *options);

/** The parts that can run out of memory, up to the training step; what was made is kept on failure. */
enum muster_status train_fixture_build(struct train_fixture *fixture, struct muster_error *err);
void train_fixture_release_build(struct train_fixture *fixture);
void train_fixture_release(struct train_fixture *fixture);

/** A loader of the micro-batches from the first step on. */
struct loader *train_fixture_loader(const struct train_fixture *fixture);

#endif
