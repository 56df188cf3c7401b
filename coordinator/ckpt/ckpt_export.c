/* SPDX-License-Identifier: MIT
 *
 * `muster ckpt export`: the weights, without the optimizer's state, for other programs. The checkpoint is
 * verified first, because what leaves here carries no hashes any more. One tensor at a time is in memory.
 */
#include "coordinator/ckpt/ckpt_export_internal.h"

#include "base/alloc.h"

#include <string.h>

static const char *const format_names[CKPT_EXPORT_FORMAT_COUNT] = {"hf", "npz", "h5"};

const char *ckpt_export_format_name(enum ckpt_export_format format)
{
    return format_names[format];
}

static enum muster_status options_check(const struct ckpt_export_options *options, struct muster_error *err)
{
    if (options->dtype != DTYPE_F32 && options->format != CKPT_EXPORT_HF)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "--dtype bf16 is for --format hf: %s has no such type",
                                format_names[options->format]);
    if (fs_exists(options->output))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is already there; nothing is overwritten",
                                options->output);
    return MUSTER_OK;
}

static enum muster_status job_read(const struct ckpt *ckpt, const char *folder, struct job **out,
                                   struct muster_error *err)
{
    struct job_report report;
    const char *yaml = ckpt_job_yaml(ckpt);
    job_report_init(&report);
    enum muster_status status = job_parse("job_yaml", yaml, strlen(yaml), &report, out, err);
    if (status == MUSTER_ERR_BAD_INPUT)
        status =
            muster_error_set(err, MUSTER_ERR_CORRUPT,
                             "%s: the job stored in it cannot be read, so its model is not known: %.600s",
                             folder, report.errors.data);
    job_report_release(&report);
    return status;
}

static enum muster_status buffers_create(struct ckpt_export *export, struct muster_error *err)
{
    const struct ckpt_layout *layout = ckpt_layout(export->ckpt);
    int64_t longest = 1;
    for (int i = 0; i < layout->tensor_count; i++)
        longest = layout->tensors[i].count > longest ? layout->tensors[i].count : longest;
    export->values = alloc_zeroed((size_t)longest, sizeof *export->values);
    export->other = alloc_zeroed((size_t)longest, sizeof *export->other);
    if (export->values == NULL || export->other == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a tensor of %lld elements",
                                (long long)longest);
    return MUSTER_OK;
}

static enum muster_status export_run(struct ckpt_export *export, struct muster_error *err)
{
    switch (export->options->format) {
    case CKPT_EXPORT_HF:
        return ckpt_export_hf(export, err);
    case CKPT_EXPORT_NPZ:
        return ckpt_export_npz(export, err);
    default:
        return ckpt_export_h5(export, err);
    }
}

enum muster_status ckpt_command_export(const char *path, const struct ckpt_export_options *options,
                                       struct text *out, struct muster_error *err)
{
    char folder[FS_PATH_MAX], size[32];
    struct ckpt *ckpt = NULL;
    struct job *job = NULL;
    struct ckpt_export export = {.options = options};
    enum muster_status status = options_check(options, err);
    if (status == MUSTER_OK)
        status = ckpt_locate(path, folder, err);
    if (status == MUSTER_OK)
        status = ckpt_open(folder, &ckpt, err);
    if (status == MUSTER_OK)
        status = ckpt_verify(ckpt, err);
    if (status == MUSTER_OK && options->format == CKPT_EXPORT_HF)
        status = job_read(ckpt, folder, &job, err);
    export.ckpt = ckpt;
    export.job = job;
    if (status == MUSTER_OK)
        status = buffers_create(&export, err);
    if (status == MUSTER_OK)
        status = export_run(&export, err);
    if (status == MUSTER_OK) {
        text_format_bytes(size, sizeof size, export.file_bytes);
        text_print(out, "%s: %d tensors, %s, step %lld of %s\n", options->output, export.array_count, size,
                   (long long)ckpt_step(ckpt), folder);
    }
    alloc_free(export.values);
    alloc_free(export.other);
    job_destroy(job);
    ckpt_close(ckpt);
    return status;
}
