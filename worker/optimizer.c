/* SPDX-License-Identifier: MIT
 *
 * AdamW and SGD with momentum over segments; the arithmetic is the back end's.
 */
#include "worker/optimizer.h"

#include <math.h>

#include "base/alloc.h"

struct optimizer_segment {
    int64_t begin, count; /* within the piece */
    bool decay;
};

struct optimizer {
    struct rank_state *state;
    struct optimizer_segment *segments;
    int *first; /* [bucket_count + 1] segments of each bucket */
};

/* Segments of one piece; with `out` NULL only counts. */
static int optimizer_cut(const struct graph *graph, const struct ckpt_piece *piece,
                         struct optimizer_segment *out)
{
    int count = 0;
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        int64_t param_end = param->offset + param->count;
        int64_t begin = piece->begin > param->offset ? piece->begin : param->offset;
        int64_t end = piece->end < param_end ? piece->end : param_end;
        if (begin >= end)
            continue;
        if (out)
            out[count] = (struct optimizer_segment){begin - piece->begin, end - begin, param->decay};
        count++;
    }
    return count;
}

enum muster_status optimizer_create(struct rank_state *state, struct optimizer **out,
                                    struct muster_error *err)
{
    *out = NULL;
    int buckets = state->plan->bucket_count;
    struct optimizer *optimizer = alloc_zeroed(1, sizeof *optimizer);
    if (!optimizer)
        goto fail;
    optimizer->state = state;
    optimizer->first = alloc_zeroed((size_t)buckets + 1, sizeof *optimizer->first);
    if (!optimizer->first)
        goto fail;
    for (int i = 0; i < buckets; i++)
        optimizer->first[i + 1] =
            optimizer->first[i] + optimizer_cut(state->plan->graph, &state->held[i], NULL);
    optimizer->segments = alloc_zeroed((size_t)optimizer->first[buckets], sizeof *optimizer->segments);
    if (!optimizer->segments)
        goto fail;
    for (int i = 0; i < buckets; i++)
        optimizer_cut(state->plan->graph, &state->held[i], optimizer->segments + optimizer->first[i]);
    *out = optimizer;
    return MUSTER_OK;
fail:
    optimizer_destroy(optimizer);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the optimizer's segments");
}

void optimizer_destroy(struct optimizer *optimizer)
{
    if (!optimizer)
        return;
    alloc_free(optimizer->segments);
    alloc_free(optimizer->first);
    alloc_free(optimizer);
}

struct optimizer_target {
    float *param, *first, *second;
    uint16_t *param_rounded;
    const float *gradient;
};

static struct optimizer_target optimizer_target(const struct rank_state *state, int bucket,
                                                const struct optimizer_segment *segment,
                                                const float *gradient)
{
    const struct ckpt_piece *piece = &state->held[bucket];
    bool rounded = state->plan->graph->compute_dtype != DTYPE_F32 && !state->plan->offload;
    return (struct optimizer_target){
        .param = piece->data[0] + segment->begin,
        .first = piece->data[1] + segment->begin,
        .second = piece->data[2] ? piece->data[2] + segment->begin : NULL,
        .param_rounded = rounded ? rank_state_param(state, bucket, piece->begin + segment->begin) : NULL,
        .gradient = gradient + segment->begin,
    };
}

static enum muster_status optimizer_adamw(const struct optimizer *optimizer,
                                          const struct optimizer_target *target,
                                          const struct optimizer_segment *segment, int64_t step, double lr,
                                          float grad_scale, struct muster_error *err)
{
    const struct job *job = optimizer->state->job;
    struct adamw_args args = {
        .count = segment->count,
        .param = target->param,
        .param_rounded = target->param_rounded,
        .rounded_dtype = optimizer->state->plan->graph->compute_dtype,
        .grad = target->gradient,
        .m = target->first,
        .v = target->second,
        .grad_scale = grad_scale,
        .lr = (float)lr,
        .beta1 = (float)job->optimizer.beta1,
        .beta2 = (float)job->optimizer.beta2,
        .epsilon = (float)job->optimizer.eps,
        .weight_decay = segment->decay ? (float)job->optimizer.weight_decay : 0.0f,
        .bias_correction1 = (float)(1.0 - pow(job->optimizer.beta1, (double)(step + 1))),
        .bias_correction2 = (float)(1.0 - pow(job->optimizer.beta2, (double)(step + 1))),
    };
    return kernels_adamw(optimizer->state->update_kernels, &args, err);
}

static enum muster_status optimizer_sgd(const struct optimizer *optimizer,
                                        const struct optimizer_target *target,
                                        const struct optimizer_segment *segment, double lr, float grad_scale,
                                        struct muster_error *err)
{
    const struct job *job = optimizer->state->job;
    struct sgd_args args = {
        .count = segment->count,
        .param = target->param,
        .param_rounded = target->param_rounded,
        .rounded_dtype = optimizer->state->plan->graph->compute_dtype,
        .grad = target->gradient,
        .momentum = target->first,
        .grad_scale = grad_scale,
        .lr = (float)lr,
        .mu = (float)job->optimizer.momentum,
        .weight_decay = segment->decay ? (float)job->optimizer.weight_decay : 0.0f,
        .nesterov = job->optimizer.nesterov,
    };
    return kernels_sgd(optimizer->state->update_kernels, &args, err);
}

static enum muster_status optimizer_update_segments(struct optimizer *optimizer, int bucket,
                                                    const float *gradient, int64_t step, double lr,
                                                    float grad_scale, struct muster_error *err)
{
    bool adam = optimizer->state->job->optimizer.type == JOB_OPTIMIZER_ADAMW;
    for (int i = optimizer->first[bucket]; i < optimizer->first[bucket + 1]; i++) {
        const struct optimizer_segment *segment = &optimizer->segments[i];
        struct optimizer_target target = optimizer_target(optimizer->state, bucket, segment, gradient);
        enum muster_status status =
            adam ? optimizer_adamw(optimizer, &target, segment, step, lr, grad_scale, err)
                 : optimizer_sgd(optimizer, &target, segment, lr, grad_scale, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

enum muster_status optimizer_update_bucket(struct optimizer *optimizer, int bucket, const float *gradient,
                                           int64_t step, double lr, float grad_scale,
                                           struct muster_error *err)
{
    struct rank_state *state = optimizer->state;
    int64_t count = state->held[bucket].end - state->held[bucket].begin;
    if (!state->plan->offload)
        return optimizer_update_segments(optimizer, bucket, gradient, step, lr, grad_scale, err);
    enum muster_status status =
        kernels_copy_to_host(state->kernels, state->host_gradient, gradient, count * 4, err);
    if (!status)
        status =
            optimizer_update_segments(optimizer, bucket, state->host_gradient, step, lr, grad_scale, err);
    return status ? status : rank_state_store_params(state, bucket, err);
}
