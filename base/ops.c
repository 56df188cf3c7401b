/* SPDX-License-Identifier: MIT
 *
 * Work-memory formulas; see ops.h for why they live below both the planner and the kernels.
 */
#include "base/ops.h"

static int64_t ops_round_up(int64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

int64_t ops_scratch_bytes(const struct ops_limits *limits)
{
    int64_t bytes = (1 << 20) + 64 * limits->row_width_max + 256 * limits->sequence +
                    32 * limits->sequence * limits->head_width;
    return limits->threads * ops_round_up(bytes);
}

/* One half of the scores' gradient in 16 bits, in tiles of at most 128; what query heads of one kv head add
 * up; row sums; room for the library's own padding. */
static int64_t ops_attention_bytes(const struct ops_attention_shape *s, int64_t batch, int64_t kv_heads)
{
    int64_t heads = batch * kv_heads * (s->heads / s->kv_heads), tiled = (s->sequence + 127) / 128 * 128;
    int64_t shared = s->heads == s->kv_heads ? 0 : 4 * heads * s->sequence * s->head_width;
    return 2 * heads * tiled * tiled + shared + 4 * heads * s->sequence + (64 << 10);
}

struct ops_attention_slice ops_attention_slice(const struct ops_attention_shape *shape)
{
    struct ops_attention_slice slice = {shape->batch, shape->kv_heads, 0};
    for (;;) {
        slice.bytes = ops_attention_bytes(shape, slice.batch, slice.kv_heads);
        if (slice.bytes <= OPS_ATTENTION_WORKSPACE_BYTES || slice.batch * slice.kv_heads == 1)
            return slice;
        if (slice.batch > 1) {
            do
                slice.batch--;
            while (shape->batch % slice.batch != 0);
        } else {
            do
                slice.kv_heads--;
            while (shape->kv_heads % slice.kv_heads != 0);
        }
    }
}

int64_t ops_device_scratch_bytes(const struct ops_device_limits *limits)
{
    int64_t bytes = OPS_GEMM_WORKSPACE_BYTES + 512 * limits->row_width_max +
                    8 * (limits->vocabulary + limits->tokens) + 4 * limits->tokens * limits->heads;
    if (limits->attention.batch > 0) {
        struct ops_attention_slice slice = ops_attention_slice(&limits->attention);
        bytes = bytes > slice.bytes ? bytes : slice.bytes;
    }
    return (bytes + 255) / 256 * 256;
}

int64_t ops_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary)
{
    int64_t logits = chunk_rows * vocabulary * 4;
    return ops_round_up(dtype == DTYPE_F32 ? logits : logits + logits / 2);
}

int64_t ops_head_stride(int64_t vocabulary)
{
    return (vocabulary + 7) / 8 * 8;
}

int64_t ops_device_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary)
{
    if (dtype == DTYPE_F32 || vocabulary < OPS_HEAD_LARGE_VOCABULARY)
        return ops_head_loss_bytes(dtype, chunk_rows, vocabulary);
    return ops_round_up(chunk_rows * ops_head_stride(vocabulary) * 2);
}

int64_t ops_receive_bytes(int foreign_nodes, int64_t owned_count_max, bool on_device)
{
    int64_t piece = on_device ? OPS_REDUCE_DEVICE_PIECE : OPS_REDUCE_PIECE;
    return foreign_nodes * (owned_count_max < piece ? owned_count_max : piece) * 4;
}
