/* SPDX-License-Identifier: MIT
 *
 * Attention goes to the library where it has an engine for the shape, and to the plain kernels otherwise.
 * Both write and read the same log-sum-exp, so forward and backward are chosen each for itself; the choice
 * depends on the shape and the machine only.
 */
#include "kernels/cuda/cuda_attention.h"

enum muster_status cuda_attention_forward(struct kernels *k, const struct attention_args *a,
                                          struct muster_error *err)
{
    enum muster_status status = cuda_sdpa_forward(cuda_kernels_from(k), a, err);
    return status == MUSTER_ERR_UNSUPPORTED ? cuda_attention_forward_plain(k, a, err) : status;
}

enum muster_status cuda_attention_backward(struct kernels *k, const struct attention_args *a,
                                           struct muster_error *err)
{
    enum muster_status status = cuda_sdpa_backward(cuda_kernels_from(k), a, err);
    return status == MUSTER_ERR_UNSUPPORTED ? cuda_attention_backward_plain(k, a, err) : status;
}
