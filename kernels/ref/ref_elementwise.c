/* SPDX-License-Identifier: MIT
 *
 * The reference operations that treat every element (or pair) on its own: activations, SwiGLU, dropout and
 * rotary positions. The formulas for activations and dropout are shared with the linear and attention files.
 */
#include "kernels/ref/ref_internal.h"

/* The tanh form of GELU: Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016, section 2. */
static const double ref_gelu_scale = 0.79788456080286535588; /* sqrt(2 / pi) */
static const double ref_gelu_cubic = 0.044715;

double ref_activation_value(enum activation activation, double x)
{
    if (activation == ACTIVATION_RELU)
        return x > 0.0 ? x : 0.0;
    if (activation == ACTIVATION_GELU_TANH)
        return 0.5 * x * (1.0 + tanh(ref_gelu_scale * (x + ref_gelu_cubic * x * x * x)));
    return x;
}

double ref_activation_slope(enum activation activation, double x)
{
    if (activation == ACTIVATION_RELU)
        return x > 0.0 ? 1.0 : 0.0;
    if (activation == ACTIVATION_GELU_TANH) {
        double t = tanh(ref_gelu_scale * (x + ref_gelu_cubic * x * x * x));
        double inner_slope = ref_gelu_scale * (1.0 + 3.0 * ref_gelu_cubic * x * x);
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner_slope;
    }
    return 1.0;
}

enum muster_status ref_activation_forward(struct kernels *k, const struct activation_args *a,
                                          struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < a->count; i++)
        ref_store(a->dtype, a->y, i, ref_activation_value(a->activation, ref_load(a->dtype, a->pre, i)));
    return MUSTER_OK;
}

enum muster_status ref_activation_backward(struct kernels *k, const struct activation_args *a,
                                           struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < a->count; i++) {
        double slope = ref_activation_slope(a->activation, ref_load(a->dtype, a->pre, i));
        ref_store(a->dtype, a->dx, i, slope * ref_load(a->dtype, a->dy, i));
    }
    return MUSTER_OK;
}

static double ref_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

enum muster_status ref_swiglu_forward(struct kernels *k, const struct swiglu_args *a,
                                      struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t i = 0; i < a->width; i++) {
            int64_t gate_at = t * 2 * a->width + i;
            double gate = ref_load(a->dtype, a->gate_up, gate_at);
            double up = ref_load(a->dtype, a->gate_up, gate_at + a->width);
            ref_store(a->dtype, a->y, t * a->width + i, gate * ref_sigmoid(gate) * up);
        }
    }
    return MUSTER_OK;
}

enum muster_status ref_swiglu_backward(struct kernels *k, const struct swiglu_args *a,
                                       struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t t = 0; t < a->tokens; t++) {
        for (int64_t i = 0; i < a->width; i++) {
            int64_t gate_at = t * 2 * a->width + i;
            double gate = ref_load(a->dtype, a->gate_up, gate_at);
            double up = ref_load(a->dtype, a->gate_up, gate_at + a->width);
            double dy = ref_load(a->dtype, a->dy, t * a->width + i);
            double sigmoid = ref_sigmoid(gate);
            double silu_slope = sigmoid * (1.0 + gate * (1.0 - sigmoid));
            ref_store(a->dtype, a->dgate_up, gate_at, dy * up * silu_slope);
            ref_store(a->dtype, a->dgate_up, gate_at + a->width, dy * gate * sigmoid);
        }
    }
    return MUSTER_OK;
}

double ref_dropout_factor(struct rng_key key, float p, uint64_t index)
{
    struct rng_block block = rng_philox(key, 0, index / 4);
    return rng_uniform(block.word[index % 4]) >= p ? 1.0 / (1.0 - (double)p) : 0.0;
}

enum muster_status ref_dropout(struct kernels *k, const struct dropout_args *a, struct muster_error *err)
{
    (void)k;
    (void)err;
    for (int64_t i = 0; i < a->count; i++) {
        double factor = ref_dropout_factor(a->key, a->p, (uint64_t)i);
        ref_store(a->dtype, a->y, i, factor > 0.0 ? ref_load(a->dtype, a->x, i) * factor : 0.0);
    }
    return MUSTER_OK;
}

/* Turns the pairs (i, i + head_width/2) of the head that starts at element `start`. Su et al., "RoFormer",
 * 2021, equation 34, with the pairing of Llama. */
static void ref_rope_head(const struct rope_args *a, int64_t start, int64_t position)
{
    int64_t half = a->head_width / 2;
    for (int64_t i = 0; i < half; i++) {
        double frequency = pow((double)a->base, -2.0 * (double)i / (double)a->head_width);
        double angle = (double)position * frequency;
        double c = cos(angle), s = a->inverse ? -sin(angle) : sin(angle);
        double first = ref_load(a->dtype, a->qkv, start + i);
        double second = ref_load(a->dtype, a->qkv, start + half + i);
        ref_store(a->dtype, a->qkv, start + i, first * c - second * s);
        ref_store(a->dtype, a->qkv, start + half + i, second * c + first * s);
    }
}

enum muster_status ref_rope(struct kernels *k, const struct rope_args *a, struct muster_error *err)
{
    (void)k;
    (void)err;
    int64_t row_width = (a->heads + 2 * a->kv_heads) * a->head_width;
    for (int64_t t = 0; t < a->tokens; t++)
        for (int64_t h = 0; h < a->heads + a->kv_heads; h++)
            ref_rope_head(a, t * row_width + h * a->head_width, t % a->sequence);
    return MUSTER_OK;
}
