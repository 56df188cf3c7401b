/* SPDX-License-Identifier: MIT
 *
 * The MANIFEST's text, one thing a line so that a person can read and diff it. Its last line is a hash of
 * every byte before that line's number. What is written is first read back from memory by the reader's own
 * code, with the shard files measured: a MANIFEST that would not open is never committed.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include "base/epoch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void hash_print(struct text *out, const char *key, struct hash128 hash)
{
    char digits[HASH_TEXT_SIZE];
    hash_format(hash, digits);
    text_print(out, "\"%s\": \"%s\",\n", key, digits);
}

static enum muster_status string_print(struct text *out, const char *key, const char *value,
                                       struct muster_error *err)
{
    text_print(out, "\"%s\": ", key);
    if (!ckpt_json_append(out, value != NULL ? value : ""))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s cannot be kept in a checkpoint: it is not UTF-8", key);
    text_append(out, ",\n", 2);
    return MUSTER_OK;
}

static void layout_print(struct text *out, const struct ckpt_layout *layout)
{
    text_print(out, "\"kinds\": [");
    for (int i = 0; i < layout->kind_count; i++)
        text_print(out, "%s\"%s\"", i > 0 ? ", " : "", layout->kinds[i]);
    text_print(out,
               "],\n\"flat_count\": %" PRId64 ",\n\"chunk_elements\": %" PRId64 ",\n\"block_bytes\": %d,\n",
               layout->flat_count, layout->chunk_elements, CKPT_BLOCK_BYTES);
    text_print(out, "\"tensors\": [");
    for (int i = 0; i < layout->tensor_count; i++) {
        const struct ckpt_tensor *tensor = &layout->tensors[i];
        text_print(out, "%s\n{\"name\": \"%s\", \"shape\": [", i > 0 ? "," : "", tensor->name);
        for (int d = 0; d < tensor->dim_count; d++)
            text_print(out, "%s%" PRId64, d > 0 ? ", " : "", tensor->shape[d]);
        text_print(out, "], \"offset\": %" PRId64 "}", tensor->offset);
    }
    text_print(out, "\n],\n");
}

static void health_print(struct text *out, const struct ckpt_health *health)
{
    if (!health->known)
        return;
    text_print(out,
               "\"health\": {\"mean\": %.17g, \"variance\": %.17g, \"seen\": %" PRId64
               ", \"skipped\": %" PRId64 ", \"rollbacks\": %" PRId64 ", \"data_offset\": %" PRId64
               ", \"bad_step\": %" PRId64 ", \"tries\": %" PRId64 "},\n",
               health->mean, health->variance, health->seen, health->skipped, health->rollbacks,
               health->data_offset, health->bad_step, health->tries);
}

static void data_print(struct text *out, const struct ckpt_data *data)
{
    char digits[HASH_TEXT_SIZE];
    if (!data->known)
        return;
    hash_format(data->hash, digits);
    text_print(out, "\"data\": {\"samples\": %" PRId64 ", \"files\": %d, \"xxh3\": \"%s\"},\n",
               data->sample_count, data->file_count, digits);
}

static enum muster_status manifest_print(struct text *out, const struct ckpt_layout *layout,
                                         const struct ckpt_identity *identity, struct hash128 state_hash,
                                         const char *const *records, struct muster_error *err)
{
    char digits[HASH_TEXT_SIZE];
    text_print(out, "{\n\"format\": \"" CKPT_FORMAT_NAME "\",\n\"version\": %d,\n", CKPT_FORMAT_VERSION);
    text_print(out, "\"step\": %" PRId64 ",\n\"tokens_seen\": %" PRId64 ",\n\"writer_count\": %d,\n",
               identity->step, identity->tokens_seen, identity->writer_count);
    if (identity->loss_scale.scale > 0.0)
        text_print(out, "\"loss_scale\": {\"scale\": %.17g, \"good_steps\": %" PRId64 "},\n",
                   identity->loss_scale.scale, identity->loss_scale.good_steps);
    if (identity->validation.known && isfinite(identity->validation.loss))
        text_print(out, "\"validation_loss\": %.17g,\n", identity->validation.loss);
    health_print(out, &identity->health);
    data_print(out, &identity->data);
    hash_print(out, "state_hash", state_hash);
    hash_print(out, "job_hash", identity->job);
    enum muster_status status = string_print(out, "job_yaml", identity->job_yaml, err);
    if (status == MUSTER_OK)
        status = string_print(out, "numerics", identity->numerics, err);
    if (status != MUSTER_OK)
        return status;
    layout_print(out, layout);
    text_print(out, "\"shards\": [");
    for (int i = 0; i < identity->writer_count; i++) {
        text_print(out, "%s\n", i > 0 ? "," : "");
        text_append(out, records[i], strlen(records[i]));
    }
    text_print(out, "\n],\n");
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the MANIFEST of step %" PRId64,
                                identity->step);
    hash_format(hash_xxh3(out->data, out->length), digits);
    text_print(out, "\"manifest_xxh3\": \"%s\"\n}\n", digits);
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the MANIFEST of step %" PRId64,
                                identity->step);
    return MUSTER_OK;
}

/* Only a checkpoint that opens may be committed. \param folder  NULL: its shards are not looked at */
static enum muster_status manifest_rehearse(const struct text *text, const char *folder,
                                            struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    enum muster_status status = ckpt_manifest_parse(text->data, text->length, CKPT_MANIFEST_NAME, &ckpt, err);
    if (status == MUSTER_OK && folder != NULL) {
        snprintf(ckpt->folder, sizeof ckpt->folder, "%s", folder);
        status = ckpt_shards_measure(ckpt, err);
    }
    ckpt_close(ckpt);
    if (status != MUSTER_ERR_CORRUPT || err == NULL)
        return status;
    return muster_error_set(err, MUSTER_ERR_INTERNAL,
                            "refusing to commit a checkpoint that would not open: %.900s", err->text);
}

static enum muster_status manifest_compose(const char *folder, const struct ckpt_layout *layout,
                                           const struct ckpt_identity *identity, struct hash128 state_hash,
                                           const char *const *records, struct text *out,
                                           struct muster_error *err)
{
    if (identity->writer_count < 1 || identity->writer_count > CKPT_WRITERS_MAX)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "a checkpoint of %d writers",
                                identity->writer_count);
    enum muster_status status = ckpt_layout_check(layout, MUSTER_ERR_INTERNAL, "checkpoint layout", err);
    if (status == MUSTER_OK)
        status = manifest_print(out, layout, identity, state_hash, records, err);
    return status == MUSTER_OK ? manifest_rehearse(out, folder, err) : status;
}

enum muster_status ckpt_manifest_compose(const struct ckpt_layout *layout,
                                         const struct ckpt_identity *identity, struct hash128 state_hash,
                                         const char *const *records, struct text *out,
                                         struct muster_error *err)
{
    return manifest_compose(NULL, layout, identity, state_hash, records, out, err);
}

/* The last question before a commit. */
static enum muster_status manifest_allow(const struct ckpt_fence *fence, struct muster_error *err)
{
    return fence->folder != NULL ? epoch_check(fence->folder, fence->epoch, err) : MUSTER_OK;
}

enum muster_status ckpt_manifest_write(const char *folder, const struct ckpt_layout *layout,
                                       const struct ckpt_identity *identity, struct hash128 state_hash,
                                       const char *const *records, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct text text;
    text_init(&text);
    enum muster_status status = fs_path_join(path, folder, CKPT_MANIFEST_NAME, err);
    if (status == MUSTER_OK)
        status = manifest_compose(folder, layout, identity, state_hash, records, &text, err);
    if (status == MUSTER_OK)
        status = manifest_allow(&identity->fence, err);
    if (status == MUSTER_OK)
        status = fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    return status;
}
