/* SPDX-License-Identifier: MIT
 *
 * The output head and its loss, chunk_rows rows of logits at a time. The work block of a 16-bit job
 * (ops_device_head_loss_bytes) is used in one of two ways:
 *
 *   small vocabularies   fp32 logits, and behind them the gradient rounded for the products: two classes tie
 *                        only where they really do, so accuracy means what it says;
 *   large vocabularies   (language models) logits in the job's dtype, becoming their gradient in place: a
 *                        third of the memory and half the traffic of the largest array of the step. Rows are
 *                        padded to whole 16-byte pieces, which products want.
 *
 * fp32 jobs have one block of fp32 logits.
 */
#include "kernels/cuda/cuda_gemm.h"

struct cuda_head {
    struct kernels *k;
    const struct head_loss_args *a;
    enum dtype logits_dtype;
    int64_t stride;     /* elements from one row of logits to the next */
    int64_t from, rows; /* of the current chunk */
    void *logits;
    void *dlogits; /* in the job's dtype; the same block where logits have it */
};

static const void *cuda_head_at(const struct cuda_head *h, const void *array, int64_t element)
{
    return (const char *)array + element * (int64_t)dtype_size(h->a->dtype);
}

static struct cuda_head cuda_head_of(struct kernels *k, const struct head_loss_args *a)
{
    struct cuda_head h = {.k = k, .a = a, .logits_dtype = DTYPE_F32, .stride = a->vocabulary};
    h.logits = h.dlogits = a->work;
    if (a->dtype == DTYPE_F32)
        return h;
    if (a->vocabulary >= OPS_HEAD_LARGE_VOCABULARY) {
        h.logits_dtype = a->dtype;
        h.stride = ops_head_stride(a->vocabulary);
    } else {
        h.dlogits = (float *)a->work + a->chunk_rows * a->vocabulary;
    }
    return h;
}

static enum muster_status cuda_head_logits(const struct cuda_head *h, struct muster_error *err)
{
    const struct head_loss_args *a = h->a;
    struct cuda_product p = {.in = a->dtype, .out = h->logits_dtype, .transpose_b = true};
    p.m = h->rows, p.n = a->vocabulary, p.k = a->width;
    p.a = cuda_head_at(h, a->x, h->from * a->width), p.a_stride = a->width;
    p.b = a->w, p.b_stride = a->width;
    p.c = h->logits, p.c_stride = h->stride;
    return cuda_gemm_run(cuda_kernels_from(h->k), &p, err);
}

static enum muster_status cuda_head_losses(const struct cuda_head *h, struct muster_error *err)
{
    const struct head_loss_args *a = h->a;
    const struct cuda_cross_entropy_args loss = {
        .dtype = h->logits_dtype,
        .rows = h->rows,
        .vocabulary = a->vocabulary,
        .stride = h->stride,
        .logits = h->logits,
        .bias = a->bias,
        .bias_dtype = a->dtype,
        .targets = a->targets + h->from,
        .loss = a->loss + h->from,
        .correct = a->correct != NULL ? a->correct + h->from : NULL,
        .gradient_scale = a->gradient_scale,
        .gradient = a->dx != NULL,
    };
    enum muster_status status = cuda_cross_entropy(h->k, &loss, err);
    if (status != MUSTER_OK || a->dx == NULL || h->dlogits == h->logits)
        return status;
    return cuda_round_to(h->k, a->dtype, h->dlogits, h->logits, h->rows * h->stride, err);
}

/* dx = dlogits · w, dw += dlogitsᵀ · x, dbias += columns of the chunk. */
static enum muster_status cuda_head_gradients(const struct cuda_head *h, struct muster_error *err)
{
    const struct head_loss_args *a = h->a;
    struct cuda_product p = {.in = a->dtype, .out = a->dtype};
    p.m = h->rows, p.n = a->width, p.k = a->vocabulary;
    p.a = h->dlogits, p.a_stride = h->stride;
    p.b = a->w, p.b_stride = a->width;
    p.c = (char *)a->dx + h->from * a->width * (int64_t)dtype_size(a->dtype), p.c_stride = a->width;
    enum muster_status status = cuda_gemm_run(cuda_kernels_from(h->k), &p, err);
    if (status != MUSTER_OK)
        return status;
    const struct cuda_weight_args weight = {
        .dtype = a->dtype,
        .tokens = h->rows,
        .in_width = a->width,
        .out_width = a->vocabulary,
        .dy_stride = h->stride,
        .dy = h->dlogits,
        .x = cuda_head_at(h, a->x, h->from * a->width),
        .dw = a->dw,
        .dbias = a->dbias,
    };
    return cuda_weight_gradient(h->k, &weight, err);
}

enum muster_status cuda_head_loss(struct kernels *k, const struct head_loss_args *a, struct muster_error *err)
{
    struct cuda_head h = cuda_head_of(k, a);
    enum muster_status status = MUSTER_OK;
    for (; h.from < a->tokens && status == MUSTER_OK; h.from += a->chunk_rows) {
        h.rows = a->tokens - h.from < a->chunk_rows ? a->tokens - h.from : a->chunk_rows;
        status = cuda_head_logits(&h, err);
        if (status == MUSTER_OK)
            status = cuda_head_losses(&h, err);
        if (status == MUSTER_OK && a->dx != NULL)
            status = cuda_head_gradients(&h, err);
    }
    return status;
}
