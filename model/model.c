/* SPDX-License-Identifier: MIT
 *
 * From numbers to a graph: checks that the sizes fit together, builds the forward list, differentiates it,
 * lays it out.
 */
#include "model/model.h"

#include "model/graph.h"

const char *model_type_name(enum model_type type)
{
    static const char *const names[] = {[MODEL_GPT] = "gpt", [MODEL_LLAMA] = "llama", [MODEL_MLP] = "mlp"};
    return names[type];
}

static enum muster_status model_check(const struct model_config *c, int64_t micro_batch_size,
                                      struct muster_error *err)
{
    if (micro_batch_size < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "train.micro_batch_size: %lld is not at least 1",
                                (long long)micro_batch_size);
    if (c->num_layers < 1 || c->hidden_size < 1 || c->vocab_size < 1 || c->seq_len < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "model: sizes must be at least 1");
    if (c->type == MODEL_MLP) {
        if (c->input_size < 1)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "model: mlp needs image data (data.format: idx)");
        return MUSTER_OK;
    }
    if (c->num_heads < 1 || c->hidden_size % c->num_heads)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "model.num_heads: %lld heads do not divide hidden_size %lld",
                                (long long)c->num_heads, (long long)c->hidden_size);
    if (c->num_kv_heads < 1 || c->num_heads % c->num_kv_heads)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "model.num_kv_heads: %lld does not divide num_heads %lld",
                                (long long)c->num_kv_heads, (long long)c->num_heads);
    if (c->ffn_hidden_size < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "model.ffn_hidden_size: %lld is not at least 1",
                                (long long)c->ffn_hidden_size);
    if (c->type == MODEL_LLAMA && c->hidden_size / c->num_heads % 2)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "model: rotary positions need an even head width, not %lld",
                                (long long)(c->hidden_size / c->num_heads));
    return MUSTER_OK;
}

enum muster_status model_build(const struct model_config *config, int64_t micro_batch_size,
                               enum dtype compute_dtype, enum recompute recompute, bool on_device,
                               struct graph **out, struct muster_error *err)
{
    *out = NULL;
    enum muster_status status = model_check(config, micro_batch_size, err);
    if (status)
        return status;
    struct graph *graph = graph_create(config, micro_batch_size, compute_dtype, recompute, on_device);
    if (!graph)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the model's graph");
    switch (config->type) {
    case MODEL_GPT:
        gpt_build(graph);
        break;
    case MODEL_LLAMA:
        llama_build(graph);
        break;
    case MODEL_MLP:
        mlp_build(graph);
        break;
    }
    if (!graph->failed)
        status = graph_add_backward(graph, err);
    if (!status && !graph->failed)
        status = graph_layout(graph, err);
    if (!status && graph->failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the model's graph");
    if (status) {
        graph_destroy(graph);
        return status;
    }
    *out = graph;
    return MUSTER_OK;
}

double model_flops_per_sample(const struct graph *graph)
{
    double flops = 0.0;
    for (int i = 0; i < graph->op_count; i++)
        if (!graph->ops[i].recomputed)
            flops += graph_op_flops(graph, &graph->ops[i]);
    return flops / (double)graph->micro_batch_size;
}
