/* SPDX-License-Identifier: MIT
 *
 * The reference head and loss: one row of logits at a time in double, never rounded, so `chunk_rows` and
 * `work` do not matter here. A back end that holds logits in fp32 or their gradient in bf16 is compared with
 * a tolerance that allows for it.
 */
#include "kernels/ref/ref_internal.h"

#include "base/alloc.h"

/* Heap arrays of one call: the inputs as doubles, one row of logits, and the sums of the weight gradients. */
struct ref_head {
    double *x, *w, *logits, *dx, *dw, *dbias;
};

static enum muster_status ref_head_init(struct ref_head *head, const struct head_loss_args *a,
                                        struct muster_error *err)
{
    head->x = ref_array_load(a->dtype, a->x, a->tokens * a->width, err);
    head->w = ref_array_load(a->dtype, a->w, a->vocabulary * a->width, err);
    head->logits = ref_array_create(a->vocabulary, err);
    head->dx = ref_array_create(a->width, err);
    head->dw = ref_array_create(a->vocabulary * a->width, err);
    head->dbias = ref_array_create(a->vocabulary, err);
    bool complete = head->x != NULL && head->w != NULL && head->logits != NULL && head->dx != NULL &&
                    head->dw != NULL && head->dbias != NULL;
    return complete ? MUSTER_OK : MUSTER_ERR_NO_MEMORY;
}

static void ref_head_release(struct ref_head *head)
{
    alloc_free(head->x);
    alloc_free(head->w);
    alloc_free(head->logits);
    alloc_free(head->dx);
    alloc_free(head->dw);
    alloc_free(head->dbias);
}

/* Fills the logits of row t and returns the column of the first largest. */
static int64_t ref_head_logits(struct ref_head *head, const struct head_loss_args *a, int64_t t)
{
    int64_t best = 0;
    for (int64_t v = 0; v < a->vocabulary; v++) {
        double sum = a->bias != NULL ? ref_load(a->dtype, a->bias, v) : 0.0;
        for (int64_t c = 0; c < a->width; c++)
            sum += head->x[t * a->width + c] * head->w[v * a->width + c];
        head->logits[v] = sum;
        if (sum > head->logits[best])
            best = v;
    }
    return best;
}

static double ref_head_lse(const struct ref_head *head, int64_t vocabulary, int64_t best)
{
    double total = 0.0;
    for (int64_t v = 0; v < vocabulary; v++)
        total += exp(head->logits[v] - head->logits[best]);
    return head->logits[best] + log(total);
}

static void ref_head_row_back(struct ref_head *head, const struct head_loss_args *a, int64_t t, double lse)
{
    for (int64_t v = 0; v < a->vocabulary; v++) {
        double probability = exp(head->logits[v] - lse);
        double dlogit = (probability - (v == a->targets[t] ? 1.0 : 0.0)) * (double)a->gradient_scale;
        head->dbias[v] += dlogit;
        for (int64_t c = 0; c < a->width; c++) {
            head->dx[c] += dlogit * head->w[v * a->width + c];
            head->dw[v * a->width + c] += dlogit * head->x[t * a->width + c];
        }
    }
}

static void ref_head_row(struct ref_head *head, const struct head_loss_args *a, int64_t t)
{
    bool counted = a->targets[t] >= 0;
    double loss = 0.0;
    bool correct = false;
    memset(head->dx, 0, (size_t)a->width * sizeof *head->dx);
    if (counted) {
        int64_t best = ref_head_logits(head, a, t);
        double lse = ref_head_lse(head, a->vocabulary, best);
        loss = lse - head->logits[a->targets[t]];
        correct = best == a->targets[t];
        if (a->dx != NULL)
            ref_head_row_back(head, a, t, lse);
    }
    a->loss[t] = (float)loss;
    if (a->correct != NULL)
        a->correct[t] = correct ? 1.0f : 0.0f;
    for (int64_t c = 0; a->dx != NULL && c < a->width; c++)
        ref_store(a->dtype, a->dx, t * a->width + c, head->dx[c]);
}

enum muster_status ref_head_loss(struct kernels *k, const struct head_loss_args *a, struct muster_error *err)
{
    (void)k;
    struct ref_head head;
    enum muster_status status = ref_head_init(&head, a, err);
    if (status != MUSTER_OK)
        goto out;
    for (int64_t t = 0; t < a->tokens; t++)
        ref_head_row(&head, a, t);
    if (a->dx != NULL)
        ref_array_add(a->dw, head.dw, a->vocabulary * a->width);
    if (a->dx != NULL && a->dbias != NULL)
        ref_array_add(a->dbias, head.dbias, a->vocabulary);
out:
    ref_head_release(&head);
    return status;
}
