/* SPDX-License-Identifier: MIT
 *
 * From graph operations to kernel calls. Each kind has one function that fills the kernel's argument struct
 * from the operation's slots; what changes from micro-step to micro-step (the gradient buffer, the random
 * key, the loss scale) is passed in as the step.
 */
#include "worker/executor.h"

#include "base/alloc.h"
#include "base/log.h"
#include "worker/fault_point.h"

enum { EXECUTOR_RNG_DROPOUT = 0x64726f70 };

/* A micro-step seen before: the same pointers and numbers, so the same work. */
struct executor_recording {
    struct executor_step step;
    void **segments; /* [op_count] by the segment's first operation; NULL until the second time */
};

struct executor {
    const struct graph *graph;
    struct kernels *kernels;
    struct executor_memory memory;
    void **address; /* per tensor; NULL for tensors never used */
    struct executor_recording recordings[EXECUTOR_RECORDINGS_MAX];
    int recording_count;
    void **segments; /* of all recordings */
    bool cannot_record;
};

typedef enum muster_status (*executor_call)(struct executor *x, const struct graph_op *op,
                                            const struct executor_step *step, struct muster_error *err);

static void *executor_slot(const struct executor *x, const struct graph_op *op, enum graph_slot slot)
{
    int tensor = op->tensor[slot];
    return tensor == GRAPH_NONE ? NULL : x->address[tensor];
}

/* The gradient range of the parameter in a slot. */
static float *executor_gradient(const struct executor *x, const struct graph_op *op, enum graph_slot slot,
                                const struct executor_step *step)
{
    int tensor = op->tensor[slot];
    if (tensor == GRAPH_NONE || !step->gradients)
        return NULL;
    int param = x->graph->tensors[tensor].param;
    return step->gradients +
           (step->gradient_place ? step->gradient_place[param] : x->graph->params[param].offset);
}

static struct rng_key executor_key(const struct graph_op *op, const struct executor_step *step)
{
    uint64_t stream = (uint64_t)EXECUTOR_RNG_DROPOUT << 32 | (uint32_t)op->rng_id;
    return rng_key_make(step->seed, stream, (uint64_t)step->step, (uint64_t)step->slot);
}

static struct embedding_args executor_embedding_args(struct executor *x, const struct graph_op *op,
                                                     const struct executor_step *step)
{
    const struct model_config *config = &x->graph->config;
    return (struct embedding_args){
        .dtype = x->graph->compute_dtype,
        .tokens = x->graph->tokens,
        .sequence = config->seq_len,
        .width = config->hidden_size,
        .vocabulary = config->vocab_size,
        .ids = executor_slot(x, op, SLOT_IDS),
        .token_table = executor_slot(x, op, SLOT_WEIGHT),
        .position_table = executor_slot(x, op, SLOT_BIAS),
        .y = executor_slot(x, op, SLOT_Y),
        .dy = executor_slot(x, op, SLOT_DY),
        .dtoken_table = executor_gradient(x, op, SLOT_WEIGHT, step),
        .dposition_table = executor_gradient(x, op, SLOT_BIAS, step),
    };
}

static enum muster_status executor_embedding(struct executor *x, const struct graph_op *op,
                                             const struct executor_step *step, struct muster_error *err)
{
    struct embedding_args args = executor_embedding_args(x, op, step);
    return op->kind == GRAPH_EMBEDDING ? kernels_embedding_forward(x->kernels, &args, err)
                                       : kernels_embedding_backward(x->kernels, &args, err);
}

static enum muster_status executor_linear(struct executor *x, const struct graph_op *op,
                                          const struct executor_step *step, struct muster_error *err)
{
    const struct graph_tensor *weight = &x->graph->tensors[op->tensor[SLOT_WEIGHT]];
    struct linear_args args = {
        .dtype = x->graph->compute_dtype,
        .tokens = x->graph->tokens,
        .in_width = weight->shape[1],
        .out_width = weight->shape[0],
        .x = executor_slot(x, op, SLOT_X),
        .w = executor_slot(x, op, SLOT_WEIGHT),
        .bias = executor_slot(x, op, SLOT_BIAS),
        .activation = op->activation,
        .pre = executor_slot(x, op, SLOT_PRE),
        .y = executor_slot(x, op, SLOT_Y),
        .dy = executor_slot(x, op, SLOT_DY),
        .dx = executor_slot(x, op, SLOT_DX),
        .input_pre = executor_slot(x, op, SLOT_INPUT_PRE),
        .input_activation = op->input_activation,
        .dw = executor_gradient(x, op, SLOT_WEIGHT, step),
        .dbias = executor_gradient(x, op, SLOT_BIAS, step),
    };
    switch (op->kind) {
    case GRAPH_LINEAR_BACKWARD_WEIGHT:
        return kernels_linear_backward_weight(x->kernels, &args, err);
    case GRAPH_LINEAR_BACKWARD_INPUT:
        return kernels_linear_backward_input(x->kernels, &args, err);
    default:
        return kernels_linear_forward(x->kernels, &args, err);
    }
}

static enum muster_status executor_activation(struct executor *x, const struct graph_op *op,
                                              const struct executor_step *step, struct muster_error *err)
{
    (void)step;
    struct activation_args args = {
        .dtype = x->graph->compute_dtype,
        .count = x->graph->tensors[op->tensor[SLOT_PRE]].count,
        .activation = op->activation,
        .pre = executor_slot(x, op, SLOT_PRE),
        .y = executor_slot(x, op, SLOT_Y),
        .dy = executor_slot(x, op, SLOT_DY),
        .dx = executor_slot(x, op, SLOT_DX),
    };
    return op->kind == GRAPH_ACTIVATION ? kernels_activation_forward(x->kernels, &args, err)
                                        : kernels_activation_backward(x->kernels, &args, err);
}

static enum muster_status executor_norm(struct executor *x, const struct graph_op *op,
                                        const struct executor_step *step, struct muster_error *err)
{
    const struct graph_tensor *gain = &x->graph->tensors[op->tensor[SLOT_WEIGHT]];
    struct norm_args args = {
        .dtype = x->graph->compute_dtype,
        .kind = op->tensor[SLOT_MEAN] == GRAPH_NONE ? NORM_RMS : NORM_LAYER,
        .epsilon = (float)x->graph->config.norm_eps,
        .tokens = x->graph->tokens,
        .width = gain->shape[0],
        .x = executor_slot(x, op, SLOT_X),
        .delta = executor_slot(x, op, SLOT_DELTA),
        .residual = executor_slot(x, op, SLOT_RESIDUAL),
        .gain = executor_slot(x, op, SLOT_WEIGHT),
        .bias = executor_slot(x, op, SLOT_BIAS),
        .y = executor_slot(x, op, SLOT_Y),
        .mean = executor_slot(x, op, SLOT_MEAN),
        .rstd = executor_slot(x, op, SLOT_RSTD),
        .dy = executor_slot(x, op, SLOT_DY),
        .dresidual = executor_slot(x, op, SLOT_DX),
        .accumulate = op->accumulate,
        .dgain = executor_gradient(x, op, SLOT_WEIGHT, step),
        .dbias = executor_gradient(x, op, SLOT_BIAS, step),
    };
    return op->kind == GRAPH_NORM ? kernels_norm_forward(x->kernels, &args, err)
                                  : kernels_norm_backward(x->kernels, &args, err);
}

static enum muster_status executor_rope(struct executor *x, const struct graph_op *op,
                                        const struct executor_step *step, struct muster_error *err)
{
    (void)step;
    const struct model_config *config = &x->graph->config;
    struct rope_args args = {
        .dtype = x->graph->compute_dtype,
        .tokens = x->graph->tokens,
        .sequence = config->seq_len,
        .heads = config->num_heads,
        .kv_heads = config->num_kv_heads,
        .head_width = config->hidden_size / config->num_heads,
        .base = (float)config->rope_base,
        .inverse = op->kind == GRAPH_ROPE_BACKWARD,
        .qkv = executor_slot(x, op, SLOT_X),
    };
    return kernels_rope(x->kernels, &args, err);
}

static enum muster_status executor_attention(struct executor *x, const struct graph_op *op,
                                             const struct executor_step *step, struct muster_error *err)
{
    const struct model_config *config = &x->graph->config;
    struct attention_args args = {
        .dtype = x->graph->compute_dtype,
        .batch = x->graph->micro_batch_size,
        .sequence = config->seq_len,
        .heads = config->num_heads,
        .kv_heads = config->num_kv_heads,
        .head_width = config->hidden_size / config->num_heads,
        .qkv = executor_slot(x, op, SLOT_X),
        .y = executor_slot(x, op, SLOT_Y),
        .lse = executor_slot(x, op, SLOT_LSE),
        .dropout = step->gradients ? (float)config->dropout : 0.0f,
        .key = executor_key(op, step),
        .dy = executor_slot(x, op, SLOT_DY),
        .dqkv = executor_slot(x, op, SLOT_DX),
    };
    return op->kind == GRAPH_ATTENTION ? kernels_attention_forward(x->kernels, &args, err)
                                       : kernels_attention_backward(x->kernels, &args, err);
}

static enum muster_status executor_swiglu(struct executor *x, const struct graph_op *op,
                                          const struct executor_step *step, struct muster_error *err)
{
    (void)step;
    struct swiglu_args args = {
        .dtype = x->graph->compute_dtype,
        .tokens = x->graph->tokens,
        .width = x->graph->config.ffn_hidden_size,
        .gate_up = executor_slot(x, op, SLOT_X),
        .y = executor_slot(x, op, SLOT_Y),
        .dy = executor_slot(x, op, SLOT_DY),
        .dgate_up = executor_slot(x, op, SLOT_DX),
    };
    return op->kind == GRAPH_SWIGLU ? kernels_swiglu_forward(x->kernels, &args, err)
                                    : kernels_swiglu_backward(x->kernels, &args, err);
}

static enum muster_status executor_dropout(struct executor *x, const struct graph_op *op,
                                           const struct executor_step *step, struct muster_error *err)
{
    bool forward = op->kind == GRAPH_DROPOUT;
    int y = op->tensor[forward ? SLOT_Y : SLOT_DX];
    struct dropout_args args = {
        .dtype = x->graph->compute_dtype,
        .count = x->graph->tensors[y].count,
        .p = step->gradients ? (float)x->graph->config.dropout : 0.0f,
        .key = executor_key(op, step),
        .x = executor_slot(x, op, forward ? SLOT_X : SLOT_DY),
        .y = x->address[y],
    };
    return kernels_dropout(x->kernels, &args, err);
}

static enum muster_status executor_head_loss(struct executor *x, const struct graph_op *op,
                                             const struct executor_step *step, struct muster_error *err)
{
    const struct graph_tensor *weight = &x->graph->tensors[op->tensor[SLOT_WEIGHT]];
    struct head_loss_args args = {
        .dtype = x->graph->compute_dtype,
        .tokens = x->graph->tokens,
        .width = weight->shape[1],
        .vocabulary = weight->shape[0],
        .chunk_rows = x->graph->chunk_rows,
        .x = executor_slot(x, op, SLOT_X),
        .w = executor_slot(x, op, SLOT_WEIGHT),
        .bias = executor_slot(x, op, SLOT_BIAS),
        .targets = executor_slot(x, op, SLOT_IDS),
        .loss = executor_slot(x, op, SLOT_LOSS),
        .correct = executor_slot(x, op, SLOT_CORRECT),
        .gradient_scale = step->gradient_scale,
        .dx = step->gradients ? executor_slot(x, op, SLOT_DX) : NULL,
        .dw = executor_gradient(x, op, SLOT_WEIGHT, step),
        .dbias = executor_gradient(x, op, SLOT_BIAS, step),
        .work = executor_slot(x, op, SLOT_WORK),
    };
    return kernels_head_loss(x->kernels, &args, err);
}

static const executor_call executor_calls[GRAPH_KIND_COUNT] = {
    [GRAPH_EMBEDDING] = executor_embedding,
    [GRAPH_LINEAR] = executor_linear,
    [GRAPH_ACTIVATION] = executor_activation,
    [GRAPH_NORM] = executor_norm,
    [GRAPH_ROPE] = executor_rope,
    [GRAPH_ATTENTION] = executor_attention,
    [GRAPH_SWIGLU] = executor_swiglu,
    [GRAPH_DROPOUT] = executor_dropout,
    [GRAPH_HEAD_LOSS] = executor_head_loss,
    [GRAPH_EMBEDDING_BACKWARD] = executor_embedding,
    [GRAPH_LINEAR_BACKWARD_WEIGHT] = executor_linear,
    [GRAPH_LINEAR_BACKWARD_INPUT] = executor_linear,
    [GRAPH_ACTIVATION_BACKWARD] = executor_activation,
    [GRAPH_NORM_BACKWARD] = executor_norm,
    [GRAPH_ROPE_BACKWARD] = executor_rope,
    [GRAPH_ATTENTION_BACKWARD] = executor_attention,
    [GRAPH_SWIGLU_BACKWARD] = executor_swiglu,
    [GRAPH_DROPOUT_BACKWARD] = executor_dropout,
};

static void executor_resolve(struct executor *x)
{
    const struct graph *graph = x->graph;
    for (int i = 0; i < graph->tensor_count; i++) {
        const struct graph_tensor *tensor = &graph->tensors[i];
        if (tensor->role == GRAPH_ROLE_PARAM) {
            const int64_t *place = x->memory.param_place;
            int64_t first = place ? place[tensor->param] : graph->params[tensor->param].offset;
            x->address[i] = (char *)x->memory.params + first * (int64_t)dtype_size(graph->compute_dtype);
        } else if (tensor->role == GRAPH_ROLE_INPUT) {
            x->address[i] = (char *)x->memory.inputs + tensor->offset;
        } else if (tensor->first_op >= 0) {
            x->address[i] = (char *)x->memory.activations + tensor->offset;
        }
    }
}

enum muster_status executor_create(const struct graph *graph, struct kernels *kernels,
                                   const struct executor_memory *memory, struct executor **out,
                                   struct muster_error *err)
{
    *out = NULL;
    struct executor *x = alloc_zeroed(1, sizeof *x);
    if (x) {
        x->address = alloc_zeroed((size_t)graph->tensor_count, sizeof *x->address);
        x->segments = alloc_zeroed((size_t)graph->op_count * EXECUTOR_RECORDINGS_MAX, sizeof *x->segments);
    }
    if (!x || !x->address || !x->segments) {
        executor_destroy(x);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the executor");
    }
    x->graph = graph;
    x->kernels = kernels;
    x->memory = *memory;
    executor_resolve(x);
    *out = x;
    return MUSTER_OK;
}

/* Its segments are not recorded any more. */
static void executor_recording_clear(struct executor *x, struct executor_recording *entry)
{
    for (int i = 0; i < x->graph->op_count; i++) {
        kernels_capture_free(x->kernels, entry->segments[i]);
        entry->segments[i] = NULL;
    }
}

void executor_destroy(struct executor *x)
{
    if (!x)
        return;
    for (int i = 0; i < x->recording_count; i++)
        executor_recording_clear(x, &x->recordings[i]);
    alloc_free(x->segments);
    alloc_free(x->address);
    alloc_free(x);
}

/* Operation `i` is next: for who watches, and for tests that make a rank fail here. */
static void executor_tell(const struct executor *x, const struct executor_step *step, int i)
{
    bool begins = i == 0 || i == x->graph->forward_count;
    if (step->gradients && begins)
        rank_progress_enter(step->progress, i == 0 ? RANK_PHASE_FORWARD : RANK_PHASE_BACKWARD);
    rank_progress_operation(step->progress, x->graph->ops[i].block);
    if (begins)
        fault_point(i == 0 ? "forward" : "backward");
}

static enum muster_status executor_call_one(struct executor *x, const struct executor_step *step, int i,
                                            struct muster_error *err)
{
    const struct graph_op *op = &x->graph->ops[i];
    return executor_calls[op->kind](x, op, step, err);
}

static bool executor_stops_at(const struct executor_step *step, int i)
{
    return step->before && (!step->stops || step->stops[i] & step->stop_for);
}

/* Whether they have the same segments with the same arguments, but for the scale. */
static bool executor_steps_equal(const struct executor_step *a, const struct executor_step *b)
{
    return a->gradients == b->gradients && a->gradient_place == b->gradient_place && a->before == b->before &&
           a->stops == b->stops && a->stop_for == b->stop_for;
}

/* The recording of such a micro-step; *seen when it has come before, with this scale. NULL: there are too
 * many others. */
static struct executor_recording *executor_recording_of(struct executor *x, const struct executor_step *step,
                                                        bool *seen)
{
    struct executor_recording *entry = x->recordings, *end = entry + x->recording_count;
    while (entry < end && !executor_steps_equal(&entry->step, step))
        entry++;
    if (entry == x->recordings + EXECUTOR_RECORDINGS_MAX)
        return NULL;
    *seen = entry < end && entry->step.gradient_scale == step->gradient_scale;
    if (entry == end)
        x->recording_count++;
    entry->segments = x->segments + (entry - x->recordings) * x->graph->op_count;
    if (!*seen)
        executor_recording_clear(x, entry);
    entry->step = *step;
    return entry;
}

/* What is recorded of the micro-step in hand, by a segment's first operation; NULL when it is not to be. The
 * first time, the back end chooses its algorithms. */
static void **executor_segments(struct executor *x, const struct executor_step *step)
{
    if (x->cannot_record || !step->gradients || x->graph->config.dropout != 0.0)
        return NULL;
    bool seen = false;
    struct executor_recording *entry = executor_recording_of(x, step, &seen);
    return entry && seen ? entry->segments : NULL;
}

/* A recording computes nothing, so what fails in it is no harm yet: the run goes on without. */
static void executor_record(struct executor *x, const struct executor_step *step, int begin, int end,
                            void **recorded)
{
    struct muster_error err = {0}, ignored = {0};
    enum muster_status status = kernels_capture_begin(x->kernels, &err);
    if (!status) {
        for (int i = begin; i < end && !status; i++)
            status = executor_call_one(x, step, i, &err);
        enum muster_status ended = kernels_capture_end(x->kernels, recorded, status ? &ignored : &err);
        status = status ? status : ended;
    }
    x->cannot_record = status != MUSTER_OK;
    if (status && status != MUSTER_ERR_UNSUPPORTED)
        log_warn("operations are launched one by one, because they cannot be recorded: %s", err.text);
}

/* Operations [begin, end), of which the first has been told. \param recorded  NULL: nor to be */
static enum muster_status executor_segment(struct executor *x, const struct executor_step *step, int begin,
                                           int end, void **recorded, struct muster_error *err)
{
    if (recorded && !*recorded && !x->cannot_record)
        executor_record(x, step, begin, end, recorded);
    bool whole = recorded && !x->cannot_record;
    enum muster_status status = MUSTER_OK;
    for (int i = begin; i < end && !status; i++) {
        if (i > begin)
            executor_tell(x, step, i);
        if (!whole)
            status = executor_call_one(x, step, i, err);
    }
    return whole ? kernels_capture_run(x->kernels, *recorded, err) : status;
}

enum muster_status executor_run(struct executor *x, const struct executor_step *step,
                                struct muster_error *err)
{
    int op_count = step->gradients ? x->graph->op_count : x->graph->forward_count;
    void **segments = executor_segments(x, step);
    enum muster_status status = MUSTER_OK;
    for (int begin = 0, end; begin < op_count && !status; begin = end) {
        for (end = begin + 1; end < op_count && !executor_stops_at(step, end);)
            end++;
        executor_tell(x, step, begin);
        if (executor_stops_at(step, begin))
            status = step->before(step->before_context, begin, err);
        if (!status)
            status = executor_segment(x, step, begin, end, segments ? segments + begin : NULL, err);
    }
    return status;
}

void *executor_tensor(const struct executor *x, int tensor)
{
    return tensor == GRAPH_NONE ? NULL : x->address[tensor];
}

enum muster_status executor_logits(struct executor *x, int64_t row, void *logits, struct muster_error *err)
{
    const struct graph *graph = x->graph;
    const struct graph_tensor *weight = &graph->tensors[graph->head_weight];
    int64_t row_bytes = weight->shape[1] * (int64_t)dtype_size(graph->compute_dtype);
    struct linear_args args = {
        .dtype = graph->compute_dtype,
        .tokens = 1,
        .in_width = weight->shape[1],
        .out_width = weight->shape[0],
        .x = (const char *)x->address[graph->head_x] + row * row_bytes,
        .w = x->address[graph->head_weight],
        .bias = executor_tensor(x, graph->head_bias),
        .y = logits,
    };
    return kernels_linear_forward(x->kernels, &args, err);
}
