/* SPDX-License-Identifier: MIT
 *
 * In place of cuda_sdpa.c where the plug-in is built without cuDNN: there is no instance, and every shape is
 * the plain kernels'.
 */
#include "kernels/cuda/cuda_attention.h"

#include <stdio.h>

enum muster_status cuda_sdpa_create(cudaStream_t stream, struct cuda_sdpa **out, struct muster_error *err)
{
    (void)stream;
    (void)err;
    *out = NULL;
    return MUSTER_OK;
}

void cuda_sdpa_destroy(struct cuda_sdpa *sdpa)
{
    (void)sdpa;
}

void cuda_sdpa_describe(char *text, size_t size)
{
    snprintf(text, size, "no cuDNN");
}

bool cuda_sdpa_choice(const struct cuda_sdpa *sdpa, int index, char *text, size_t size)
{
    (void)sdpa;
    (void)index;
    (void)text;
    (void)size;
    return false;
}

static enum muster_status cuda_sdpa_missing(struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: built without cuDNN");
}

enum muster_status cuda_sdpa_forward(struct cuda_kernels *k, const struct attention_args *a,
                                     struct muster_error *err)
{
    (void)k;
    (void)a;
    return cuda_sdpa_missing(err);
}

enum muster_status cuda_sdpa_backward(struct cuda_kernels *k, const struct attention_args *a,
                                      struct muster_error *err)
{
    (void)k;
    (void)a;
    return cuda_sdpa_missing(err);
}
