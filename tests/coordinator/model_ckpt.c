/* SPDX-License-Identifier: MIT
 *
 * The layout is put together here once more and not taken from the code under test.
 */
#include "tests/coordinator/model_ckpt.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { WRITERS_MAX = 4 };

static void job_make(struct model_ckpt *model, const char *keys)
{
    char yaml[1024];
    struct job_report report;
    struct muster_error err = {.status = MUSTER_OK};
    snprintf(yaml, sizeof yaml,
             "name: small\nmodel: {%s}\ndata: {format: u16, train: none.bin, seq_len: 6}\n"
             "train: {micro_batch_size: 1, global_batch_size: 2, max_steps: 10}\noptimizer: {lr: 1e-3}\n",
             keys);
    job_report_init(&report);
    ck_assert_msg(job_parse("small.yaml", yaml, strlen(yaml), &report, &model->job, &err) == MUSTER_OK, "%s",
                  report.errors.data);
    job_report_release(&report);
}

void model_ckpt_init(struct model_ckpt *model, const char *keys)
{
    struct muster_error err = {.status = MUSTER_OK};
    const struct plan_topology topology = {.ranks = 1, .threads = 1};
    *model = (struct model_ckpt){.job = NULL};
    job_make(model, keys);
    model->config = job_model_config(model->job);
    ck_assert_msg(plan_create(model->job, &model->config, &topology, &model->plan, &err) == MUSTER_OK, "%s",
                  err.text);
    const struct graph *graph = model->plan->graph;
    model->tensors = alloc_zeroed((size_t)graph->param_count, sizeof *model->tensors);
    for (int kind = 0; kind < MODEL_CKPT_KINDS; kind++)
        model->state[kind] = alloc_zeroed((size_t)model->plan->flat_count, sizeof(float));
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        struct ckpt_tensor *tensor = &model->tensors[i];
        snprintf(tensor->name, sizeof tensor->name, "%s", param->name);
        tensor->dim_count = param->dim_count;
        memcpy(tensor->shape, param->shape, sizeof tensor->shape);
        tensor->offset = param->offset;
        tensor->count = param->count;
        for (int kind = 0; kind < MODEL_CKPT_KINDS; kind++) {
            for (int64_t e = 0; e < param->count; e++)
                model->state[kind][param->offset + e] =
                    (float)((param->offset + e) * 2654435761u % 65521 + kind) / 65536.0f - 0.5f;
        }
    }
    model->layout = (struct ckpt_layout){.kinds = {"param", "adam_m", "adam_v"},
                                         .kind_count = MODEL_CKPT_KINDS,
                                         .tensors = model->tensors,
                                         .tensor_count = graph->param_count,
                                         .flat_count = model->plan->flat_count,
                                         .chunk_elements = model->plan->chunk_elements};
}

void model_ckpt_release(struct model_ckpt *model)
{
    for (int kind = 0; kind < MODEL_CKPT_KINDS; kind++)
        alloc_free(model->state[kind]);
    alloc_free(model->tensors);
    plan_destroy(model->plan);
    job_destroy(model->job);
    *model = (struct model_ckpt){.job = NULL};
}

float *model_ckpt_tensor(const struct model_ckpt *model, int kind, const char *name)
{
    for (int i = 0; i < model->layout.tensor_count; i++) {
        if (strcmp(model->tensors[i].name, name) == 0)
            return model->state[kind] + model->tensors[i].offset;
    }
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

static struct ckpt_piece piece_of(const struct model_ckpt *model, int64_t begin, int64_t end)
{
    return (struct ckpt_piece){
        begin, end, {model->state[0] + begin, model->state[1] + begin, model->state[2] + begin}};
}

static struct hash128 state_hash(const struct model_ckpt *model, int64_t step)
{
    struct muster_error err = {.status = MUSTER_OK};
    const struct ckpt_piece whole = piece_of(model, 0, model->layout.flat_count);
    size_t count = (size_t)(model->plan->chunk_count * MODEL_CKPT_KINDS);
    struct hash128 *hashes = alloc_zeroed(count, sizeof *hashes);
    ck_assert_int_eq(ckpt_chunk_hashes(&model->layout, &whole, 1, hashes, &err), MUSTER_OK);
    struct hash128 hash = ckpt_state_hash(&model->layout, step, hashes);
    alloc_free(hashes);
    return hash;
}

void model_ckpt_write(const struct model_ckpt *model, const char *folder, int64_t step, int writers)
{
    struct muster_error err = {.status = MUSTER_OK};
    struct text yaml, records[WRITERS_MAX];
    const char *texts[WRITERS_MAX];
    ck_assert_int_le(writers, WRITERS_MAX);
    text_init(&yaml);
    ck_assert_int_eq(job_write_yaml(model->job, &yaml, &err), MUSTER_OK);
    ck_assert_msg(fs_folder_create(folder, &err) == MUSTER_OK, "%s", err.text);
    for (int i = 0; i < writers; i++) {
        const struct ckpt_piece piece = piece_of(model, model->layout.flat_count * i / writers,
                                                 model->layout.flat_count * (i + 1) / writers);
        text_init(&records[i]);
        ck_assert_msg(ckpt_shard_write(folder, i, writers, &model->layout, &piece, 1, &records[i], &err) ==
                          MUSTER_OK,
                      "%s", err.text);
        texts[i] = records[i].data;
    }
    const struct ckpt_identity identity = {.step = step,
                                           .job = job_hash(model->job),
                                           .job_yaml = yaml.data,
                                           .numerics = "test",
                                           .writer_count = writers,
                                           .tokens_seen = 12 * step};
    ck_assert_msg(ckpt_manifest_write(folder, &model->layout, &identity, state_hash(model, step), texts,
                                      &err) == MUSTER_OK,
                  "%s", err.text);
    for (int i = 0; i < writers; i++)
        text_release(&records[i]);
    text_release(&yaml);
}
