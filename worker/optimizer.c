/* SPDX-License-Identifier: MIT
 *
 * AdamW and SGD with momentum over the held ranges; the arithmetic is the back end's.
 */
#include "worker/optimizer.h"

#include <math.h>

#include "base/alloc.h"

struct optimizer {
    struct rank_state *state;
    int64_t *turns; /* of weight decay, within each bucket's held range (struct update_decay) */
    int *first;     /* [bucket_count + 1] turns of each bucket */
};

/* Turns of one piece; with `out` NULL only counts. What pads a parameter belongs to it: it is zero, and its
 * gradient is. */
static int optimizer_cut(const struct graph *graph, const struct ckpt_piece *piece, int64_t *out)
{
    int count = 0;
    for (int i = 0; i < graph->param_count; i++) {
        const struct graph_param *param = &graph->params[i];
        int64_t begin = piece->begin > param->offset ? piece->begin : param->offset;
        bool decays = count % 2 == 0;
        if (begin >= piece->end || param->offset + param->count <= piece->begin || param->decay == decays)
            continue;
        if (out)
            out[count] = begin - piece->begin;
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
    optimizer->turns = alloc_zeroed((size_t)optimizer->first[buckets] + 1, sizeof *optimizer->turns);
    if (!optimizer->turns)
        goto fail;
    for (int i = 0; i < buckets; i++)
        optimizer_cut(state->plan->graph, &state->held[i], optimizer->turns + optimizer->first[i]);
    *out = optimizer;
    return MUSTER_OK;
fail:
    optimizer_destroy(optimizer);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the optimizer");
}

void optimizer_destroy(struct optimizer *optimizer)
{
    if (!optimizer)
        return;
    alloc_free(optimizer->turns);
    alloc_free(optimizer->first);
    alloc_free(optimizer);
}

/* One update, but for what the kinds of optimizer have of their own. */
struct optimizer_update {
    const struct ckpt_piece *piece;
    uint16_t *param_rounded;
    const float *gradient;
    struct update_decay decay;
    int64_t step;
    float lr, grad_scale;
};

static enum muster_status optimizer_adamw(const struct rank_state *state,
                                          const struct optimizer_update *update, struct muster_error *err)
{
    const struct job *job = state->job;
    double after = (double)(update->step + 1);
    struct adamw_args args = {
        .count = update->piece->end - update->piece->begin,
        .param = update->piece->data[0],
        .param_rounded = update->param_rounded,
        .rounded_dtype = state->plan->graph->compute_dtype,
        .grad = update->gradient,
        .m = update->piece->data[1],
        .v = update->piece->data[2],
        .grad_scale = update->grad_scale,
        .lr = update->lr,
        .beta1 = (float)job->optimizer.beta1,
        .beta2 = (float)job->optimizer.beta2,
        .epsilon = (float)job->optimizer.eps,
        .weight_decay = (float)job->optimizer.weight_decay,
        .decay = update->decay,
        .bias_correction1 = (float)(1.0 - pow(job->optimizer.beta1, after)),
        .bias_correction2 = (float)(1.0 - pow(job->optimizer.beta2, after)),
    };
    return kernels_adamw(state->update_kernels, &args, err);
}

static enum muster_status optimizer_sgd(const struct rank_state *state, const struct optimizer_update *update,
                                        struct muster_error *err)
{
    const struct job *job = state->job;
    struct sgd_args args = {
        .count = update->piece->end - update->piece->begin,
        .param = update->piece->data[0],
        .param_rounded = update->param_rounded,
        .rounded_dtype = state->plan->graph->compute_dtype,
        .grad = update->gradient,
        .momentum = update->piece->data[1],
        .grad_scale = update->grad_scale,
        .lr = update->lr,
        .mu = (float)job->optimizer.momentum,
        .weight_decay = (float)job->optimizer.weight_decay,
        .decay = update->decay,
        .nesterov = job->optimizer.nesterov,
    };
    return kernels_sgd(state->update_kernels, &args, err);
}

enum muster_status optimizer_update_bucket(struct optimizer *optimizer, int bucket, const float *gradient,
                                           int64_t step, double lr, float grad_scale,
                                           struct muster_error *err)
{
    struct rank_state *state = optimizer->state;
    const struct ckpt_piece *piece = &state->held[bucket];
    const int *first = &optimizer->first[bucket];
    bool offload = state->plan->offload, rounded = state->plan->graph->compute_dtype != DTYPE_F32 && !offload;
    enum muster_status status = MUSTER_OK;
    if (offload)
        status = kernels_copy_to_host(state->kernels, state->host_gradient, gradient,
                                      (piece->end - piece->begin) * 4, err);
    if (status || piece->begin == piece->end)
        return status;
    struct optimizer_update update = {
        .piece = piece,
        .param_rounded = rounded ? rank_state_param(state, bucket, piece->begin) : NULL,
        .gradient = offload ? state->host_gradient : gradient,
        .decay = {optimizer->turns + first[0], first[1] - first[0]},
        .step = step,
        .lr = (float)lr,
        .grad_scale = grad_scale,
    };
    status = state->job->optimizer.type == JOB_OPTIMIZER_ADAMW ? optimizer_adamw(state, &update, err)
                                                               : optimizer_sgd(state, &update, err);
    return status || !offload ? status : rank_state_store_params(state, bucket, err);
}
