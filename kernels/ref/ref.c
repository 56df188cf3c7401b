/* SPDX-License-Identifier: MIT
 *
 * The reference back end: every operation as its formula reads, in double, one thread, rounded once where it
 * is stored. It judges the other back ends, so it favours being obviously right over being fast. It is the
 * one back end that breaks the rule against allocating: its double-precision sums live on the heap for the
 * length of one call, and the scratch and work blocks of its callers stay untouched. A backward operation
 * reads only its arguments; it never relies on this back end having run the forward one.
 */
#include "kernels/ref/ref_internal.h"

#include "base/alloc.h"
#include "kernels/host.h"

double *ref_array_create(int64_t count, struct muster_error *err)
{
    double *values = alloc_zeroed((size_t)count, sizeof *values);
    if (values == NULL)
        muster_error_set(err, MUSTER_ERR_NO_MEMORY, "ref: no memory for %lld doubles", (long long)count);
    return values;
}

double *ref_array_load(enum dtype dtype, const void *source, int64_t count, struct muster_error *err)
{
    double *values = ref_array_create(count, err);
    for (int64_t i = 0; values != NULL && i < count; i++)
        values[i] = ref_load(dtype, source, i);
    return values;
}

void ref_array_store(enum dtype dtype, void *array, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        ref_store(dtype, array, i, values[i]);
}

void ref_array_add(float *array, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        array[i] = (float)((double)array[i] + values[i]);
}

static void ref_destroy(struct kernels *k)
{
    alloc_free(k);
}

static enum muster_status ref_fill_zero(struct kernels *k, void *y, int64_t bytes, struct muster_error *err)
{
    (void)k;
    (void)err;
    if (bytes > 0)
        memset(y, 0, (size_t)bytes);
    return MUSTER_OK;
}

static double ref_peak_flops(struct kernels *k, enum dtype dtype)
{
    (void)k;
    (void)dtype;
    return 0.0; /* the judge is not in a hurry */
}

static const struct kernels_ops ref_ops = {
    .name = "ref",
    .destroy = ref_destroy,
    .embedding_forward = ref_embedding_forward,
    .embedding_backward = ref_embedding_backward,
    .linear_forward = ref_linear_forward,
    .linear_backward_input = ref_linear_backward_input,
    .linear_backward_weight = ref_linear_backward_weight,
    .activation_forward = ref_activation_forward,
    .activation_backward = ref_activation_backward,
    .norm_forward = ref_norm_forward,
    .norm_backward = ref_norm_backward,
    .rope = ref_rope,
    .attention_forward = ref_attention_forward,
    .attention_backward = ref_attention_backward,
    .swiglu_forward = ref_swiglu_forward,
    .swiglu_backward = ref_swiglu_backward,
    .dropout = ref_dropout,
    .head_loss = ref_head_loss,
    .adamw = ref_adamw,
    .sgd = ref_sgd,
    .sum_squares = ref_sum_squares,
    .add = ref_add,
    .fill_zero = ref_fill_zero,
    .round_to = ref_round_to,
    KERNELS_HOST_ENTRIES,
    .peak_flops = ref_peak_flops,
};

enum muster_status kernels_ref_create(void *scratch, int64_t scratch_bytes, struct kernels **out,
                                      struct muster_error *err)
{
    *out = NULL;
    struct kernels *k = alloc_zeroed(1, sizeof *k);
    if (k == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "ref: no memory for the back end");
    k->ops = &ref_ops;
    k->threads = 1;
    k->dtypes = 1u << DTYPE_F32 | 1u << DTYPE_BF16 | 1u << DTYPE_F16;
    k->scratch = scratch;
    k->scratch_bytes = scratch_bytes;
    k->numerics = "ref: double sums, one thread, libm";
    *out = k;
    return MUSTER_OK;
}
