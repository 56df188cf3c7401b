/* SPDX-License-Identifier: MIT
 *
 * Adds several arrays of floats as a postfix program says (base/tree.h), in rows small enough for the
 * first-level cache, so that many operands are one pass over memory. The program alone fixes the order of the
 * adds of an element.
 */
#ifndef MUSTER_COMM_COMBINE_H
#define MUSTER_COMM_COMBINE_H

#include <stdint.h>

#include "base/error.h"

/* out = a + b. Operands below operand_count are the caller's arrays, from there on scratch rows;
 * COMBINE_RESULT is the result. */
struct combine_step {
    int out, a, b;
};
enum { COMBINE_RESULT = -1 };

struct combine {
    int operand_count, single; /* the operand of a program without adds; otherwise -1 */
    int step_count;
    struct combine_step *steps;
    float *scratch;
};

/**
 * \param program  entry >= 0 pushes that operand, -1 adds the two on top; `length` is odd, at least 1
 * \param operand_count  above every entry
 */
enum muster_status combine_init(struct combine *combine, const int *program, int length, int operand_count,
                                struct muster_error *err);
/** Takes a zeroed struct. */
void combine_release(struct combine *combine);

/**
 * `out` may be the same memory as one of the operands used. Of `operands` only those that the program names
 * are read. Not for two threads at once.
 */
void combine_run(const struct combine *combine, const float *const *operands, float *out, int64_t count);

#endif
