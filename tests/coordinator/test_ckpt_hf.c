/* SPDX-License-Identifier: MIT
 *
 * Hugging Face folders: where each weight stands there, and that export and import are each other's inverse.
 * scripts/compare_with_transformers.py shows that transformers agrees; here the layouts are written down as
 * formulas.
 */
#include "base/alloc.h"
#include "coordinator/ckpt/hf_source.h"
#include "tests/coordinator/hf_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- where weights stand ---- */

/* There [columns] fastest; element (row, column) of their matrix is ours at `ours` + row · row_step + column
 * · column_step. */
static void check_tensor(const char *name, int64_t rows, int64_t columns, const float *ours, int64_t row_step,
                         int64_t column_step)
{
    struct hf_source source;
    float values[256];
    ck_assert_msg(hf_source_open(hf_case_path("hf"), &source, &hf.err) == MUSTER_OK, "%s", hf.err.text);
    const struct hf_tensor *tensor = hf_source_find(&source, name);
    ck_assert_msg(tensor != NULL, "no %s", name);
    ck_assert_int_eq(tensor->entry->dim_count, columns > 0 ? 2 : 1);
    ck_assert_int_eq(tensor->entry->shape[0], rows);
    if (columns > 0)
        ck_assert_int_eq(tensor->entry->shape[1], columns);
    columns = columns > 0 ? columns : 1;
    ck_assert_int_le(rows * columns, 256);
    ck_assert_int_eq(hf_tensor_read(tensor, 0, rows * columns, values, &hf.err), MUSTER_OK);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++)
            ck_assert_msg(values[r * columns + c] == ours[r * row_step + c * column_step], "%s[%d][%d]", name,
                          (int)r, (int)c);
    }
    hf_source_release(&source);
}

static int tensor_count(const char *folder)
{
    struct hf_source source;
    ck_assert_int_eq(hf_source_open(hf_case_path(folder), &source, &hf.err), MUSTER_OK);
    int count = source.tensor_count;
    hf_source_release(&source);
    return count;
}

static const float *weight(const char *name)
{
    return model_ckpt_tensor(&hf.model, 0, name);
}

START_TEST(gpt_weights_stand_where_gpt2_looks_for_them)
{
    hf_case_prepare(0);
    ck_assert_int_eq(tensor_count("hf"), 2 + 2 * 12 + 2);
    check_tensor("transformer.wte.weight", HF_CASE_VOCAB, HF_CASE_WIDTH, weight("token_table"), HF_CASE_WIDTH,
                 1);
    check_tensor("transformer.wpe.weight", 6, HF_CASE_WIDTH, weight("position_table"), HF_CASE_WIDTH, 1);
    check_tensor("transformer.h.1.ln_1.weight", HF_CASE_WIDTH, 0, weight("blocks.1.norm1.weight"), 1, 0);
    check_tensor("transformer.h.1.ln_1.bias", HF_CASE_WIDTH, 0, weight("blocks.1.norm1.bias"), 1, 0);
    check_tensor("transformer.h.1.ln_2.weight", HF_CASE_WIDTH, 0, weight("blocks.1.norm2.weight"), 1, 0);
    check_tensor("transformer.h.0.attn.c_attn.weight", HF_CASE_WIDTH, 3 * HF_CASE_WIDTH,
                 weight("blocks.0.attention.qkv.weight"), 1, HF_CASE_WIDTH);
    check_tensor("transformer.h.0.attn.c_attn.bias", 3 * HF_CASE_WIDTH, 0,
                 weight("blocks.0.attention.qkv.bias"), 1, 0);
    check_tensor("transformer.h.1.attn.c_proj.weight", HF_CASE_WIDTH, HF_CASE_WIDTH,
                 weight("blocks.1.attention.out.weight"), 1, HF_CASE_WIDTH);
    check_tensor("transformer.h.1.mlp.c_fc.weight", HF_CASE_WIDTH, HF_CASE_FFN,
                 weight("blocks.1.mlp.up.weight"), 1, HF_CASE_WIDTH);
    check_tensor("transformer.h.1.mlp.c_proj.weight", HF_CASE_FFN, HF_CASE_WIDTH,
                 weight("blocks.1.mlp.down.weight"), 1, HF_CASE_FFN);
    check_tensor("transformer.h.1.mlp.c_proj.bias", HF_CASE_WIDTH, 0, weight("blocks.1.mlp.down.bias"), 1, 0);
    check_tensor("transformer.ln_f.bias", HF_CASE_WIDTH, 0, weight("norm_final.bias"), 1, 0);
}
END_TEST

START_TEST(an_untied_head_is_a_tensor_of_its_own)
{
    hf_case_prepare(1);
    ck_assert_int_eq(tensor_count("hf"), 2 + 12 + 2 + 1);
    check_tensor("lm_head.weight", HF_CASE_VOCAB, HF_CASE_WIDTH, weight("head.weight"), HF_CASE_WIDTH, 1);
}
END_TEST

START_TEST(fused_rows_of_a_llama_are_taken_apart_in_their_order)
{
    const int64_t kv = 4; /* 2 heads of 2 */
    hf_case_prepare(2);
    const float *qkv = weight("blocks.1.attention.qkv.weight"),
                *gate_up = weight("blocks.1.mlp.gate_up.weight");
    ck_assert_int_eq(tensor_count("hf"), 1 + 2 * 9 + 2);
    check_tensor("model.embed_tokens.weight", HF_CASE_VOCAB, HF_CASE_WIDTH, weight("token_table"),
                 HF_CASE_WIDTH, 1);
    check_tensor("model.layers.1.self_attn.q_proj.weight", HF_CASE_WIDTH, HF_CASE_WIDTH, qkv, HF_CASE_WIDTH,
                 1);
    check_tensor("model.layers.1.self_attn.k_proj.weight", kv, HF_CASE_WIDTH,
                 qkv + HF_CASE_WIDTH * HF_CASE_WIDTH, HF_CASE_WIDTH, 1);
    check_tensor("model.layers.1.self_attn.v_proj.weight", kv, HF_CASE_WIDTH,
                 qkv + (HF_CASE_WIDTH + kv) * HF_CASE_WIDTH, HF_CASE_WIDTH, 1);
    check_tensor("model.layers.1.self_attn.o_proj.weight", HF_CASE_WIDTH, HF_CASE_WIDTH,
                 weight("blocks.1.attention.out.weight"), HF_CASE_WIDTH, 1);
    check_tensor("model.layers.1.mlp.gate_proj.weight", HF_CASE_FFN, HF_CASE_WIDTH, gate_up, HF_CASE_WIDTH,
                 1);
    check_tensor("model.layers.1.mlp.up_proj.weight", HF_CASE_FFN, HF_CASE_WIDTH,
                 gate_up + HF_CASE_FFN * HF_CASE_WIDTH, HF_CASE_WIDTH, 1);
    check_tensor("model.layers.1.mlp.down_proj.weight", HF_CASE_WIDTH, HF_CASE_FFN,
                 weight("blocks.1.mlp.down.weight"), HF_CASE_FFN, 1);
    check_tensor("model.layers.1.input_layernorm.weight", HF_CASE_WIDTH, 0, weight("blocks.1.norm1.weight"),
                 1, 0);
    check_tensor("model.layers.1.post_attention_layernorm.weight", HF_CASE_WIDTH, 0,
                 weight("blocks.1.norm2.weight"), 1, 0);
    check_tensor("model.norm.weight", HF_CASE_WIDTH, 0, weight("norm_final.weight"), 1, 0);
    check_tensor("lm_head.weight", HF_CASE_VOCAB, HF_CASE_WIDTH, weight("head.weight"), HF_CASE_WIDTH, 1);
}
END_TEST

START_TEST(the_configuration_says_what_the_model_computes)
{
    hf_case_prepare(0);
    json_t *root = hf_case_config();
    ck_assert_str_eq(json_string_value(json_object_get(root, "activation_function")), "gelu_new");
    ck_assert_str_eq(json_string_value(json_object_get(root, "torch_dtype")), "float32");
    ck_assert_int_eq((int)json_integer_value(json_object_get(root, "n_inner")), HF_CASE_FFN);
    ck_assert_int_eq((int)json_integer_value(json_object_get(root, "n_positions")), 6);
    ck_assert(json_is_true(json_object_get(root, "tie_word_embeddings")));
    json_decref(root);
    ck_assert(fs_exists(hf_case_path("hf/generation_config.json")));
    ck_assert_int_eq(fs_remove_tree(hf_case_path("hf"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(hf_case_path("ckpt"), NULL), MUSTER_OK);
    hf_case_prepare(3);
    root = hf_case_config();
    ck_assert_str_eq(json_string_value(json_object_get(root, "model_type")), "llama");
    ck_assert_double_eq(json_real_value(json_object_get(root, "rope_theta")), 500000);
    ck_assert_int_eq((int)json_integer_value(json_object_get(root, "num_key_value_heads")), 1);
    ck_assert_int_eq((int)json_integer_value(json_object_get(root, "head_dim")), 2);
    json_decref(root);
}
END_TEST

START_TEST(bf16_is_rounded_and_said_so)
{
    struct hf_source source;
    float value;
    hf_case_prepare(1);
    hf_case_export("ckpt", "half", DTYPE_BF16);
    ck_assert_int_eq(hf_source_open(hf_case_path("half"), &source, &hf.err), MUSTER_OK);
    const struct hf_tensor *tensor = hf_source_find(&source, "transformer.h.0.mlp.c_fc.weight");
    ck_assert_str_eq(tensor->entry->dtype, "BF16");
    ck_assert_int_eq(hf_tensor_read(tensor, HF_CASE_FFN + 2, 1, &value, &hf.err), MUSTER_OK);
    ck_assert_float_eq(value, dtype_f32_from_bf16(dtype_bf16_from_f32(
                                  weight("blocks.0.mlp.up.weight")[2 * HF_CASE_WIDTH + 1])));
    hf_source_release(&source);
    char *text;
    size_t size;
    ck_assert_int_eq(fs_file_read(hf_case_path("half/config.json"), 1 << 16, &text, &size, &hf.err),
                     MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(text, "\"torch_dtype\": \"bfloat16\""));
    alloc_free(text);
}
END_TEST

START_TEST(models_without_a_counterpart_are_refused)
{
    const struct ckpt_export_options options = {.format = CKPT_EXPORT_HF, .output = hf_case_path("hf")};
    model_ckpt_init(
        &hf.model, "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 4, num_kv_heads: 2, vocab_size: 11");
    model_ckpt_write(&hf.model, hf_case_path("ckpt"), 1, 1);
    hf_case_expect(ckpt_command_export(hf_case_path("ckpt"), &options, &hf.out, &hf.err),
                   MUSTER_ERR_UNSUPPORTED, "GPT-2 has no grouped queries");
    ck_assert(!fs_exists(options.output));
    model_ckpt_release(&hf.model);
    model_ckpt_init(&hf.model, "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, vocab_size: 11");
    hf.model.tensors[3].name[0] = 'X'; /* a job and tensors that do not belong together */
    model_ckpt_write(&hf.model, hf_case_path("other"), 1, 1);
    hf_case_expect(ckpt_command_export(hf_case_path("other"), &options, &hf.out, &hf.err), MUSTER_ERR_CORRUPT,
                   "there is no tensor blocks.0.norm1.bias of 8 rows");
    model_ckpt_release(&hf.model);
    model_ckpt_init(&hf.model, "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, vocab_size: 11, "
                               "tie_embeddings: false");
    hf.model.job->model.tie_embeddings = true; /* and a head that the job does not know */
    model_ckpt_write(&hf.model, hf_case_path("more"), 1, 1);
    hf_case_expect(ckpt_command_export(hf_case_path("more"), &options, &hf.out, &hf.err), MUSTER_ERR_CORRUPT,
                   "elements, its job's model has");
}
END_TEST

/* ---- there and back ---- */

static void files_equal(const char *a, const char *b)
{
    char *bytes[2];
    size_t sizes[2];
    ck_assert_int_eq(fs_file_read(hf_case_path(a), 1 << 24, &bytes[0], &sizes[0], &hf.err), MUSTER_OK);
    ck_assert_int_eq(fs_file_read(hf_case_path(b), 1 << 24, &bytes[1], &sizes[1], &hf.err), MUSTER_OK);
    ck_assert_uint_eq(sizes[0], sizes[1]);
    ck_assert_int_eq(memcmp(bytes[0], bytes[1], sizes[0]), 0);
    alloc_free(bytes[0]);
    alloc_free(bytes[1]);
}

START_TEST(export_import_export_gives_the_same_bytes)
{
    struct ckpt *ckpt;
    float values[3];
    hf_case_prepare(_i);
    ck_assert_msg(hf_case_import("hf", "back") == MUSTER_OK, "%s\n%s", hf.err.text, hf.problems.data);
    ck_assert_int_eq(ckpt_open(hf_case_path("back"), &ckpt, &hf.err), MUSTER_OK);
    ck_assert_msg(ckpt_verify(ckpt, &hf.err) == MUSTER_OK, "%s", hf.err.text);
    ck_assert_int_eq(ckpt_step(ckpt), 0);
    ck_assert(hash_equal(ckpt_job_hash(ckpt), job_hash(hf.model.job)));
    ck_assert_int_eq(ckpt_layout(ckpt)->kind_count, 3);
    for (int kind = 0; kind < 3; kind++) {
        float *all = alloc_zeroed((size_t)hf.model.plan->flat_count, sizeof *all);
        ck_assert_int_eq(ckpt_read(ckpt, kind, 0, hf.model.plan->flat_count, all, &hf.err), MUSTER_OK);
        for (int64_t i = 0; i < hf.model.plan->flat_count; i++)
            ck_assert_float_eq(all[i], kind == 0 ? hf.model.state[0][i] : 0.0f);
        alloc_free(all);
    }
    ck_assert_int_eq(ckpt_read(ckpt, 0, 0, 3, values, &hf.err), MUSTER_OK);
    ckpt_close(ckpt);
    hf_case_export("back", "again", DTYPE_F32);
    files_equal("hf/model.safetensors", "again/model.safetensors");
    files_equal("hf/config.json", "again/config.json");
}
END_TEST

START_TEST(without_an_output_the_import_is_where_a_run_looks_first)
{
    hf_case_prepare(0);
    alloc_free(hf.model.job->checkpoint.dir);
    hf.model.job->checkpoint.dir = alloc_text(hf_case_path("run"));
    ck_assert_msg(hf_case_import("hf", NULL) == MUSTER_OK, "%s", hf.err.text);
    ck_assert(fs_exists(hf_case_path("run/step-000000000/MANIFEST.json")));
    hf_case_expect(hf_case_import("hf", NULL), MUSTER_ERR_BAD_INPUT,
                   "has 1 checkpoints, which a run would take up instead");
    hf_case_expect(hf_case_import("hf", "ckpt"), MUSTER_ERR_BAD_INPUT, "is not empty");
}
END_TEST

static TCase *case_create(const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, hf_case_setup, hf_case_teardown);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("ckpt hf");
    TCase *tests = case_create("tests");
    tcase_add_test(tests, gpt_weights_stand_where_gpt2_looks_for_them);
    tcase_add_test(tests, an_untied_head_is_a_tensor_of_its_own);
    tcase_add_test(tests, fused_rows_of_a_llama_are_taken_apart_in_their_order);
    tcase_add_test(tests, the_configuration_says_what_the_model_computes);
    tcase_add_test(tests, bf16_is_rounded_and_said_so);
    tcase_add_test(tests, models_without_a_counterpart_are_refused);
    tcase_add_loop_test(tests, export_import_export_gives_the_same_bytes, 0, HF_CASE_MODELS);
    tcase_add_test(tests, without_an_output_the_import_is_where_a_run_looks_first);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
