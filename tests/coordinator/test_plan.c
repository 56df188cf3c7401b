/* SPDX-License-Identifier: MIT
 *
 * The plan: what depends on the job alone must not move with the number of ranks, what depends on the ranks
 * must tile without gap or overlap, and every byte must be accounted for.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/plan/plan.h"
#include "tests/suite.h"

/* About 4.6 million weights: several buckets of 1 MB, one of 25. */
static const char plan_yaml[] = "name: plan\n"
                                "model: {type: %s, num_layers: 4, hidden_size: 256, num_heads: 8, "
                                "vocab_size: 5003}\n"
                                "data: {train: tokens.bin, format: u16, seq_len: 64}\n"
                                "train: {micro_batch_size: 2, global_batch_size: %d, max_steps: 10, "
                                "precision: %s}\n"
                                "optimizer: {type: %s, lr: 1e-3}\n"
                                "parallel: {logical_workers: %d, bucket_mb: %d, reduce: %s}\n";

struct plan_case {
    const char *model, *precision, *optimizer, *reduce;
    int global_batch_size, logical_workers, bucket_mb;
};

static const struct plan_case plan_case_usual = {"gpt", "fp32", "adamw", "exact", 32, 8, 1};

static struct job *plan_case_job(const struct plan_case *c)
{
    struct text yaml;
    text_init(&yaml);
    text_print(&yaml, plan_yaml, c->model, c->global_batch_size, c->precision, c->optimizer,
               c->logical_workers, c->bucket_mb, c->reduce);
    struct job_report report;
    job_report_init(&report);
    struct job *job = NULL;
    struct muster_error err = {0};
    enum muster_status status = job_parse("plan.yaml", yaml.data, yaml.length, &report, &job, &err);
    ck_assert_msg(status == MUSTER_OK, "%s%s", err.text, report.errors.data);
    job_report_release(&report);
    text_release(&yaml);
    return job;
}

static struct plan *plan_of_job(const struct job *job, int ranks)
{
    struct model_config config = job_model_config(job);
    struct plan_topology topology = {.ranks = ranks, .threads = 2};
    struct plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_msg(plan_create(job, &config, &topology, &plan, &err) == MUSTER_OK, "%s", err.text);
    return plan;
}

static struct plan *plan_of_case(const struct plan_case *c, int ranks)
{
    struct job *job = plan_case_job(c);
    struct plan *plan = plan_of_job(job, ranks);
    job_destroy(job);
    return plan;
}

static const int bucket_sizes_mb[] = {1, 2, 3, 7, 25, 1024};
enum { BUCKET_SIZES = sizeof bucket_sizes_mb / sizeof bucket_sizes_mb[0] };

START_TEST(owned_ranges_tile_the_flat_space)
{
    struct plan_case c = plan_case_usual;
    c.bucket_mb = bucket_sizes_mb[_i];
    for (int ranks = 1; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&c, ranks);
        int64_t end = plan->flat_count, owned_total = 0;
        for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
            struct plan_range whole = plan->buckets[bucket];
            ck_assert_int_eq(whole.end, end);
            int64_t at = whole.begin;
            for (int rank = 0; rank < ranks; rank++) {
                struct plan_range owned = plan_owned_range(plan, bucket, rank);
                ck_assert_int_eq(owned.begin, at);
                ck_assert_int_ge(owned.end, owned.begin);
                ck_assert_int_eq(owned.begin % plan->chunk_elements, 0);
                at = owned.end;
            }
            ck_assert_int_eq(at, whole.end);
            end = whole.begin;
        }
        ck_assert_int_eq(end, 0);
        for (int rank = 0; rank < ranks; rank++)
            owned_total += plan_owned_count(plan, rank);
        ck_assert_int_eq(owned_total, plan->flat_count);
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(shares_of_the_flat_space_differ_by_a_chunk_a_bucket_at_most)
{
    for (int ranks = 1; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&plan_case_usual, ranks);
        for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
            int64_t even = (plan->buckets[bucket].end - plan->buckets[bucket].begin) / ranks;
            for (int rank = 0; rank < ranks; rank++) {
                struct plan_range owned = plan_owned_range(plan, bucket, rank);
                ck_assert_int_le(llabs(owned.end - owned.begin - even), plan->chunk_elements);
            }
        }
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(more_ranks_than_chunks_still_tile)
{
    struct plan_case c = plan_case_usual;
    c.global_batch_size = 1024;
    c.logical_workers = 512;
    struct plan *plan = plan_of_case(&c, 512);
    int64_t total = 0, empty = 0;
    for (int rank = 0; rank < plan->ranks; rank++) {
        total += plan_owned_count(plan, rank);
        struct plan_range owned = plan_owned_range(plan, 0, rank);
        empty += owned.begin == owned.end;
    }
    ck_assert_int_eq(total, plan->flat_count);
    ck_assert_int_gt(empty, 0);
    plan_destroy(plan);
}
END_TEST

START_TEST(what_decides_bits_does_not_move_with_the_ranks)
{
    struct plan_case c = plan_case_usual;
    c.bucket_mb = bucket_sizes_mb[_i];
    struct plan *one = plan_of_case(&c, 1);
    for (int ranks = 2; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&c, ranks);
        ck_assert_int_eq(plan->slots, one->slots);
        ck_assert_int_eq(plan->logical_workers, one->logical_workers);
        ck_assert_int_eq(plan->slots_per_worker, one->slots_per_worker);
        ck_assert_int_eq(plan->flat_count, one->flat_count);
        ck_assert_int_eq(plan->chunk_elements, one->chunk_elements);
        ck_assert_int_eq(plan->chunk_count, one->chunk_count);
        ck_assert_int_eq(plan->graph->chunk_rows, one->graph->chunk_rows);
        ck_assert_int_eq(plan->bucket_count, one->bucket_count);
        for (int i = 0; i < one->bucket_count; i++) {
            ck_assert_int_eq(plan->buckets[i].begin, one->buckets[i].begin);
            ck_assert_int_eq(plan->buckets[i].end, one->buckets[i].end);
        }
        for (int i = 0; i < one->graph->param_count; i++)
            ck_assert_int_eq(plan->graph->params[i].offset, one->graph->params[i].offset);
        plan_destroy(plan);
    }
    plan_destroy(one);
}
END_TEST

START_TEST(chunks_do_not_depend_on_the_size_of_buckets)
{
    struct plan *small = plan_of_case(&plan_case_usual, 4);
    struct plan_case c = plan_case_usual;
    c.bucket_mb = 25;
    struct plan *large = plan_of_case(&c, 4);
    ck_assert_int_gt(small->bucket_count, 10);
    ck_assert_int_eq(large->bucket_count, 1);
    ck_assert_int_eq(small->chunk_elements, large->chunk_elements);
    ck_assert_int_eq(small->chunk_count, large->chunk_count);
    for (int i = 0; i < small->bucket_count; i++) {
        struct plan_range range = small->buckets[i];
        ck_assert_int_le(range.end - range.begin, 1 << 18);
        ck_assert_int_eq(range.begin % small->chunk_elements, 0);
    }
    plan_destroy(small);
    plan_destroy(large);
}
END_TEST

static int64_t bucket_length(const struct plan *plan, int bucket)
{
    return plan->buckets[bucket].end - plan->buckets[bucket].begin;
}

START_TEST(the_first_bucket_is_a_quarter_the_last_eight_shrink_and_the_rest_is_even)
{
    for (int mb = 1; mb <= 3; mb++) {
        struct plan_case c = plan_case_usual;
        c.bucket_mb = mb;
        struct plan *plan = plan_of_case(&c, 2);
        int64_t largest = mb * (1 << 18), rest = plan->flat_count, length = largest;
        int tail = plan->bucket_count - 8;
        ck_assert_int_ge(tail, 2);
        ck_assert_int_eq(bucket_length(plan, 0), largest / 4);
        for (int i = 0; i < 8; i++) {
            int64_t excess = bucket_length(plan, tail + i) - length * 3 / 4;
            ck_assert_int_ge(excess, 0);
            ck_assert_int_lt(excess, plan->chunk_elements);
            length = bucket_length(plan, tail + i);
            rest -= length;
        }
        int64_t even = (rest - largest / 4) / (tail - 1);
        for (int i = 1; i < tail; i++) {
            ck_assert_int_le(bucket_length(plan, i), largest);
            ck_assert_int_le(llabs(bucket_length(plan, i) - even), plan->chunk_elements);
        }
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(buckets_cover_the_flat_space_from_the_end_whatever_their_size)
{
    for (int mb = 1; mb <= 24; mb++) {
        struct plan_case c = plan_case_usual;
        c.bucket_mb = mb;
        struct plan *plan = plan_of_case(&c, 2);
        int64_t end = plan->flat_count;
        for (int i = 0; i < plan->bucket_count; i++) {
            ck_assert_int_eq(plan->buckets[i].end, end);
            ck_assert_int_gt(bucket_length(plan, i), 0);
            ck_assert_int_le(bucket_length(plan, i), (int64_t)mb << 18);
            end = plan->buckets[i].begin;
        }
        ck_assert_int_eq(end, 0);
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(the_flat_space_holds_every_parameter_in_whole_chunks)
{
    struct plan *plan = plan_of_case(&plan_case_usual, 3);
    ck_assert_int_eq(plan->flat_count, plan->chunk_count * plan->chunk_elements);
    ck_assert_int_ge(plan->flat_count, plan->graph->param_elements);
    ck_assert_int_lt(plan->flat_count - plan->graph->param_elements, plan->chunk_elements);
    ck_assert_int_le(plan->chunk_count, 16384);
    plan_destroy(plan);
}
END_TEST

START_TEST(slots_go_to_ranks_in_order_without_gaps)
{
    for (int ranks = 1; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&plan_case_usual, ranks);
        int at = 0;
        for (int rank = 0; rank < ranks; rank++) {
            int first, last;
            plan_slots_of_rank(plan, rank, &first, &last);
            ck_assert_int_eq(first, at);
            ck_assert_int_gt(last, first);
            ck_assert_int_eq((last - first) % plan->slots_per_worker, 0);
            at = last;
        }
        ck_assert_int_eq(at, plan->slots);
        ck_assert_int_eq(plan->block_begin[0], 0);
        ck_assert_int_eq(plan->block_begin[ranks], plan->logical_workers);
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(blocks_may_be_uneven)
{
    static const int expected[] = {0, 2, 5, 8};
    struct plan *plan = plan_of_case(&plan_case_usual, 3);
    for (int i = 0; i <= 3; i++)
        ck_assert_int_eq(plan->block_begin[i], expected[i]);
    int first, last;
    plan_slots_of_rank(plan, 1, &first, &last);
    ck_assert_int_eq(first, 4);
    ck_assert_int_eq(last, 10);
    plan_destroy(plan);
}
END_TEST

static void check_regions(const struct plan *plan, int rank, struct plan_memory *memory)
{
    struct muster_error err = {0};
    ck_assert_int_eq(plan_rank_memory(plan, rank, memory, &err), MUSTER_OK);
    int64_t end = 0;
    for (int region = 0; region < PLAN_REGION_COUNT; region++) {
        ck_assert_int_ge(memory->region[region].bytes, 0);
        ck_assert_int_eq(memory->region[region].offset % 4096, 0);
        ck_assert_int_ge(memory->region[region].offset, end);
        ck_assert_int_lt(memory->region[region].offset - end, 4096);
        end = memory->region[region].offset + memory->region[region].bytes;
    }
    ck_assert_int_ge(memory->total_bytes, end);
    ck_assert_int_lt(memory->total_bytes - end, 4096);
}

START_TEST(memory_regions_lie_side_by_side_and_sum_to_the_total)
{
    struct plan_case c = plan_case_usual;
    c.model = _i % 2 ? "llama" : "gpt";
    c.precision = _i / 2 % 2 ? "bf16" : "fp32";
    c.optimizer = _i / 4 % 2 ? "sgd" : "adamw";
    c.reduce = _i / 8 ? "fast" : "exact";
    c.bucket_mb = 2;
    for (int ranks = 1; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&c, ranks);
        for (int rank = 0; rank < ranks; rank++) {
            struct plan_memory memory;
            check_regions(plan, rank, &memory);
        }
        plan_destroy(plan);
    }
}
END_TEST

START_TEST(optimizer_state_is_shared_out_and_weights_are_not)
{
    struct plan_case c = plan_case_usual;
    c.precision = _i % 2 ? "bf16" : "fp32";
    c.optimizer = _i / 2 ? "sgd" : "adamw";
    bool rounded = _i % 2, momentum = _i / 2;
    for (int ranks = 1; ranks <= 8; ranks++) {
        struct plan *plan = plan_of_case(&c, ranks);
        int64_t master = 0, first = 0, second = 0;
        for (int rank = 0; rank < ranks; rank++) {
            struct plan_memory memory;
            check_regions(plan, rank, &memory);
            ck_assert_int_eq(memory.region[PLAN_REGION_PARAMS].bytes, plan->flat_count * (rounded ? 2 : 4));
            ck_assert_int_eq(memory.region[PLAN_REGION_ACTIVATIONS].bytes, plan->graph->arena_bytes);
            ck_assert_int_eq(memory.region[PLAN_REGION_INPUTS].bytes, plan->graph->input_bytes);
            ck_assert_int_eq(memory.region[PLAN_REGION_SCRATCH].bytes, graph_scratch_bytes(plan->graph, 2));
            master += memory.region[PLAN_REGION_MASTER].bytes;
            first += memory.region[PLAN_REGION_STATE_FIRST].bytes;
            second += memory.region[PLAN_REGION_STATE_SECOND].bytes;
        }
        ck_assert_int_eq(master, rounded ? plan->flat_count * 4 : 0);
        ck_assert_int_eq(first, plan->flat_count * 4);
        ck_assert_int_eq(second, momentum ? 0 : plan->flat_count * 4);
        plan_destroy(plan);
    }
}
END_TEST

static int64_t largest_range(const struct plan *plan, int rank)
{
    int64_t largest = 0;
    for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        largest = owned.end - owned.begin > largest ? owned.end - owned.begin : largest;
    }
    return largest;
}

/* Eight leaves on one rank fold with four buffers; a leaf a rank needs one, and room for seven others. */
START_TEST(gradient_buffers_follow_the_tree)
{
    struct plan_memory memory;
    struct plan *plan = plan_of_case(&plan_case_usual, 1);
    check_regions(plan, 0, &memory);
    ck_assert_int_eq(memory.region[PLAN_REGION_GRADIENTS].bytes, 4 * plan->flat_count * 4);
    ck_assert_int_eq(memory.region[PLAN_REGION_RECEIVE].bytes, 0);
    ck_assert_int_eq(plan_step_bytes_sent(plan, 0), 0);
    plan_destroy(plan);
    plan = plan_of_case(&plan_case_usual, 8);
    for (int rank = 0; rank < 8; rank++) {
        check_regions(plan, rank, &memory);
        ck_assert_int_eq(memory.region[PLAN_REGION_GRADIENTS].bytes, plan->flat_count * 4);
        ck_assert_int_eq(memory.region[PLAN_REGION_RECEIVE].bytes, 7 * largest_range(plan, rank) * 4);
        int64_t owned = plan_owned_count(plan, rank);
        ck_assert_int_eq(plan_step_bytes_sent(plan, rank), (plan->flat_count - owned) * 4 + 7 * owned * 4);
    }
    plan_destroy(plan);
}
END_TEST

/* On three ranks the blocks are [0, 2), [2, 5) and [5, 8): one, two and two nodes of the tree. */
START_TEST(an_exact_reduction_sends_every_node_and_a_fast_one_their_sum)
{
    static const int nodes[2][3] = {{1, 2, 2}, {1, 1, 1}};
    struct plan_case c = plan_case_usual;
    c.reduce = _i ? "fast" : "exact";
    struct plan *plan = plan_of_case(&c, 3);
    for (int rank = 0; rank < 3; rank++) {
        struct plan_memory memory;
        check_regions(plan, rank, &memory);
        int64_t owned = plan_owned_count(plan, rank), largest = largest_range(plan, rank);
        int foreign = nodes[0][0] + nodes[0][1] + nodes[0][2] - nodes[0][rank];
        ck_assert_int_eq(plan_step_bytes_sent(plan, rank),
                         (plan->flat_count - owned) * 4 * nodes[_i][rank] + 2 * owned * 4);
        ck_assert_int_eq(memory.region[PLAN_REGION_RECEIVE].bytes, largest * 4 * (_i ? 1 : foreign));
    }
    plan_destroy(plan);
}
END_TEST

START_TEST(too_many_ranks_are_refused_with_both_numbers)
{
    struct job *job = plan_case_job(&plan_case_usual);
    struct model_config config = job_model_config(job);
    struct plan_topology topology = {.ranks = 9, .threads = 1};
    struct plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(plan_create(job, &config, &topology, &plan, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(plan);
    ck_assert_ptr_nonnull(strstr(err.text, "9 ranks"));
    ck_assert_ptr_nonnull(strstr(err.text, "parallel.logical_workers is 8"));
    topology.ranks = 0;
    ck_assert_int_eq(plan_create(job, &config, &topology, &plan, &err), MUSTER_ERR_BAD_INPUT);
    topology = (struct plan_topology){.ranks = 1, .threads = 0};
    ck_assert_int_eq(plan_create(job, &config, &topology, &plan, &err), MUSTER_ERR_BAD_INPUT);
    job_destroy(job);
}
END_TEST

START_TEST(a_model_that_does_not_fit_together_is_refused_through_the_plan)
{
    struct job *job = plan_case_job(&plan_case_usual);
    struct model_config config = job_model_config(job);
    config.num_heads = 7;
    struct plan_topology topology = {.ranks = 1, .threads = 1};
    struct plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(plan_create(job, &config, &topology, &plan, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(plan);
    ck_assert_ptr_nonnull(strstr(err.text, "num_heads"));
    job_destroy(job);
}
END_TEST

START_TEST(the_hash_is_the_same_for_the_same_plan_and_differs_with_the_ranks)
{
    struct plan *plans[4];
    for (int i = 0; i < 4; i++)
        plans[i] = plan_of_case(&plan_case_usual, 1 + i / 2 * 3);
    ck_assert(hash_equal(plans[0]->hash, plans[1]->hash));
    ck_assert(hash_equal(plans[2]->hash, plans[3]->hash));
    ck_assert(!hash_equal(plans[0]->hash, plans[2]->hash));
    struct plan_case c = plan_case_usual;
    c.optimizer = "sgd";
    struct plan *other = plan_of_case(&c, 1);
    ck_assert(!hash_equal(plans[0]->hash, other->hash));
    plan_destroy(other);
    for (int i = 0; i < 4; i++)
        plan_destroy(plans[i]);
}
END_TEST

static int64_t json_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_integer(value), "%s is no integer", key);
    return json_integer_value(value);
}

START_TEST(the_json_says_what_the_plan_says)
{
    struct job *job = plan_case_job(&plan_case_usual);
    struct plan *plan = plan_of_job(job, 3);
    struct text text;
    struct muster_error err = {0};
    text_init(&text);
    ck_assert_int_eq(plan_write_json(plan, job, &text, &err), MUSTER_OK);
    json_error_t problem;
    json_t *root = json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, &problem);
    ck_assert_msg(root != NULL, "%s", problem.text);
    ck_assert_int_eq(json_number(root, "ranks"), 3);
    ck_assert_int_eq(json_number(root, "slots"), 16);
    ck_assert_int_eq(json_number(root, "flat_elements"), plan->flat_count);
    ck_assert_int_eq(json_number(root, "parameters"), plan->graph->param_count_total);
    ck_assert_int_eq(json_array_size(json_object_get(root, "buckets")), plan->bucket_count);
    ck_assert_int_eq(json_array_size(json_object_get(root, "params")), plan->graph->param_count);
    const json_t *ranks = json_object_get(root, "memory");
    ck_assert_int_eq(json_array_size(ranks), 3);
    for (int rank = 0; rank < 3; rank++) {
        struct plan_memory memory;
        check_regions(plan, rank, &memory);
        const json_t *item = json_array_get(ranks, (size_t)rank);
        ck_assert_int_eq(json_number(item, "memory_bytes"), memory.total_bytes);
        const json_t *regions = json_object_get(item, "regions");
        for (int region = 0; region < PLAN_REGION_COUNT; region++) {
            const json_t *held = json_object_get(regions, plan_region_name((enum plan_region)region));
            ck_assert_int_eq(json_number(held, "offset"), memory.region[region].offset);
            ck_assert_int_eq(json_number(held, "bytes"), memory.region[region].bytes);
        }
    }
    json_decref(root);
    text_release(&text);
    plan_destroy(plan);
    job_destroy(job);
}
END_TEST

START_TEST(the_printed_plan_names_ranks_memory_and_tensors)
{
    struct job *job = plan_case_job(&plan_case_usual);
    struct plan *plan = plan_of_job(job, 3);
    struct text brief, whole;
    struct muster_error err = {0};
    text_init(&brief);
    text_init(&whole);
    ck_assert_int_eq(plan_print(plan, job, false, &brief, &err), MUSTER_OK);
    ck_assert_int_eq(plan_print(plan, job, true, &whole, &err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(brief.data, "32 samples = 16 slots of 2"));
    ck_assert_ptr_nonnull(strstr(brief.data, "on 3 ranks of 2 threads; reduce exact, zero stage 1"));
    ck_assert_ptr_nonnull(strstr(brief.data, "optimizer, second"));
    ck_assert_ptr_null(strstr(brief.data, "blocks.3.mlp.up.pre"));
    ck_assert_ptr_nonnull(strstr(whole.data, "blocks.3.mlp.up.pre"));
    ck_assert_ptr_nonnull(strstr(whole.data, "blocks.3.mlp.up.weight"));
    text_release(&brief);
    text_release(&whole);
    plan_destroy(plan);
    job_destroy(job);
}
END_TEST

START_TEST(a_step_counts_the_tokens_and_operations_of_the_whole_batch)
{
    struct plan *plan = plan_of_case(&plan_case_usual, 4);
    ck_assert_int_eq(plan->step_tokens, 32 * 64);
    ck_assert_double_eq_tol(plan->step_flops, 32.0 * model_flops_per_sample(plan->graph), 1.0);
    plan_destroy(plan);
}
END_TEST

START_TEST(a_failed_allocation_is_reported_and_nothing_leaks)
{
    struct job *job = plan_case_job(&plan_case_usual);
    struct model_config config = job_model_config(job);
    struct plan_topology topology = {.ranks = 3, .threads = 2};
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    int64_t live = alloc_live_count();
    for (int64_t n = 1; status; n++) {
        struct plan *plan = NULL;
        struct muster_error err = {0};
        alloc_fail_nth(n);
        status = plan_create(job, &config, &topology, &plan, &err);
        alloc_fail_nth(0);
        ck_assert(status == MUSTER_OK || status == MUSTER_ERR_NO_MEMORY);
        ck_assert_int_eq(err.status, status);
        ck_assert((plan != NULL) == (status == MUSTER_OK));
        plan_destroy(plan);
        ck_assert_int_eq(alloc_live_count(), live);
        ck_assert_int_lt(n, 1000);
    }
    plan_destroy(NULL);
    job_destroy(job);
}
END_TEST

int main(void)
{
    TCase *mapping = tcase_create("mapping");
    tcase_add_loop_test(mapping, owned_ranges_tile_the_flat_space, 0, BUCKET_SIZES);
    tcase_add_test(mapping, shares_of_the_flat_space_differ_by_a_chunk_a_bucket_at_most);
    tcase_add_test(mapping, more_ranks_than_chunks_still_tile);
    tcase_add_loop_test(mapping, what_decides_bits_does_not_move_with_the_ranks, 0, BUCKET_SIZES);
    tcase_add_test(mapping, chunks_do_not_depend_on_the_size_of_buckets);
    tcase_add_test(mapping, the_first_bucket_is_a_quarter_the_last_eight_shrink_and_the_rest_is_even);
    tcase_add_test(mapping, buckets_cover_the_flat_space_from_the_end_whatever_their_size);
    tcase_add_test(mapping, the_flat_space_holds_every_parameter_in_whole_chunks);
    tcase_add_test(mapping, slots_go_to_ranks_in_order_without_gaps);
    tcase_add_test(mapping, blocks_may_be_uneven);
    TCase *memory = tcase_create("memory");
    tcase_add_loop_test(memory, memory_regions_lie_side_by_side_and_sum_to_the_total, 0, 16);
    tcase_add_loop_test(memory, optimizer_state_is_shared_out_and_weights_are_not, 0, 4);
    tcase_add_test(memory, gradient_buffers_follow_the_tree);
    tcase_add_loop_test(memory, an_exact_reduction_sends_every_node_and_a_fast_one_their_sum, 0, 2);
    tcase_add_test(memory, a_failed_allocation_is_reported_and_nothing_leaks);
    TCase *rest = tcase_create("refusals and output");
    tcase_add_test(rest, too_many_ranks_are_refused_with_both_numbers);
    tcase_add_test(rest, a_model_that_does_not_fit_together_is_refused_through_the_plan);
    tcase_add_test(rest, the_hash_is_the_same_for_the_same_plan_and_differs_with_the_ranks);
    tcase_add_test(rest, the_json_says_what_the_plan_says);
    tcase_add_test(rest, the_printed_plan_names_ranks_memory_and_tensors);
    tcase_add_test(rest, a_step_counts_the_tokens_and_operations_of_the_whole_batch);
    Suite *suite = suite_create("plan");
    suite_add_tcase(suite, mapping);
    suite_add_tcase(suite, memory);
    suite_add_tcase(suite, rest);
    return suite_run(suite);
}
