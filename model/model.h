/* SPDX-License-Identifier: MIT
 *
 * The models muster trains, described by numbers. A model is built once as a static graph of operations with
 * known shapes (graph.h); nothing here runs anything.
 */
#ifndef MUSTER_MODEL_MODEL_H
#define MUSTER_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

enum model_type { MODEL_GPT = 0, MODEL_LLAMA, MODEL_MLP };
enum recompute { RECOMPUTE_NONE = 0, RECOMPUTE_SELECTIVE, RECOMPUTE_FULL };

/** All sizes resolved: no zero means "default" here. */
struct model_config {
    enum model_type type;
    int64_t num_layers;
    int64_t hidden_size;
    int64_t num_heads, num_kv_heads; /* 0 for mlp */
    int64_t ffn_hidden_size;         /* 0 for mlp */
    int64_t vocab_size;              /* mlp: number of classes */
    int64_t seq_len;                 /* mlp: 1 */
    int64_t input_size;              /* mlp: features of a sample; otherwise 0 */
    double dropout, norm_eps, rope_base, init_std;
    bool tie_embeddings;
};

struct graph;

/**
 * Builds forward and backward operation lists for one micro-batch, with recompute applied and memory laid
 * out. \param micro_batch_size  samples in a slot \param compute_dtype     DTYPE_F32 or DTYPE_BF16:
 * activations and the weights that operations read \param on_device  for GPUs: the head's loss takes more
 * rows at once \return BAD_INPUT naming the key when sizes do not fit together. The caller owns *out
 * (graph_destroy).
 */
enum muster_status model_build(const struct model_config *config, int64_t micro_batch_size,
                               enum dtype compute_dtype, enum recompute recompute, bool on_device,
                               struct graph **out, struct muster_error *err);

/** Floating-point operations of one sample, forward and backward, recomputed ones not counted (as MFU wants
 * it). */
double model_flops_per_sample(const struct graph *graph);

/** "gpt", "llama", "mlp". */
const char *model_type_name(enum model_type type);

#endif
