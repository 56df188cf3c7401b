/* SPDX-License-Identifier: MIT
 *
 * The output head and its loss, a chunk of rows at a time. A row of logits fits in the second-level cache:
 * its maximum, its exponentials (written over the logits) and its gradient (written over the exponentials)
 * are three sweeps there. In bf16 the logits are fp32 and the gradient goes to the second part of the work
 * block.
 */
#include "kernels/cpu/cpu_gemm.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/cpu_vector.h"

struct cpu_head {
    struct kernels *k;
    const struct head_loss_args *a;
    bool bf16;
    int64_t from, rows; /* of the current chunk */
    float *logits;      /* [chunk_rows, vocabulary] */
    void *dlogits;      /* the same block in fp32, its own in bf16 */
};

static void cpu_head_add_bias(void *context, const struct cpu_tile *tile)
{
    const struct cpu_head *h = context;
    const int64_t count = tile->column_end - tile->column;
    const void *bias = cpu_at(h->bf16, h->a->bias, tile->column);
    for (int64_t r = tile->row; r < tile->row_end; r++) {
        float *row = h->logits + r * h->a->vocabulary + tile->column;
        for (int64_t i = 0; i < count; i += CPU_LANES)
            cpu_keep(row, i, count, cpu_fetch(row, i, count) + cpu_get(h->bf16, bias, i, count));
    }
}

/* The largest of `count` values; -infinity for none. A NaN is passed over here: it shows in the sum. */
static float cpu_head_largest(const float *row, int64_t count)
{
    cpu_vec largest[2] = {cpu_splat(-__builtin_inff()), cpu_splat(-__builtin_inff())};
    int64_t i = 0;
    for (; i + 2 * CPU_LANES <= count; i += 2 * CPU_LANES) {
        largest[0] = cpu_max(cpu_load(row + i), largest[0]);
        largest[1] = cpu_max(cpu_load(row + i + CPU_LANES), largest[1]);
    }
    float result = cpu_lanes_max(cpu_max(largest[0], largest[1]));
    for (; i < count; i++)
        result = row[i] > result ? row[i] : result;
    return result;
}

/* Replaces a row by exp(row - largest) and returns the sum. */
static float cpu_head_exponentials(float *row, int64_t count, float largest)
{
    cpu_vec sum[2] = {{0}, {0}};
    int64_t i = 0;
    for (; i + 2 * CPU_LANES <= count; i += 2 * CPU_LANES) {
        cpu_vec first = cpu_exp(cpu_load(row + i) - largest);
        cpu_vec second = cpu_exp(cpu_load(row + i + CPU_LANES) - largest);
        cpu_store(row + i, first);
        cpu_store(row + i + CPU_LANES, second);
        sum[0] += first;
        sum[1] += second;
    }
    for (; i < count; i += CPU_LANES) {
        cpu_vec v = cpu_exp(cpu_fetch(row, i, count) - largest);
        cpu_keep(row, i, count, v);
        sum[0] += cpu_select(cpu_lanes_present(i, count), v, cpu_splat(0.0f));
    }
    return cpu_lanes_sum(sum[0] + sum[1]);
}

/* One row whose target is -1: no loss, no gradient. */
static void cpu_head_skip(const struct cpu_head *h, int64_t r)
{
    const struct head_loss_args *a = h->a;
    a->loss[h->from + r] = 0.0f;
    if (a->correct != NULL)
        a->correct[h->from + r] = 0.0f;
    if (a->dx != NULL)
        memset(cpu_at_out(h->bf16, h->dlogits, r * a->vocabulary), 0,
               (size_t)a->vocabulary * (h->bf16 ? 2 : 4));
}

/* Loss, correctness and gradient of row r of the chunk. */
CPU_INLINE void cpu_head_row(const struct cpu_head *h, int64_t r, bool bf16)
{
    const struct head_loss_args *a = h->a;
    const int64_t t = h->from + r, target = a->targets[t], count = a->vocabulary;
    if (target < 0) {
        cpu_head_skip(h, r);
        return;
    }
    float *row = h->logits + r * count;
    const float wanted = row[target];
    const float before = cpu_head_largest(row, target);
    const float after = cpu_head_largest(row + target, count - target);
    const float largest = before > after ? before : after;
    const float sum = cpu_head_exponentials(row, count, largest);
    a->loss[t] = largest + cpu_log_one(sum) - wanted;
    if (a->correct != NULL)
        a->correct[t] = after <= wanted && (target == 0 || before < wanted) ? 1.0f : 0.0f;
    if (a->dx == NULL)
        return;
    const float factor = a->gradient_scale / sum;
    const float at_target = row[target] * factor - a->gradient_scale;
    void *dlogits = cpu_at_out(bf16, h->dlogits, r * count);
    for (int64_t i = 0; i < count; i += CPU_LANES)
        cpu_put(bf16, dlogits, i, count, cpu_fetch(row, i, count) * factor);
    if (bf16)
        ((uint16_t *)dlogits)[target] = dtype_bf16_from_f32(at_target);
    else
        ((float *)dlogits)[target] = at_target;
}

/* dbias of the tile's rows of dw: columns of dlogits, summed over the chunk in order, then added. */
static void cpu_head_weight_finish(void *context, const struct cpu_tile *tile)
{
    const struct cpu_head *h = context;
    if (tile->column != 0)
        return;
    const int64_t count = tile->row_end - tile->row;
    float *dbias = h->a->dbias + tile->row, sums[CPU_TILE_EDGE_MAX] = {0};
    for (int64_t r = 0; r < h->rows; r++) {
        const void *row = cpu_at(h->bf16, h->dlogits, r * h->a->vocabulary + tile->row);
        for (int64_t i = 0; i < count; i += CPU_LANES)
            cpu_keep(sums, i, count, cpu_fetch(sums, i, count) + cpu_get(h->bf16, row, i, count));
    }
    for (int64_t i = 0; i < count; i += CPU_LANES)
        cpu_keep(dbias, i, count, cpu_fetch(dbias, i, count) + cpu_fetch(sums, i, count));
}

static enum muster_status cpu_head_logits(struct cpu_head *h, struct muster_error *err)
{
    const struct head_loss_args *a = h->a;
    struct cpu_product p = {.in = a->dtype, .out = DTYPE_F32, .transpose_b = true};
    p.m = h->rows, p.n = a->vocabulary, p.k = a->width;
    p.a = cpu_at(h->bf16, a->x, h->from * a->width), p.a_stride = a->width;
    p.b = a->w, p.b_stride = a->width;
    p.c = h->logits, p.c_stride = a->vocabulary;
    return cpu_product_run(h->k, &p, a->bias == NULL ? NULL : cpu_head_add_bias, h, err);
}

/* dx = dlogits · w, dw += dlogitsᵀ · x of the chunk. */
static enum muster_status cpu_head_gradients(struct cpu_head *h, struct muster_error *err)
{
    const struct head_loss_args *a = h->a;
    struct cpu_product p = {.in = a->dtype, .out = a->dtype};
    p.m = h->rows, p.n = a->width, p.k = a->vocabulary;
    p.a = h->dlogits, p.a_stride = a->vocabulary;
    p.b = a->w, p.b_stride = a->width;
    p.c = cpu_at_out(h->bf16, a->dx, h->from * a->width), p.c_stride = a->width;
    enum muster_status status = cpu_product_run(h->k, &p, NULL, NULL, err);
    if (status != MUSTER_OK)
        return status;
    struct cpu_product q = {.in = a->dtype, .out = DTYPE_F32, .transpose_a = true, .accumulate = true};
    q.m = a->vocabulary, q.n = a->width, q.k = h->rows;
    q.a = h->dlogits, q.a_stride = a->vocabulary;
    q.b = cpu_at(h->bf16, a->x, h->from * a->width), q.b_stride = a->width;
    q.c = a->dw, q.c_stride = a->width;
    return cpu_product_run(h->k, &q, a->dbias == NULL ? NULL : cpu_head_weight_finish, h, err);
}

CPU_OPERATION(cpu_head_loss, head_loss_args)
{
    struct cpu_head h = {.k = k, .a = a, .bf16 = a->dtype == DTYPE_BF16, .logits = a->work};
    h.dlogits = h.bf16 ? (void *)(h.logits + a->chunk_rows * a->vocabulary) : a->work;
    for (; h.from < a->tokens; h.from += a->chunk_rows) {
        h.rows = cpu_least(a->chunk_rows, a->tokens - h.from);
        enum muster_status status = cpu_head_logits(&h, err);
        if (status != MUSTER_OK)
            return status;
#pragma omp parallel for schedule(static) num_threads(k->threads)
        for (int64_t r = 0; r < h.rows; r++) {
            if (h.bf16)
                cpu_head_row(&h, r, true);
            else
                cpu_head_row(&h, r, false);
        }
        if (a->dx != NULL)
            status = cpu_head_gradients(&h, err);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}
