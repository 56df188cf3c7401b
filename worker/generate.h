/* SPDX-License-Identifier: MIT
 *
 * Text from a checkpoint: one rank, sampling with temperature and top-k.
 */
#ifndef MUSTER_WORKER_GENERATE_H
#define MUSTER_WORKER_GENERATE_H

#include "base/error.h"
#include "base/text.h"

struct generate_options {
    const char
        *path; /* a checkpoint folder, a folder of checkpoints or a run folder: the newest that verifies */
    const char *prompt; /* bytes; "" starts from a newline */
    int64_t token_count;
    double temperature; /* 0 = always the most likely */
    int64_t top_k;      /* 0 = all */
    uint64_t seed;
};

/**
 * Appends the prompt and the generated text to `out`: bytes for a vocabulary of 256, token numbers otherwise.
 * The same options give the same text.
 */
enum muster_status generate_run(const struct generate_options *options, struct text *out,
                                struct muster_error *err);

#endif
