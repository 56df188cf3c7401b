/* SPDX-License-Identifier: MIT
 *
 * What the tests of jobs share: the pieces of a good job file, and one reading of a file with all that comes
 * out of it.
 */
#ifndef MUSTER_TESTS_JOB_OUTCOME_H
#define MUSTER_TESTS_JOB_OUTCOME_H

#include <check.h>
#include <string.h>

#include "coordinator/job/job.h"

#define MODEL "model: {type: gpt, num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 256}\n"
#define DATA  "data: {train: a.bin, seq_len: 32}\n"
#define TRAIN "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 100}\n"
#define OPTIM "optimizer: {lr: 1e-3}\n"
#define MLP   "model: {type: mlp, num_layers: 2, hidden_size: 64, vocab_size: 10}\n"

/* One job read, with everything that comes out of it. */
struct outcome {
    struct job *job;
    struct job_report report;
    struct muster_error err;
    enum muster_status status;
};

static inline struct outcome outcome_of_bytes(const char *yaml, size_t bytes)
{
    struct outcome outcome = {0};
    job_report_init(&outcome.report);
    outcome.status = job_parse("runs/job.yaml", yaml, bytes, &outcome.report, &outcome.job, &outcome.err);
    return outcome;
}

static inline struct outcome outcome_of(const char *yaml)
{
    return outcome_of_bytes(yaml, strlen(yaml));
}

static inline void outcome_release(struct outcome *outcome)
{
    job_destroy(outcome->job);
    job_report_release(&outcome->report);
}

#endif
