/* SPDX-License-Identifier: MIT
 *
 * What every test of the exact reduce shares: jobs of any layout, leaves whose sum shows the order of the
 * adds, and the comparison with the sum that each rank works out for its own range by itself.
 */
#ifndef MUSTER_TESTS_EXACT_CASE_H
#define MUSTER_TESTS_EXACT_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "comm/exact_reduce.h"

enum { RANKS_MAX = 64, LEAVES_MAX = 64 };

/* One job as all ranks see it. */
struct layout {
    int leaves;
    int block_begin[RANKS_MAX + 1];
    int64_t owned_begin[RANKS_MAX + 1];
};

/** Leaf's value at element i: either sign, 2^-8 to 2^8. */
float leaf_value(int leaf, int64_t i);

/** The sum of leaves [begin, end) at element i in the order of the tree. */
float tree_value(int begin, int end, int64_t i);

/** What a communicator is asked to add (sum_f32) at element i; `device_bias` as below. */
float terms_value(const struct tree_terms *terms, int64_t i, uintptr_t device_bias);

/** kind % 4 cuts the leaves, kind / 4 the floats: 0 even; 1 random; 2 the first ranks have nothing; 3 all at
 * the last. */
struct layout layout_make(int size, int leaves, int64_t floats, int kind);

/** One bucket through the exact reduce, compared bit for bit. `device_bias` bytes lie between an address and
 * the one the communicator is given (0 for host memory). */
void reduce_check(struct comm *c, const struct layout *layout, bool in_place, uintptr_t device_bias);

#endif
