/* SPDX-License-Identifier: MIT
 *
 * What the files of the reference back end share: reading a stored element as a double, rounding a double
 * once into a stored element, and the operations that ref.c puts into the table. Private to kernels/ref.
 */
#ifndef MUSTER_KERNELS_REF_INTERNAL_H
#define MUSTER_KERNELS_REF_INTERNAL_H

#include "kernels/kernels.h"

#include <math.h>

/* The value of element i. */
static inline double ref_load(enum dtype dtype, const void *array, int64_t i)
{
    if (dtype == DTYPE_BF16)
        return (double)dtype_f32_from_bf16(((const uint16_t *)array)[i]);
    if (dtype == DTYPE_F16)
        return (double)dtype_f32_from_f16(((const uint16_t *)array)[i]);
    return (double)((const float *)array)[i];
}

/* A float that rounds to bf16 or fp16 as `value` itself does: the nearest float would round twice, "round to
 * odd" keeps what was cut off visible in the last bit. */
static inline float ref_round_to_odd(double value)
{
    float nearest = (float)value;
    if ((double)nearest == value || isnan(value))
        return nearest;
    if (fabs((double)nearest) > fabs(value))
        nearest = nextafterf(nearest, 0.0f);
    uint32_t bits;
    memcpy(&bits, &nearest, sizeof bits);
    bits |= 1u;
    memcpy(&nearest, &bits, sizeof bits);
    return nearest;
}

/* `value` rounded once to bf16 or fp16. */
static inline uint16_t ref_half_from_double(enum dtype dtype, double value)
{
    float odd = ref_round_to_odd(value);
    return dtype == DTYPE_F16 ? dtype_f16_from_f32(odd) : dtype_bf16_from_f32(odd);
}

/* Rounds `value` to the dtype, stores it as element i and returns what a later load gives. */
static inline double ref_store(enum dtype dtype, void *array, int64_t i, double value)
{
    if (dtype == DTYPE_BF16 || dtype == DTYPE_F16)
        ((uint16_t *)array)[i] = ref_half_from_double(dtype, value);
    else
        ((float *)array)[i] = (float)value;
    return ref_load(dtype, array, i);
}

/* The value that storing and loading again would give. */
static inline double ref_round(enum dtype dtype, double value)
{
    union {
        float wide;
        uint16_t narrow;
    } element;
    return ref_store(dtype, &element, 0, value);
}

/* `count` zeroes, or NULL with `err` filled; released with alloc_free. */
double *ref_array_create(int64_t count, struct muster_error *err);

/* A copy of `count` stored elements as doubles, or NULL with `err` filled; released with alloc_free. */
double *ref_array_load(enum dtype dtype, const void *source, int64_t count, struct muster_error *err);

/* Rounds `count` sums once into `array`. */
void ref_array_store(enum dtype dtype, void *array, const double *values, int64_t count);

/* array += values, one rounding an element. */
void ref_array_add(float *array, const double *values, int64_t count);

double ref_activation_value(enum activation activation, double x);
double ref_activation_slope(enum activation activation, double x);

/* 1 / (1 - p) where element `index` of the stream of `key` is kept, else 0. */
double ref_dropout_factor(struct rng_key key, float p, uint64_t index);

enum muster_status ref_embedding_forward(struct kernels *k, const struct embedding_args *a,
                                         struct muster_error *err);
enum muster_status ref_embedding_backward(struct kernels *k, const struct embedding_args *a,
                                          struct muster_error *err);
enum muster_status ref_linear_forward(struct kernels *k, const struct linear_args *a,
                                      struct muster_error *err);
enum muster_status ref_linear_backward_input(struct kernels *k, const struct linear_args *a,
                                             struct muster_error *err);
enum muster_status ref_linear_backward_weight(struct kernels *k, const struct linear_args *a,
                                              struct muster_error *err);
enum muster_status ref_activation_forward(struct kernels *k, const struct activation_args *a,
                                          struct muster_error *err);
enum muster_status ref_activation_backward(struct kernels *k, const struct activation_args *a,
                                           struct muster_error *err);
enum muster_status ref_norm_forward(struct kernels *k, const struct norm_args *a, struct muster_error *err);
enum muster_status ref_norm_backward(struct kernels *k, const struct norm_args *a, struct muster_error *err);
enum muster_status ref_rope(struct kernels *k, const struct rope_args *a, struct muster_error *err);
enum muster_status ref_attention_forward(struct kernels *k, const struct attention_args *a,
                                         struct muster_error *err);
enum muster_status ref_attention_backward(struct kernels *k, const struct attention_args *a,
                                          struct muster_error *err);
enum muster_status ref_swiglu_forward(struct kernels *k, const struct swiglu_args *a,
                                      struct muster_error *err);
enum muster_status ref_swiglu_backward(struct kernels *k, const struct swiglu_args *a,
                                       struct muster_error *err);
enum muster_status ref_dropout(struct kernels *k, const struct dropout_args *a, struct muster_error *err);
enum muster_status ref_head_loss(struct kernels *k, const struct head_loss_args *a, struct muster_error *err);
enum muster_status ref_adamw(struct kernels *k, const struct adamw_args *a, struct muster_error *err);
enum muster_status ref_sgd(struct kernels *k, const struct sgd_args *a, struct muster_error *err);
enum muster_status ref_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                   double *sums, struct muster_error *err);
enum muster_status ref_add(struct kernels *k, float *y, const float *x, int64_t count,
                           struct muster_error *err);
enum muster_status ref_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                int64_t count, struct muster_error *err);

#endif
