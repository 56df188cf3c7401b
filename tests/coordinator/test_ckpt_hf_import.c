/* SPDX-License-Identifier: MIT
 *
 * Hugging Face folders of other makers, good and bad: what is understood, and everything that is refused with
 * its name.
 */
#include "base/alloc.h"
#include "coordinator/ckpt/hf_source.h"
#include "tests/coordinator/hf_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS_MAX = 64 };

/* ---- folders of other makers ---- */

struct tensor_text {
    char name[160], shape[64];
    const char *dtype;
    char *data;
    size_t bytes;
};

static void put_header(struct text *file, const struct tensor_text *tensors, int count)
{
    struct text json;
    size_t at = 0;
    text_init(&json);
    text_print(&json, "{");
    for (int i = 0; i < count; at += tensors[i++].bytes)
        text_print(&json, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                   i > 0 ? "," : "", tensors[i].name, tensors[i].dtype, tensors[i].shape, at,
                   at + tensors[i].bytes);
    text_print(&json, "}");
    uint64_t length = json.length;
    text_append(file, (const char *)&length, sizeof length);
    text_append(file, json.data, json.length);
    text_release(&json);
}

static void tensors_write(const char *path, const struct tensor_text *tensors, int count)
{
    struct text file;
    text_init(&file);
    put_header(&file, tensors, count);
    for (int i = 0; i < count; i++)
        text_append(&file, tensors[i].data, tensors[i].bytes);
    ck_assert_int_eq(fs_file_write(path, file.data, file.length, &hf.err), MUSTER_OK);
    text_release(&file);
}

static int tensors_read(const char *folder, struct tensor_text *tensors)
{
    struct hf_source source;
    ck_assert_msg(hf_source_open(hf_case_path(folder), &source, &hf.err) == MUSTER_OK, "%s", hf.err.text);
    ck_assert_int_lt(source.tensor_count, TENSORS_MAX - 2);
    int count = source.tensor_count;
    for (int i = 0; i < count; i++) {
        const struct safetensors_entry *entry = source.tensors[i].entry;
        struct tensor_text *tensor = &tensors[i];
        snprintf(tensor->name, sizeof tensor->name, "%s", entry->name);
        snprintf(tensor->shape, sizeof tensor->shape, entry->dim_count == 2 ? "%d,%d" : "%d",
                 (int)entry->shape[0], entry->dim_count == 2 ? (int)entry->shape[1] : 0);
        tensor->dtype = "F32";
        tensor->bytes = (size_t)(entry->end - entry->begin);
        tensor->data = malloc(tensor->bytes);
        ck_assert_int_eq(hf_tensor_read(&source.tensors[i], 0, (int64_t)tensor->bytes / 4,
                                        (float *)(void *)tensor->data, &hf.err),
                         MUSTER_OK);
    }
    hf_source_release(&source);
    return count;
}

static void tensors_free(struct tensor_text *tensors, int count)
{
    for (int i = 0; i < count; i++)
        free(tensors[i].data);
}

static struct tensor_text *tensor_named(struct tensor_text *tensors, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    }
    ck_abort_msg("no %s", name);
    return NULL;
}

static void check_imported_weights(const char *folder)
{
    struct ckpt *ckpt;
    float *all = alloc_zeroed((size_t)hf.model.plan->flat_count, sizeof *all);
    ck_assert_int_eq(ckpt_open(hf_case_path(folder), &ckpt, &hf.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_read(ckpt, 0, 0, hf.model.plan->flat_count, all, &hf.err), MUSTER_OK);
    ck_assert_int_eq(memcmp(all, hf.model.state[0], (size_t)hf.model.plan->flat_count * sizeof *all), 0);
    ckpt_close(ckpt);
    alloc_free(all);
}

/* Splits dir/hf into two shards and an index; `wrong` (may be NULL) is a line of the weight map instead of
 * the first tensor's. */
static void shards_make(const char *wrong)
{
    struct tensor_text tensors[TENSORS_MAX];
    struct text index;
    int count = tensors_read("hf", tensors), half = count / 2;
    text_init(&index);
    text_print(&index, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (int i = 0; i < count; i++) {
        if (i == 0 && wrong != NULL)
            text_print(&index, "%s", wrong);
        else
            text_print(&index, "%s\"%s\":\"model-0000%d-of-00002.safetensors\"", i > 0 ? "," : "",
                       tensors[i].name, i < half ? 1 : 2);
    }
    text_print(&index, "}}");
    tensors_write(hf_case_path("hf/model-00001-of-00002.safetensors"), tensors, half);
    tensors_write(hf_case_path("hf/model-00002-of-00002.safetensors"), tensors + half, count - half);
    ck_assert_int_eq(
        fs_file_write(hf_case_path("hf/model.safetensors.index.json"), index.data, index.length, &hf.err),
        MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(hf_case_path("hf/model.safetensors"), NULL), MUSTER_OK);
    tensors_free(tensors, count);
    text_release(&index);
}

START_TEST(shards_with_an_index_are_read_like_one_file)
{
    hf_case_prepare(2);
    shards_make(NULL);
    ck_assert_msg(hf_case_import("hf", "back") == MUSTER_OK, "%s\n%s", hf.err.text, hf.problems.data);
    check_imported_weights("back");
}
END_TEST

START_TEST(an_index_that_lies_or_leads_elsewhere_is_refused)
{
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"\"lm_head.weight\":\"../model.safetensors\"", "is no plain name of a .safetensors file"},
        {"\"lm_head.weight\":\"/etc/passwd\"", "is no plain name"},
        {"\"lm_head.weight\":\".safetensors\"", "is no plain name"},
        {"\"lm_head.weight\":\"sub/model.safetensors\"", "is no plain name"},
        {"\"lm_head.weight\":\"/tmp/model.safetensors\"", "is no plain name"},
        {"\"lm_head.weight\":7", "is no plain name"},
        {"\"lm_head.weight\":\"absent.safetensors\"", "absent.safetensors"},
        {"\"lm_head.weight\":\"model-00002-of-00002.safetensors\"", "tensor lm_head.weight is not in"},
        {"\"other\":\"model-00001-of-00002.safetensors\"", "tensor other is not in"},
        {"\"model.norm.weight\":\"model-00002-of-00002.safetensors\"", "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hf_case_prepare(2);
        shards_make(cases[i].line);
        enum muster_status status = hf_case_import("hf", "back");
        hf_case_expect(status, i == 6 ? MUSTER_ERR_IO : MUSTER_ERR_CORRUPT, cases[i].words);
        ck_assert(!fs_exists(hf_case_path("back")));
        ck_assert_int_eq(fs_remove_tree(hf_case_path("hf"), NULL), MUSTER_OK);
        ck_assert_int_eq(fs_remove_tree(hf_case_path("ckpt"), NULL), MUSTER_OK);
    }
}
END_TEST

START_TEST(a_tensor_in_two_shards_or_missing_in_the_index_is_refused)
{
    struct tensor_text tensors[TENSORS_MAX];
    hf_case_prepare(2);
    int count = tensors_read("hf", tensors);
    shards_make(NULL);
    tensors_write(hf_case_path("hf/model-00002-of-00002.safetensors"), tensors + count / 2 - 1,
                  count - count / 2 + 1);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "and again in");
    strcpy(tensors[count / 2 - 1].name, "zebra");
    tensors_write(hf_case_path("hf/model-00002-of-00002.safetensors"), tensors + count / 2 - 1,
                  count - count / 2 + 1);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT,
                   "it lists 21 tensors, its files hold 22");
    tensors_free(tensors, count);
    ck_assert_int_eq(
        fs_file_write(hf_case_path("hf/model.safetensors.index.json"), "{\"weight_map\":[]}", 17, &hf.err),
        MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "no object weight_map");
}
END_TEST

START_TEST(half_precision_becomes_single_and_other_types_are_refused)
{
    const uint16_t f16[8] = {0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0x8000};
    const float expected[8] = {1, -2, 0x1p-24f, 0x1.ff8p-15f, 0x1p-14f, 65504, INFINITY, -0.0f};
    const uint16_t bf16[8] = {0x3f80, 0xc000, 0x0001, 0x7f7f, 0, 0x8000, 0x4049, 0x3eab};
    struct tensor_text tensors[3] = {{"a", "8", "F16", (char *)f16, .bytes = 16},
                                     {"b", "8", "BF16", (char *)bf16, .bytes = 16},
                                     {"c", "2", "I64", (char *)f16, .bytes = 16}};
    struct hf_source source;
    float values[8];
    tensors_write(hf_case_path("model.safetensors"), tensors, 3);
    ck_assert_msg(hf_source_open(hf.dir, &source, &hf.err) == MUSTER_OK, "%s", hf.err.text);
    ck_assert_int_eq(hf_tensor_read(hf_source_find(&source, "a"), 0, 8, values, &hf.err), MUSTER_OK);
    ck_assert_int_eq(memcmp(values, expected, sizeof expected), 0);
    ck_assert_int_eq(hf_tensor_read(hf_source_find(&source, "b"), 1, 7, values, &hf.err), MUSTER_OK);
    for (int i = 0; i < 7; i++) {
        float value = dtype_f32_from_bf16(bf16[i + 1]);
        ck_assert_int_eq(memcmp(&values[i], &value, sizeof value), 0);
    }
    hf_case_expect(hf_tensor_read(hf_source_find(&source, "c"), 0, 2, values, &hf.err),
                   MUSTER_ERR_UNSUPPORTED, "tensor c is I64");
    ck_assert_ptr_null(hf_source_find(&source, "d"));
    hf_source_release(&source);
}
END_TEST

/* Imports dir/hf after its tensors were changed by `edit`; the original is kept in memory only. */
static enum muster_status import_edited(int which, void (*edit)(struct tensor_text *, int *))
{
    struct tensor_text tensors[TENSORS_MAX];
    fs_remove_tree(hf_case_path("hf"), NULL);
    fs_remove_tree(hf_case_path("ckpt"), NULL);
    hf_case_prepare(which);
    int count = tensors_read("hf", tensors), whole = count;
    edit(tensors, &count);
    tensors_write(hf_case_path("hf/model.safetensors"), tensors, count);
    tensors_free(tensors, count > whole ? count : whole);
    return hf_case_import("hf", "back");
}

static void edit_missing(struct tensor_text *tensors, int *count)
{
    ck_assert_str_eq(tensors[--*count].name, "transformer.wte.weight");
}

static void edit_shape(struct tensor_text *tensors, int *count)
{
    strcpy(tensor_named(tensors, *count, "transformer.h.0.attn.c_proj.weight")->shape, "4,16");
}

static void add_vector(struct tensor_text *tensors, int *count, const char *name)
{
    tensors[*count] = (struct tensor_text){.shape = "3", .dtype = "F32", .data = calloc(3, 4), .bytes = 12};
    snprintf(tensors[(*count)++].name, sizeof tensors[0].name, "%s", name);
}

static void edit_stranger(struct tensor_text *tensors, int *count)
{
    add_vector(tensors, count, "transformer.h.0.attn.c_attn.lora");
}

static void edit_old_names(struct tensor_text *tensors, int *count)
{
    const size_t prefix = strlen("transformer.");
    for (int i = 0; i < *count; i++)
        memmove(tensors[i].name, tensors[i].name + prefix, strlen(tensors[i].name + prefix) + 1);
    add_vector(tensors, count, "h.0.attn.bias");
    add_vector(tensors, count, "h.1.attn.masked_bias");
}

static void add_head(struct tensor_text *tensors, int *count, char change)
{
    struct tensor_text head = *tensor_named(tensors, *count, "transformer.wte.weight");
    strcpy(head.name, "lm_head.weight");
    head.data = malloc(head.bytes);
    memcpy(head.data, tensor_named(tensors, *count, "transformer.wte.weight")->data, head.bytes);
    head.data[0] = (char)(head.data[0] ^ change);
    tensors[(*count)++] = head;
}

static void edit_tied_head(struct tensor_text *tensors, int *count)
{
    add_head(tensors, count, 0);
}

static void edit_other_head(struct tensor_text *tensors, int *count)
{
    add_head(tensors, count, 1);
}

static void edit_small_vocabulary(struct tensor_text *tensors, int *count)
{
    struct tensor_text *table = tensor_named(tensors, *count, "transformer.wte.weight");
    strcpy(table->shape, "9,8");
    table->bytes = 9 * HF_CASE_WIDTH * sizeof(float);
}

START_TEST(tensors_that_do_not_fit_are_all_named_and_nothing_is_written)
{
    hf_case_expect(import_edited(0, edit_missing), MUSTER_ERR_BAD_INPUT,
                   "tensor transformer.wte.weight is missing");
    hf_case_expect(import_edited(0, edit_shape), MUSTER_ERR_BAD_INPUT,
                   "tensor transformer.h.0.attn.c_proj.weight is [4, 16], not [8, 8]");
    hf_case_expect(import_edited(0, edit_stranger), MUSTER_ERR_BAD_INPUT,
                   "tensor transformer.h.0.attn.c_attn.lora has no place in the job's model");
    hf_case_expect(import_edited(0, edit_other_head), MUSTER_ERR_BAD_INPUT,
                   "lm_head.weight differs from the token table");
    hf_case_expect(import_edited(0, edit_small_vocabulary), MUSTER_ERR_BAD_INPUT,
                   "tensor transformer.wte.weight is [9, 8], not [11, 8]");
    ck_assert(!fs_exists(hf_case_path("back")));
}
END_TEST

START_TEST(names_of_older_files_and_a_stored_tied_head_are_understood)
{
    ck_assert_msg(import_edited(0, edit_old_names) == MUSTER_OK, "%s\n%s", hf.err.text, hf.problems.data);
    check_imported_weights("back");
    ck_assert_int_eq(fs_remove_tree(hf_case_path("back"), NULL), MUSTER_OK);
    ck_assert_msg(import_edited(0, edit_tied_head) == MUSTER_OK, "%s\n%s", hf.err.text, hf.problems.data);
    check_imported_weights("back");
}
END_TEST

START_TEST(a_larger_vocabulary_of_the_job_gets_rows_of_zeros)
{
    struct model_ckpt larger;
    struct ckpt *ckpt;
    float rows[16 * HF_CASE_WIDTH];
    hf_case_prepare(0);
    model_ckpt_init(
        &larger,
        "type: gpt, num_layers: 2, hidden_size: 8, num_heads: 2, ffn_hidden_size: 12, vocab_size: 16");
    ck_assert_msg(ckpt_command_import(hf_case_path("hf"), larger.job, &larger.config, hf_case_path("back"),
                                      &hf.out, &hf.problems, &hf.err) == MUSTER_OK,
                  "%s", hf.err.text);
    ck_assert_ptr_nonnull(strstr(hf.out.data, "11 rows there and 16 here"));
    ck_assert_int_eq(ckpt_open(hf_case_path("back"), &ckpt, &hf.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_read(ckpt, 0, 0, 16 * HF_CASE_WIDTH, rows, &hf.err), MUSTER_OK);
    ckpt_close(ckpt);
    ck_assert_int_eq(memcmp(rows, model_ckpt_tensor(&hf.model, 0, "token_table"),
                            HF_CASE_VOCAB * HF_CASE_WIDTH * sizeof(float)),
                     0);
    for (int i = HF_CASE_VOCAB * HF_CASE_WIDTH; i < 16 * HF_CASE_WIDTH; i++)
        ck_assert_float_eq(rows[i], 0);
    model_ckpt_release(&larger);
}
END_TEST

/* ---- keys of config.json ---- */

struct key_case {
    int model;
    const char *key, *value; /* JSON; NULL removes the key */
    const char *words;       /* NULL: accepted */
};

static const struct key_case key_cases[] = {
    {0, "model_type", "\"llama\"", "model_type is \"llama\", the job's model.type gpt needs \"gpt2\""},
    {0, "model_type", NULL, "model_type is not there"},
    {0, "n_layer", "12", "n_layer is 12, the job's model.num_layers is 2"},
    {0, "n_layer", NULL, "n_layer is not there, the job's model.num_layers is 2"},
    {0, "n_embd", "\"8\"", "n_embd is \"8\", the job's model.hidden_size is 8"},
    {0, "n_head", "4", "the job's model.num_heads is 2"},
    {0, "n_inner", "null", "n_inner is not there, the job's model.ffn_hidden_size is 12"},
    {0, "n_positions", "1024", "the job's data.seq_len is 6"},
    {0, "vocab_size", "12", "vocab_size is 12, the job's model.vocab_size is 11, and may only be larger"},
    {0, "vocab_size", "-1", "vocab_size is -1"},
    {0, "layer_norm_epsilon", "1e-6", "the job's model.norm_eps is 1e-05"},
    {0, "layer_norm_epsilon", "\"small\"", "layer_norm_epsilon"},
    {0, "layer_norm_epsilon", NULL, NULL},
    {0, "activation_function", "\"relu\"",
     "activation_function is \"relu\", the job's model computes gelu_new"},
    {0, "activation_function", "\"gelu_pytorch_tanh\"", NULL},
    {0, "scale_attn_weights", "false", "scale_attn_weights is false"},
    {0, "scale_attn_by_inverse_layer_idx", "true", "muster does not do that"},
    {0, "add_cross_attention", "true", "no cross attention"},
    {0, "tie_word_embeddings", "false", "the job's model.tie_embeddings is true"},
    {0, "tie_word_embeddings", NULL, NULL},
    {0, "attn_pdrop", "0.1", NULL},
    {2, "model_type", "\"mistral\"", "the job's model.type llama needs \"llama\""},
    {2, "num_hidden_layers", "3", "the job's model.num_layers is 2"},
    {2, "num_key_value_heads", NULL, "the job's model.num_kv_heads is 2"},
    {2, "head_dim", "4", "head_dim is 4"},
    {2, "intermediate_size", "13", "the job's model.ffn_hidden_size is 12"},
    {2, "rms_norm_eps", "1e-6", "the job's model.norm_eps is 1e-05"},
    {2, "rope_theta", "500000.0", "rope_theta is 500000.0, the job's model.rope_base is 10000"},
    {2, "rope_theta", NULL, NULL},
    {2, "rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "plain rotary positions only"},
    {2, "rope_parameters", "{\"rope_type\":\"llama3\",\"rope_theta\":10000}", "plain rotary positions only"},
    {2, "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":500000}",
     "the job's model.rope_base is 10000"},
    {2, "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":10000}", NULL},
    {2, "attention_bias", "true", "muster's llama has no biases"},
    {2, "mlp_bias", "1", "muster's llama has no biases"},
    {2, "hidden_act", "\"gelu\"", "computes silu"},
    {2, "tie_word_embeddings", "true", "the job's model.tie_embeddings is false"},
};

START_TEST(each_key_of_the_configuration_is_compared_with_the_job)
{
    const struct key_case *at = &key_cases[_i];
    hf_case_prepare(at->model);
    json_t *root = hf_case_config();
    if (at->value == NULL)
        json_object_del(root, at->key);
    else
        json_object_set_new(root, at->key, json_loads(at->value, JSON_DECODE_ANY, NULL));
    ck_assert_int_eq(json_dump_file(root, hf_case_path("hf/config.json"), 0), 0);
    json_decref(root);
    enum muster_status status = hf_case_import("hf", "back");
    if (at->words == NULL) {
        ck_assert_msg(status == MUSTER_OK, "%s: %s\n%s", at->key, hf.err.text, hf.problems.data);
        return;
    }
    hf_case_expect(status, MUSTER_ERR_BAD_INPUT, at->words);
    hf_case_expect(status, MUSTER_ERR_BAD_INPUT, "1 keys do not fit the job");
    ck_assert(!fs_exists(hf_case_path("back")));
}
END_TEST

START_TEST(hostile_files_are_refused_with_their_name)
{
    char deep[4096];
    hf_case_prepare(0);
    memset(deep, '[', sizeof deep);
    ck_assert_int_eq(fs_file_write(hf_case_path("hf/config.json"), deep, sizeof deep, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT,
                   "config.json: the JSON is nested deeper");
    ck_assert_int_eq(fs_file_write(hf_case_path("hf/config.json"), "[1]", 3, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_BAD_INPUT, "model_type is not there");
    ck_assert_int_eq(fs_file_write(hf_case_path("hf/config.json"), "{\"a\":1,\"a\":2}", 13, &hf.err),
                     MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "config.json:1:");
    ck_assert_int_eq(fs_remove_tree(hf_case_path("hf/config.json"), NULL), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_BAD_INPUT, "there is no config.json in");
}
END_TEST

START_TEST(hostile_weights_are_refused_with_file_and_place)
{
    char *bytes;
    size_t size;
    hf_case_prepare(0);
    char path[FS_PATH_MAX];
    strcpy(path, hf_case_path("hf/model.safetensors"));
    ck_assert_int_eq(fs_file_read(path, 1 << 24, &bytes, &size, &hf.err), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(path, bytes, size - 1, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "model.safetensors");
    ck_assert_int_eq(fs_file_write(path, bytes, 5, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "only 5 bytes");
    bytes[7] = 1;
    ck_assert_int_eq(fs_file_write(path, bytes, size, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT,
                   "model.safetensors: bytes 0..7: header of");
    bytes[7] = 0;
    bytes[8] = '[';
    ck_assert_int_eq(fs_file_write(path, bytes, size, &hf.err), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_CORRUPT, "model.safetensors: byte 8");
    alloc_free(bytes);
    ck_assert_int_eq(fs_remove_tree(path, NULL), MUSTER_OK);
    hf_case_expect(hf_case_import("hf", "back"), MUSTER_ERR_BAD_INPUT, "only safetensors are read, no .bin");
    ck_assert(!fs_exists(hf_case_path("back")));
}
END_TEST

/* With the n-th call to the heap failing; false when there were fewer calls. What is lost without an error
 * can only be a line for a person: the work is then all done. */
static bool fails_cleanly(bool importing, int64_t n)
{
    const struct ckpt_export_options options = {.format = CKPT_EXPORT_HF, .output = hf_case_path("other")};
    const char *result = hf_case_path(importing ? "back" : "other");
    ck_assert_int_eq(fs_remove_tree(result, NULL), MUSTER_OK);
    int64_t before = alloc_call_count();
    alloc_fail_nth(n);
    enum muster_status status = importing
                                    ? hf_case_import("hf", "back")
                                    : ckpt_command_export(hf_case_path("back"), &options, &hf.out, &hf.err);
    alloc_fail_nth(0);
    bool reached = alloc_call_count() - before >= n;
    ck_assert_int_eq(status == MUSTER_OK, fs_exists(result));
    ck_assert_msg(status == MUSTER_OK || reached, "%s", hf.err.text);
    return reached;
}

START_TEST(no_memory_anywhere_leaves_no_folder_and_no_block)
{
    int64_t n = 1;
    hf_case_prepare(3);
    while (fails_cleanly(true, n))
        n++;
    ck_assert_int_gt(n, 50);
    for (n = 1; fails_cleanly(false, n);)
        n++;
    ck_assert_int_gt(n, 50);
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
    Suite *suite = suite_create("ckpt hf import");
    TCase *import = case_create("import");
    TCase *refused = case_create("refused");
    tcase_add_test(import, shards_with_an_index_are_read_like_one_file);
    tcase_add_test(import, half_precision_becomes_single_and_other_types_are_refused);
    tcase_add_test(import, names_of_older_files_and_a_stored_tied_head_are_understood);
    tcase_add_test(import, a_larger_vocabulary_of_the_job_gets_rows_of_zeros);
    tcase_add_test(refused, an_index_that_lies_or_leads_elsewhere_is_refused);
    tcase_add_test(refused, a_tensor_in_two_shards_or_missing_in_the_index_is_refused);
    tcase_add_test(refused, tensors_that_do_not_fit_are_all_named_and_nothing_is_written);
    tcase_add_loop_test(refused, each_key_of_the_configuration_is_compared_with_the_job, 0,
                        (int)(sizeof key_cases / sizeof key_cases[0]));
    tcase_add_test(refused, hostile_files_are_refused_with_their_name);
    tcase_add_test(refused, hostile_weights_are_refused_with_file_and_place);
    tcase_add_test(refused, no_memory_anywhere_leaves_no_folder_and_no_block);
    suite_add_tcase(suite, import);
    suite_add_tcase(suite, refused);
    return suite_run(suite);
}
