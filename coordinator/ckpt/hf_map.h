/* SPDX-License-Identifier: MIT
 *
 * Which of our weights is which tensor of a Hugging Face model: GPT2LMHeadModel for gpt, LlamaForCausalLM for
 * llama. Export and import read the same list, so that they cannot disagree.
 *
 *   gpt    their Conv1D keeps [in, out] where we keep [out, in]: transposed. q, k, v are fused as ours are.
 *   llama  their q, k, v and gate, up are ranges of rows of our fused matrices. Both sides turn the pairs
 *          (i, i + head/2) ("rotate half"), so rows keep their order.
 */
#ifndef MUSTER_COORDINATOR_HF_MAP_H
#define MUSTER_COORDINATOR_HF_MAP_H

#include "coordinator/ckpt/ckpt.h"
#include "model/model.h"

enum { HF_NAME_MAX = 128 };

struct hf_part {
    char name[HF_NAME_MAX]; /* there */
    int dim_count;
    int64_t shape[2];            /* there */
    int64_t offset, count;       /* here, in the flat space: whole rows of one tensor */
    int64_t rows, columns;       /* here; columns 1 for a vector */
    bool transposed, vocabulary; /* vocabulary: there it may have fewer rows */
};

struct hf_map {
    struct hf_part *parts;
    int count;
};

/**
 * \param layout  of the state that holds the weights; its tensors must be exactly those of `config`
 * \param name  of that state, for messages
 * \return UNSUPPORTED for a model that has no counterpart there (mlp, gpt with grouped queries); CORRUPT when
 * the tensors are not those of `config`. Release also after failure.
 */
enum muster_status hf_map_create(const struct model_config *config, const struct ckpt_layout *layout,
                                 const char *name, struct hf_map *map, struct muster_error *err);
void hf_map_release(struct hf_map *map);

/** The matrix as it stands in our memory into their order, or back: from [rows, columns] to [columns, rows].
 */
void hf_transpose(const float *from, int64_t rows, int64_t columns, float *to);

#endif
