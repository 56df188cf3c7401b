/* SPDX-License-Identifier: MIT
 *
 * What `muster ckpt import` reads of a stranger's folder: config.json, the index, the tensors. The first two
 * bytes of an input say how much of it is which file (in units of 16 bytes); an odd number of units is read
 * for the llama, and without an index the tensors are in model.safetensors.
 */
#include <string.h>

#include "base/alloc.h"
#include "coordinator/ckpt/hf_config.h"
#include "coordinator/ckpt/hf_source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_folder.h"

enum { UNIT = 16, ELEMENTS_MAX = 256 };

static const struct model_config configs[] = {
    {.type = MODEL_GPT,
     .num_layers = 2,
     .hidden_size = 8,
     .num_heads = 2,
     .num_kv_heads = 2,
     .ffn_hidden_size = 32,
     .vocab_size = 16,
     .seq_len = 8,
     .norm_eps = 1e-5,
     .tie_embeddings = true},
    {.type = MODEL_LLAMA,
     .num_layers = 1,
     .hidden_size = 8,
     .num_heads = 2,
     .num_kv_heads = 1,
     .ffn_hidden_size = 24,
     .vocab_size = 16,
     .seq_len = 8,
     .norm_eps = 1e-5,
     .rope_base = 10000.0},
};

static void config_try(const struct model_config *config)
{
    struct text problems;
    struct muster_error err;
    int64_t vocab_size = -1;
    text_init(&problems);
    enum muster_status status = hf_config_check(fuzz_folder(), config, &problems, &vocab_size, &err);
    fuzz_promise(status == MUSTER_OK || status == MUSTER_ERR_BAD_INPUT || status == MUSTER_ERR_CORRUPT ||
                 status == MUSTER_ERR_IO);
    fuzz_promise(status != MUSTER_OK || (vocab_size > 0 && vocab_size <= config->vocab_size));
    text_release(&problems);
}

static void tensors_try(void)
{
    static float out[ELEMENTS_MAX];
    struct hf_source source = {0};
    struct muster_error err;
    enum muster_status status = hf_source_open(fuzz_folder(), &source, &err);
    fuzz_promise(status == MUSTER_OK || status == MUSTER_ERR_BAD_INPUT || status == MUSTER_ERR_CORRUPT ||
                 status == MUSTER_ERR_IO);
    for (int i = 0; status == MUSTER_OK && i < source.tensor_count; i++) {
        const struct hf_tensor *tensor = &source.tensors[i];
        fuzz_promise(hf_source_find(&source, tensor->entry->name) != NULL);
        int64_t count = 1;
        for (int d = 0; d < tensor->entry->dim_count; d++)
            count *= tensor->entry->shape[d];
        enum muster_status read =
            hf_tensor_read(tensor, 0, count < ELEMENTS_MAX ? count : ELEMENTS_MAX, out, &err);
        fuzz_promise(read == MUSTER_OK || read == MUSTER_ERR_UNSUPPORTED);
    }
    hf_source_release(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    size_t left = bytes - 2, config = data[0] * (size_t)UNIT, index = data[1] * (size_t)UNIT;
    config = config < left ? config : left;
    index = index < left - config ? index : left - config;
    const uint8_t *tensors = data + 2 + config + index;
    int64_t live = alloc_live_count();
    fuzz_folder_write("config.json", data + 2, config);
    fuzz_folder_write("model.safetensors.index.json", index > 0 ? data + 2 + config : NULL, index);
    fuzz_folder_write(index > 0 ? "a.safetensors" : "model.safetensors", tensors, left - config - index);
    fuzz_folder_write(index > 0 ? "model.safetensors" : "a.safetensors", NULL, 0);
    config_try(&configs[data[0] % 2]);
    tensors_try();
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
