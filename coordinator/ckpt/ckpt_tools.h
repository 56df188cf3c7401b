/* SPDX-License-Identifier: MIT
 *
 * The verbs `muster ckpt inspect | diff | prune | export | import`: what they do and what they say. They
 * stand on ckpt.h and, unlike it, know jobs and models; no MPI, no device. `out` receives lines for a person
 * (or JSON) and is filled as far as the work got also when it fails.
 */
#ifndef MUSTER_COORDINATOR_CKPT_TOOLS_H
#define MUSTER_COORDINATOR_CKPT_TOOLS_H

#include "base/dtype.h"
#include "base/fs.h"
#include "coordinator/ckpt/ckpt.h"
#include "coordinator/job/job.h"

/** `path` itself when it holds a MANIFEST; in a run or a folder of checkpoints the newest that is committed.
 * BAD_INPUT when there is none. */
enum muster_status ckpt_locate(const char *path, char folder[FS_PATH_MAX], struct muster_error *err);

/** The folder of checkpoints that `path` is or, being the folder of a run, has. */
enum muster_status ckpt_locate_dir(const char *path, char dir[FS_PATH_MAX], struct muster_error *err);

/** A copy without trailing slashes, so that what is printed looks as it was meant. */
enum muster_status ckpt_path_trim(char out[FS_PATH_MAX], const char *path, struct muster_error *err);

/** ckpt_command_list, and below it the copies on the nodes' own disks that this host can see, where the run's
 * job has checkpoint.local_dir. Fine too when there are only those. */
enum muster_status ckpt_command_ls(const char *path, struct text *out, struct muster_error *err);

struct ckpt_inspect_options {
    bool tensors; /* reads all data and adds the table of tensors */
    bool json;
};
enum muster_status ckpt_command_inspect(const char *path, const struct ckpt_inspect_options *options,
                                        struct text *out, struct muster_error *err);

/**
 * Compares step, kinds, tensors and job keys of two checkpoints. \param tolerance  elements whose absolute or
 * relative difference is at most this count as equal; 0 = the bits are compared \param equal  out: the states
 * are; job keys do not count
 */
enum muster_status ckpt_command_diff(const char *first, const char *second, double tolerance, bool *equal,
                                     struct text *out, struct muster_error *err);

struct ckpt_prune_options {
    int64_t keep_last, keep_every, keep_best; /* as in ckpt_retention.h */
    bool dry_run;
};

/**
 * Verifies what is to stay, then removes the rest: a rename to a hidden name, then the files. What an earlier
 * one that was interrupted left under hidden names goes too. \return CORRUPT after the work was done when a
 * checkpoint that should stay does not verify.
 */
enum muster_status ckpt_command_prune(const char *path, const struct ckpt_prune_options *options,
                                      struct text *out, struct muster_error *err);

enum ckpt_export_format { CKPT_EXPORT_HF = 0, CKPT_EXPORT_NPZ, CKPT_EXPORT_H5, CKPT_EXPORT_FORMAT_COUNT };

struct ckpt_export_options {
    enum ckpt_export_format format;
    enum dtype dtype; /* DTYPE_F32; DTYPE_BF16 with hf only */
    const char *output;
};

/** Writes the weights of a checkpoint, verified first, for other programs. `output` must not exist. */
enum muster_status ckpt_command_export(const char *path, const struct ckpt_export_options *options,
                                       struct text *out, struct muster_error *err);

/** "hf", "npz", "h5". */
const char *ckpt_export_format_name(enum ckpt_export_format format);

/**
 * A Hugging Face folder into a checkpoint of step 0 for this job. \param config  the job's model
 * \param output  the checkpoint's folder, absent or empty; NULL: step 0 in the job's checkpoint folder, which
 * must have no committed checkpoint yet \param problems  a line for each key or tensor that does not fit
 */
enum muster_status ckpt_command_import(const char *folder, const struct job *job,
                                       const struct model_config *config, const char *output,
                                       struct text *out, struct text *problems, struct muster_error *err);

#endif
