/* SPDX-License-Identifier: MIT
 *
 * See train_fixture.h.
 */
#include "tests/worker/train_fixture.h"

#include <check.h>
#include <string.h>

enum { FIXTURE_STEPS = 8 };

static void fixture_must(enum muster_status status, const struct muster_error *err)
{
    ck_assert_msg(status == MUSTER_OK, "%s", err->text);
}

static void fixture_parse_job(struct train_fixture *fixture, const struct train_fixture_options *options)
{
    struct muster_error err = {0};
    struct job_report report;
    struct text yaml;
    text_init(&yaml);
    text_print(&yaml,
               "name: fixture\n"
               "model: {type: %s, num_layers: 2, hidden_size: 48, num_heads: 3, vocab_size: 256, dropout: "
               "0.1}\n"
               "data: {format: bytes, train: %s, seq_len: 16}\n"
               "train: {micro_batch_size: 2, global_batch_size: 24, max_steps: %d, precision: %s}\n"
               "optimizer: {lr: 0.001}\n"
               "parallel: {logical_workers: %d, bucket_mb: 1, zero_stage: %d}\n",
               options->type, options->data_path, FIXTURE_STEPS, options->precision, options->logical_workers,
               options->zero_stage);
    job_report_init(&report);
    enum muster_status status =
        job_parse("fixture.yaml", yaml.data, yaml.length, &report, &fixture->job, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", report.errors.data);
    job_report_release(&report);
    text_release(&yaml);
}

void train_fixture_init(struct train_fixture *fixture, const struct train_fixture_options *options)
{
    struct muster_error err = {0};
    *fixture = (struct train_fixture){0};
    fixture_parse_job(fixture, options);
    struct job *job = fixture->job;
    fixture->config = job_model_config(job);
    struct plan_topology topology = {.ranks = options->ranks, .threads = options->threads};
    fixture_must(plan_create(job, &fixture->config, &topology, &fixture->plan, &err), &err);
    fixture_must(comm_loopback_create(&fixture->comm, &err), &err);
    fixture_must(dataset_open(&job->data.train, job->data.format, job->data.seq_len, &fixture->dataset, &err),
                 &err);
    fixture_must(sampler_create(fixture->dataset, (uint64_t)job->seed, true, &fixture->sampler, &err), &err);
}

enum muster_status train_fixture_build(struct train_fixture *fixture, struct muster_error *err)
{
    enum muster_status status =
        rank_state_create(fixture->job, fixture->plan, 0, NULL, NULL, &fixture->state, err);
    if (!status)
        status = comm_queue_create(fixture->comm, fixture->state->kernels, true, &fixture->queue, err);
    if (!status)
        status = reducer_create(fixture->state, fixture->comm, fixture->queue, &fixture->reducer, err);
    if (!status)
        status = optimizer_create(fixture->state, &fixture->optimizer, err);
    loss_scaler_init(&fixture->scaler, fixture->job);
    health_init(&fixture->health, fixture->job);
    struct train_step_parts parts = {
        .state = fixture->state,
        .host = fixture->comm,
        .data = fixture->comm,
        .reducer = fixture->reducer,
        .optimizer = fixture->optimizer,
        .scaler = &fixture->scaler,
        .health = &fixture->health,
    };
    if (!status)
        status = train_step_create(&parts, &fixture->step, err);
    return status;
}

void train_fixture_release_build(struct train_fixture *fixture)
{
    train_step_destroy(fixture->step);
    optimizer_destroy(fixture->optimizer);
    reducer_destroy(fixture->reducer);
    comm_queue_destroy(fixture->queue);
    rank_state_destroy(fixture->state);
    fixture->step = NULL;
    fixture->optimizer = NULL;
    fixture->reducer = NULL;
    fixture->queue = NULL;
    fixture->state = NULL;
}

void train_fixture_release(struct train_fixture *fixture)
{
    train_fixture_release_build(fixture);
    sampler_destroy(fixture->sampler);
    dataset_close(fixture->dataset);
    comm_destroy(fixture->comm);
    plan_destroy(fixture->plan);
    job_destroy(fixture->job);
}

struct loader *train_fixture_loader(const struct train_fixture *fixture)
{
    struct muster_error err = {0};
    struct loader *loader = NULL;
    struct loader_options options = {
        .micro_batch_size = fixture->plan->graph->micro_batch_size,
        .slots_per_step = fixture->plan->slots,
        .slot_end = (int)fixture->plan->slots,
        .last_step = FIXTURE_STEPS,
        .seq_len = fixture->config.seq_len,
        .vocab_size = fixture->config.vocab_size,
        .depth = 4,
    };
    fixture_must(loader_create(fixture->dataset, fixture->sampler, &options, &loader, &err), &err);
    return loader;
}
