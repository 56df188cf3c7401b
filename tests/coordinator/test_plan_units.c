/* SPDX-License-Identifier: MIT
 *
 * Units and ZeRO stages in the plan: no operation may ever find another unit's weights in its window, no two
 * gradients may share memory while they live, and what each stage keeps must be what its name says.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/plan/plan.h"
#include "tests/suite.h"

enum { UNIT_CASES = 3 * 2 * 3 * 3 };

/* Three models, tied or not, three depths, three ways to recompute. */
static struct graph *graph_of(int i, enum model_type *type)
{
    static const int64_t layers[] = {1, 2, 5};
    *type = (enum model_type)(i % 3);
    struct model_config config = {.type = *type,
                                  .num_layers = layers[i / 6 % 3],
                                  .hidden_size = 48,
                                  .num_heads = 3,
                                  .num_kv_heads = 3,
                                  .ffn_hidden_size = 80,
                                  .vocab_size = 301,
                                  .seq_len = 16,
                                  .norm_eps = 1e-5,
                                  .rope_base = 1e4,
                                  .init_std = 0.02,
                                  .tie_embeddings = i / 3 % 2};
    if (*type == MODEL_MLP) {
        config.num_heads = config.num_kv_heads = config.ffn_hidden_size = 0;
        config.seq_len = 1;
        config.input_size = 33;
        config.tie_embeddings = false;
    }
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_msg(model_build(&config, 2, DTYPE_BF16, (enum recompute)(i / 18), false, &graph, &err) == MUSTER_OK,
                  "%s", err.text);
    return graph;
}

static void units_make(struct plan_units *units, const struct graph *graph, int64_t flat_count)
{
    struct muster_error err = {0};
    ck_assert_msg(plan_units_init(units, graph, flat_count, &err) == MUSTER_OK, "%s", err.text);
}

static int unit_at(const struct plan_units *units, int64_t element)
{
    int unit = 0;
    while (element >= units->units[unit].range.end)
        unit++;
    return unit;
}

START_TEST(units_tile_the_flat_space_and_fit_into_their_windows)
{
    enum model_type type;
    struct graph *graph = graph_of(_i, &type);
    int64_t flat_count = (graph->param_elements + 1023) / 1024 * 1024, at = 0;
    struct plan_units units;
    units_make(&units, graph, flat_count);
    ck_assert_int_eq(units.count, graph->config.num_layers + (type == MODEL_MLP ? 1 : 2) -
                                      (graph->config.tie_embeddings ? 1 : 0));
    for (int i = 0; i < units.count; i++) {
        const struct plan_unit *unit = &units.units[i];
        ck_assert_int_eq(unit->range.begin, at);
        at = unit->range.end;
        ck_assert_int_ge(plan_units_place(&units, i, unit->range.begin), units.window_begin[unit->window]);
        ck_assert_int_le(plan_units_place(&units, i, at), units.window_begin[unit->window + 1]);
        /* one can come while the one before it is used */
        if (i > 0)
            ck_assert_int_ne(unit->window, units.units[i - 1].window);
    }
    ck_assert_int_eq(at, flat_count);
    for (int i = 0; i < graph->param_count; i++) {
        int unit = unit_at(&units, graph->params[i].offset);
        ck_assert_int_le(graph->params[i].offset + graph->params[i].count, units.units[unit].range.end);
        ck_assert_int_eq(units.param_place[i], plan_units_place(&units, unit, graph->params[i].offset));
        ck_assert_int_eq(units.param_place[i] % GRAPH_PARAM_ALIGN, 0);
    }
    plan_units_release(&units);
    graph_destroy(graph);
}
END_TEST

/* What an operation reads, from the contracts of the kernels: a forward operation and the gradient of its
 * input read its weights, the gradient of a weight does not. */
static bool op_reads(const struct graph_op *op)
{
    switch (op->kind) {
    case GRAPH_EMBEDDING:
    case GRAPH_LINEAR:
    case GRAPH_NORM:
    case GRAPH_HEAD_LOSS:
    case GRAPH_LINEAR_BACKWARD_INPUT:
    case GRAPH_NORM_BACKWARD:
        return true;
    default:
        return false;
    }
}

static bool op_adds(const struct graph_op *op)
{
    return op->kind == GRAPH_HEAD_LOSS || op->kind == GRAPH_NORM_BACKWARD ||
           op->kind == GRAPH_EMBEDDING_BACKWARD || op->kind == GRAPH_LINEAR_BACKWARD_WEIGHT;
}

static int op_unit(const struct plan_units *units, const struct graph *graph, const struct graph_op *op)
{
    int weight = op->tensor[SLOT_WEIGHT];
    if (weight == GRAPH_NONE || graph->tensors[weight].param == GRAPH_NONE)
        return -1;
    return unit_at(units, graph->params[graph->tensors[weight].param].offset);
}

START_TEST(every_operation_finds_its_weights_in_their_window)
{
    enum model_type type;
    struct graph *graph = graph_of(_i, &type);
    struct plan_units units;
    units_make(&units, graph, graph->param_elements);
    int resident[PLAN_WINDOW_COUNT] = {-1, -1, -1}, visit = 0, gathers = 0;
    for (int i = 0; i < graph->op_count; i++) {
        while (visit < units.visit_count && units.visits[visit].op == i) {
            int unit = units.visits[visit++].unit, *place = &resident[units.units[unit].window];
            gathers += *place != unit;
            *place = unit;
        }
        if (i == graph->forward_count - 1)
            ck_assert_int_eq(visit, units.forward_visit_count);
        int unit = op_unit(&units, graph, &graph->ops[i]);
        if (unit >= 0 && op_reads(&graph->ops[i]))
            ck_assert_int_eq(resident[units.units[unit].window], unit);
    }
    ck_assert_int_eq(visit, units.visit_count);
    /* forward all, backward all blocks but the two that are still there */
    int64_t blocks = graph->config.num_layers, again = blocks > 2 ? blocks - 2 : 0;
    if (type != MODEL_MLP)
        ck_assert_int_eq(gathers, units.count + again);
    plan_units_release(&units);
    graph_destroy(graph);
}
END_TEST

START_TEST(no_two_gradients_live_in_one_window_at_once)
{
    enum model_type type;
    struct graph *graph = graph_of(_i, &type);
    struct plan_units units;
    units_make(&units, graph, graph->param_elements);
    for (int i = 0; i < graph->op_count; i++) {
        int unit = op_unit(&units, graph, &graph->ops[i]);
        if (unit < 0 || !op_adds(&graph->ops[i]))
            continue;
        ck_assert_int_ge(i, units.units[unit].first_add);
        ck_assert_int_le(i, units.units[unit].last_add);
    }
    for (int a = 0; a < units.count; a++)
        for (int b = 0; b < a; b++)
            if (units.units[a].window == units.units[b].window)
                ck_assert(units.units[a].last_add < units.units[b].first_add ||
                          units.units[b].last_add < units.units[a].first_add);
    plan_units_release(&units);
    graph_destroy(graph);
}
END_TEST

/* ---- what each stage keeps ---- */

static struct job *job_of(const char *precision, const char *optimizer, int logical_workers, int stage)
{
    struct text yaml;
    struct job_report report;
    struct job *job = NULL;
    struct muster_error err = {0};
    text_init(&yaml);
    job_report_init(&report);
    text_print(&yaml,
               "name: plan\n"
               "model: {type: gpt, num_layers: 4, hidden_size: 256, num_heads: 8, vocab_size: 5003}\n"
               "data: {train: tokens.bin, format: u16, seq_len: 64}\n"
               "train: {micro_batch_size: 2, global_batch_size: 32, max_steps: 10, precision: %s}\n"
               "optimizer: {type: %s, lr: 1e-3}\n"
               "parallel: {logical_workers: %d, bucket_mb: 1, zero_stage: %d}\n",
               precision, optimizer, logical_workers, stage);
    ck_assert_msg(job_parse("plan.yaml", yaml.data, yaml.length, &report, &job, &err) == MUSTER_OK, "%s%s",
                  err.text, report.errors.data);
    job_report_release(&report);
    text_release(&yaml);
    return job;
}

static struct plan *plan_of(const char *precision, const char *optimizer, int logical_workers, int stage,
                            int ranks)
{
    struct job *job = job_of(precision, optimizer, logical_workers, stage);
    struct model_config config = job_model_config(job);
    struct plan_topology topology = {.ranks = ranks, .threads = 1};
    struct plan *plan = NULL;
    struct muster_error err = {0};
    ck_assert_msg(plan_create(job, &config, &topology, &plan, &err) == MUSTER_OK, "%s", err.text);
    job_destroy(job);
    return plan;
}

static int64_t bytes_of(const struct plan *plan, int rank, enum plan_region region)
{
    struct plan_memory memory;
    struct muster_error err = {0};
    ck_assert_int_eq(plan_rank_memory(plan, rank, &memory, &err), MUSTER_OK);
    return memory.region[region].bytes;
}

START_TEST(each_stage_keeps_what_its_name_says)
{
    int stage = _i % 4, ranks = _i / 4 ? 3 : 16; /* 16: one logical worker a rank */
    struct plan *plan = plan_of("bf16", "adamw", 16, stage, ranks);
    int64_t flat = plan->flat_count, windows = plan->units.window_begin[PLAN_WINDOW_COUNT];
    ck_assert_int_eq(plan->zero_stage, stage);
    for (int rank = 0; rank < ranks; rank++) {
        int64_t owned = plan_owned_count(plan, rank), held = stage == 0 ? flat : owned;
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_PARAMS), 2 * (stage == 3 ? owned : flat));
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_PARAM_WINDOWS), stage == 3 ? 2 * windows : 0);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_MASTER), 4 * held);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_STATE_FIRST), 4 * held);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_STATE_SECOND), 4 * held);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_GRADIENT_WINDOWS), stage >= 2 ? 4 * windows : 0);
        /* three ranks: blocks of 5, 5 and 6, of which up to three sums wait */
        int64_t buffers = bytes_of(plan, rank, PLAN_REGION_GRADIENTS) / (4 * flat);
        struct plan *whole = plan_of("bf16", "adamw", 16, 1, ranks);
        int64_t whole_buffers = bytes_of(whole, rank, PLAN_REGION_GRADIENTS) / (4 * flat);
        ck_assert_int_eq(buffers, whole_buffers - (stage >= 2));
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_GRADIENT_SUM), buffers ? 0 : 4 * owned);
        plan_destroy(whole);
    }
    plan_destroy(plan);
}
END_TEST

START_TEST(a_logical_worker_of_several_slots_needs_its_whole_gradient)
{
    struct plan *plan = plan_of("fp32", "sgd", 4, 2 + _i, 4);
    ck_assert_int_eq(plan->slots_per_worker, 4);
    for (int rank = 0; rank < 4; rank++) {
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_GRADIENTS), 4 * plan->flat_count);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_GRADIENT_WINDOWS), 0);
        ck_assert_int_eq(bytes_of(plan, rank, PLAN_REGION_GRADIENT_SUM), 0);
    }
    plan_destroy(plan);
}
END_TEST

START_TEST(one_rank_shares_with_nobody)
{
    struct plan *plan = plan_of("fp32", "adamw", 8, _i, 1);
    ck_assert_int_eq(plan->zero_stage, 1);
    ck_assert_int_eq(plan_step_bytes_sent(plan, 0), 0);
    plan_destroy(plan);
}
END_TEST

/* Tied, four blocks: a pass gathers the tables once, the blocks, and the first two of them again; at its end
 * the tables and those two are there for the next pass. */
START_TEST(what_is_sent_follows_the_stage)
{
    struct plan *plan = plan_of("bf16", "adamw", 16, _i, 3);
    for (int rank = 0; rank < 3; rank++) {
        int64_t owned = plan_owned_count(plan, rank), flat = plan->flat_count;
        struct tree_node nodes[TREE_BLOCK_NODES_MAX];
        int node_count = tree_block_nodes(16, plan->block_begin[rank], plan->block_begin[rank + 1], nodes);
        int64_t gathered = 0;
        for (int unit = 0; unit < plan->units.count; unit++)
            for (int bucket = 0; bucket < plan->bucket_count; bucket++) {
                struct plan_range part =
                    plan_range_common(plan->units.units[unit].range, plan_owned_range(plan, bucket, rank));
                int64_t passes = 6; /* of the rank with six slots */
                int64_t times = unit == 0 ? 1 : unit <= 2 ? 1 + passes : passes;
                gathered += (part.end - part.begin) * times;
            }
        int64_t shared = _i == 0 ? 4 * owned : _i == 3 ? 2 * gathered : 2 * owned;
        ck_assert_int_eq(plan_step_passes(plan), 6);
        ck_assert_int_eq(plan_step_bytes_sent(plan, rank), 4 * (flat - owned) * node_count + 2 * shared);
    }
    plan_destroy(plan);
}
END_TEST

START_TEST(the_stage_is_no_part_of_the_model)
{
    struct job *one = job_of("fp32", "adamw", 8, 1), *other = job_of("fp32", "adamw", 8, _i);
    ck_assert(hash_equal(job_hash(one), job_hash(other)));
    job_destroy(one);
    job_destroy(other);
}
END_TEST

int main(void)
{
    TCase *units = tcase_create("units");
    tcase_add_loop_test(units, units_tile_the_flat_space_and_fit_into_their_windows, 0, UNIT_CASES);
    tcase_add_loop_test(units, every_operation_finds_its_weights_in_their_window, 0, UNIT_CASES);
    tcase_add_loop_test(units, no_two_gradients_live_in_one_window_at_once, 0, UNIT_CASES);
    TCase *stages = tcase_create("stages");
    tcase_add_loop_test(stages, each_stage_keeps_what_its_name_says, 0, 8);
    tcase_add_loop_test(stages, a_logical_worker_of_several_slots_needs_its_whole_gradient, 0, 2);
    tcase_add_loop_test(stages, one_rank_shares_with_nobody, 0, 4);
    tcase_add_loop_test(stages, what_is_sent_follows_the_stage, 0, 4);
    tcase_add_loop_test(stages, the_stage_is_no_part_of_the_model, 0, 4);
    Suite *suite = suite_create("units and stages");
    suite_add_tcase(suite, units);
    suite_add_tcase(suite, stages);
    return suite_run(suite);
}
