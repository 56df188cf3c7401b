/* SPDX-License-Identifier: MIT
 *
 * What the formats of `muster ckpt export` share: an opened, verified checkpoint and its job.
 */
#ifndef MUSTER_COORDINATOR_CKPT_EXPORT_INTERNAL_H
#define MUSTER_COORDINATOR_CKPT_EXPORT_INTERNAL_H

#include "coordinator/ckpt/ckpt_tools.h"

struct ckpt_export {
    const struct ckpt *ckpt;
    const struct job *job; /* NULL for the formats that need none */
    const struct ckpt_export_options *options;
    float *values, *other; /* each as long as the longest tensor */
    int64_t file_bytes;    /* out: of what was written */
    int array_count;       /* out */
};

enum muster_status ckpt_export_hf(struct ckpt_export *export, struct muster_error *err);
enum muster_status ckpt_export_npz(struct ckpt_export *export, struct muster_error *err);
/** UNSUPPORTED in a build without HDF5. */
enum muster_status ckpt_export_h5(struct ckpt_export *export, struct muster_error *err);

#endif
