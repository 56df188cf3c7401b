/* SPDX-License-Identifier: MIT
 *
 * One comparison of an operation and its gradient at one shape, for the tests of every back end: what goes
 * in, what comes out and how far off it may be. Which shapes are hard is a back end's own matter and stays in
 * its test, as does its tolerance for values of the shape's dtype.
 */
#ifndef MUSTER_TESTS_KERNELS_CASES_H
#define MUSTER_TESTS_KERNELS_CASES_H

#include "compare.h"

struct case_attention {
    enum dtype dtype;
    int64_t batch, sequence, heads, kv_heads, head_width;
    float dropout;
};
void case_attention_run(const struct case_attention *shape, double tolerance);
/* Its arguments but the pointers; and the call with data qkv, y, lse. */
struct attention_args case_attention_args(const struct case_attention *shape);
enum muster_status case_attention_forward(struct kernels *k, const void *shape, void *const data[],
                                          struct muster_error *err);

struct case_rope {
    enum dtype dtype;
    int64_t tokens, sequence, heads, kv_heads, head_width;
    bool inverse;
};
void case_rope_run(const struct case_rope *shape, double tolerance);

struct case_embedding {
    enum dtype dtype;
    int64_t tokens, sequence, width, vocabulary;
    bool positions;
};
void case_embedding_run(const struct case_embedding *shape);

struct case_rows {
    enum dtype dtype;
    int64_t tokens, width;
};
void case_swiglu_run(const struct case_rows *shape, double tolerance);

struct case_dropout {
    enum dtype dtype;
    int64_t count;
    float p;
    bool in_place;
};
void case_dropout_run(const struct case_dropout *shape, double tolerance);

/** An update with weight decay for all elements, or with so many turns spread over them. */
enum { CASE_TURNS_MAX = 300 };
struct case_update {
    int64_t count;
    enum dtype rounded; /* DTYPE_F32: no rounded copy */
    bool nesterov;
    int turns;
};
void case_updates_run(const struct case_update *shape, double tolerance);

/** adamw on param, rounded copy or NULL, gradient, m, v. */
enum muster_status case_adamw_call(struct kernels *k, const void *shape, void *const data[],
                                   struct muster_error *err);

/** y += x, and y = x rounded to each 16-bit dtype. */
void case_vectors_run(int64_t count);

struct case_squares {
    int64_t count, chunk; /* of at most CASE_SQUARES_SUMS chunks */
};
enum { CASE_SQUARES_SUMS = 13 };
void case_squares_run(const struct case_squares *shape, double tolerance);

#endif
