/* SPDX-License-Identifier: MIT
 *
 * Causal attention, forward: blocks of 64 queries of one head, independent of each other. A block's scores
 * against all earlier keys are held ([keys, 64], never sequence x sequence), so the softmax needs no
 * rescaling. Keys and values are copied out of their wide rows once for all blocks that a task works on.
 */
#include "kernels/cpu/cpu_attention.h"

/* One task and its scratch. */
struct cpu_attention_block {
    int64_t b, head, i; /* batch row, query head, first query */
    int64_t queries, keys;
    float *query_rows, *queries_across; /* [64, d], [d, 64] */
    float *key_rows, *value_rows;       /* [sequence, d] */
    float *scores;                      /* [sequence, 64] */
    float *sums, *factors;              /* [64, d], [64, 64] */
    float largest[CPU_QUERIES], total[CPU_QUERIES];
};

static int64_t cpu_attention_forward_bytes(const struct cpu_attention *at)
{
    return 4 * (2 * at->a->sequence * at->padded_width + at->a->sequence * CPU_QUERIES +
                3 * CPU_QUERIES * at->padded_width + CPU_QUERIES * CPU_QUERIES);
}

static void cpu_attention_block_layout(const struct cpu_attention *at, struct cpu_attention_block *block,
                                       float *scratch)
{
    const int64_t tile = CPU_QUERIES * at->padded_width, rows = at->a->sequence * at->padded_width;
    block->query_rows = scratch;
    block->queries_across = block->query_rows + tile;
    block->sums = block->queries_across + tile;
    block->key_rows = block->sums + tile;
    block->value_rows = block->key_rows + rows;
    block->scores = block->value_rows + rows;
    block->factors = block->scores + at->a->sequence * CPU_QUERIES;
}

static void cpu_attention_keys_gather(const struct cpu_attention *at, struct cpu_attention_block *block,
                                      int64_t kv_head)
{
    const struct attention_args *a = at->a;
    const void *key = cpu_at(at->bf16, a->qkv, cpu_attention_key_at(at, block->b, 0, kv_head));
    const void *value = cpu_at(at->bf16, a->qkv, cpu_attention_value_at(at, block->b, 0, kv_head));
    cpu_attention_gather(at, block->key_rows, key, at->row_width, a->sequence);
    cpu_attention_gather(at, block->value_rows, value, at->row_width, a->sequence);
}

static void cpu_attention_block_gather(const struct cpu_attention *at, struct cpu_attention_block *block)
{
    const int64_t query_at = cpu_attention_query_at(at, block->b, block->i, block->head);
    cpu_attention_gather(at, block->query_rows, cpu_at(at->bf16, at->a->qkv, query_at), at->row_width,
                         block->queries);
    cpu_attention_transpose(at, block->queries_across, block->query_rows, block->queries, at->scale);
}

/* Keys later than their query get -infinity; only the last 64 keys can be. */
static void cpu_attention_mask(struct cpu_attention_block *block)
{
    for (int64_t key = block->i + 1; key < block->keys; key++) {
        for (int64_t q = 0; q < key - block->i; q++)
            block->scores[key * CPU_QUERIES + q] = -__builtin_inff();
    }
}

/* Vectors of one row of scores that are worked on together: four independent chains hide latencies. */
enum { CPU_SOFTMAX_STRIP = 4 };

/* scores -> exp(scores - largest), all keys of one strip of queries; largest and total are kept. */
CPU_INLINE void cpu_attention_softmax_strip(struct cpu_attention_block *block, int64_t q)
{
    cpu_vec largest[CPU_SOFTMAX_STRIP], total[CPU_SOFTMAX_STRIP];
    for (int v = 0; v < CPU_SOFTMAX_STRIP; v++) {
        largest[v] = cpu_load(block->scores + q + v * CPU_LANES);
        total[v] = cpu_splat(0.0f);
    }
    for (int64_t key = 1; key < block->keys; key++) {
        const float *row = block->scores + key * CPU_QUERIES + q;
        for (int v = 0; v < CPU_SOFTMAX_STRIP; v++)
            largest[v] = cpu_max(cpu_load(row + v * CPU_LANES), largest[v]);
    }
    for (int64_t key = 0; key < block->keys; key++) {
        float *row = block->scores + key * CPU_QUERIES + q;
        for (int v = 0; v < CPU_SOFTMAX_STRIP; v++) {
            cpu_vec e = cpu_exp(cpu_load(row + v * CPU_LANES) - largest[v]);
            cpu_store(row + v * CPU_LANES, e);
            total[v] += e;
        }
    }
    for (int v = 0; v < CPU_SOFTMAX_STRIP; v++) {
        cpu_store(block->largest + q + v * CPU_LANES, largest[v]);
        cpu_store(block->total + q + v * CPU_LANES, total[v]);
    }
}

static void cpu_attention_softmax(struct cpu_attention_block *block)
{
    for (int64_t q = 0; q < CPU_QUERIES; q += CPU_SOFTMAX_STRIP * CPU_LANES)
        cpu_attention_softmax_strip(block, q);
}

static void cpu_attention_drop(const struct cpu_attention *at, struct cpu_attention_block *block)
{
    const int64_t head_index = block->b * at->a->heads + block->head;
    for (int64_t j = 0; j < block->keys; j += CPU_QUERIES) {
        const int64_t keys = cpu_least(CPU_QUERIES, block->keys - j);
        cpu_attention_factors(at, head_index, block->i, block->queries, j, keys, block->factors);
        float *scores = block->scores + j * CPU_QUERIES;
        for (int64_t e = 0; e < keys * CPU_QUERIES; e += CPU_LANES)
            cpu_store(scores + e, cpu_load(scores + e) * cpu_load(block->factors + e));
    }
}

/* y and lse of the block's queries. */
static void cpu_attention_block_store(const struct cpu_attention *at, struct cpu_attention_block *block)
{
    const struct attention_args *a = at->a;
    for (int64_t q = 0; q < block->queries; q++) {
        float *row = block->sums + q * at->padded_width;
        const float inverse = 1.0f / block->total[q];
        for (int64_t d = 0; d < at->padded_width; d += CPU_LANES)
            cpu_store(row + d, cpu_load(row + d) * inverse);
    }
    const int64_t y_width = a->heads * a->head_width;
    const int64_t y_at = (block->b * a->sequence + block->i) * y_width + block->head * a->head_width;
    cpu_attention_scatter(at, cpu_at_out(at->bf16, a->y, y_at), block->sums, y_width, block->queries);
    float *lse = a->lse + (block->b * a->heads + block->head) * a->sequence + block->i;
    for (int64_t q = 0; q < block->queries; q += CPU_LANES) {
        cpu_vec v = cpu_load(block->largest + q) + cpu_log(cpu_load(block->total + q));
        cpu_keep(lse, q, block->queries, v);
    }
}

static void cpu_attention_block_forward(const struct cpu_attention *at, struct cpu_attention_block *block)
{
    cpu_attention_block_gather(at, block);
    const struct cpu_small_product score = {.m = block->keys,
                                            .n = CPU_QUERIES,
                                            .k = at->a->head_width,
                                            .a = block->key_rows,
                                            .a_row = at->padded_width,
                                            .a_column = 1,
                                            .b = block->queries_across,
                                            .b_row = CPU_QUERIES,
                                            .c = block->scores,
                                            .c_row = CPU_QUERIES};
    CPU_NAME(cpu_small_product_run)(&score);
    cpu_attention_mask(block);
    cpu_attention_softmax(block);
    if (at->a->dropout > 0.0f)
        cpu_attention_drop(at, block);
    const struct cpu_small_product sum = {.m = block->queries,
                                          .n = at->padded_width,
                                          .k = block->keys,
                                          .a = block->scores,
                                          .a_row = 1,
                                          .a_column = CPU_QUERIES,
                                          .b = block->value_rows,
                                          .b_row = at->padded_width,
                                          .c = block->sums,
                                          .c_row = at->padded_width};
    CPU_NAME(cpu_small_product_run)(&sum);
    cpu_attention_block_store(at, block);
}

/* Every `parts`-th block of queries that read one key/value head, from the `part`-th. */
static void cpu_attention_part_forward(const struct cpu_attention *at, struct cpu_attention_block *block,
                                       int64_t kv_index, int64_t part, int64_t parts)
{
    const struct attention_args *a = at->a;
    const int64_t group = a->heads / a->kv_heads, kv_head = kv_index % a->kv_heads;
    const int64_t blocks = cpu_divide_up(a->sequence, CPU_QUERIES);
    block->b = kv_index / a->kv_heads;
    cpu_attention_keys_gather(at, block, kv_head);
    for (int64_t index = part; index < blocks * group; index += parts) {
        block->head = kv_head * group + index / blocks;
        block->i = index % blocks * CPU_QUERIES;
        block->queries = cpu_least(CPU_QUERIES, a->sequence - block->i);
        block->keys = block->i + block->queries;
        cpu_attention_block_forward(at, block);
    }
}

CPU_OPERATION(cpu_attention_forward, attention_args)
{
    const struct cpu_attention at = cpu_attention_start(a);
    enum muster_status status =
        cpu_scratch_check(k, cpu_attention_forward_bytes(&at), "attention_forward", err);
    if (status != MUSTER_OK)
        return status;
    /* a key/value head's blocks go to one task, or to several where there are more threads than heads */
    const int64_t blocks = cpu_divide_up(a->sequence, CPU_QUERIES) * (a->heads / a->kv_heads);
    const int64_t heads = a->batch * a->kv_heads;
    const int64_t parts = cpu_least(blocks, cpu_divide_up(4 * k->threads, heads));
#pragma omp parallel for schedule(static, 1) num_threads(k->threads)
    for (int64_t task = 0; task < heads * parts; task++) {
        struct cpu_attention_block block;
        cpu_attention_block_layout(&at, &block, cpu_scratch_of_thread(k));
        cpu_attention_part_forward(&at, &block, task / parts, task % parts, parts);
    }
    return MUSTER_OK;
}
