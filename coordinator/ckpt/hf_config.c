/* SPDX-License-Identifier: MIT
 *
 * A key that is absent has the default of transformers' configuration class; a key that would change the
 * arithmetic into something this program does not compute must have its ordinary value. Keys about dropout,
 * caching and special tokens are not looked at: they do not change what the weights mean.
 */
#include "coordinator/ckpt/hf_config.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "coordinator/ckpt/ckpt_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 20, CONFIG_DEPTH_MAX = 32, CONFIG_VALUES_MAX = 200000 };

static const char config_name[] = "config.json";

/* Writing. */

static enum muster_status json_print(json_t *root, struct text *out, struct muster_error *err)
{
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    if (text == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %s", config_name);
    text_print(out, "%s\n", text);
    free(text);
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %s", config_name)
                       : MUSTER_OK;
}

static json_t *gpt_json(const struct model_config *c, const char *dtype)
{
    return json_pack(
        "{s:[s], s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:b, s:f, s:f, s:f, s:n, "
        "s:n, s:n, s:s}",
        "architectures", "GPT2LMHeadModel", "model_type", "gpt2", "activation_function", "gelu_new",
        "vocab_size", (json_int_t)c->vocab_size, "n_positions", (json_int_t)c->seq_len, "n_ctx",
        (json_int_t)c->seq_len, "n_embd", (json_int_t)c->hidden_size, "n_layer", (json_int_t)c->num_layers,
        "n_head", (json_int_t)c->num_heads, "n_inner", (json_int_t)c->ffn_hidden_size, "layer_norm_epsilon",
        c->norm_eps, "summary_type", "cls_index", "tie_word_embeddings", c->tie_embeddings, "attn_pdrop",
        c->dropout, "embd_pdrop", c->dropout, "resid_pdrop", c->dropout, "bos_token_id", "eos_token_id",
        "pad_token_id", "torch_dtype", dtype);
}

static json_t *llama_json(const struct model_config *c, const char *dtype)
{
    return json_pack(
        "{s:[s], s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:n, s:b, s:b, s:b, "
        "s:f, s:n, s:n, s:n, s:s}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu", "vocab_size",
        (json_int_t)c->vocab_size, "max_position_embeddings", (json_int_t)c->seq_len, "hidden_size",
        (json_int_t)c->hidden_size, "intermediate_size", (json_int_t)c->ffn_hidden_size, "num_hidden_layers",
        (json_int_t)c->num_layers, "num_attention_heads", (json_int_t)c->num_heads, "num_key_value_heads",
        (json_int_t)c->num_kv_heads, "head_dim", (json_int_t)(c->hidden_size / c->num_heads), "rms_norm_eps",
        c->norm_eps, "rope_theta", c->rope_base, "rope_scaling", "attention_bias", 0, "mlp_bias", 0,
        "tie_word_embeddings", c->tie_embeddings, "attention_dropout", c->dropout, "bos_token_id",
        "eos_token_id", "pad_token_id", "torch_dtype", dtype);
}

enum muster_status hf_config_print(const struct model_config *config, enum dtype dtype, struct text *out,
                                   struct muster_error *err)
{
    const char *name = dtype == DTYPE_BF16 ? "bfloat16" : "float32";
    return json_print(config->type == MODEL_GPT ? gpt_json(config, name) : llama_json(config, name), out,
                      err);
}

enum muster_status hf_generation_print(const struct model_config *config, struct text *out,
                                       struct muster_error *err)
{
    return json_print(json_pack("{s:n, s:n, s:n, s:I}", "bos_token_id", "eos_token_id", "pad_token_id",
                                "max_length", (json_int_t)config->seq_len),
                      out, err);
}

/* Comparing. */

struct checking {
    const json_t *root;
    const struct model_config *config;
    struct text *problems;
    int problem_count;
};

static void problem(struct checking *check, const char *key, const json_t *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "config.json: KEY is VALUE" (or "is not there") and what was expected. */
static void problem(struct checking *check, const char *key, const json_t *value, const char *format, ...)
{
    char expected[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    char *text =
        value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    text_print(check->problems, "%s: %s %s%.80s, %s\n", config_name, key,
               text != NULL ? "is " : "is not there", text != NULL ? text : "", expected);
    free(text);
    check->problem_count++;
}

/* null means the default, as transformers reads it. */
static const json_t *value_find(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* \param fallback  what transformers takes when the key is absent; -1 = it must be there */
static void int_expect(struct checking *check, const char *key, int64_t fallback, const char *job_key,
                       int64_t expected)
{
    const json_t *value = value_find(check->root, key);
    if (value == NULL && fallback == expected)
        return;
    if (!json_is_integer(value) || json_integer_value(value) != expected)
        problem(check, key, value, "the job's %s is %" PRId64, job_key, expected);
}

static void real_expect(struct checking *check, const json_t *object, const char *key, double fallback,
                        const char *job_key, double expected)
{
    const json_t *value = value_find(object, key);
    double found = value == NULL ? fallback : json_is_number(value) ? json_number_value(value) : NAN;
    if (!(fabs(found - expected) <= 1e-9 * fabs(expected)))
        problem(check, key, value, "the job's %s is %.10g", job_key, expected);
}

static void bool_expect(struct checking *check, const char *key, bool fallback, bool expected,
                        const char *reason)
{
    const json_t *value = value_find(check->root, key);
    bool is_right =
        value == NULL ? fallback == expected : json_is_boolean(value) && json_is_true(value) == expected;
    if (!is_right)
        problem(check, key, value, "%s", reason);
}

static void text_expect(struct checking *check, const char *key, const char *fallback,
                        const char *const accepted[2])
{
    const json_t *value = value_find(check->root, key);
    const char *found = value == NULL ? fallback : json_string_value(value);
    if (found == NULL || (strcmp(found, accepted[0]) != 0 && strcmp(found, accepted[1]) != 0))
        problem(check, key, value, "the job's model computes %s", accepted[0]);
}

static void tie_expect(struct checking *check, bool fallback)
{
    bool_expect(check, "tie_word_embeddings", fallback, check->config->tie_embeddings,
                check->config->tie_embeddings ? "the job's model.tie_embeddings is true"
                                              : "the job's model.tie_embeddings is false");
}

static void gpt_check(struct checking *check)
{
    const struct model_config *c = check->config;
    const char *const activations[2] = {"gelu_new", "gelu_pytorch_tanh"};
    int_expect(check, "n_layer", 12, "model.num_layers", c->num_layers);
    int_expect(check, "n_embd", 768, "model.hidden_size", c->hidden_size);
    int_expect(check, "n_head", 12, "model.num_heads", c->num_heads);
    int_expect(check, "n_inner", 4 * c->hidden_size, "model.ffn_hidden_size", c->ffn_hidden_size);
    int_expect(check, "n_positions", 1024, "data.seq_len", c->seq_len);
    real_expect(check, check->root, "layer_norm_epsilon", 1e-5, "model.norm_eps", c->norm_eps);
    text_expect(check, "activation_function", "gelu_new", activations);
    bool_expect(check, "scale_attn_weights", true, true,
                "muster divides scores by the root of the head width");
    bool_expect(check, "scale_attn_by_inverse_layer_idx", false, false, "muster does not do that");
    bool_expect(check, "add_cross_attention", false, false, "muster has no cross attention");
    tie_expect(check, true);
}

/* rope_theta stands at the top, or, from transformers 5 on, in rope_parameters beside rope_type. */
static void rope_check(struct checking *check)
{
    const json_t *parameters = value_find(check->root, "rope_parameters");
    const json_t *scaling = value_find(check->root, "rope_scaling");
    const json_t *described = json_is_object(parameters) ? parameters : scaling;
    const char *type = json_string_value(value_find(described, "rope_type"));
    if (type == NULL)
        type = json_string_value(value_find(described, "type"));
    if (described != NULL && (type == NULL || strcmp(type, "default") != 0))
        problem(check, described == parameters ? "rope_parameters" : "rope_scaling", described,
                "muster has plain rotary positions only");
    bool inside = value_find(parameters, "rope_theta") != NULL;
    real_expect(check, inside ? parameters : check->root, "rope_theta", 10000, "model.rope_base",
                check->config->rope_base);
}

static void llama_check(struct checking *check)
{
    const struct model_config *c = check->config;
    const char *const activations[2] = {"silu", "swish"};
    const json_t *heads = value_find(check->root, "num_attention_heads");
    int64_t head_width = c->hidden_size / c->num_heads;
    int_expect(check, "num_hidden_layers", 32, "model.num_layers", c->num_layers);
    int_expect(check, "hidden_size", 4096, "model.hidden_size", c->hidden_size);
    int_expect(check, "num_attention_heads", 32, "model.num_heads", c->num_heads);
    int_expect(check, "num_key_value_heads", heads != NULL ? json_integer_value(heads) : 32,
               "model.num_kv_heads", c->num_kv_heads);
    int_expect(check, "head_dim", head_width, "hidden_size / num_heads", head_width);
    int_expect(check, "intermediate_size", 11008, "model.ffn_hidden_size", c->ffn_hidden_size);
    real_expect(check, check->root, "rms_norm_eps", 1e-6, "model.norm_eps", c->norm_eps);
    text_expect(check, "hidden_act", "silu", activations);
    bool_expect(check, "attention_bias", false, false, "muster's llama has no biases");
    bool_expect(check, "mlp_bias", false, false, "muster's llama has no biases");
    rope_check(check);
    tie_expect(check, false);
}

static void vocabulary_check(struct checking *check, int64_t *vocab_size)
{
    const json_t *value = value_find(check->root, "vocab_size");
    *vocab_size = json_is_integer(value) ? json_integer_value(value) : 0;
    if (*vocab_size < 1 || *vocab_size > check->config->vocab_size)
        problem(check, "vocab_size", value,
                "the job's model.vocab_size is %" PRId64 ", and may only be larger",
                check->config->vocab_size);
}

enum muster_status hf_config_check(const char *folder, const struct model_config *config,
                                   struct text *problems, int64_t *vocab_size, struct muster_error *err)
{
    char path[FS_PATH_MAX], *bytes = NULL;
    size_t size = 0;
    json_t *root = NULL;
    struct checking check = {.config = config, .problems = problems};
    const char *expected = config->type == MODEL_GPT ? "gpt2" : "llama";
    enum muster_status status = fs_path_join(path, folder, config_name, err);
    if (status == MUSTER_OK && !fs_exists(path))
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                  "there is no %s in %s: not a Hugging Face folder", config_name, folder);
    if (status == MUSTER_OK)
        status = fs_file_read(path, CONFIG_BYTES_MAX, &bytes, &size, err);
    if (status == MUSTER_OK)
        status = ckpt_json_parse(bytes, size, CONFIG_DEPTH_MAX, CONFIG_VALUES_MAX, path, &root, err);
    alloc_free(bytes);
    if (status != MUSTER_OK)
        return status;
    const char *type = json_string_value(json_object_get(root, "model_type"));
    check.root = root;
    if (type == NULL || strcmp(type, expected) != 0) {
        problem(&check, "model_type", json_object_get(root, "model_type"),
                "the job's model.type %s needs \"%s\"", model_type_name(config->type), expected);
    } else {
        vocabulary_check(&check, vocab_size);
        if (config->type == MODEL_GPT)
            gpt_check(&check);
        else
            llama_check(&check);
    }
    json_decref(root);
    if (check.problem_count == 0)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %d keys do not fit the job", path,
                            check.problem_count);
}
