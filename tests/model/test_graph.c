/* SPDX-License-Identifier: MIT
 *
 * The graph as a program over memory: what is read was written, nothing alive is overwritten, recompute makes
 * again what it frees and nothing else. The lifetimes are worked out here from the operations alone, so that
 * a mistake in the layout's own lifetimes shows.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/model/model_cases.h"
#include "tests/suite.h"

static struct graph *graph_built(const struct model_variant *variant)
{
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_msg(model_variant_build(variant, &graph, &err) == MUSTER_OK, "%s", err.text);
    return graph;
}

static struct graph *graph_of_config(const struct model_config *config, enum recompute recompute)
{
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_msg(model_build(config, MODEL_CASE_MICRO_BATCH, DTYPE_F32, recompute, false, &graph, &err) ==
                      MUSTER_OK,
                  "%s", err.text);
    return graph;
}

static bool tensor_in_arena(const struct graph_tensor *tensor)
{
    return tensor->role == GRAPH_ROLE_ACTIVATION || tensor->role == GRAPH_ROLE_RESULT;
}

/* Operations that change a tensor in place read it too. */
static bool slot_is_read(const struct graph_op *op, int slot)
{
    bool turned = (op->kind == GRAPH_ROPE || op->kind == GRAPH_ROPE_BACKWARD) && slot == SLOT_X;
    bool added_to = op->kind == GRAPH_NORM_BACKWARD && op->accumulate && slot == SLOT_DX;
    return turned || added_to || !graph_slot_is_output(op->kind, (enum graph_slot)slot);
}

struct life {
    int first, last;
};

/* From the first to the last operation that touches it; results are read after the last one. */
static struct life *lives_create(const struct graph *graph)
{
    struct life *lives = malloc((size_t)graph->tensor_count * sizeof *lives);
    ck_assert_ptr_nonnull(lives);
    for (int t = 0; t < graph->tensor_count; t++)
        lives[t] = (struct life){-1, -1};
    for (int i = 0; i < graph->op_count; i++)
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int t = graph->ops[i].tensor[slot];
            if (t == GRAPH_NONE)
                continue;
            lives[t].first = lives[t].first < 0 ? i : lives[t].first;
            lives[t].last = i;
        }
    for (int t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].role == GRAPH_ROLE_RESULT)
            lives[t].last = graph->op_count;
    return lives;
}

static void check_pair(const struct graph *graph, const struct life *lives, int a, int b)
{
    const struct graph_tensor *one = &graph->tensors[a], *two = &graph->tensors[b];
    if (lives[a].first > lives[b].last || lives[b].first > lives[a].last)
        return;
    bool apart = one->offset + one->bytes <= two->offset || two->offset + two->bytes <= one->offset;
    ck_assert_msg(apart, "%s and %s are alive together and share bytes", one->name, two->name);
}

START_TEST(tensors_alive_at_the_same_time_never_share_a_byte)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    struct life *lives = lives_create(graph);
    int held = 0;
    for (int a = 0; a < graph->tensor_count; a++) {
        const struct graph_tensor *tensor = &graph->tensors[a];
        if (!tensor_in_arena(tensor))
            continue;
        ck_assert_msg(lives[a].first >= 0, "%s is held but never used", tensor->name);
        ck_assert_int_eq(tensor->offset % GRAPH_TENSOR_ALIGN_BYTES, 0);
        ck_assert_int_ge(tensor->offset, 0);
        ck_assert_int_le(tensor->offset + tensor->bytes, graph->arena_bytes);
        for (int b = a + 1; b < graph->tensor_count; b++)
            if (tensor_in_arena(&graph->tensors[b]))
                check_pair(graph, lives, a, b);
        held++;
    }
    ck_assert_int_gt(held, 8);
    free(lives);
    graph_destroy(graph);
}
END_TEST

/* With more rows than fit into one unit of alignment. */
START_TEST(inputs_lie_side_by_side_in_their_own_area)
{
    struct model_config config = model_case_config((enum model_type)(_i % 3));
    struct graph *graph = NULL;
    struct muster_error err = {0};
    enum dtype dtype = _i / 3 ? DTYPE_BF16 : DTYPE_F32;
    ck_assert_int_eq(model_build(&config, 67, dtype, RECOMPUTE_NONE, false, &graph, &err), MUSTER_OK);
    int64_t end = 0;
    int inputs = 0;
    for (int t = 0; t < graph->tensor_count; t++) {
        const struct graph_tensor *tensor = &graph->tensors[t];
        if (tensor->role != GRAPH_ROLE_INPUT)
            continue;
        ck_assert_int_ge(tensor->offset, end);
        ck_assert_int_eq(tensor->offset % GRAPH_TENSOR_ALIGN_BYTES, 0);
        end = tensor->offset + tensor->bytes;
        inputs++;
    }
    ck_assert_int_eq(inputs, 2);
    ck_assert_int_le(end, graph->input_bytes);
    graph_destroy(graph);
}
END_TEST

START_TEST(what_an_operation_reads_was_written_before)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    bool *written = calloc((size_t)graph->tensor_count, sizeof *written);
    ck_assert_ptr_nonnull(written);
    for (int t = 0; t < graph->tensor_count; t++)
        written[t] = !tensor_in_arena(&graph->tensors[t]);
    for (int i = 0; i < graph->op_count; i++) {
        const struct graph_op *op = &graph->ops[i];
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int t = op->tensor[slot];
            ck_assert_msg(t == GRAPH_NONE || !slot_is_read(op, slot) || written[t],
                          "operation %d, %s, reads %s before it is written", i, graph_kind_name(op->kind),
                          graph->tensors[t == GRAPH_NONE ? 0 : t].name);
        }
        for (int slot = 0; slot < SLOT_COUNT; slot++)
            if (op->tensor[slot] != GRAPH_NONE && graph_slot_is_output(op->kind, (enum graph_slot)slot))
                written[op->tensor[slot]] = true;
    }
    ck_assert(written[graph->loss] && written[graph->correct]);
    free(written);
    graph_destroy(graph);
}
END_TEST

START_TEST(every_parameter_gets_a_gradient)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    for (int p = 0; p < graph->param_count; p++) {
        int makers = 0;
        for (int i = 0; i < graph->op_count; i++) {
            const struct graph_op *op = &graph->ops[i];
            bool makes = op->kind == GRAPH_LINEAR_BACKWARD_WEIGHT || op->kind == GRAPH_NORM_BACKWARD ||
                         op->kind == GRAPH_EMBEDDING_BACKWARD || op->kind == GRAPH_HEAD_LOSS;
            int tensor = graph->params[p].tensor;
            if (makes && (op->tensor[SLOT_WEIGHT] == tensor || op->tensor[SLOT_BIAS] == tensor))
                makers++;
        }
        bool shared = strcmp(graph->params[p].name, "token_table") == 0 && graph->config.tie_embeddings;
        ck_assert_msg(makers == (shared ? 2 : 1), "%s has %d gradients", graph->params[p].name, makers);
    }
    graph_destroy(graph);
}
END_TEST

static int64_t arena_bytes_of(enum model_type type, enum recompute recompute, double dropout)
{
    struct model_config config = model_case_config(type);
    config.num_layers = 8;
    config.dropout = dropout;
    struct graph *graph = graph_of_config(&config, recompute);
    int64_t bytes = graph->arena_bytes;
    graph_destroy(graph);
    return bytes;
}

START_TEST(more_recompute_needs_less_memory)
{
    enum model_type type = _i % 2 ? MODEL_LLAMA : MODEL_GPT;
    double dropout = _i / 2 ? 0.25 : 0.0;
    int64_t none = arena_bytes_of(type, RECOMPUTE_NONE, dropout);
    int64_t selective = arena_bytes_of(type, RECOMPUTE_SELECTIVE, dropout);
    int64_t full = arena_bytes_of(type, RECOMPUTE_FULL, dropout);
    ck_assert_int_lt(selective * 10, none * 9);
    ck_assert_int_lt(full * 2, selective);
}
END_TEST

/* With everything recomputed, one more block costs its saved residual sum and nothing else. */
START_TEST(full_recompute_keeps_one_tensor_of_a_block)
{
    int64_t bytes[2];
    for (int more = 0; more < 2; more++) {
        struct model_config config = model_case_config(_i ? MODEL_LLAMA : MODEL_GPT);
        config.num_layers = 20 + 10 * more;
        struct graph *graph = graph_of_config(&config, RECOMPUTE_FULL);
        bytes[more] = graph->arena_bytes;
        graph_destroy(graph);
    }
    struct model_config config = model_case_config(MODEL_GPT);
    int64_t residual = MODEL_CASE_MICRO_BATCH * config.seq_len * config.hidden_size * 4;
    ck_assert_int_eq(bytes[1] - bytes[0], 10 * residual);
}
END_TEST

START_TEST(the_arena_is_close_to_what_is_alive_at_the_worst_moment)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    struct life *lives = lives_create(graph);
    int64_t peak = 0;
    for (int i = 0; i < graph->op_count; i++) {
        int64_t alive = 0;
        for (int t = 0; t < graph->tensor_count; t++)
            if (tensor_in_arena(&graph->tensors[t]) && lives[t].first <= i && i <= lives[t].last)
                alive += (graph->tensors[t].bytes + GRAPH_TENSOR_ALIGN_BYTES - 1) / GRAPH_TENSOR_ALIGN_BYTES *
                         GRAPH_TENSOR_ALIGN_BYTES;
        peak = alive > peak ? alive : peak;
    }
    ck_assert_int_ge(graph->arena_bytes, peak);
    ck_assert_msg(graph->arena_bytes * 10 <= peak * 11, "%lld bytes of arena for %lld alive",
                  (long long)graph->arena_bytes, (long long)peak);
    free(lives);
    graph_destroy(graph);
}
END_TEST

static int count_recomputed(const struct graph *graph)
{
    int count = 0;
    for (int i = 0; i < graph->op_count; i++)
        count += graph->ops[i].recomputed;
    return count;
}

/* Operations of `layers` blocks: forward, backward without copies, copies by recompute mode. */
struct op_counts {
    int forward_block, forward_rest, backward_block, backward_rest, copies[3];
};

static const struct op_counts op_counts_plain[] = {
    [MODEL_GPT] = {7, 3, 11, 2, {0, 3, 6}},
    [MODEL_LLAMA] = {9, 3, 13, 2, {0, 3, 8}},
    [MODEL_MLP] = {1, 2, 2, 0, {0, 0, 0}},
};
static const struct op_counts op_counts_dropout[] = {
    [MODEL_GPT] = {9, 4, 13, 3, {0, 3, 7}},
    [MODEL_LLAMA] = {11, 4, 15, 3, {0, 3, 9}},
    [MODEL_MLP] = {1, 3, 2, 1, {0, 0, 0}},
};

START_TEST(the_number_of_operations_is_what_the_model_says)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    const struct op_counts *expected =
        &(variant.dropout > 0.0 ? op_counts_dropout : op_counts_plain)[variant.type];
    int layers = (int)graph->config.num_layers;
    int copies = expected->copies[variant.recompute] * layers;
    ck_assert_int_eq(graph->forward_count, layers * expected->forward_block + expected->forward_rest);
    ck_assert_int_eq(count_recomputed(graph), copies);
    ck_assert_int_eq(graph->op_count - graph->forward_count - copies,
                     layers * expected->backward_block + expected->backward_rest);
    for (int i = 0; i < graph->forward_count; i++)
        ck_assert(graph->ops[i].kind <= GRAPH_HEAD_LOSS && !graph->ops[i].recomputed);
    graph_destroy(graph);
}
END_TEST

START_TEST(selective_recompute_repeats_no_matrix_product_and_no_attention)
{
    struct model_variant variant = {
        .type = _i ? MODEL_LLAMA : MODEL_GPT, .recompute = RECOMPUTE_SELECTIVE, .dropout = 0.25};
    struct graph *graph = graph_built(&variant);
    for (int i = 0; i < graph->op_count; i++) {
        enum graph_kind kind = graph->ops[i].kind;
        if (graph->ops[i].recomputed)
            ck_assert(kind == GRAPH_NORM || kind == GRAPH_ACTIVATION || kind == GRAPH_SWIGLU);
    }
    graph_destroy(graph);
}
END_TEST

static bool kind_is_random(enum graph_kind kind)
{
    return kind == GRAPH_DROPOUT || kind == GRAPH_DROPOUT_BACKWARD || kind == GRAPH_ATTENTION ||
           kind == GRAPH_ATTENTION_BACKWARD;
}

/* How often each random stream of the forward list is used again with the same block and kind. */
static void check_streams(const struct graph *graph, int origin, int *copies, int *backwards)
{
    const struct graph_op *op = &graph->ops[origin];
    for (int i = 0; i < graph->op_count; i++) {
        const struct graph_op *other = &graph->ops[i];
        if (i == origin || !kind_is_random(other->kind) || other->rng_id != op->rng_id)
            continue;
        ck_assert_msg(i >= graph->forward_count, "operations %d and %d share a random stream", origin, i);
        ck_assert_int_eq(other->block, op->block);
        bool backward = other->kind == GRAPH_DROPOUT_BACKWARD || other->kind == GRAPH_ATTENTION_BACKWARD;
        ck_assert_int_eq(backward ? (other->kind == GRAPH_DROPOUT_BACKWARD ? GRAPH_DROPOUT : GRAPH_ATTENTION)
                                  : other->kind,
                         op->kind);
        *copies += !backward;
        *backwards += backward;
    }
}

START_TEST(copies_and_gradients_use_the_random_stream_of_their_origin)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    int copies = 0, random = 0;
    for (int i = 0; i < graph->forward_count; i++) {
        if (!kind_is_random(graph->ops[i].kind))
            continue;
        int backwards = 0;
        check_streams(graph, i, &copies, &backwards);
        ck_assert_int_eq(backwards, 1);
        random++;
    }
    for (int i = 0; i < graph->op_count; i++)
        if (graph->ops[i].recomputed && kind_is_random(graph->ops[i].kind))
            copies--;
    ck_assert_int_eq(copies, 0);
    ck_assert(random > 0 || (variant.type == MODEL_MLP && variant.dropout == 0.0));
    graph_destroy(graph);
}
END_TEST

START_TEST(the_random_streams_do_not_depend_on_recompute)
{
    struct model_variant variant = {.type = MODEL_GPT, .dropout = 0.25};
    struct graph *plain = graph_built(&variant);
    variant.recompute = (enum recompute)(1 + _i);
    struct graph *again = graph_built(&variant);
    ck_assert_int_eq(plain->forward_count, again->forward_count);
    for (int i = 0; i < plain->forward_count; i++)
        ck_assert_int_eq(plain->ops[i].rng_id, again->ops[i].rng_id);
    graph_destroy(plain);
    graph_destroy(again);
}
END_TEST

START_TEST(building_twice_gives_the_same_layout)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *one = graph_built(&variant), *two = graph_built(&variant);
    ck_assert_int_eq(one->tensor_count, two->tensor_count);
    ck_assert_int_eq(one->arena_bytes, two->arena_bytes);
    for (int t = 0; t < one->tensor_count; t++) {
        ck_assert_str_eq(one->tensors[t].name, two->tensors[t].name);
        ck_assert_int_eq(one->tensors[t].offset, two->tensors[t].offset);
    }
    graph_destroy(one);
    graph_destroy(two);
}
END_TEST

START_TEST(the_widest_row_covers_every_activation)
{
    struct model_variant variant = model_variant_at(_i);
    struct graph *graph = graph_built(&variant);
    int64_t widest = 0;
    for (int t = 0; t < graph->tensor_count; t++) {
        const struct graph_tensor *tensor = &graph->tensors[t];
        if (tensor->role != GRAPH_ROLE_PARAM && tensor->dim_count == 2 && tensor->shape[1] > widest)
            widest = tensor->shape[1];
    }
    ck_assert_int_eq(graph->row_width_max, widest);
    ck_assert_int_gt(graph_scratch_bytes(graph, 2), graph_scratch_bytes(graph, 1));
    graph_destroy(graph);
}
END_TEST

/* GPT-2 124M: without this room the library's gradient of attention is never used, and nothing says so. */
START_TEST(a_device_has_room_for_the_librarys_gradient_of_attention)
{
    const struct model_config gpt2 = {.type = MODEL_GPT,
                                      .num_layers = 12,
                                      .hidden_size = 768,
                                      .num_heads = 12,
                                      .num_kv_heads = 12,
                                      .ffn_hidden_size = 3072,
                                      .vocab_size = 50257,
                                      .seq_len = 1024,
                                      .dropout = _i == 1 ? 0.1 : 0.0,
                                      .norm_eps = 1e-5,
                                      .init_std = 0.02,
                                      .tie_embeddings = true};
    const struct ops_attention_shape shape = {16, 1024, 12, 12, 64};
    const bool slices = _i == 0; /* neither dropout nor fp32 goes to the library */
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_msg(model_build(&gpt2, 16, _i == 2 ? DTYPE_F32 : DTYPE_BF16, RECOMPUTE_NONE, true, &graph,
                              &err) == MUSTER_OK,
                  "%s", err.text);
    const int64_t scratch = graph_device_scratch_bytes(graph), wanted = ops_attention_slice(&shape).bytes;
    ck_assert_int_gt(scratch, OPS_GEMM_WORKSPACE_BYTES);
    ck_assert_int_eq(scratch >= wanted, slices);
    graph_destroy(graph);
}
END_TEST

START_TEST(every_kind_of_operation_has_a_name)
{
    for (int kind = 0; kind < GRAPH_KIND_COUNT; kind++) {
        ck_assert_ptr_nonnull(graph_kind_name((enum graph_kind)kind));
        for (int other = 0; other < kind; other++)
            ck_assert_str_ne(graph_kind_name((enum graph_kind)kind), graph_kind_name((enum graph_kind)other));
    }
}
END_TEST

int main(void)
{
    TCase *memory = tcase_create("memory");
    tcase_add_loop_test(memory, tensors_alive_at_the_same_time_never_share_a_byte, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(memory, inputs_lie_side_by_side_in_their_own_area, 0, 6);
    tcase_add_loop_test(memory, what_an_operation_reads_was_written_before, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(memory, the_arena_is_close_to_what_is_alive_at_the_worst_moment, 0,
                        MODEL_VARIANT_COUNT);
    tcase_add_loop_test(memory, more_recompute_needs_less_memory, 0, 4);
    tcase_add_loop_test(memory, full_recompute_keeps_one_tensor_of_a_block, 0, 2);
    tcase_add_loop_test(memory, building_twice_gives_the_same_layout, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(memory, the_widest_row_covers_every_activation, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(memory, a_device_has_room_for_the_librarys_gradient_of_attention, 0, 3);
    TCase *operations = tcase_create("operations");
    tcase_add_loop_test(operations, every_parameter_gets_a_gradient, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(operations, the_number_of_operations_is_what_the_model_says, 0, MODEL_VARIANT_COUNT);
    tcase_add_loop_test(operations, selective_recompute_repeats_no_matrix_product_and_no_attention, 0, 2);
    tcase_add_loop_test(operations, copies_and_gradients_use_the_random_stream_of_their_origin, 0,
                        MODEL_VARIANT_COUNT);
    tcase_add_loop_test(operations, the_random_streams_do_not_depend_on_recompute, 0, 2);
    tcase_add_test(operations, every_kind_of_operation_has_a_name);
    Suite *suite = suite_create("graph");
    suite_add_tcase(suite, memory);
    suite_add_tcase(suite, operations);
    return suite_run(suite);
}
