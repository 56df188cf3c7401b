/* SPDX-License-Identifier: MIT
 *
 * A model from outside: the table of parameters that checkpoints and exports rely on, the arithmetic that MFU
 * is taken from, and what happens when sizes or memory do not suffice.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/model/model_cases.h"
#include "tests/suite.h"

static struct graph *model_built(const struct model_config *config, int64_t micro_batch_size,
                                 enum recompute recompute)
{
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_msg(model_build(config, micro_batch_size, DTYPE_F32, recompute, false, &graph, &err) ==
                      MUSTER_OK,
                  "%s", err.text);
    return graph;
}

static struct graph *model_case_built(enum model_type type)
{
    struct model_config config = model_case_config(type);
    return model_built(&config, MODEL_CASE_MICRO_BATCH, RECOMPUTE_NONE);
}

START_TEST(parameters_have_their_own_names_and_aligned_ranges)
{
    struct graph *graph = model_case_built((enum model_type)_i);
    int64_t end = 0, total = 0;
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        ck_assert_int_eq(param->offset % GRAPH_PARAM_ALIGN, 0);
        ck_assert_int_ge(param->offset, end);
        ck_assert_int_lt(param->offset - end, GRAPH_PARAM_ALIGN);
        ck_assert_int_eq(param->count, param->shape[0] * (param->dim_count == 2 ? param->shape[1] : 1));
        ck_assert_int_eq(graph->tensors[param->tensor].param, i);
        ck_assert_str_eq(graph->tensors[param->tensor].name, param->name);
        for (int other = 0; other < i; other++)
            ck_assert_str_ne(param->name, graph->params[other].name);
        end = param->offset + param->count;
        total += param->count;
    }
    ck_assert_int_eq(graph->param_elements, end);
    ck_assert_int_eq(graph->param_count_total, total);
    graph_destroy(graph);
}
END_TEST

START_TEST(weight_decay_touches_matrices_only)
{
    struct graph *graph = model_case_built((enum model_type)_i);
    int decayed = 0;
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        ck_assert_msg(param->decay == (param->dim_count == 2), "%s", param->name);
        decayed += param->decay;
    }
    ck_assert_int_gt(decayed, 0);
    ck_assert(_i == MODEL_LLAMA || decayed < graph->param_count);
    graph_destroy(graph);
}
END_TEST

struct expected_param {
    const char *name;
    int64_t rows, columns; /* columns 0: a vector */
    double stddev;         /* 0: not drawn from a normal distribution */
    enum graph_init init;
};

/* The first block and what is around the blocks; residual projections start smaller by sqrt(2 · layers). */
static const struct expected_param expected_gpt[] = {
    {"token_table", 61, 32, 0.02, GRAPH_INIT_NORMAL},
    {"position_table", 16, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.norm1.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"blocks.0.norm1.bias", 32, 0, 0, GRAPH_INIT_ZERO},
    {"blocks.0.attention.qkv.weight", 96, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.attention.qkv.bias", 96, 0, 0, GRAPH_INIT_ZERO},
    {"blocks.0.attention.out.weight", 32, 32, 0.01, GRAPH_INIT_NORMAL},
    {"blocks.0.attention.out.bias", 32, 0, 0, GRAPH_INIT_ZERO},
    {"blocks.0.norm2.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"blocks.0.norm2.bias", 32, 0, 0, GRAPH_INIT_ZERO},
    {"blocks.0.mlp.up.weight", 128, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.mlp.up.bias", 128, 0, 0, GRAPH_INIT_ZERO},
    {"blocks.0.mlp.down.weight", 32, 128, 0.01, GRAPH_INIT_NORMAL},
    {"blocks.0.mlp.down.bias", 32, 0, 0, GRAPH_INIT_ZERO},
    {"norm_final.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"norm_final.bias", 32, 0, 0, GRAPH_INIT_ZERO},
};
static const struct expected_param expected_llama[] = {
    {"token_table", 61, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.norm1.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"blocks.0.attention.qkv.weight", 64, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.attention.out.weight", 32, 32, 0.01, GRAPH_INIT_NORMAL},
    {"blocks.0.norm2.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"blocks.0.mlp.gate_up.weight", 96, 32, 0.02, GRAPH_INIT_NORMAL},
    {"blocks.0.mlp.down.weight", 32, 48, 0.01, GRAPH_INIT_NORMAL},
    {"norm_final.weight", 32, 0, 0, GRAPH_INIT_ONE},
    {"head.weight", 61, 32, 0.02, GRAPH_INIT_NORMAL},
};
/* He et al., "Delving Deep into Rectifiers", 2015: sqrt(2 / inputs) before a ReLU. */
static const struct expected_param expected_mlp[] = {
    {"layers.0.weight", 24, 20, 0.31622776601683794, GRAPH_INIT_NORMAL},
    {"layers.0.bias", 24, 0, 0, GRAPH_INIT_ZERO},
    {"layers.1.weight", 24, 24, 0.28867513459481287, GRAPH_INIT_NORMAL},
    {"layers.1.bias", 24, 0, 0, GRAPH_INIT_ZERO},
    {"layers.2.weight", 24, 24, 0.28867513459481287, GRAPH_INIT_NORMAL},
    {"layers.2.bias", 24, 0, 0, GRAPH_INIT_ZERO},
    {"head.weight", 10, 24, 0.20412414523193151, GRAPH_INIT_NORMAL},
    {"head.bias", 10, 0, 0, GRAPH_INIT_ZERO},
};

#define EXPECTED(table) table, (int)(sizeof(table) / sizeof(table)[0])

static const struct {
    const struct expected_param *params;
    int count, per_block;
} expected_params[] = {
    [MODEL_GPT] = {EXPECTED(expected_gpt), 12},
    [MODEL_LLAMA] = {EXPECTED(expected_llama), 6},
    [MODEL_MLP] = {EXPECTED(expected_mlp), 0},
};

static const struct graph_param *param_named(const struct graph *graph, const char *name)
{
    for (int i = 0; i < graph->param_count; i++)
        if (strcmp(graph->params[i].name, name) == 0)
            return &graph->params[i];
    ck_abort_msg("no parameter is named %s", name);
    return NULL;
}

START_TEST(parameters_are_named_shaped_and_started_as_documented)
{
    struct graph *graph = model_case_built((enum model_type)_i);
    int extra = expected_params[_i].per_block * (int)(graph->config.num_layers - 1);
    ck_assert_int_eq(graph->param_count, expected_params[_i].count + extra);
    for (int i = 0; i < expected_params[_i].count; i++) {
        const struct expected_param *expected = &expected_params[_i].params[i];
        const struct graph_param *param = param_named(graph, expected->name);
        ck_assert_int_eq(param->dim_count, expected->columns ? 2 : 1);
        ck_assert_int_eq(param->shape[0], expected->rows);
        ck_assert_int_eq(param->shape[1], expected->columns);
        ck_assert_int_eq(param->init, expected->init);
        ck_assert_double_eq_tol(param->init_stddev, expected->stddev, 1e-12);
    }
    graph_destroy(graph);
}
END_TEST

START_TEST(a_tied_head_has_no_matrix_of_its_own)
{
    struct model_config config = model_case_config((enum model_type)_i);
    int params[2];
    for (int tie = 0; tie < 2; tie++) {
        config.tie_embeddings = tie;
        struct graph *graph = model_built(&config, 1, RECOMPUTE_NONE);
        params[tie] = graph->param_count;
        const char *head = graph->tensors[graph->head_weight].name;
        ck_assert_str_eq(head, tie ? "token_table" : "head.weight");
        graph_destroy(graph);
    }
    ck_assert_int_eq(params[0], params[1] + 1);
}
END_TEST

START_TEST(the_published_gpt2_has_its_published_number_of_parameters)
{
    struct model_config config = model_case_config(MODEL_GPT);
    config.num_layers = 12;
    config.hidden_size = 768;
    config.num_heads = config.num_kv_heads = 12;
    config.ffn_hidden_size = 3072;
    config.vocab_size = 50257;
    config.seq_len = 1024;
    struct graph *graph = model_built(&config, 4, RECOMPUTE_NONE);
    ck_assert_int_eq(graph->param_count_total, 124439808);
    ck_assert_int_le(graph->chunk_rows * 50257 * 4, 128 << 20);
    ck_assert_int_gt(graph->chunk_rows * 2 * 50257 * 4, 128 << 20);
    graph_destroy(graph);
}
END_TEST

/* What holds the logits is never larger than they are. */
START_TEST(a_gpu_takes_more_rows_of_the_head_at_once)
{
    static const struct {
        enum dtype dtype;
        int64_t samples, rows, bytes;
    } cases[] = {{DTYPE_F32, 32, 2048, 2048 * 50304 * 4},
                 {DTYPE_BF16, 32, 4096, 4096 * 50304 * 2},
                 {DTYPE_BF16, 2, 2048, 2048 * 50304 * 2}};
    struct model_config config = model_case_config(MODEL_GPT);
    config.vocab_size = 50304;
    config.seq_len = 1024;
    struct graph *graph = NULL;
    ck_assert_int_eq(
        model_build(&config, cases[_i].samples, cases[_i].dtype, RECOMPUTE_NONE, true, &graph, NULL),
        MUSTER_OK);
    ck_assert_int_eq(graph->chunk_rows, cases[_i].rows);
    for (int i = 0; i < graph->tensor_count; i++)
        if (strcmp(graph->tensors[i].name, "head.work") == 0)
            ck_assert_int_eq(graph->tensors[i].bytes, cases[_i].bytes);
    graph_destroy(graph);
}
END_TEST

/* Per token: six operations a weight (two forward, four backward), and causal attention with two matrix
 * products forward and five backward, each over half of sequence × sequence. */
START_TEST(flops_follow_the_usual_formula)
{
    struct model_config config = model_case_config((enum model_type)_i);
    double hidden = 32, sequence = 16, layers = 2, tokens = 16;
    double weights = 61 * hidden + layers * (4 * hidden * hidden + 2 * hidden * 128);
    if (_i == MODEL_LLAMA)
        weights = 61 * hidden + layers * (2 * hidden * hidden + 2 * hidden * 16 + 3 * hidden * 48);
    double expected = tokens * (6 * weights + layers * 7 * sequence * hidden);
    if (_i == MODEL_MLP) /* the first layer needs no gradient of its input */
        expected = 6 * (20 * 24 + 2 * 24 * 24 + 10 * 24) - 2 * 20 * 24;
    for (int recompute = 0; recompute < 3; recompute++) {
        struct graph *graph = model_built(&config, MODEL_CASE_MICRO_BATCH, (enum recompute)recompute);
        ck_assert_double_eq_tol(model_flops_per_sample(graph), expected, 1e-6);
        graph_destroy(graph);
    }
}
END_TEST

START_TEST(a_failed_allocation_is_reported_and_nothing_leaks)
{
    struct model_config config = model_case_config((enum model_type)(_i % 3));
    config.dropout = 0.25;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    int64_t live = alloc_live_count();
    int failed = 0;
    for (int64_t n = 1; status; n++) {
        struct graph *graph = NULL;
        struct muster_error err = {0};
        alloc_fail_nth(n);
        status = model_build(&config, MODEL_CASE_MICRO_BATCH, DTYPE_BF16, (enum recompute)(_i / 3), false,
                             &graph, &err);
        alloc_fail_nth(0);
        ck_assert_int_eq(err.status, status);
        ck_assert((graph != NULL) == (status == MUSTER_OK));
        ck_assert(status == MUSTER_OK || status == MUSTER_ERR_NO_MEMORY);
        graph_destroy(graph);
        ck_assert_int_eq(alloc_live_count(), live);
        failed += status != MUSTER_OK;
        ck_assert_int_lt(n, 1000);
    }
    ck_assert_int_gt(failed, 5);
}
END_TEST

static void check_refused(struct model_config config, int64_t micro_batch_size, const char *word)
{
    struct graph *graph = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(model_build(&config, micro_batch_size, DTYPE_F32, RECOMPUTE_NONE, false, &graph, &err),
                     MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(graph);
    ck_assert_msg(strstr(err.text, word) != NULL, "\"%s\" does not name %s", err.text, word);
}

START_TEST(sizes_that_do_not_fit_are_refused_by_name)
{
    struct model_config config = model_case_config(MODEL_GPT);
    config.num_heads = 5;
    check_refused(config, 1, "num_heads");
    config = model_case_config(MODEL_LLAMA);
    config.num_kv_heads = 3;
    check_refused(config, 1, "num_kv_heads");
    config = model_case_config(MODEL_LLAMA);
    config.hidden_size = 12;
    config.ffn_hidden_size = 48;
    check_refused(config, 1, "even head width");
    config = model_case_config(MODEL_GPT);
    config.ffn_hidden_size = 0;
    check_refused(config, 1, "ffn_hidden_size");
    config = model_case_config(MODEL_MLP);
    config.input_size = 0;
    check_refused(config, 1, "image data");
    config.num_layers = 0;
    check_refused(config, 1, "sizes");
    check_refused(model_case_config(MODEL_GPT), 0, "micro_batch_size");
}
END_TEST

START_TEST(destroying_nothing_is_allowed)
{
    graph_destroy(NULL);
    ck_assert_str_eq(model_type_name(MODEL_GPT), "gpt");
    ck_assert_str_eq(model_type_name(MODEL_LLAMA), "llama");
    ck_assert_str_eq(model_type_name(MODEL_MLP), "mlp");
}
END_TEST

int main(void)
{
    TCase *params = tcase_create("parameters");
    tcase_add_loop_test(params, parameters_have_their_own_names_and_aligned_ranges, 0, 3);
    tcase_add_loop_test(params, weight_decay_touches_matrices_only, 0, 3);
    tcase_add_loop_test(params, parameters_are_named_shaped_and_started_as_documented, 0, 3);
    tcase_add_loop_test(params, a_tied_head_has_no_matrix_of_its_own, 0, 2);
    tcase_add_test(params, the_published_gpt2_has_its_published_number_of_parameters);
    tcase_add_loop_test(params, a_gpu_takes_more_rows_of_the_head_at_once, 0, 3);
    TCase *rest = tcase_create("flops and failures");
    tcase_add_loop_test(rest, flops_follow_the_usual_formula, 0, 3);
    tcase_add_loop_test(rest, a_failed_allocation_is_reported_and_nothing_leaks, 0, 9);
    tcase_add_test(rest, sizes_that_do_not_fit_are_refused_by_name);
    tcase_add_test(rest, destroying_nothing_is_allowed);
    Suite *suite = suite_create("model");
    suite_add_tcase(suite, params);
    suite_add_tcase(suite, rest);
    return suite_run(suite);
}
