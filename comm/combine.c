/* SPDX-License-Identifier: MIT
 *
 * The program is compiled once into steps on operands; intermediate sums live in a few scratch rows, used as
 * a stack.
 */
#include "comm/combine.h"

#include <string.h>

#include "base/alloc.h"

enum { ROW_FLOATS = 2048 };

/* Gives the adds their operands; returns how many scratch rows they need. */
static int steps_compile(struct combine *combine, const int *program, int length, int *stack)
{
    int depth = 0, scratch_used = 0, scratch_count = 0, operand_count = combine->operand_count;
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            stack[depth++] = program[i];
            continue;
        }
        int b = stack[--depth], a = stack[--depth];
        /* scratch rows are a stack too: operands in scratch are its top */
        scratch_used -= (a >= operand_count) + (b >= operand_count);
        int out = i == length - 1 ? COMBINE_RESULT : operand_count + scratch_used;
        if (out != COMBINE_RESULT)
            scratch_used++;
        if (scratch_used > scratch_count)
            scratch_count = scratch_used;
        combine->steps[combine->step_count++] = (struct combine_step){.out = out, .a = a, .b = b};
        stack[depth++] = out;
    }
    return scratch_count;
}

enum muster_status combine_init(struct combine *combine, const int *program, int length, int operand_count,
                                struct muster_error *err)
{
    *combine =
        (struct combine){.operand_count = operand_count, .single = length == 1 ? program[0] : COMBINE_RESULT};
    int *stack = alloc_zeroed((size_t)length, sizeof(*stack));
    combine->steps = alloc_zeroed((size_t)length, sizeof(*combine->steps));
    if (stack && combine->steps) {
        int scratch_count = steps_compile(combine, program, length, stack);
        combine->scratch = alloc_aligned((size_t)scratch_count * ROW_FLOATS * sizeof(float), 64);
    }
    alloc_free(stack);
    if (combine->scratch)
        return MUSTER_OK;
    combine_release(combine);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a sum of %d arrays", (length + 1) / 2);
}

void combine_release(struct combine *combine)
{
    alloc_free(combine->steps);
    alloc_free(combine->scratch);
    *combine = (struct combine){.single = COMBINE_RESULT};
}

/* `out` may be the same memory as `a` or `b`. */
static void row_add(float *out, const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}

static const float *operand_row(const struct combine *combine, const float *const *operands, int operand,
                                int64_t at)
{
    if (operand < combine->operand_count)
        return operands[operand] + at;
    return combine->scratch + (int64_t)(operand - combine->operand_count) * ROW_FLOATS;
}

void combine_run(const struct combine *combine, const float *const *operands, float *out, int64_t count)
{
    if (combine->single >= 0 && out != operands[combine->single])
        memmove(out, operands[combine->single], (size_t)count * sizeof(float));
    for (int64_t at = 0; at < count && combine->step_count > 0; at += ROW_FLOATS) {
        int64_t row = count - at < ROW_FLOATS ? count - at : ROW_FLOATS;
        for (int s = 0; s < combine->step_count; s++) {
            const struct combine_step *step = &combine->steps[s];
            float *to = out + at;
            if (step->out != COMBINE_RESULT)
                to = combine->scratch + (int64_t)(step->out - combine->operand_count) * ROW_FLOATS;
            row_add(to, operand_row(combine, operands, step->a, at),
                    operand_row(combine, operands, step->b, at), row);
        }
    }
}
