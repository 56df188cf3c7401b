/* SPDX-License-Identifier: MIT
 *
 * The reference attention: one query row at a time, its scores in a row of doubles. The backward rule takes
 * the probabilities from the stored log-sum-exp and the row sums from the stored y, as any back end must, so
 * that a difference found by a comparison belongs to the operation under test and not to its inputs. Dao et
 * al., "FlashAttention", 2022, section 3.1 and appendix B.
 */
#include "kernels/ref/ref_internal.h"

#include "base/alloc.h"

/* One query row: where its vectors start in qkv (elements), and what its causal row needs. */
struct ref_attention_row {
    const struct attention_args *a;
    const double *qkv;
    int64_t row_width, b, h, i;
    double scale;
};

static int64_t ref_attention_query_at(const struct ref_attention_row *r)
{
    return (r->b * r->a->sequence + r->i) * r->row_width + r->h * r->a->head_width;
}

static int64_t ref_attention_key_at(const struct ref_attention_row *r, int64_t j)
{
    int64_t kv_head = r->h / (r->a->heads / r->a->kv_heads);
    return (r->b * r->a->sequence + j) * r->row_width + (r->a->heads + kv_head) * r->a->head_width;
}

static int64_t ref_attention_value_at(const struct ref_attention_row *r, int64_t j)
{
    return ref_attention_key_at(r, j) + r->a->kv_heads * r->a->head_width;
}

/* Where this row starts in y and dy, and its element of lse. */
static int64_t ref_attention_y_at(const struct ref_attention_row *r)
{
    return ((r->b * r->a->sequence + r->i) * r->a->heads + r->h) * r->a->head_width;
}

static int64_t ref_attention_lse_at(const struct ref_attention_row *r)
{
    return (r->b * r->a->heads + r->h) * r->a->sequence + r->i;
}

static double ref_attention_score(const struct ref_attention_row *r, int64_t j)
{
    const double *query = r->qkv + ref_attention_query_at(r), *key = r->qkv + ref_attention_key_at(r, j);
    double sum = 0.0;
    for (int64_t c = 0; c < r->a->head_width; c++)
        sum += query[c] * key[c];
    return sum * r->scale;
}

static double ref_attention_keep(const struct ref_attention_row *r, int64_t j)
{
    if (!(r->a->dropout > 0.0f))
        return 1.0;
    uint64_t index = (uint64_t)ref_attention_lse_at(r) * (uint64_t)r->a->sequence + (uint64_t)j;
    return ref_dropout_factor(r->a->key, r->a->dropout, index);
}

/* y and lse of one row; `scores` has room for a sequence, `sums` for a head. */
static void ref_attention_row_forward(const struct ref_attention_row *r, double *scores, double *sums)
{
    double largest = -INFINITY, total = 0.0;
    for (int64_t j = 0; j <= r->i; j++) {
        scores[j] = ref_attention_score(r, j);
        largest = fmax(largest, scores[j]);
    }
    for (int64_t j = 0; j <= r->i; j++)
        total += exp(scores[j] - largest);
    memset(sums, 0, (size_t)r->a->head_width * sizeof *sums);
    for (int64_t j = 0; j <= r->i; j++) {
        double weight = exp(scores[j] - largest) / total * ref_attention_keep(r, j);
        const double *value = r->qkv + ref_attention_value_at(r, j);
        for (int64_t c = 0; c < r->a->head_width; c++)
            sums[c] += weight * value[c];
    }
    for (int64_t c = 0; c < r->a->head_width; c++)
        ref_store(r->a->dtype, r->a->y, ref_attention_y_at(r) + c, sums[c]);
    r->a->lse[ref_attention_lse_at(r)] = (float)(largest + log(total));
}

/* Adds one row's part of the gradient to `dqkv`; `dy` has room for a head. */
static void ref_attention_row_backward(const struct ref_attention_row *r, double *dqkv, double *dy)
{
    const struct attention_args *a = r->a;
    double lse = (double)a->lse[ref_attention_lse_at(r)], row_sum = 0.0;
    for (int64_t c = 0; c < a->head_width; c++) {
        dy[c] = ref_load(a->dtype, a->dy, ref_attention_y_at(r) + c);
        row_sum += dy[c] * ref_load(a->dtype, a->y, ref_attention_y_at(r) + c);
    }
    const int64_t query_at = ref_attention_query_at(r);
    for (int64_t j = 0; j <= r->i; j++) {
        const int64_t key_at = ref_attention_key_at(r, j), value_at = ref_attention_value_at(r, j);
        double probability = exp(ref_attention_score(r, j) - lse), keep = ref_attention_keep(r, j);
        double dprobability = 0.0;
        for (int64_t c = 0; c < a->head_width; c++)
            dprobability += dy[c] * r->qkv[value_at + c] * keep;
        double dscore = probability * (dprobability - row_sum) * r->scale;
        for (int64_t c = 0; c < a->head_width; c++) {
            dqkv[query_at + c] += dscore * r->qkv[key_at + c];
            dqkv[key_at + c] += dscore * r->qkv[query_at + c];
            dqkv[value_at + c] += probability * keep * dy[c];
        }
    }
}

/* Calls the forward or, when `dqkv` is given, the backward rule of every row. */
static void ref_attention_rows(const struct attention_args *a, const double *qkv, double *scores,
                               double *head, double *dqkv)
{
    struct ref_attention_row r = {.a = a, .qkv = qkv, .scale = 1.0 / sqrt((double)a->head_width)};
    r.row_width = (a->heads + 2 * a->kv_heads) * a->head_width;
    for (r.b = 0; r.b < a->batch; r.b++)
        for (r.h = 0; r.h < a->heads; r.h++)
            for (r.i = 0; r.i < a->sequence; r.i++) {
                if (dqkv != NULL)
                    ref_attention_row_backward(&r, dqkv, head);
                else
                    ref_attention_row_forward(&r, scores, head);
            }
}

static int64_t ref_attention_qkv_count(const struct attention_args *a)
{
    return a->batch * a->sequence * (a->heads + 2 * a->kv_heads) * a->head_width;
}

enum muster_status ref_attention_forward(struct kernels *k, const struct attention_args *a,
                                         struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    double *qkv = ref_array_load(a->dtype, a->qkv, ref_attention_qkv_count(a), err);
    double *scores = ref_array_create(a->sequence, err);
    double *head = ref_array_create(a->head_width, err);
    if (qkv == NULL || scores == NULL || head == NULL)
        goto out;
    ref_attention_rows(a, qkv, scores, head, NULL);
    status = MUSTER_OK;
out:
    alloc_free(qkv);
    alloc_free(scores);
    alloc_free(head);
    return status;
}

enum muster_status ref_attention_backward(struct kernels *k, const struct attention_args *a,
                                          struct muster_error *err)
{
    (void)k;
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    const int64_t count = ref_attention_qkv_count(a);
    double *qkv = ref_array_load(a->dtype, a->qkv, count, err);
    double *dqkv = ref_array_create(count, err);
    double *head = ref_array_create(a->head_width, err);
    if (qkv == NULL || dqkv == NULL || head == NULL)
        goto out;
    ref_attention_rows(a, qkv, NULL, head, dqkv);
    ref_array_store(a->dtype, a->dqkv, dqkv, count);
    status = MUSTER_OK;
out:
    alloc_free(qkv);
    alloc_free(dqkv);
    alloc_free(head);
    return status;
}
