/* SPDX-License-Identifier: MIT
 *
 * Causal attention, forward: one task per block of queries of one head. The block's scores against all
 * earlier keys are held ([keys, 64], never sequence x sequence), so the softmax needs no rescaling.
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

static void cpu_attention_block_gather(const struct cpu_attention *at, struct cpu_attention_block *block)
{
    const struct attention_args *a = at->a;
    const int64_t kv_head = block->head / (a->heads / a->kv_heads), b = block->b;
    const void *query = cpu_at(at->bf16, a->qkv, cpu_attention_query_at(at, b, block->i, block->head));
    const void *key = cpu_at(at->bf16, a->qkv, cpu_attention_key_at(at, b, 0, kv_head));
    const void *value = cpu_at(at->bf16, a->qkv, cpu_attention_value_at(at, b, 0, kv_head));
    cpu_attention_gather(at, block->query_rows, query, at->row_width, block->queries);
    cpu_attention_transpose(at, block->queries_across, block->query_rows, block->queries, at->scale);
    cpu_attention_gather(at, block->key_rows, key, at->row_width, block->keys);
    cpu_attention_gather(at, block->value_rows, value, at->row_width, block->keys);
}

/* Keys later than their query get -infinity; only the last 64 keys can be. */
static void cpu_attention_mask(struct cpu_attention_block *block)
{
    for (int64_t key = block->i + 1; key < block->keys; key++) {
        for (int64_t q = 0; q < key - block->i; q++)
            block->scores[key * CPU_QUERIES + q] = -__builtin_inff();
    }
}

/* scores -> exp(scores - largest), column by column; largest and total are kept. */
static void cpu_attention_softmax(struct cpu_attention_block *block)
{
    for (int64_t q = 0; q < CPU_QUERIES; q += CPU_LANES) {
        cpu_vec largest = cpu_load(block->scores + q), total = {0};
        for (int64_t key = 1; key < block->keys; key++)
            largest = cpu_max(cpu_load(block->scores + key * CPU_QUERIES + q), largest);
        for (int64_t key = 0; key < block->keys; key++) {
            float *at = block->scores + key * CPU_QUERIES + q;
            cpu_vec v = cpu_exp(cpu_load(at) - largest);
            cpu_store(at, v);
            total += v;
        }
        cpu_store(block->largest + q, largest);
        cpu_store(block->total + q, total);
    }
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

CPU_OPERATION(cpu_attention_forward, attention_args)
{
    const struct cpu_attention at = cpu_attention_start(a);
    enum muster_status status =
        cpu_scratch_check(k, cpu_attention_forward_bytes(&at), "attention_forward", err);
    if (status != MUSTER_OK)
        return status;
    const int64_t blocks = cpu_divide_up(a->sequence, CPU_QUERIES);
    const int64_t tasks = a->batch * a->heads * blocks;
    /* later blocks have more keys: dealing tasks out in turns evens that out */
#pragma omp parallel for schedule(static, 1) num_threads(k->threads)
    for (int64_t task = 0; task < tasks; task++) {
        struct cpu_attention_block block;
        cpu_attention_block_layout(&at, &block, cpu_scratch_of_thread(k));
        block.b = task % (a->batch * a->heads) / a->heads;
        block.head = task % a->heads;
        block.i = task / (a->batch * a->heads) * CPU_QUERIES;
        block.queries = cpu_least(CPU_QUERIES, a->sequence - block.i);
        block.keys = block.i + block.queries;
        cpu_attention_block_forward(&at, &block);
    }
    return MUSTER_OK;
}
