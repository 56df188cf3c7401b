/* SPDX-License-Identifier: MIT
 *
 * The weights under muster's own names and shapes: numpy.load("weights.npz")["token_table"].
 */
#include "coordinator/ckpt/ckpt_export_internal.h"
#include "coordinator/ckpt/npz_write.h"

enum muster_status ckpt_export_npz(struct ckpt_export *export, struct muster_error *err)
{
    const struct ckpt_layout *layout = ckpt_layout(export->ckpt);
    struct npz_writer writer;
    int64_t bytes = 0;
    for (int i = 0; i < layout->tensor_count; i++)
        bytes += layout->tensors[i].count * (int64_t)sizeof(float);
    enum muster_status status = npz_writer_open(&writer, export->options->output, bytes, err);
    for (int i = 0; i < layout->tensor_count && status == MUSTER_OK; i++) {
        const struct ckpt_tensor *tensor = &layout->tensors[i];
        status =
            ckpt_read(export->ckpt, 0, tensor->offset, tensor->offset + tensor->count, export->values, err);
        if (status == MUSTER_OK)
            status = npz_writer_add(&writer, tensor->name, tensor->shape, tensor->dim_count, export->values,
                                    tensor->count, err);
    }
    if (status == MUSTER_OK)
        status = npz_writer_finish(&writer, err);
    export->file_bytes = writer.file.written_bytes;
    export->array_count = layout->tensor_count;
    npz_writer_abort(&writer);
    return status;
}
