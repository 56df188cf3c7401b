/* SPDX-License-Identifier: MIT
 *
 * The tensors of a Hugging Face folder, by name, from one model.safetensors or the shards of a
 * model.safetensors.index.json. Only safetensors: nothing is ever unpickled.
 */
#ifndef MUSTER_COORDINATOR_HF_SOURCE_H
#define MUSTER_COORDINATOR_HF_SOURCE_H

#include "base/fs.h"
#include "coordinator/ckpt/safetensors.h"

struct hf_file {
    char path[FS_PATH_MAX];
    int fd;
    struct safetensors_header header;
};

struct hf_tensor {
    const struct safetensors_entry *entry;
    const struct hf_file *file;
    bool used; /* the caller's mark */
};

struct hf_source {
    struct hf_file *files;
    int file_count;
    struct hf_tensor *tensors; /* sorted by name */
    int tensor_count;
};

/** Opens the files and checks their headers, no data. \return BAD_INPUT when there are none; CORRUPT names
 * the file. Release also after failure. */
enum muster_status hf_source_open(const char *folder, struct hf_source *source, struct muster_error *err);
void hf_source_release(struct hf_source *source);

/** NULL when there is none of this name. */
struct hf_tensor *hf_source_find(const struct hf_source *source, const char *name);

/** Elements [begin, begin + count), converted from F32, BF16 or F16; UNSUPPORTED for other types. */
enum muster_status hf_tensor_read(const struct hf_tensor *tensor, int64_t begin, int64_t count, float *out,
                                  struct muster_error *err);

#endif
