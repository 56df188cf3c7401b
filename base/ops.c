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

int64_t ops_head_loss_bytes(enum dtype dtype, int64_t chunk_rows, int64_t vocabulary)
{
    int64_t logits = chunk_rows * vocabulary * 4;
    return ops_round_up(dtype == DTYPE_F32 ? logits : logits + logits / 2);
}

int64_t ops_receive_bytes(int foreign_nodes, int64_t owned_count_max)
{
    int64_t piece = owned_count_max < OPS_REDUCE_PIECE ? owned_count_max : OPS_REDUCE_PIECE;
    return foreign_nodes * piece * 4;
}
