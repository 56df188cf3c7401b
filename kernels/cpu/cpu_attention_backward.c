/* SPDX-License-Identifier: MIT
 *
 * Causal attention, backward: one task per key/value head of a batch row, so that the gradients of keys and
 * values are sums in one thread, over query heads and blocks in order. Probabilities are recomputed from the
 * stored log-sum-exp in tiles of 64 keys by 64 queries.
 */
#include "kernels/cpu/cpu_attention.h"

struct cpu_attention_task {
    int64_t b, kv_head;
    /* all positions of the key/value head: [sequence, d] */
    float *key_rows, *value_rows, *dkey_rows, *dvalue_rows;
    /* one block of queries: [64, d], and across: [d, 64] */
    float *query_rows, *dy_rows, *dquery_rows, *queries_across, *dy_across;
    /* one tile: [64 keys, 64 queries] */
    float *probabilities, *dscores, *factors;
    float lse[CPU_QUERIES], row_sum[CPU_QUERIES];
};

/* Where in its head a block of queries is. */
struct cpu_attention_queries {
    int64_t head, i, count;
};

static int64_t cpu_attention_backward_bytes(const struct cpu_attention *at)
{
    return 4 * (4 * at->a->sequence * at->padded_width + 5 * CPU_QUERIES * at->padded_width +
                3 * CPU_QUERIES * CPU_QUERIES);
}

static void cpu_attention_task_layout(const struct cpu_attention *at, struct cpu_attention_task *task,
                                      float *scratch)
{
    const int64_t rows = at->a->sequence * at->padded_width, tile = CPU_QUERIES * at->padded_width;
    task->key_rows = scratch;
    task->value_rows = task->key_rows + rows;
    task->dkey_rows = task->value_rows + rows;
    task->dvalue_rows = task->dkey_rows + rows;
    task->query_rows = task->dvalue_rows + rows;
    task->dy_rows = task->query_rows + tile;
    task->dquery_rows = task->dy_rows + tile;
    task->queries_across = task->dquery_rows + tile;
    task->dy_across = task->queries_across + tile;
    task->probabilities = task->dy_across + tile;
    task->dscores = task->probabilities + CPU_QUERIES * CPU_QUERIES;
    task->factors = task->dscores + CPU_QUERIES * CPU_QUERIES;
}

/* Rows of the block, and for each query its log-sum-exp and dot(dy, y). */
static void cpu_attention_queries_gather(const struct cpu_attention *at, struct cpu_attention_task *task,
                                         const struct cpu_attention_queries *q)
{
    const struct attention_args *a = at->a;
    const int64_t y_width = a->heads * a->head_width;
    const int64_t y_at = (task->b * a->sequence + q->i) * y_width + q->head * a->head_width;
    const void *query = cpu_at(at->bf16, a->qkv, cpu_attention_query_at(at, task->b, q->i, q->head));
    cpu_attention_gather(at, task->query_rows, query, at->row_width, q->count);
    cpu_attention_gather(at, task->dy_rows, cpu_at(at->bf16, a->dy, y_at), y_width, q->count);
    cpu_attention_transpose(at, task->queries_across, task->query_rows, q->count, at->scale);
    cpu_attention_transpose(at, task->dy_across, task->dy_rows, q->count, 1.0f);
    memset(task->row_sum, 0, sizeof task->row_sum);
    memset(task->lse, 0, sizeof task->lse);
    const float *lse = a->lse + (task->b * a->heads + q->head) * a->sequence + q->i;
    memcpy(task->lse, lse, (size_t)q->count * sizeof *lse);
    for (int64_t r = 0; r < q->count; r++) {
        const void *y = cpu_at(at->bf16, a->y, y_at + r * y_width);
        cpu_vec sum = {0};
        for (int64_t d = 0; d < a->head_width; d += CPU_LANES)
            sum +=
                cpu_get(at->bf16, y, d, a->head_width) * cpu_load(task->dy_rows + r * at->padded_width + d);
        task->row_sum[r] = cpu_lanes_sum(sum);
    }
}

/* rows[keys] against the block across: out[keys, 64] = rows · across. */
static void cpu_attention_tile_product(const struct cpu_attention *at, float *out, const float *rows,
                                       const float *across, int64_t keys)
{
    const struct cpu_small_product p = {.m = keys,
                                        .n = CPU_QUERIES,
                                        .k = at->a->head_width,
                                        .a = rows,
                                        .a_row = at->padded_width,
                                        .a_column = 1,
                                        .b = across,
                                        .b_row = CPU_QUERIES,
                                        .c = out,
                                        .c_row = CPU_QUERIES};
    CPU_NAME(cpu_small_product_run)(&p);
}

/* to[m, d] += tile · rows[k, d], the tile [64 keys, 64 queries] read along keys or, turned, along queries. */
static void cpu_attention_tile_add(const struct cpu_attention *at, float *to, const float *tile, bool turned,
                                   const float *rows, int64_t m, int64_t k)
{
    const struct cpu_small_product p = {.m = m,
                                        .n = at->padded_width,
                                        .k = k,
                                        .a = tile,
                                        .a_row = turned ? 1 : CPU_QUERIES,
                                        .a_column = turned ? CPU_QUERIES : 1,
                                        .b = rows,
                                        .b_row = at->padded_width,
                                        .c = to,
                                        .c_row = at->padded_width,
                                        .accumulate = true};
    CPU_NAME(cpu_small_product_run)(&p);
}

/* From scores and dprobabilities (in dscores) to probabilities after dropout and dscores. */
static void cpu_attention_tile_softmax(const struct cpu_attention *at, struct cpu_attention_task *task,
                                       int64_t keys, int64_t first_key, int64_t first_query)
{
    const bool drops = at->a->dropout > 0.0f, masks = first_key + keys > first_query + 1;
    const cpu_ivec lanes = cpu_lane_numbers();
    for (int64_t key = 0; key < keys; key++) {
        for (int64_t q = 0; q < CPU_QUERIES; q += CPU_LANES) {
            const int64_t e = key * CPU_QUERIES + q;
            cpu_vec p = cpu_exp(cpu_load(task->probabilities + e) - cpu_load(task->lse + q));
            if (masks) /* a key counts for queries from its own position on */
                p = cpu_select(lanes >= (int32_t)(first_key + key - first_query - q), p, cpu_splat(0.0f));
            cpu_vec factor = drops ? cpu_load(task->factors + e) : cpu_splat(1.0f);
            cpu_vec dp = cpu_load(task->dscores + e) * factor;
            cpu_store(task->dscores + e, p * (dp - cpu_load(task->row_sum + q)) * at->scale);
            cpu_store(task->probabilities + e, p * factor);
        }
    }
}

static void cpu_attention_queries_backward(const struct cpu_attention *at, struct cpu_attention_task *task,
                                           const struct cpu_attention_queries *q)
{
    const struct attention_args *a = at->a;
    const int64_t padded = at->padded_width;
    cpu_attention_queries_gather(at, task, q);
    memset(task->dquery_rows, 0, (size_t)(CPU_QUERIES * padded) * sizeof(float));
    for (int64_t j = 0; j < q->i + q->count; j += CPU_QUERIES) {
        const int64_t keys = cpu_least(CPU_QUERIES, q->i + q->count - j);
        cpu_attention_tile_product(at, task->probabilities, task->key_rows + j * padded, task->queries_across,
                                   keys);
        cpu_attention_tile_product(at, task->dscores, task->value_rows + j * padded, task->dy_across, keys);
        if (a->dropout > 0.0f)
            cpu_attention_factors(at, task->b * a->heads + q->head, q->i, q->count, j, keys, task->factors);
        cpu_attention_tile_softmax(at, task, keys, j, q->i);
        cpu_attention_tile_add(at, task->dvalue_rows + j * padded, task->probabilities, false, task->dy_rows,
                               keys, q->count);
        cpu_attention_tile_add(at, task->dkey_rows + j * padded, task->dscores, false, task->query_rows, keys,
                               q->count);
        cpu_attention_tile_add(at, task->dquery_rows, task->dscores, true, task->key_rows + j * padded,
                               q->count, keys);
    }
    void *dquery = cpu_at_out(at->bf16, a->dqkv, cpu_attention_query_at(at, task->b, q->i, q->head));
    cpu_attention_scatter(at, dquery, task->dquery_rows, at->row_width, q->count);
}

static void cpu_attention_task_backward(const struct cpu_attention *at, struct cpu_attention_task *task)
{
    const struct attention_args *a = at->a;
    const int64_t key_at = cpu_attention_key_at(at, task->b, 0, task->kv_head);
    const int64_t value_at = cpu_attention_value_at(at, task->b, 0, task->kv_head);
    const size_t bytes = (size_t)(a->sequence * at->padded_width) * sizeof(float);
    cpu_attention_gather(at, task->key_rows, cpu_at(at->bf16, a->qkv, key_at), at->row_width, a->sequence);
    cpu_attention_gather(at, task->value_rows, cpu_at(at->bf16, a->qkv, value_at), at->row_width,
                         a->sequence);
    memset(task->dkey_rows, 0, bytes);
    memset(task->dvalue_rows, 0, bytes);
    const int64_t group = a->heads / a->kv_heads;
    for (int64_t head = task->kv_head * group; head < (task->kv_head + 1) * group; head++) {
        for (int64_t i = 0; i < a->sequence; i += CPU_QUERIES) {
            struct cpu_attention_queries q = {head, i, cpu_least(CPU_QUERIES, a->sequence - i)};
            cpu_attention_queries_backward(at, task, &q);
        }
    }
    cpu_attention_scatter(at, cpu_at_out(at->bf16, a->dqkv, key_at), task->dkey_rows, at->row_width,
                          a->sequence);
    cpu_attention_scatter(at, cpu_at_out(at->bf16, a->dqkv, value_at), task->dvalue_rows, at->row_width,
                          a->sequence);
}

CPU_OPERATION(cpu_attention_backward, attention_args)
{
    const struct cpu_attention at = cpu_attention_start(a);
    enum muster_status status =
        cpu_scratch_check(k, cpu_attention_backward_bytes(&at), "attention_backward", err);
    if (status != MUSTER_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(k->threads)
    for (int64_t index = 0; index < a->batch * a->kv_heads; index++) {
        struct cpu_attention_task task;
        cpu_attention_task_layout(&at, &task, cpu_scratch_of_thread(k));
        task.b = index / a->kv_heads;
        task.kv_head = index % a->kv_heads;
        cpu_attention_task_backward(&at, &task);
    }
    return MUSTER_OK;
}
