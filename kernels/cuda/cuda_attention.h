/* SPDX-License-Identifier: MIT
 *
 * Attention by a library, without naming it: what cuda_sdpa.c implements with cuDNN, and cuda_sdpa_none.c
 * where the plug-in is built without.
 */
#ifndef MUSTER_KERNELS_CUDA_ATTENTION_H
#define MUSTER_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/cuda_internal.h"

/** NULL without error where there is no library. */
enum muster_status cuda_sdpa_create(cudaStream_t stream, struct cuda_sdpa **out, struct muster_error *err);
/** Takes NULL. */
void cuda_sdpa_destroy(struct cuda_sdpa *sdpa);

/** The library's name and version, for the numerics text. */
void cuda_sdpa_describe(char *text, size_t size);

/** As kernels.h; no choices where there is no library. */
bool cuda_sdpa_choice(const struct cuda_sdpa *sdpa, int index, char *text, size_t size);

/** As the operations of kernels.h; UNSUPPORTED, with nothing launched, where plain kernels must do it. */
enum muster_status cuda_sdpa_forward(struct cuda_kernels *k, const struct attention_args *a,
                                     struct muster_error *err);
enum muster_status cuda_sdpa_backward(struct cuda_kernels *k, const struct attention_args *a,
                                      struct muster_error *err);

#endif
