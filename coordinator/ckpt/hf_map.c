/* SPDX-License-Identifier: MIT
 *
 * Two tables of rules. A rule takes a range of rows of one of our tensors; sizes are named, not computed, so
 * that a table can be read beside model/gpt.c and model/llama.c. Source of the names and layouts: the
 * modules in transformers' modeling_gpt2.py (Conv1D) and modeling_llama.py.
 */
#include "coordinator/ckpt/hf_map.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum hf_size { HF_NONE, HF_WIDTH, HF_KV, HF_QKV, HF_FFN, HF_GATE_UP, HF_VOCAB, HF_SEQ, HF_COUNT };

struct hf_rule {
    const char *ours, *theirs;
    enum hf_size our_rows, columns; /* columns HF_NONE: a vector */
    enum hf_size rows;              /* of the part; HF_NONE = all */
    enum hf_size before[2];         /* rows that stand before the part */
    bool transposed;
};

static const struct hf_rule gpt_begin[] = {
    {"token_table", "transformer.wte.weight", HF_VOCAB, HF_WIDTH, .rows = HF_NONE},
    {"position_table", "transformer.wpe.weight", HF_SEQ, HF_WIDTH, .rows = HF_NONE},
};
static const struct hf_rule gpt_block[] = {
    {"norm1.weight", "ln_1.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"norm1.bias", "ln_1.bias", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"attention.qkv.weight", "attn.c_attn.weight", HF_QKV, HF_WIDTH, .transposed = true},
    {"attention.qkv.bias", "attn.c_attn.bias", HF_QKV, HF_NONE, .rows = HF_NONE},
    {"attention.out.weight", "attn.c_proj.weight", HF_WIDTH, HF_WIDTH, .transposed = true},
    {"attention.out.bias", "attn.c_proj.bias", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"norm2.weight", "ln_2.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"norm2.bias", "ln_2.bias", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"mlp.up.weight", "mlp.c_fc.weight", HF_FFN, HF_WIDTH, .transposed = true},
    {"mlp.up.bias", "mlp.c_fc.bias", HF_FFN, HF_NONE, .rows = HF_NONE},
    {"mlp.down.weight", "mlp.c_proj.weight", HF_WIDTH, HF_FFN, .transposed = true},
    {"mlp.down.bias", "mlp.c_proj.bias", HF_WIDTH, HF_NONE, .rows = HF_NONE},
};
static const struct hf_rule gpt_end[] = {
    {"norm_final.weight", "transformer.ln_f.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"norm_final.bias", "transformer.ln_f.bias", HF_WIDTH, HF_NONE, .rows = HF_NONE},
};

static const struct hf_rule llama_begin[] = {
    {"token_table", "model.embed_tokens.weight", HF_VOCAB, HF_WIDTH, .rows = HF_NONE},
};
static const struct hf_rule llama_block[] = {
    {"norm1.weight", "input_layernorm.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"attention.qkv.weight", "self_attn.q_proj.weight", HF_QKV, HF_WIDTH, .rows = HF_WIDTH},
    {"attention.qkv.weight", "self_attn.k_proj.weight", HF_QKV, HF_WIDTH, .rows = HF_KV,
     .before = {HF_WIDTH}},
    {"attention.qkv.weight", "self_attn.v_proj.weight", HF_QKV, HF_WIDTH, .rows = HF_KV,
     .before = {HF_WIDTH, HF_KV}},
    {"attention.out.weight", "self_attn.o_proj.weight", HF_WIDTH, HF_WIDTH, .rows = HF_NONE},
    {"norm2.weight", "post_attention_layernorm.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
    {"mlp.gate_up.weight", "mlp.gate_proj.weight", HF_GATE_UP, HF_WIDTH, .rows = HF_FFN},
    {"mlp.gate_up.weight", "mlp.up_proj.weight", HF_GATE_UP, HF_WIDTH, .rows = HF_FFN, .before = {HF_FFN}},
    {"mlp.down.weight", "mlp.down_proj.weight", HF_WIDTH, HF_FFN, .rows = HF_NONE},
};
static const struct hf_rule llama_end[] = {
    {"norm_final.weight", "model.norm.weight", HF_WIDTH, HF_NONE, .rows = HF_NONE},
};
static const struct hf_rule head_rules[] = {
    {"head.weight", "lm_head.weight", HF_VOCAB, HF_WIDTH, .rows = HF_NONE},
};

#define RULES(array) array, (int)(sizeof(array) / sizeof((array)[0]))

struct building {
    const struct ckpt_layout *layout;
    const char *name;
    int64_t sizes[HF_COUNT];
    struct hf_map *map;
    int64_t element_count; /* of the parts so far */
};

static const struct ckpt_tensor *tensor_find(const struct ckpt_layout *layout, const char *name)
{
    for (int i = 0; i < layout->tensor_count; i++) {
        if (strcmp(layout->tensors[i].name, name) == 0)
            return &layout->tensors[i];
    }
    return NULL;
}

static enum muster_status part_add(struct building *b, const struct hf_rule *rule, const char *our_prefix,
                                   const char *their_prefix, struct muster_error *err)
{
    char ours[CKPT_NAME_MAX];
    snprintf(ours, sizeof ours, "%s%s", our_prefix, rule->ours);
    const struct ckpt_tensor *tensor = tensor_find(b->layout, ours);
    int dim_count = rule->columns == HF_NONE ? 1 : 2;
    int64_t rows = b->sizes[rule->our_rows], columns = dim_count == 2 ? b->sizes[rule->columns] : 1;
    if (tensor == NULL || tensor->dim_count != dim_count || tensor->shape[0] != rows ||
        tensor->count != rows * columns)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: there is no tensor %s of %" PRId64 " rows and %" PRId64
                                " columns, which its job's model has",
                                b->name, ours, rows, columns);
    struct hf_part *part = &b->map->parts[b->map->count++];
    part->rows = rule->rows == HF_NONE ? rows : b->sizes[rule->rows];
    part->columns = columns;
    part->offset = tensor->offset + (b->sizes[rule->before[0]] + b->sizes[rule->before[1]]) * columns;
    part->count = part->rows * columns;
    part->transposed = rule->transposed;
    part->vocabulary = rule->our_rows == HF_VOCAB;
    part->dim_count = dim_count;
    part->shape[0] = rule->transposed ? columns : part->rows;
    part->shape[1] = rule->transposed ? part->rows : columns;
    snprintf(part->name, sizeof part->name, "%s%s", their_prefix, rule->theirs);
    b->element_count += part->count;
    return MUSTER_OK;
}

static enum muster_status rules_add(struct building *b, const struct hf_rule *rules, int count,
                                    const char *our_prefix, const char *their_prefix,
                                    struct muster_error *err)
{
    for (int i = 0; i < count; i++) {
        enum muster_status status = part_add(b, &rules[i], our_prefix, their_prefix, err);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}

static enum muster_status blocks_add(struct building *b, const struct model_config *config,
                                     struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int64_t block = 0; block < config->num_layers && status == MUSTER_OK; block++) {
        char ours[48], theirs[48];
        snprintf(ours, sizeof ours, "blocks.%" PRId64 ".", block);
        if (config->type == MODEL_GPT) {
            snprintf(theirs, sizeof theirs, "transformer.h.%" PRId64 ".", block);
            status = rules_add(b, RULES(gpt_block), ours, theirs, err);
        } else {
            snprintf(theirs, sizeof theirs, "model.layers.%" PRId64 ".", block);
            status = rules_add(b, RULES(llama_block), ours, theirs, err);
        }
    }
    return status;
}

static enum muster_status model_add(struct building *b, const struct model_config *config,
                                    struct muster_error *err)
{
    bool gpt = config->type == MODEL_GPT;
    enum muster_status status =
        gpt ? rules_add(b, RULES(gpt_begin), "", "", err) : rules_add(b, RULES(llama_begin), "", "", err);
    if (status == MUSTER_OK)
        status = blocks_add(b, config, err);
    if (status == MUSTER_OK)
        status =
            gpt ? rules_add(b, RULES(gpt_end), "", "", err) : rules_add(b, RULES(llama_end), "", "", err);
    if (status == MUSTER_OK && !config->tie_embeddings)
        status = rules_add(b, RULES(head_rules), "", "", err);
    return status;
}

static enum muster_status config_check(const struct model_config *config, struct muster_error *err)
{
    if (config->type == MODEL_MLP)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "an mlp has no counterpart among Hugging Face's models; npz holds any model");
    if (config->type == MODEL_GPT && config->num_kv_heads != config->num_heads)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "GPT-2 has no grouped queries: model.num_kv_heads %" PRId64
                                " must equal num_heads %" PRId64,
                                config->num_kv_heads, config->num_heads);
    return MUSTER_OK;
}

enum muster_status hf_map_create(const struct model_config *config, const struct ckpt_layout *layout,
                                 const char *name, struct hf_map *map, struct muster_error *err)
{
    struct building b = {.layout = layout, .name = name, .map = map};
    int64_t elements = 0, parts_max = 8 + 16 * config->num_layers;
    *map = (struct hf_map){NULL, 0};
    enum muster_status status = config_check(config, err);
    if (status != MUSTER_OK)
        return status;
    int64_t kv = config->num_kv_heads * (config->hidden_size / config->num_heads);
    const int64_t sizes[HF_COUNT] = {
        [HF_WIDTH] = config->hidden_size,
        [HF_KV] = kv,
        [HF_QKV] = config->hidden_size + 2 * kv,
        [HF_FFN] = config->ffn_hidden_size,
        [HF_GATE_UP] = 2 * config->ffn_hidden_size,
        [HF_VOCAB] = config->vocab_size,
        [HF_SEQ] = config->seq_len,
    };
    memcpy(b.sizes, sizes, sizeof sizes);
    map->parts = alloc_zeroed((size_t)parts_max, sizeof *map->parts);
    if (map->parts == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %" PRId64 " names", name,
                                parts_max);
    status = model_add(&b, config, err);
    for (int i = 0; i < layout->tensor_count; i++)
        elements += layout->tensors[i].count;
    if (status == MUSTER_OK && elements != b.element_count)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT,
                                  "%s: %" PRId64 " elements, its job's model has %" PRId64, name, elements,
                                  b.element_count);
    return status;
}

void hf_map_release(struct hf_map *map)
{
    alloc_free(map->parts);
    *map = (struct hf_map){NULL, 0};
}

/* In tiles, so that neither side is walked across the grain for long. */
void hf_transpose(const float *from, int64_t rows, int64_t columns, float *to)
{
    enum { TILE = 32 };
    for (int64_t r = 0; r < rows; r += TILE) {
        int64_t row_end = r + TILE < rows ? r + TILE : rows;
        for (int64_t c = 0; c < columns; c += TILE) {
            int64_t column_end = c + TILE < columns ? c + TILE : columns;
            for (int64_t i = r; i < row_end; i++) {
                for (int64_t j = c; j < column_end; j++)
                    to[j * rows + i] = from[i * columns + j];
            }
        }
    }
}
