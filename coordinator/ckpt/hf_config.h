/* SPDX-License-Identifier: MIT
 *
 * config.json of a Hugging Face folder: written for a model, or compared with one key by key.
 */
#ifndef MUSTER_COORDINATOR_HF_CONFIG_H
#define MUSTER_COORDINATOR_HF_CONFIG_H

#include "base/dtype.h"
#include "base/text.h"
#include "model/model.h"

/** config.json of a gpt or llama. */
enum muster_status hf_config_print(const struct model_config *config, enum dtype dtype, struct text *out,
                                   struct muster_error *err);

/** generation_config.json: no special tokens, because a muster model knows none. */
enum muster_status hf_generation_print(const struct model_config *config, struct text *out,
                                       struct muster_error *err);

/**
 * Reads FOLDER/config.json and compares it with the job's model. \param problems  a line for every key that
 * does not fit: "config.json: n_layer is 12, the job's model.num_layers is 6" \param vocab_size  out: rows of
 * the vocabulary there; at most the job's \return BAD_INPUT when a key does not fit; CORRUPT for what is no
 * JSON object
 */
enum muster_status hf_config_check(const char *folder, const struct model_config *config,
                                   struct text *problems, int64_t *vocab_size, struct muster_error *err);

#endif
