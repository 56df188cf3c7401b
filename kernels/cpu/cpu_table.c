/* SPDX-License-Identifier: MIT
 *
 * The operations table of one instruction set. Compiled once for each, like the operations themselves.
 */
#include "kernels/cpu/cpu_ops.h"
#include "kernels/host.h"

const struct cpu_variant CPU_NAME(cpu_variant) = {
    .ops =
        {
            .name = "cpu",
            .destroy = cpu_destroy,
            .embedding_forward = CPU_NAME(cpu_embedding_forward),
            .embedding_backward = CPU_NAME(cpu_embedding_backward),
            .linear_forward = CPU_NAME(cpu_linear_forward),
            .linear_backward_input = CPU_NAME(cpu_linear_backward_input),
            .linear_backward_weight = CPU_NAME(cpu_linear_backward_weight),
            .activation_forward = CPU_NAME(cpu_activation_forward),
            .activation_backward = CPU_NAME(cpu_activation_backward),
            .norm_forward = CPU_NAME(cpu_norm_forward),
            .norm_backward = CPU_NAME(cpu_norm_backward),
            .rope = CPU_NAME(cpu_rope),
            .attention_forward = CPU_NAME(cpu_attention_forward),
            .attention_backward = CPU_NAME(cpu_attention_backward),
            .swiglu_forward = CPU_NAME(cpu_swiglu_forward),
            .swiglu_backward = CPU_NAME(cpu_swiglu_backward),
            .dropout = CPU_NAME(cpu_dropout),
            .head_loss = CPU_NAME(cpu_head_loss),
            .adamw = CPU_NAME(cpu_adamw),
            .sgd = CPU_NAME(cpu_sgd),
            .sum_squares = CPU_NAME(cpu_sum_squares),
            .add = CPU_NAME(cpu_add),
            .fill_zero = CPU_NAME(cpu_fill_zero),
            .round_to = CPU_NAME(cpu_round_to),
            KERNELS_HOST_ENTRIES,
            .peak_flops = cpu_peak_flops,
        },
    .widen = CPU_NAME(cpu_widen),
    .narrow = CPU_NAME(cpu_narrow),
};
