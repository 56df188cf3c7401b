/* SPDX-License-Identifier: MIT
 *
 * The machine code inside a plan of cuDNN, as its JSON text carries it: does it add to memory out of order?
 * The library's own notes do not tell; its instructions do.
 */
#ifndef MUSTER_TESTS_CUDA_SDPA_CODE_H
#define MUSTER_TESTS_CUDA_SDPA_CODE_H

struct sdpa_code_counts {
    int instructions; /* of all kernels in the text */
    int reductions;   /* that add to memory, in whatever order threads get there */
};

/** `json` is zero-terminated. Counts nothing where it carries no code that can be read. */
struct sdpa_code_counts sdpa_code_count(const char *json);

#endif
