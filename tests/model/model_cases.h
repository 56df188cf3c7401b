/* SPDX-License-Identifier: MIT
 *
 * The small models that the tests of the graph and of the whole engine share: one of each type, with sizes
 * that are all different, so that two of them cannot be mixed up unseen.
 */
#ifndef MUSTER_TESTS_MODEL_MODEL_CASES_H
#define MUSTER_TESTS_MODEL_MODEL_CASES_H

#include "model/graph.h"

enum { MODEL_CASE_MICRO_BATCH = 3 };

static inline struct model_config model_case_config(enum model_type type)
{
    struct model_config config = {
        .type = type,
        .num_layers = 2,
        .hidden_size = 32,
        .num_heads = 4,
        .num_kv_heads = 4,
        .ffn_hidden_size = 128,
        .vocab_size = 61,
        .seq_len = 16,
        .norm_eps = 1e-5,
        .rope_base = 10000.0,
        .init_std = 0.02,
        .tie_embeddings = true,
    };
    if (type == MODEL_LLAMA) {
        config.num_kv_heads = 2;
        config.ffn_hidden_size = 48;
        config.tie_embeddings = false;
    }
    if (type == MODEL_MLP) {
        config.num_layers = 3;
        config.hidden_size = 24;
        config.num_heads = config.num_kv_heads = config.ffn_hidden_size = 0;
        config.vocab_size = 10;
        config.seq_len = 1;
        config.input_size = 20;
        config.tie_embeddings = false;
    }
    return config;
}

/** Every model × recompute × dropout × dtype, for tests of what must hold for all of them. */
struct model_variant {
    enum model_type type;
    enum recompute recompute;
    double dropout;
    enum dtype dtype;
};

enum { MODEL_VARIANT_COUNT = 36 };

static inline struct model_variant model_variant_at(int i)
{
    return (struct model_variant){
        .type = (enum model_type)(i % 3),
        .recompute = (enum recompute)(i / 3 % 3),
        .dropout = i / 9 % 2 ? 0.25 : 0.0,
        .dtype = i / 18 ? DTYPE_BF16 : DTYPE_F32,
    };
}

static inline enum muster_status model_variant_build(const struct model_variant *variant, struct graph **out,
                                                     struct muster_error *err)
{
    struct model_config config = model_case_config(variant->type);
    config.dropout = variant->dropout;
    return model_build(&config, MODEL_CASE_MICRO_BATCH, variant->dtype, variant->recompute, false, out, err);
}

#endif
