/* SPDX-License-Identifier: MIT
 *
 * The cost model against numbers worked out by hand: one term at a time, by giving the machine one finite
 * number and making everything else free. Then what must hold for any machine: faster parts never make a step
 * slower.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cost/cost.h"
#include "coordinator/cost/cost_terms.h"
#include "coordinator/cost/machine_fields.h"
#include "tests/suite.h"

/* 4 blocks of width 256 on 4 x 32 tokens a slot; 8 slots, 4 logical workers; 2.3 million weights in 9
 * buckets. */
static const char job_yaml[] =
    "name: cost\n"
    "model: {type: gpt, num_layers: 4, hidden_size: 256, num_heads: 4, vocab_size: 3000}\n"
    "data: {train: tokens.bin, format: u16, seq_len: 32}\n"
    "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 10, precision: %s}\n"
    "optimizer: {lr: 1e-3}\n"
    "parallel: {logical_workers: 4, bucket_mb: 1, reduce: %s}\n";
enum { LAYERS = 4, WIDTH = 256, VOCABULARY = 3000, TOKENS = 128, SEQUENCE = 32, SLOTS = 8, WORKERS = 4 };

static const double free_rate = 1e20;
static struct job *job;
static struct muster_error err;

static struct job *job_make(const char *precision, const char *reduce)
{
    struct job *made = NULL;
    struct job_report report;
    struct text yaml;
    text_init(&yaml);
    job_report_init(&report);
    text_print(&yaml, job_yaml, precision, reduce);
    enum muster_status status = job_parse("cost.yaml", yaml.data, yaml.length, &report, &made, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", report.errors.data);
    job_report_release(&report);
    text_release(&yaml);
    return made;
}

static struct plan *plan_make(int ranks, bool on_device)
{
    struct model_config config = job_model_config(job);
    struct plan_topology topology = {.ranks = ranks, .threads = 1, .on_device = on_device};
    struct plan *plan = NULL;
    ck_assert_msg(plan_create(job, &config, &topology, &plan, &err) == MUSTER_OK, "%s", err.text);
    return plan;
}

/* A machine on which nothing takes time. */
static struct machine_profile profile_free(enum machine_device device)
{
    struct machine_profile profile = {
        .name = (char *)"free",
        .source = (char *)"a thought",
        .device = device,
        .ranks_per_host = 1,
        .cores = 64,
        .rates = {.stream = free_rate},
        .host = {0.0, free_rate},
        .network = {0.0, free_rate},
        .efficiency = {1.0, 1.0, 1.0, 1.0},
    };
    for (int i = 0; i < MACHINE_DTYPES; i++)
        profile.rates.peak[i] = free_rate;
    return profile;
}

static struct cost_prediction predict(const struct plan *plan, const struct machine_profile *profile,
                                      int hosts, bool overlap)
{
    struct cost_cluster cluster = {hosts, plan->ranks / hosts, overlap};
    struct cost_prediction prediction;
    ck_assert_msg(cost_predict(plan, profile, &cluster, &prediction, &err) == MUSTER_OK, "%s", err.text);
    double sum = 0.0;
    for (int part = 0; part < COST_PART_COUNT; part++)
        sum += prediction.part_s[part];
    ck_assert_double_eq_tol(sum, prediction.step_s, 1e-12 * sum);
    return prediction;
}

#define ck_assert_close(found, expected) ck_assert_double_eq_tol(found, expected, 1e-6 * (expected) + 1e-12)

static void setup(void)
{
    err = (struct muster_error){.status = MUSTER_OK};
    job = job_make("fp32", "exact");
}

static void teardown(void)
{
    job_destroy(job);
}

START_TEST(products_take_their_operations_at_the_matrix_rate)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    struct plan *plan = plan_make(1, false);
    profile.rates.attention_forward[DTYPE_F32] = profile.rates.attention_backward[DTYPE_F32] = free_rate;
    profile.rates.matrix[DTYPE_F32] = 1e9;
    struct cost_prediction prediction = predict(plan, &profile, 1, true);
    /* qkv 3, out 1, up 4, down 4: 12 width^2 weights a block, and the head */
    double forward = 2.0 * TOKENS * (LAYERS * 12.0 * WIDTH * WIDTH + (double)WIDTH * VOCABULARY) / 1e9;
    ck_assert_close(prediction.part_s[COST_FORWARD], SLOTS * forward);
    ck_assert_close(prediction.part_s[COST_BACKWARD], 2.0 * SLOTS * forward);
    plan_destroy(plan);
}
END_TEST

START_TEST(attention_takes_the_causal_half_and_the_masked_half_of_each_block)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    struct plan *plan = plan_make(1, false);
    profile.rates.attention_forward[DTYPE_F32] = 1e9;
    profile.rates.attention_backward[DTYPE_F32] = 2e9;
    double scores =
        SLOTS * LAYERS * (double)TOKENS * SEQUENCE * WIDTH; /* of one product, half of the square */
    struct cost_prediction prediction = predict(plan, &profile, 1, true);
    ck_assert_close(prediction.part_s[COST_FORWARD], 2.0 * scores / 1e9);
    ck_assert_close(prediction.part_s[COST_BACKWARD], 5.0 * scores / 2e9);
    profile.attention_block = 8;
    prediction = predict(plan, &profile, 1, true);
    ck_assert_close(prediction.part_s[COST_FORWARD], 2.0 * scores / 1e9 * (1.0 + 8.0 / SEQUENCE));
    profile.attention_block = 1000;
    prediction = predict(plan, &profile, 1, true);
    ck_assert_close(prediction.part_s[COST_FORWARD], 2.0 * scores / 1e9 * 2.0);
    plan_destroy(plan);
}
END_TEST

START_TEST(an_operation_costs_its_launch)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    struct plan *plan = plan_make(1, false);
    profile.rates.operation_s = 1e-3;
    struct cost_prediction prediction = predict(plan, &profile, 1, true);
    double calls =
        plan->graph->op_count - 1 + 4; /* the head, of one chunk of rows, is three products and the loss */
    ck_assert_close(prediction.part_s[COST_OPTIMIZER], plan->bucket_count * 1e-3);
    ck_assert_close(prediction.part_s[COST_FORWARD] + prediction.part_s[COST_BACKWARD], SLOTS * calls * 1e-3);
    plan_destroy(plan);
}
END_TEST

START_TEST(the_optimizer_and_the_fold_take_their_bytes_at_the_memory_rate)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        struct plan *plan = plan_make(ranks, false);
        profile.rates.stream = 1e9;
        struct cost_prediction prediction = predict(plan, &profile, 1, true);
        double flat = (double)plan->flat_count, leaves = (double)WORKERS / ranks, owned = 0.0;
        for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
            struct plan_range last = plan_owned_range(plan, bucket, ranks - 1);
            owned += (double)(last.end - last.begin); /* nobody owns more than the last */
        }
        /* gradient twice, weight, m and v read and written */
        ck_assert_close(prediction.part_s[COST_OPTIMIZER], owned * 32.0 / 1e9);
        ck_assert_close(prediction.part_s[COST_FOLD], flat * 4.0 * (leaves + 3.0 * (leaves - 1.0)) / 1e9);
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(an_exact_reduction_between_gpus_is_messages_to_every_owner)
{
    struct machine_profile profile = profile_free(MACHINE_CUDA);
    struct plan *plan = plan_make(4, true);
    profile.host = (struct machine_link){1e-3, 1e9};
    struct cost_prediction prediction = predict(plan, &profile, 1, false);
    double reduce = 0.0, gather = 0.0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range whole = plan->buckets[bucket], owned = plan_owned_range(plan, bucket, 3);
        ck_assert_int_le(owned.end - owned.begin, OPS_REDUCE_DEVICE_PIECE);
        reduce += 3.0 * (1e-3 + 4.0 * (double)(owned.end - owned.begin) / 1e9);
        gather += 3.0 * (1e-3 + (double)(whole.end - whole.begin) / 1e9);
    }
    ck_assert_close(prediction.reduce_s, reduce);
    ck_assert_close(prediction.part_s[COST_REDUCE], reduce);
    ck_assert_close(prediction.part_s[COST_GATHER], gather);
    double numbers = 4.0 + 2.0 * WORKERS + (double)plan->chunk_count;
    ck_assert_close(prediction.part_s[COST_EXCHANGE], 2e-3 + 8.0 * numbers / 1e9);
    plan_destroy(plan);
}
END_TEST

/* Two hosts of two ranks, one logical worker each: each host's two are one node of the tree, so both sums
 * move the same: a share to the neighbour, and from each host a share for each of the two ranks elsewhere. */
START_TEST(on_cpus_the_ranks_of_a_host_add_before_hosts_talk)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    job_destroy(job);
    job = job_make("fp32", _i ? "fast" : "exact");
    struct plan *plan = plan_make(4, false);
    profile.host = (struct machine_link){1e-3, 1e9};
    profile.network = (struct machine_link){1e-2, 1e8};
    struct cost_prediction prediction = predict(plan, &profile, 2, false);
    double reduce = 0.0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, 3);
        double bytes = 4.0 * (double)(owned.end - owned.begin);
        int64_t rounds = (owned.end - owned.begin + 65535) / 65536;
        reduce += (double)rounds * 1.1e-2 + bytes / 1e9 + 2.0 * bytes / 1e8;
    }
    ck_assert_close(prediction.reduce_s, reduce);
    plan_destroy(plan);
}
END_TEST

START_TEST(zero_stages_move_what_they_share_out)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    struct cost_prediction stage[4];
    struct plan *plan = NULL;
    profile.host = (struct machine_link){0.0, 1e9};
    profile.rates.stream = 1e12;
    for (int i = 0; i < 4; i++) {
        plan_destroy(plan);
        job->parallel.zero_stage = i;
        plan = plan_make(4, false);
        stage[i] = predict(plan, &profile, 1, false);
    }
    double flat = (double)plan->flat_count, ring = 3.0 / 4.0 * flat * 4.0 / 1e9;
    /* 0: sums to everybody instead of weights, and everybody updates everything */
    ck_assert_close(stage[0].reduce_s - stage[1].reduce_s, ring);
    ck_assert_double_eq(stage[0].part_s[COST_GATHER], 0.0);
    ck_assert_double_gt(stage[0].part_s[COST_OPTIMIZER], 3.0 * stage[1].part_s[COST_OPTIMIZER]);
    ck_assert_close(stage[1].part_s[COST_GATHER], ring);
    ck_assert_close(stage[2].part_s[COST_GATHER], ring);
    /* 3: two passes, in each of which the blocks come forward and backward, but the table that is the head,
     * and a block that is still there, only as often as they have to */
    ck_assert_double_gt(stage[3].part_s[COST_GATHER], ring);
    ck_assert_double_lt(stage[3].part_s[COST_GATHER], 2.0 * 2.0 * ring);
    plan_destroy(plan);
}
END_TEST

START_TEST(new_weights_hide_behind_one_forward_pass_where_communication_overlaps)
{
    struct machine_profile profile = profile_free(MACHINE_CUDA);
    struct plan *plan = plan_make(2, true);
    profile.host = (struct machine_link){0.0, 1e9};
    double ring = 0.5 * 4.0 * (double)plan->flat_count / 1e9;
    profile.rates.operation_s = 0.1 * ring / plan->graph->forward_count;
    struct cost_prediction apart = predict(plan, &profile, 1, false);
    struct cost_prediction overlapped = predict(plan, &profile, 1, true);
    double pass = apart.part_s[COST_FORWARD] / (SLOTS / 2);
    ck_assert_close(apart.part_s[COST_GATHER], ring);
    ck_assert_close(overlapped.part_s[COST_GATHER], ring - pass);
    profile.rates.operation_s *= 100.0;
    ck_assert_double_eq(predict(plan, &profile, 1, true).part_s[COST_GATHER], 0.0);
    plan_destroy(plan);
}
END_TEST

/* On three ranks blocks of one, one and two logical workers. */
START_TEST(a_rank_with_more_logical_workers_sets_the_pace)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    profile.rates.matrix[DTYPE_F32] = 1e9;
    struct plan *one = plan_make(1, false), *three = plan_make(3, false);
    double whole = predict(one, &profile, 1, true).part_s[COST_FORWARD];
    ck_assert_close(predict(three, &profile, 1, true).part_s[COST_FORWARD], whole / 2.0);
    plan_destroy(one);
    plan_destroy(three);
}
END_TEST

START_TEST(a_fast_reduction_between_gpus_is_a_ring)
{
    struct machine_profile profile = profile_free(MACHINE_CUDA);
    job_destroy(job);
    job = job_make("bf16", "fast");
    struct plan *plan = plan_make(2, true);
    profile.host = (struct machine_link){1e-3, 1e9};
    struct cost_prediction prediction = predict(plan, &profile, 1, false);
    double buckets = plan->bucket_count, flat = (double)plan->flat_count;
    ck_assert_close(prediction.part_s[COST_REDUCE], buckets * 1e-3 + 4.0 * flat / 2.0 / 1e9);
    ck_assert_close(prediction.part_s[COST_GATHER], buckets * 1e-3 + 2.0 * flat / 2.0 / 1e9);
    plan_destroy(plan);
}
END_TEST

START_TEST(a_ring_tends_to_the_bytes_over_the_bandwidth)
{
    struct cost_route route = {.hosts = 1, .inside = {0.0, 1e9}};
    route.ranks = route.ranks_per_host = 1;
    ck_assert_double_eq(cost_ring_seconds(&route, 1e9), 0.0);
    double before = 0.0;
    for (int ranks = 2; ranks <= 4096; ranks *= 2) {
        route.ranks = route.ranks_per_host = ranks;
        double seconds = cost_ring_seconds(&route, 1e9);
        ck_assert_close(seconds, (double)(ranks - 1) / ranks);
        ck_assert_double_gt(seconds, before);
        ck_assert_double_lt(seconds, 1.0);
        before = seconds;
    }
    route.inside.latency_s = 1.0;
    ck_assert_close(cost_ring_seconds(&route, 0.0), 4095.0);
}
END_TEST

START_TEST(the_ranks_of_a_host_share_its_adapters)
{
    struct cost_route route = {
        .ranks = 16, .hosts = 2, .ranks_per_host = 8, .inside = {1e-6, 1e12}, .network = {1e-3, 1e9}};
    /* every rank sends to 8 ranks elsewhere, and 8 ranks do */
    ck_assert_close(cost_exchange_seconds(&route, 1e6, 1.0), 7e-6 + 8e-3 + 64e6 / 1e9);
    /* all rings together cross the host's border once */
    ck_assert_close(cost_ring_seconds(&route, 16e6), 15.0 * (1e-3 + 1e6 / 1e9));
    ck_assert_close(cost_small_gather_seconds(&route, 1e6), 4e-3 + 1e-3);
    route.network.bandwidth = 1e13; /* then the links inside are what limits */
    ck_assert_close(cost_ring_seconds(&route, 16e6), 15.0 * (1e-3 + 1e6 / 1e12));
}
END_TEST

/* T_step with overlap is between the longer of both and their sum, and no less than the sum without. */
START_TEST(the_backward_pass_hides_what_it_can)
{
    struct machine_profile profile = profile_free(MACHINE_CUDA);
    struct plan *plan = plan_make(4, true);
    profile.rates.matrix[DTYPE_F32] = 1e9;
    for (double bandwidth = 1e6; bandwidth < 1e12; bandwidth *= 10.0) {
        profile.host.bandwidth = bandwidth;
        struct cost_prediction apart = predict(plan, &profile, 1, false),
                               both = predict(plan, &profile, 1, true);
        double hidden = apart.part_s[COST_REDUCE] - both.part_s[COST_REDUCE];
        double micro = (both.part_s[COST_FORWARD] + both.part_s[COST_BACKWARD]) * WORKERS / SLOTS;
        ck_assert_double_gt(hidden, 0.0);
        ck_assert_double_lt(hidden, micro);
        ck_assert_double_ge(both.part_s[COST_REDUCE], 0.0);
        ck_assert_close(apart.part_s[COST_REDUCE], apart.reduce_s);
    }
    plan_destroy(plan);
}
END_TEST

/* On a CPU a core copies: without a spare one nothing is hidden. */
START_TEST(without_a_spare_core_nothing_is_hidden)
{
    struct machine_profile profile = profile_free(MACHINE_CPU);
    struct plan *plan = plan_make(4, false);
    profile.rates.matrix[DTYPE_F32] = 1e9;
    profile.host.bandwidth = 1e9;
    double exposed[3];
    for (int i = 0; i < 3; i++) {
        profile.cores = 4 + 2 * i;
        exposed[i] = predict(plan, &profile, 1, true).part_s[COST_REDUCE];
    }
    double all = predict(plan, &profile, 1, false).part_s[COST_REDUCE];
    profile.cores = 2; /* less than one a rank */
    ck_assert_close(predict(plan, &profile, 1, true).part_s[COST_REDUCE], all);
    ck_assert_close(exposed[0], all);
    ck_assert_close(all - exposed[1], (all - exposed[2]) / 2.0);
    ck_assert_double_lt(exposed[2], exposed[1]);
    plan_destroy(plan);
}
END_TEST

/* A machine with every number finite, so that each of them matters. */
static struct machine_profile profile_usual(enum machine_device device)
{
    struct machine_profile profile = profile_free(device);
    for (int i = 0; i < MACHINE_DTYPES; i++) {
        profile.rates.peak[i] = 2e10;
        profile.rates.matrix[i] = 1e10;
        profile.rates.attention_forward[i] = 5e9;
        profile.rates.attention_backward[i] = 4e9;
        profile.rates.rows[i] = 1e9;
    }
    profile.rates.stream = 2e9;
    profile.rates.operation_s = 1e-6;
    profile.cores = 4;
    profile.host = (struct machine_link){1e-5, 1e9};
    profile.device_link = (struct machine_link){1e-6, 1e10};
    profile.network = (struct machine_link){1e-4, 1e8};
    profile.efficiency = (struct machine_efficiency){0.5, 0.5, 0.5, 0.5};
    return profile;
}

static double *number_of(struct machine_profile *profile, const struct job_field *field)
{
    return (double *)(void *)((char *)profile + field->offset);
}

START_TEST(no_part_that_gets_better_makes_a_step_slower)
{
    enum machine_device device = _i % 2 ? MACHINE_CUDA : MACHINE_CPU;
    struct plan *plan = plan_make(4, device == MACHINE_CUDA);
    int mattered = 0;
    for (int i = 0; i < machine_field_count; i++) {
        const struct job_field *field = &machine_fields[i];
        struct machine_profile profile = profile_usual(device);
        bool time = field->unit != NULL && strcmp(field->unit, "s") == 0;
        if (field->type != JOB_FIELD_REAL || *number_of(&profile, field) <= 0.0)
            continue;
        double before = predict(plan, &profile, _i / 2 + 1, true).step_s;
        *number_of(&profile, field) *= time ? 0.5 : 2.0;
        double after = predict(plan, &profile, _i / 2 + 1, true).step_s;
        ck_assert_msg(after <= before * (1.0 + 1e-12), "%s.%s: %g s became %g s", field->section, field->key,
                      before, after);
        mattered += after < before;
    }
    ck_assert_int_ge(mattered, device == MACHINE_CUDA ? 9 : 8);
    plan_destroy(plan);
}
END_TEST

START_TEST(more_ranks_never_compute_longer)
{
    struct machine_profile profile = profile_usual(MACHINE_CUDA);
    double before = 1e9;
    for (int ranks = 1; ranks <= 4; ranks++) {
        struct plan *plan = plan_make(ranks, true);
        struct cost_prediction prediction = predict(plan, &profile, 1, true);
        double computing = prediction.part_s[COST_FORWARD] + prediction.part_s[COST_BACKWARD];
        ck_assert_double_le(computing, before);
        before = computing;
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(throughput_mfu_and_memory_follow_from_the_step)
{
    struct machine_profile profile = profile_usual(MACHINE_CUDA);
    struct plan *plan = plan_make(2, true);
    struct plan_memory memory;
    struct cost_prediction prediction = predict(plan, &profile, 1, true);
    ck_assert_close(prediction.tokens_per_s, SLOTS * TOKENS / prediction.step_s);
    ck_assert_close(prediction.mfu, plan->step_flops / prediction.step_s / (2.0 * 2e10));
    int64_t most = 0;
    for (int rank = 0; rank < 2; rank++) {
        ck_assert_int_eq(plan_rank_memory(plan, rank, &memory, &err), MUSTER_OK);
        most = memory.total_bytes > most ? memory.total_bytes : most;
    }
    ck_assert_int_eq(prediction.memory_bytes, most);
    ck_assert_int_gt(prediction.host_bytes, 0);
    plan_destroy(plan);
}
END_TEST

static void check_refused(const struct plan *plan, const struct machine_profile *profile, int hosts,
                          int ranks_per_host, const char *words)
{
    struct cost_cluster cluster = {hosts, ranks_per_host, true};
    struct cost_prediction prediction;
    ck_assert_int_eq(cost_predict(plan, profile, &cluster, &prediction, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_msg(strstr(err.text, words) != NULL, "said: %s", err.text);
}

START_TEST(what_cannot_be_predicted_is_refused_by_name)
{
    struct plan *plan = plan_make(4, true);
    struct machine_profile profile = profile_usual(MACHINE_CUDA);
    check_refused(plan, &profile, 2, 4, "the plan is for 4 ranks, the cluster has 2 hosts of 4");
    profile.device_link.bandwidth = profile.host.bandwidth = 0.0;
    check_refused(plan, &profile, 2, 2, "host.bandwidth");
    profile = profile_usual(MACHINE_CUDA);
    profile.network.bandwidth = 0.0;
    check_refused(plan, &profile, 2, 2, "network.bandwidth");
    profile.rates.matrix[DTYPE_F32] = profile.rates.peak[DTYPE_F32] = 0.0;
    check_refused(plan, &profile, 1, 4, "rates.matrix_fp32");
    profile = profile_usual(MACHINE_CPU);
    check_refused(plan, &profile, 1, 4, "the plan computes on GPUs, machine profile free describes CPUs");
    plan_destroy(plan);
}
END_TEST

START_TEST(the_printed_prediction_says_what_it_assumes_and_what_does_not_fit)
{
    struct machine_profile profile = profile_usual(MACHINE_CUDA);
    struct plan *plan = plan_make(4, true);
    struct cost_cluster cluster = {2, 2, true};
    struct cost_prediction prediction = predict(plan, &profile, 2, true);
    struct text said;
    text_init(&said);
    profile.memory_bytes = 1e12;
    ck_assert_int_eq(cost_print(&prediction, plan, &profile, &cluster, &said, &err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(said.data, "predicted for 2 hosts of 2 ranks like free"));
    ck_assert_ptr_nonnull(strstr(said.data, "ASSUMED      matrix products at 50%"));
    ck_assert_ptr_nonnull(strstr(said.data, "source       a thought"));
    ck_assert_ptr_nonnull(strstr(said.data, "pinned host memory"));
    ck_assert_ptr_null(strstr(said.data, "DOES NOT FIT"));
    profile.memory_bytes = 1e3;
    text_clear(&said);
    ck_assert_int_eq(cost_print(&prediction, plan, &profile, &cluster, &said, &err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(said.data, "DOES NOT FIT"));
    /* what others hold of a GPU counts: 1 GiB, and for NCCL another and half a one for each of 3 peers */
    ck_assert_int_eq(prediction.spare_bytes, ((int64_t)7 << 30) / 2);
    profile.memory_bytes = (double)(prediction.memory_bytes + prediction.spare_bytes);
    ck_assert(cost_memory_short(&prediction, &profile, &cluster) <= 0.0);
    profile.memory_bytes -= 1048576.0;
    text_clear(&said);
    ck_assert_int_eq(cost_print(&prediction, plan, &profile, &cluster, &said, &err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(said.data, " and 3.50 GiB to spare of the "));
    ck_assert_ptr_nonnull(strstr(said.data, "DOES NOT FIT by 1.00 MiB. What helps: a smaller train.micro"));
    text_release(&said);
    plan_destroy(plan);
}
END_TEST

START_TEST(the_json_is_the_plan_with_the_prediction_in_it)
{
    struct machine_profile profile = profile_usual(MACHINE_CUDA);
    struct plan *plan = plan_make(4, true);
    struct cost_cluster cluster = {2, 2, true};
    struct cost_prediction prediction = predict(plan, &profile, 2, true);
    struct text plan_text, all;
    text_init(&plan_text);
    text_init(&all);
    ck_assert_int_eq(plan_write_json(plan, job, &plan_text, &err), MUSTER_OK);
    ck_assert_int_eq(cost_write_json(&prediction, &profile, &cluster, plan_text.data, &all, &err), MUSTER_OK);
    json_t *root = json_loads(all.data, JSON_REJECT_DUPLICATES, NULL);
    const json_t *member = json_object_get(root, "prediction"), *parts = json_object_get(member, "parts_s");
    ck_assert_int_eq(json_integer_value(json_object_get(root, "ranks")), 4);
    ck_assert(json_is_true(json_object_get(root, "on_device")));
    ck_assert_int_eq(json_integer_value(json_object_get(member, "hosts")), 2);
    ck_assert_double_eq(json_real_value(json_object_get(member, "step_s")), prediction.step_s);
    ck_assert_double_eq(
        json_real_value(json_object_get(json_object_get(member, "assumed_efficiency"), "matrix")), 0.5);
    double sum = 0.0;
    for (int part = 0; part < COST_PART_COUNT; part++)
        sum += json_real_value(json_object_get(parts, cost_part_name((enum cost_part)part)));
    ck_assert_close(sum, prediction.step_s);
    json_decref(root);
    text_release(&plan_text);
    text_release(&all);
    plan_destroy(plan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cost");
    TCase *tests = tcase_create("cost");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, products_take_their_operations_at_the_matrix_rate);
    tcase_add_test(tests, attention_takes_the_causal_half_and_the_masked_half_of_each_block);
    tcase_add_test(tests, an_operation_costs_its_launch);
    tcase_add_test(tests, the_optimizer_and_the_fold_take_their_bytes_at_the_memory_rate);
    tcase_add_test(tests, an_exact_reduction_between_gpus_is_messages_to_every_owner);
    tcase_add_loop_test(tests, on_cpus_the_ranks_of_a_host_add_before_hosts_talk, 0, 2);
    tcase_add_test(tests, zero_stages_move_what_they_share_out);
    tcase_add_test(tests, new_weights_hide_behind_one_forward_pass_where_communication_overlaps);
    tcase_add_test(tests, a_rank_with_more_logical_workers_sets_the_pace);
    tcase_add_test(tests, a_fast_reduction_between_gpus_is_a_ring);
    tcase_add_test(tests, a_ring_tends_to_the_bytes_over_the_bandwidth);
    tcase_add_test(tests, the_ranks_of_a_host_share_its_adapters);
    tcase_add_test(tests, the_backward_pass_hides_what_it_can);
    tcase_add_test(tests, without_a_spare_core_nothing_is_hidden);
    tcase_add_loop_test(tests, no_part_that_gets_better_makes_a_step_slower, 0, 4);
    tcase_add_test(tests, more_ranks_never_compute_longer);
    tcase_add_test(tests, throughput_mfu_and_memory_follow_from_the_step);
    tcase_add_test(tests, what_cannot_be_predicted_is_refused_by_name);
    tcase_add_test(tests, the_printed_prediction_says_what_it_assumes_and_what_does_not_fit);
    tcase_add_test(tests, the_json_is_the_plan_with_the_prediction_in_it);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
