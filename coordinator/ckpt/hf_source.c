/* SPDX-License-Identifier: MIT
 *
 * A file named by an index is one more word of a stranger: it must be a plain name in the same folder. What
 * the index claims is compared with what the files hold.
 */
#include "coordinator/ckpt/hf_source.h"

#include "base/alloc.h"
#include "base/dtype.h"
#include "coordinator/ckpt/ckpt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    INDEX_BYTES_MAX = 64 << 20,
    INDEX_DEPTH_MAX = 8,
    INDEX_VALUES_MAX = 4 << 20,
    FILES_MAX = 4096,
    BLOCK_ELEMENTS = 1 << 12
};

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

static enum muster_status file_open(struct hf_file *file, const char *folder, const char *name,
                                    struct muster_error *err)
{
    unsigned char first[SAFETENSORS_LENGTH_BYTES];
    int64_t size = 0;
    file->fd = -1;
    enum muster_status status = fs_path_join(file->path, folder, name, err);
    if (status != MUSTER_OK)
        return status;
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0)
        return muster_error_set_errno(err, errno, "open %s", file->path);
    int64_t bytes = fs_file_size(file->path);
    if (bytes < SAFETENSORS_LENGTH_BYTES)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: only %" PRId64 " bytes", file->path, bytes);
    status = ckpt_file_read(file->fd, file->path, 0, first, sizeof first, err);
    if (status == MUSTER_OK)
        status = safetensors_header_size(first, bytes, file->path, &size, err);
    if (status != MUSTER_OK)
        return status;
    unsigned char *header = alloc_zeroed((size_t)size, 1);
    if (header == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for its header", file->path);
    status = ckpt_file_read(file->fd, file->path, 0, header, size, err);
    if (status == MUSTER_OK)
        status = safetensors_header_parse(&file->header, header, size, bytes, file->path, err);
    alloc_free(header);
    return status;
}

static bool file_name_is_plain(const char *name)
{
    size_t length = strlen(name), ending = strlen(".safetensors");
    return length > ending && length < 256 && strcmp(name + length - ending, ".safetensors") == 0 &&
           name[0] != '.' && strchr(name, '/') == NULL;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct values of the weight map, sorted; they point into `map`. */
static enum muster_status index_files(const json_t *map, const char *path, const char ***out, int *count,
                                      struct muster_error *err)
{
    const char *key;
    json_t *value;
    size_t length = 0;
    const char **names = alloc_zeroed(json_object_size(map), sizeof *names);
    *out = names;
    *count = 0;
    if (names == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for it", path);
    json_object_foreach((json_t *)map, key, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || !file_name_is_plain(name))
            return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                    "%s: the file of tensor %.100s is no plain name of a .safetensors file",
                                    path, key);
        names[length++] = name;
    }
    qsort(names, length, sizeof *names, name_compare);
    for (size_t i = 0; i < length; i++) {
        if (*count == 0 || strcmp(names[*count - 1], names[i]) != 0)
            names[(*count)++] = names[i];
    }
    if (*count == 0 || *count > FILES_MAX)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: it names %d files, from 1 to %d are possible",
                                path, *count, FILES_MAX);
    return MUSTER_OK;
}

static enum muster_status files_open(struct hf_source *source, const char *folder, const char *const *names,
                                     int count, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    source->files = alloc_zeroed((size_t)count, sizeof *source->files);
    if (source->files == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %d files", folder, count);
    for (int i = 0; i < count && status == MUSTER_OK; i++) {
        source->file_count++;
        status = file_open(&source->files[i], folder, names[i], err);
    }
    return status;
}

static int tensor_compare(const void *a, const void *b)
{
    const struct hf_tensor *x = a, *y = b;
    return strcmp(x->entry->name, y->entry->name);
}

static enum muster_status tensors_collect(struct hf_source *source, struct muster_error *err)
{
    size_t count = 0;
    for (int i = 0; i < source->file_count; i++)
        count += (size_t)source->files[i].header.count;
    source->tensors = alloc_zeroed(count, sizeof *source->tensors);
    if (source->tensors == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %zu tensors", count);
    for (int i = 0; i < source->file_count; i++) {
        const struct hf_file *file = &source->files[i];
        for (int j = 0; j < file->header.count; j++)
            source->tensors[source->tensor_count++] =
                (struct hf_tensor){.entry = &file->header.entries[j], .file = file};
    }
    qsort(source->tensors, count, sizeof *source->tensors, tensor_compare);
    for (int i = 1; i < source->tensor_count; i++) {
        const struct hf_tensor *before = &source->tensors[i - 1], *tensor = &source->tensors[i];
        if (strcmp(before->entry->name, tensor->entry->name) == 0)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "tensor %.100s is in %s and again in %s",
                                    tensor->entry->name, before->file->path, tensor->file->path);
    }
    return MUSTER_OK;
}

/* Each tensor lies where the index says, and there are no others. */
static enum muster_status index_compare(const struct hf_source *source, const json_t *map, const char *path,
                                        struct muster_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        const struct hf_tensor *tensor = hf_source_find(source, key);
        const char *slash = tensor != NULL ? strrchr(tensor->file->path, '/') : NULL;
        const char *file = slash != NULL ? slash + 1 : tensor != NULL ? tensor->file->path : "";
        if (strcmp(file, json_string_value(value)) != 0)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: tensor %.100s is not in %.255s", path, key,
                                    json_string_value(value));
    }
    if ((size_t)source->tensor_count != json_object_size(map))
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: it lists %zu tensors, its files hold %d", path,
                                json_object_size(map), source->tensor_count);
    return MUSTER_OK;
}

static enum muster_status index_open(struct hf_source *source, const char *folder, const char *path,
                                     struct muster_error *err)
{
    char *bytes = NULL;
    size_t size = 0;
    json_t *root = NULL;
    const char **names = NULL;
    int count = 0;
    enum muster_status status = fs_file_read(path, INDEX_BYTES_MAX, &bytes, &size, err);
    if (status == MUSTER_OK)
        status = ckpt_json_parse(bytes, size, INDEX_DEPTH_MAX, INDEX_VALUES_MAX, path, &root, err);
    alloc_free(bytes);
    const json_t *map = json_object_get(root, "weight_map");
    if (status == MUSTER_OK && !json_is_object(map))
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: it has no object weight_map", path);
    if (status == MUSTER_OK)
        status = index_files(map, path, &names, &count, err);
    if (status == MUSTER_OK)
        status = files_open(source, folder, names, count, err);
    if (status == MUSTER_OK)
        status = tensors_collect(source, err);
    if (status == MUSTER_OK)
        status = index_compare(source, map, path, err);
    alloc_free(names);
    json_decref(root);
    return status;
}

enum muster_status hf_source_open(const char *folder, struct hf_source *source, struct muster_error *err)
{
    char single[FS_PATH_MAX], index[FS_PATH_MAX];
    const char *const names[] = {single_name};
    *source = (struct hf_source){.files = NULL};
    enum muster_status status = fs_path_join(single, folder, single_name, err);
    if (status == MUSTER_OK)
        status = fs_path_join(index, folder, index_name, err);
    if (status != MUSTER_OK)
        return status;
    if (!fs_exists(single) && fs_exists(index))
        return index_open(source, folder, index, err);
    if (!fs_exists(single))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: neither %s nor %s is there (only safetensors are read, no .bin)", folder,
                                single_name, index_name);
    status = files_open(source, folder, names, 1, err);
    return status == MUSTER_OK ? tensors_collect(source, err) : status;
}

void hf_source_release(struct hf_source *source)
{
    for (int i = 0; i < source->file_count; i++) {
        safetensors_header_release(&source->files[i].header);
        if (source->files[i].fd >= 0)
            close(source->files[i].fd);
    }
    alloc_free(source->files);
    alloc_free(source->tensors);
    *source = (struct hf_source){.files = NULL};
}

struct hf_tensor *hf_source_find(const struct hf_source *source, const char *name)
{
    const struct safetensors_entry entry = {.name = name};
    const struct hf_tensor key = {.entry = &entry};
    if (source->tensor_count == 0)
        return NULL;
    return bsearch(&key, source->tensors, (size_t)source->tensor_count, sizeof key, tensor_compare);
}

/* IEEE 754 binary16: every value of it is a float. */
static float f32_from_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude;
    if (exponent == 31)
        magnitude = fraction != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = ldexpf((float)fraction, -24);
    else
        magnitude = ldexpf((float)(fraction + 1024), exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

static enum muster_status halves_read(const struct hf_tensor *tensor, int64_t begin, int64_t count,
                                      float *out, float (*convert)(uint16_t), struct muster_error *err)
{
    uint16_t block[BLOCK_ELEMENTS];
    const int64_t block_count = sizeof block / sizeof block[0];
    int64_t at = tensor->file->header.data_begin + tensor->entry->begin + begin * (int64_t)sizeof block[0];
    while (count > 0) {
        int64_t part = count < block_count ? count : block_count;
        enum muster_status status = ckpt_file_read(tensor->file->fd, tensor->file->path, at, block,
                                                   part * (int64_t)sizeof block[0], err);
        if (status != MUSTER_OK)
            return status;
        for (int64_t i = 0; i < part; i++)
            out[i] = convert(block[i]);
        out += part;
        at += part * (int64_t)sizeof block[0];
        count -= part;
    }
    return MUSTER_OK;
}

enum muster_status hf_tensor_read(const struct hf_tensor *tensor, int64_t begin, int64_t count, float *out,
                                  struct muster_error *err)
{
    const char *dtype = tensor->entry->dtype;
    if (strcmp(dtype, "BF16") == 0)
        return halves_read(tensor, begin, count, out, dtype_f32_from_bf16, err);
    if (strcmp(dtype, "F16") == 0)
        return halves_read(tensor, begin, count, out, f32_from_f16, err);
    if (strcmp(dtype, "F32") != 0)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "%s: tensor %.100s is %s; F32, BF16 and F16 are read", tensor->file->path,
                                tensor->entry->name, dtype);
    return ckpt_file_read(tensor->file->fd, tensor->file->path,
                          tensor->file->header.data_begin + tensor->entry->begin +
                              begin * (int64_t)sizeof *out,
                          out, count * (int64_t)sizeof *out, err);
}
