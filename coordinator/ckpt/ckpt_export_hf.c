/* SPDX-License-Identifier: MIT
 *
 * A folder that transformers' from_pretrained() loads. config.json is written last: without it the folder is
 * no model, so one that an interruption left is not taken for one.
 */
#include "coordinator/ckpt/ckpt_export_internal.h"

#include "base/alloc.h"
#include "coordinator/ckpt/hf_config.h"
#include "coordinator/ckpt/hf_map.h"
#include "coordinator/ckpt/safetensors_write.h"

static enum muster_status part_write(struct ckpt_export *export, struct fs_writer *writer,
                                     const struct hf_part *part, struct muster_error *err)
{
    float *values = export->values, *other = export->other;
    enum muster_status status =
        ckpt_read(export->ckpt, 0, part->offset, part->offset + part->count, values, err);
    if (status != MUSTER_OK)
        return status;
    if (part->transposed) {
        hf_transpose(values, part->rows, part->columns, other);
        values = export->other;
        other = export->values;
    }
    return safetensors_values_write(writer, export->options->dtype, values, part->count,
                                    (uint16_t *)(void *)other, err);
}

static enum muster_status header_print(const struct hf_map *map, enum dtype dtype, struct text *header,
                                       int64_t *data_bytes, struct muster_error *err)
{
    struct safetensors_item *items = alloc_zeroed((size_t)map->count, sizeof *items);
    if (items == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d names", map->count);
    for (int i = 0; i < map->count; i++) {
        const struct hf_part *part = &map->parts[i];
        items[i] = (struct safetensors_item){part->name, part->dim_count, {part->shape[0], part->shape[1]}};
    }
    enum muster_status status = safetensors_header_print(header, items, map->count, dtype, data_bytes, err);
    alloc_free(items);
    return status;
}

static enum muster_status weights_write(struct ckpt_export *export, const struct hf_map *map,
                                        struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct fs_writer writer = {.fd = -1};
    struct text header;
    int64_t data_bytes = 0;
    text_init(&header);
    enum muster_status status = fs_path_join(path, export->options->output, "model.safetensors", err);
    if (status == MUSTER_OK)
        status = header_print(map, export->options->dtype, &header, &data_bytes, err);
    if (status == MUSTER_OK)
        status = fs_writer_open(&writer, path, (int64_t)header.length + data_bytes, err);
    if (status == MUSTER_OK)
        status = fs_writer_write(&writer, header.data, header.length, err);
    for (int i = 0; i < map->count && status == MUSTER_OK; i++)
        status = part_write(export, &writer, &map->parts[i], err);
    export->file_bytes = writer.written_bytes;
    export->array_count = map->count;
    if (status == MUSTER_OK)
        status = fs_writer_finish(&writer, err);
    fs_writer_abort(&writer);
    text_release(&header);
    return status;
}

static enum muster_status text_write(const char *folder, const char *name, const struct text *text,
                                     struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, folder, name, err);
    return status == MUSTER_OK ? fs_file_write(path, text->data, text->length, err) : status;
}

static enum muster_status configs_write(const struct ckpt_export *export, const struct model_config *config,
                                        struct muster_error *err)
{
    struct text model, generation;
    const char *folder = export->options->output;
    text_init(&model);
    text_init(&generation);
    enum muster_status status = hf_config_print(config, export->options->dtype, &model, err);
    if (status == MUSTER_OK)
        status = hf_generation_print(config, &generation, err);
    if (status == MUSTER_OK)
        status = text_write(folder, "generation_config.json", &generation, err);
    if (status == MUSTER_OK)
        status = text_write(folder, "config.json", &model, err);
    text_release(&model);
    text_release(&generation);
    return status;
}

enum muster_status ckpt_export_hf(struct ckpt_export *export, struct muster_error *err)
{
    struct hf_map map;
    struct model_config config = job_model_config(export->job);
    enum muster_status status =
        hf_map_create(&config, ckpt_layout(export->ckpt), "the checkpoint", &map, err);
    if (status != MUSTER_OK)
        goto out;
    status = fs_folder_create(export->options->output, err);
    if (status == MUSTER_OK)
        status = weights_write(export, &map, err);
    if (status == MUSTER_OK)
        status = configs_write(export, &config, err);
    if (status != MUSTER_OK)
        fs_remove_tree(export->options->output, NULL); /* it was not there before */
out:
    hf_map_release(&map);
    return status;
}
