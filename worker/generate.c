/* SPDX-License-Identifier: MIT
 *
 * The job that made the checkpoint is inside it, so a folder is all that is needed. The static graph runs
 * over the last seq_len tokens for every new one: simple, and the same arithmetic as training.
 */
#include "worker/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "coordinator/ckpt/ckpt.h"
#include "worker/rank_state.h"

enum { GENERATE_RNG = 0x67656e65, GENERATE_BYTES_VOCAB = 256 };

struct generator {
    const struct generate_options *options;
    struct comm *comm;
    struct ckpt *ckpt;
    struct job *job;
    struct plan *plan;
    struct rank_state *state;
    int32_t *window;  /* [tokens of a micro-batch], only the first row is used */
    int32_t *history; /* prompt and generated */
    int64_t history_count;
    void *logits;       /* compute dtype */
    float *probability; /* [vocab] */
};

static enum muster_status generate_verify(struct generator *g, const char *folder, struct muster_error *err)
{
    enum muster_status status = ckpt_open(folder, &g->ckpt, err);
    if (!status)
        status = ckpt_verify(g->ckpt, err);
    if (status) {
        ckpt_close(g->ckpt);
        g->ckpt = NULL;
    }
    return status;
}

/* The newest checkpoint in `dir` that verifies; those passed over are told. */
static enum muster_status generate_open_newest(struct generator *g, const char *dir, struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    struct ckpt_catalogue catalogue = {0};
    enum muster_status status = ckpt_catalogue_read(dir, &catalogue, err);
    int damaged_count = 0;
    for (int i = 0; i < catalogue.count && !status && !g->ckpt; i++) {
        const struct ckpt_entry *entry = &catalogue.entries[i];
        struct muster_error cause = {0};
        status = fs_path_join(folder, dir, entry->folder, err);
        if (status || (entry->committed && !generate_verify(g, folder, &cause)))
            break;
        log_warn("checkpoint %s is not used: %s", folder, entry->committed ? cause.text : entry->reason);
        damaged_count += entry->committed;
    }
    ckpt_catalogue_release(&catalogue);
    if (status || g->ckpt)
        return status;
    if (damaged_count > 0)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: all checkpoints here are damaged", dir);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: no checkpoint here", dir);
}

/* What the user named: one checkpoint, or a folder of them, or a run folder. */
static enum muster_status generate_open_checkpoint(struct generator *g, const char *path,
                                                   struct muster_error *err)
{
    char manifest[FS_PATH_MAX], dir[FS_PATH_MAX];
    enum muster_status status = fs_path_join(manifest, path, CKPT_MANIFEST_NAME, err);
    if (!status)
        status = fs_path_join(dir, path, "checkpoints", err);
    if (status)
        return status;
    if (fs_exists(manifest))
        return generate_verify(g, path, err);
    return generate_open_newest(g, fs_is_folder(dir) ? dir : path, err);
}

static enum muster_status generate_open(struct generator *g, struct muster_error *err)
{
    struct job_report report;
    job_report_init(&report);
    enum muster_status status = generate_open_checkpoint(g, g->options->path, err);
    if (!status) {
        const char *yaml = ckpt_job_yaml(g->ckpt);
        status = job_parse("the checkpoint's job", yaml, strlen(yaml), &report, &g->job, err);
    }
    job_report_release(&report);
    if (status)
        return status;
    if (g->job->model.type == MODEL_MLP)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: an mlp generates no text", g->options->path);
    g->job->train.global_batch_size = g->job->train.micro_batch_size = 1;
    g->job->parallel.logical_workers = 1;
    if (g->job->train.precision == JOB_PRECISION_FP16)
        g->job->train.precision = JOB_PRECISION_FP32; /* one text at a time is generated on the CPU */
    struct model_config config = job_model_config(g->job);
    struct plan_topology topology = {.ranks = 1, .threads = 1};
    status = plan_create(g->job, &config, &topology, &g->plan, err);
    return status ? status : rank_state_create(g->job, g->plan, 0, NULL, NULL, &g->state, err);
}

static enum muster_status generate_load_weights(struct generator *g, struct muster_error *err)
{
    const struct ckpt_layout *stored = ckpt_layout(g->ckpt);
    if (stored->flat_count != g->state->layout.flat_count)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: the checkpoint's weights are not those of its job", g->options->path);
    for (int i = 0; i < g->plan->bucket_count; i++) {
        const struct ckpt_piece *piece = &g->state->pieces[i];
        enum muster_status status = ckpt_read(g->ckpt, 0, piece->begin, piece->end, piece->data[0], err);
        if (status)
            return status;
    }
    return rank_state_publish_params(g->state, g->comm, err);
}

static enum muster_status generate_allocate(struct generator *g, struct muster_error *err)
{
    size_t vocab = (size_t)g->job->model.vocab_size, prompt = strlen(g->options->prompt);
    g->window = alloc_zeroed((size_t)g->plan->graph->tokens, sizeof *g->window);
    g->history = alloc_zeroed(prompt + 1 + (size_t)g->options->token_count, sizeof *g->history);
    g->logits = alloc_aligned(vocab * sizeof(float), 64);
    g->probability = alloc_zeroed(vocab, sizeof *g->probability);

    if (!g->window || !g->history || !g->logits || !g->probability)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to generate");
    if (prompt > 0 && vocab != GENERATE_BYTES_VOCAB)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "a prompt needs a model of bytes (vocab_size 256), this one has %zu tokens",
                                vocab);
    for (size_t i = 0; i < prompt; i++)
        g->history[g->history_count++] = (unsigned char)g->options->prompt[i];
    if (prompt == 0)
        g->history[g->history_count++] = vocab == GENERATE_BYTES_VOCAB ? '\n' : 0;
    return MUSTER_OK;
}

struct generate_ranked {
    float logit;
    int token;
};

static int generate_by_logit(const void *left, const void *right)
{
    const struct generate_ranked *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit < b->logit ? 1 : -1;
    return a->token - b->token;
}

/* Inverse of the cumulated probabilities of the top-k tokens at one uniform number. */
static int32_t generate_sample(struct generator *g, struct generate_ranked *ranked, uint64_t position)
{
    int vocab = (int)g->job->model.vocab_size;
    qsort(ranked, (size_t)vocab, sizeof *ranked, generate_by_logit);
    double temperature = g->options->temperature;
    if (temperature <= 0.0)
        return ranked[0].token;
    int kept = g->options->top_k > 0 && g->options->top_k < vocab ? (int)g->options->top_k : vocab;
    double total = 0.0;
    for (int i = 0; i < kept; i++) {
        g->probability[i] = (float)exp(((double)ranked[i].logit - (double)ranked[0].logit) / temperature);
        total += (double)g->probability[i];
    }
    struct rng_block block = rng_philox(rng_key_make(g->options->seed, GENERATE_RNG, 0, 0), 0, position);
    double target = (double)rng_uniform(block.word[0]) * total, sum = 0.0;
    for (int i = 0; i < kept; i++) {
        sum += (double)g->probability[i];
        if (sum > target)
            return ranked[i].token;
    }
    return ranked[kept - 1].token;
}

static enum muster_status generate_next(struct generator *g, struct generate_ranked *ranked,
                                        struct muster_error *err)
{
    const struct graph *graph = g->plan->graph;
    int64_t seq = graph->config.seq_len, vocab = graph->config.vocab_size;
    int64_t used = g->history_count < seq ? g->history_count : seq;
    memset(g->window, 0, (size_t)graph->tokens * sizeof *g->window);
    memcpy(g->window, g->history + g->history_count - used, (size_t)used * sizeof *g->window);
    struct kernels *kernels = g->state->kernels;
    void *ids = executor_tensor(g->state->executor, graph->ids);
    struct executor_step forward = {.gradients = NULL};
    enum muster_status status =
        kernels_copy_to_device(kernels, ids, g->window, graph->tensors[graph->ids].bytes, err);
    if (!status)
        status = executor_run(g->state->executor, &forward, err);
    if (!status)
        status = executor_logits(g->state->executor, used - 1, g->logits, err);
    if (status)
        return status;
    for (int64_t i = 0; i < vocab; i++) {
        float logit = graph->compute_dtype == DTYPE_BF16 ? dtype_f32_from_bf16(((uint16_t *)g->logits)[i])
                                                         : ((float *)g->logits)[i];
        ranked[i] = (struct generate_ranked){logit, (int)i};
    }
    g->history[g->history_count] = generate_sample(g, ranked, (uint64_t)g->history_count);
    g->history_count++;
    return MUSTER_OK;
}

static void generate_print(const struct generator *g, struct text *out)
{
    bool bytes = g->job->model.vocab_size == GENERATE_BYTES_VOCAB;
    int64_t begin = g->options->prompt[0] ? 0 : 1;
    for (int64_t i = begin; i < g->history_count; i++) {
        char byte = (char)g->history[i];
        if (bytes)
            text_append(out, &byte, 1);
        else
            text_print(out, "%s%d", i > begin ? " " : "", (int)g->history[i]);
    }
}

enum muster_status generate_run(const struct generate_options *options, struct text *out,
                                struct muster_error *err)
{
    struct generator g = {.options = options};
    struct generate_ranked *ranked = NULL;
    enum muster_status status = comm_loopback_create(&g.comm, err);
    if (!status)
        status = generate_open(&g, err);
    if (!status)
        status = generate_load_weights(&g, err);
    if (!status)
        status = generate_allocate(&g, err);
    if (!status) {
        ranked = alloc_zeroed((size_t)g.job->model.vocab_size, sizeof *ranked);
        if (!ranked)
            status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to generate");
    }
    for (int64_t i = 0; i < options->token_count && !status; i++)
        status = generate_next(&g, ranked, err);
    if (!status)
        generate_print(&g, out);
    alloc_free(ranked);
    alloc_free(g.window);
    alloc_free(g.history);
    alloc_free(g.logits);
    alloc_free(g.probability);
    rank_state_destroy(g.state);
    plan_destroy(g.plan);
    job_destroy(g.job);
    ckpt_close(g.ckpt);
    comm_destroy(g.comm);
    return status;
}
