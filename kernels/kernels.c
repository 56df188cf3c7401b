/* SPDX-License-Identifier: MIT
 *
 * The wrappers through which every operation is called: arguments are checked here once, for all back ends,
 * so that the back ends themselves contain arithmetic only. What is checked is what would otherwise corrupt
 * memory silently: shapes, dtypes, missing arrays. Contents of arrays are not read. The instance and the
 * argument struct themselves are never NULL; that is the caller's promise.
 */
#include "kernels/kernels.h"

/* The checks of one call: remembers the first requirement that does not hold. */
struct kernels_check {
    const char *operation;
    const char *unmet; /* NULL while everything holds */
    enum muster_status status;
};

static struct kernels_check kernels_check_start(const char *operation)
{
    struct kernels_check check = {operation, NULL, MUSTER_OK};
    return check;
}

static void kernels_check_that(struct kernels_check *check, bool holds, const char *requirement)
{
    if (holds || check->unmet != NULL)
        return;
    check->unmet = requirement;
    check->status = MUSTER_ERR_INTERNAL;
}

/* A floating-point dtype that the back end lacks is a limit of the back end; anything else is a bug of the
 * caller. */
static void kernels_check_dtype(struct kernels_check *check, const struct kernels *k, enum dtype dtype)
{
    bool floating = dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16;
    if (check->unmet != NULL || (floating && (k->dtypes & 1u << dtype)))
        return;
    check->unmet = "a dtype that the back end computes in";
    check->status = floating ? MUSTER_ERR_UNSUPPORTED : MUSTER_ERR_INTERNAL;
}

static void kernels_check_activation(struct kernels_check *check, enum activation activation)
{
    bool known =
        activation == ACTIVATION_NONE || activation == ACTIVATION_GELU_TANH || activation == ACTIVATION_RELU;
    kernels_check_that(check, known, "a known activation");
}

/* True, with `err` filled, when a requirement does not hold. */
static bool kernels_check_failed(const struct kernels_check *check, struct muster_error *err)
{
    if (check->unmet == NULL)
        return false;
    muster_error_set(err, check->status, "kernels: %s needs %s", check->operation, check->unmet);
    return true;
}

void kernels_destroy(struct kernels *k)
{
    if (k != NULL)
        k->ops->destroy(k);
}

static struct kernels_check kernels_embedding_check(const char *operation, const struct kernels *k,
                                                    const struct embedding_args *a)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->tokens > 0 && a->sequence > 0 && a->width > 0 && a->vocabulary > 0,
                       "positive tokens, sequence, width and vocabulary");
    kernels_check_that(&check, a->ids != NULL, "ids");
    return check;
}

enum muster_status kernels_embedding_forward(struct kernels *k, const struct embedding_args *a,
                                             struct muster_error *err)
{
    struct kernels_check check = kernels_embedding_check("embedding_forward", k, a);
    kernels_check_that(&check, a->token_table != NULL && a->y != NULL, "token_table and y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->embedding_forward(k, a, err);
}

enum muster_status kernels_embedding_backward(struct kernels *k, const struct embedding_args *a,
                                              struct muster_error *err)
{
    struct kernels_check check = kernels_embedding_check("embedding_backward", k, a);
    kernels_check_that(&check, a->dy != NULL && a->dtoken_table != NULL, "dy and dtoken_table");
    return kernels_check_failed(&check, err) ? check.status : k->ops->embedding_backward(k, a, err);
}

static struct kernels_check kernels_linear_check(const char *operation, const struct kernels *k,
                                                 const struct linear_args *a)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->tokens > 0 && a->in_width > 0 && a->out_width > 0,
                       "positive tokens, in_width and out_width");
    return check;
}

enum muster_status kernels_linear_forward(struct kernels *k, const struct linear_args *a,
                                          struct muster_error *err)
{
    struct kernels_check check = kernels_linear_check("linear_forward", k, a);
    kernels_check_activation(&check, a->activation);
    kernels_check_that(&check, a->x != NULL && a->w != NULL && a->y != NULL, "x, w and y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->linear_forward(k, a, err);
}

enum muster_status kernels_linear_backward_input(struct kernels *k, const struct linear_args *a,
                                                 struct muster_error *err)
{
    struct kernels_check check = kernels_linear_check("linear_backward_input", k, a);
    kernels_check_activation(&check, a->input_activation);
    kernels_check_that(&check, a->dy != NULL && a->w != NULL && a->dx != NULL, "dy, w and dx");
    return kernels_check_failed(&check, err) ? check.status : k->ops->linear_backward_input(k, a, err);
}

enum muster_status kernels_linear_backward_weight(struct kernels *k, const struct linear_args *a,
                                                  struct muster_error *err)
{
    struct kernels_check check = kernels_linear_check("linear_backward_weight", k, a);
    kernels_check_that(&check, a->dy != NULL && a->x != NULL && a->dw != NULL, "dy, x and dw");
    return kernels_check_failed(&check, err) ? check.status : k->ops->linear_backward_weight(k, a, err);
}

enum muster_status kernels_activation_forward(struct kernels *k, const struct activation_args *a,
                                              struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("activation_forward");
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_activation(&check, a->activation);
    kernels_check_that(&check, a->count > 0, "a positive count");
    kernels_check_that(&check, a->pre != NULL && a->y != NULL, "pre and y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->activation_forward(k, a, err);
}

enum muster_status kernels_activation_backward(struct kernels *k, const struct activation_args *a,
                                               struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("activation_backward");
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_activation(&check, a->activation);
    kernels_check_that(&check, a->count > 0, "a positive count");
    kernels_check_that(&check, a->pre != NULL && a->dy != NULL && a->dx != NULL, "pre, dy and dx");
    return kernels_check_failed(&check, err) ? check.status : k->ops->activation_backward(k, a, err);
}

static struct kernels_check kernels_norm_check(const char *operation, const struct kernels *k,
                                               const struct norm_args *a)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->kind == NORM_LAYER || a->kind == NORM_RMS, "a known kind of norm");
    kernels_check_that(&check, a->tokens > 0 && a->width > 0, "positive tokens and width");
    kernels_check_that(&check, a->gain != NULL, "gain");
    kernels_check_that(&check, a->kind == NORM_LAYER || (a->bias == NULL && a->dbias == NULL),
                       "no bias for an RMS norm");
    return check;
}

enum muster_status kernels_norm_forward(struct kernels *k, const struct norm_args *a,
                                        struct muster_error *err)
{
    struct kernels_check check = kernels_norm_check("norm_forward", k, a);
    kernels_check_that(&check, a->x != NULL && a->y != NULL, "x and y");
    kernels_check_that(&check, a->delta == NULL || a->residual != NULL, "a residual to store x + delta in");
    return kernels_check_failed(&check, err) ? check.status : k->ops->norm_forward(k, a, err);
}

enum muster_status kernels_norm_backward(struct kernels *k, const struct norm_args *a,
                                         struct muster_error *err)
{
    struct kernels_check check = kernels_norm_check("norm_backward", k, a);
    kernels_check_that(&check, a->residual != NULL && a->dy != NULL && a->dresidual != NULL,
                       "residual, dy and dresidual");
    kernels_check_that(&check, a->rstd != NULL && (a->kind == NORM_RMS || a->mean != NULL),
                       "rstd and, for a layer norm, mean");
    kernels_check_that(&check, a->dgain != NULL, "dgain");
    return kernels_check_failed(&check, err) ? check.status : k->ops->norm_backward(k, a, err);
}

enum muster_status kernels_rope(struct kernels *k, const struct rope_args *a, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("rope");
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->tokens > 0 && a->sequence > 0 && a->heads > 0 && a->kv_heads > 0,
                       "positive tokens, sequence, heads and kv_heads");
    kernels_check_that(&check, a->head_width > 0 && a->head_width % 2 == 0, "an even head_width");
    kernels_check_that(&check, a->base > 0.0f, "a positive base");
    kernels_check_that(&check, a->qkv != NULL, "qkv");
    return kernels_check_failed(&check, err) ? check.status : k->ops->rope(k, a, err);
}

static struct kernels_check kernels_attention_check(const char *operation, const struct kernels *k,
                                                    const struct attention_args *a)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->batch > 0 && a->sequence > 0 && a->head_width > 0,
                       "positive batch, sequence and head_width");
    kernels_check_that(&check, a->heads > 0 && a->kv_heads > 0 && a->heads % a->kv_heads == 0,
                       "heads to be a positive multiple of kv_heads");
    kernels_check_that(&check, a->dropout >= 0.0f && a->dropout < 1.0f, "dropout in [0, 1)");
    kernels_check_that(&check, a->qkv != NULL && a->y != NULL && a->lse != NULL, "qkv, y and lse");
    return check;
}

enum muster_status kernels_attention_forward(struct kernels *k, const struct attention_args *a,
                                             struct muster_error *err)
{
    struct kernels_check check = kernels_attention_check("attention_forward", k, a);
    return kernels_check_failed(&check, err) ? check.status : k->ops->attention_forward(k, a, err);
}

enum muster_status kernels_attention_backward(struct kernels *k, const struct attention_args *a,
                                              struct muster_error *err)
{
    struct kernels_check check = kernels_attention_check("attention_backward", k, a);
    kernels_check_that(&check, a->dy != NULL && a->dqkv != NULL, "dy and dqkv");
    return kernels_check_failed(&check, err) ? check.status : k->ops->attention_backward(k, a, err);
}

static struct kernels_check kernels_swiglu_check(const char *operation, const struct kernels *k,
                                                 const struct swiglu_args *a)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->tokens > 0 && a->width > 0, "positive tokens and width");
    kernels_check_that(&check, a->gate_up != NULL, "gate_up");
    return check;
}

enum muster_status kernels_swiglu_forward(struct kernels *k, const struct swiglu_args *a,
                                          struct muster_error *err)
{
    struct kernels_check check = kernels_swiglu_check("swiglu_forward", k, a);
    kernels_check_that(&check, a->y != NULL, "y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->swiglu_forward(k, a, err);
}

enum muster_status kernels_swiglu_backward(struct kernels *k, const struct swiglu_args *a,
                                           struct muster_error *err)
{
    struct kernels_check check = kernels_swiglu_check("swiglu_backward", k, a);
    kernels_check_that(&check, a->dy != NULL && a->dgate_up != NULL, "dy and dgate_up");
    return kernels_check_failed(&check, err) ? check.status : k->ops->swiglu_backward(k, a, err);
}

enum muster_status kernels_dropout(struct kernels *k, const struct dropout_args *a, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("dropout");
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->count > 0, "a positive count");
    kernels_check_that(&check, a->p >= 0.0f && a->p < 1.0f, "p in [0, 1)");
    kernels_check_that(&check, a->x != NULL && a->y != NULL, "x and y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->dropout(k, a, err);
}

enum muster_status kernels_head_loss(struct kernels *k, const struct head_loss_args *a,
                                     struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("head_loss");
    kernels_check_dtype(&check, k, a->dtype);
    kernels_check_that(&check, a->tokens > 0 && a->width > 0 && a->vocabulary > 0 && a->chunk_rows > 0,
                       "positive tokens, width, vocabulary and chunk_rows");
    kernels_check_that(&check, a->x != NULL && a->w != NULL && a->targets != NULL, "x, w and targets");
    kernels_check_that(&check, a->loss != NULL && a->work != NULL, "loss and work");
    kernels_check_that(&check, a->dx == NULL || a->dw != NULL, "dw where dx is given");
    return kernels_check_failed(&check, err) ? check.status : k->ops->head_loss(k, a, err);
}

static void kernels_check_decay(struct kernels_check *check, const struct update_decay *decay)
{
    bool rise = decay->turn_count >= 0 && (decay->turn_count == 0 || decay->turns != NULL);
    for (int i = 0; rise && i < decay->turn_count; i++)
        rise = decay->turns[i] > (i == 0 ? -1 : decay->turns[i - 1]);
    kernels_check_that(check, rise, "turns of weight decay that rise");
}

enum muster_status kernels_adamw(struct kernels *k, const struct adamw_args *a, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("adamw");
    kernels_check_that(&check, a->count >= 0, "a count of at least 0");
    kernels_check_that(&check, a->count == 0 || (a->param != NULL && a->grad != NULL), "param and grad");
    kernels_check_that(&check, a->count == 0 || (a->m != NULL && a->v != NULL), "m and v");
    kernels_check_that(&check, a->bias_correction1 > 0.0f && a->bias_correction2 > 0.0f,
                       "positive bias corrections");
    kernels_check_decay(&check, &a->decay);
    return kernels_check_failed(&check, err) ? check.status : k->ops->adamw(k, a, err);
}

enum muster_status kernels_sgd(struct kernels *k, const struct sgd_args *a, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("sgd");
    kernels_check_that(&check, a->count >= 0, "a count of at least 0");
    kernels_check_that(&check, a->count == 0 || (a->param != NULL && a->grad != NULL && a->momentum != NULL),
                       "param, grad and momentum");
    kernels_check_decay(&check, &a->decay);
    return kernels_check_failed(&check, err) ? check.status : k->ops->sgd(k, a, err);
}

enum muster_status kernels_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                       double *sums, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("sum_squares");
    kernels_check_that(&check, count >= 0 && chunk > 0 && (count == 0 || (x != NULL && sums != NULL)),
                       "a count of at least 0, a chunk of at least 1, x and sums");
    if (kernels_check_failed(&check, err) || count == 0)
        return check.status;
    return k->ops->sum_squares(k, x, count, chunk, sums, err);
}

/* What the operations with a source, a destination and a size share. */
static struct kernels_check kernels_copy_check(const char *operation, const void *to, const void *from,
                                               int64_t size)
{
    struct kernels_check check = kernels_check_start(operation);
    kernels_check_that(&check, size >= 0, "a size of at least 0");
    kernels_check_that(&check, size == 0 || (to != NULL && from != NULL), "a source and a destination");
    return check;
}

enum muster_status kernels_add(struct kernels *k, float *y, const float *x, int64_t count,
                               struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("add", y, x, count);
    return kernels_check_failed(&check, err) ? check.status : k->ops->add(k, y, x, count, err);
}

enum muster_status kernels_fill_zero(struct kernels *k, void *y, int64_t bytes, struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("fill_zero");
    kernels_check_that(&check, bytes >= 0 && (bytes == 0 || y != NULL), "a size of at least 0 and y");
    return kernels_check_failed(&check, err) ? check.status : k->ops->fill_zero(k, y, bytes, err);
}

enum muster_status kernels_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                    int64_t count, struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("round_to", y, x, count);
    kernels_check_that(&check, dtype == DTYPE_BF16 || dtype == DTYPE_F16, "bf16 or fp16");
    return kernels_check_failed(&check, err) ? check.status : k->ops->round_to(k, dtype, y, x, count, err);
}

enum muster_status kernels_memory_allocate(struct kernels *k, int64_t bytes, void **block,
                                           struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("memory_allocate");
    kernels_check_that(&check, bytes >= 0 && block != NULL, "a size of at least 0 and block");
    if (kernels_check_failed(&check, err))
        return check.status;
    *block = NULL;
    return k->ops->memory_allocate(k, bytes, block, err);
}

void kernels_memory_free(struct kernels *k, void *block, int64_t bytes)
{
    if (block != NULL)
        k->ops->memory_free(k, block, bytes);
}

enum muster_status kernels_memory_allocate_host(struct kernels *k, int64_t bytes, void **block,
                                                struct muster_error *err)
{
    struct kernels_check check = kernels_check_start("memory_allocate_host");
    kernels_check_that(&check, bytes >= 0 && block != NULL, "a size of at least 0 and block");
    if (kernels_check_failed(&check, err))
        return check.status;
    *block = NULL;
    return k->ops->memory_allocate_host(k, bytes, block, err);
}

void kernels_memory_free_host(struct kernels *k, void *block, int64_t bytes)
{
    if (block != NULL)
        k->ops->memory_free_host(k, block, bytes);
}

enum muster_status kernels_copy_to_device(struct kernels *k, void *device, const void *host, int64_t bytes,
                                          struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("copy_to_device", device, host, bytes);
    return kernels_check_failed(&check, err) ? check.status
                                             : k->ops->copy_to_device(k, device, host, bytes, err);
}

enum muster_status kernels_copy_to_host(struct kernels *k, void *host, const void *device, int64_t bytes,
                                        struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("copy_to_host", host, device, bytes);
    return kernels_check_failed(&check, err) ? check.status
                                             : k->ops->copy_to_host(k, host, device, bytes, err);
}

enum muster_status kernels_copy_to_host_later(struct kernels *k, void *host, const void *device,
                                              int64_t bytes, struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("copy_to_host_later", host, device, bytes);
    return kernels_check_failed(&check, err) ? check.status
                                             : k->ops->copy_to_host_later(k, host, device, bytes, err);
}

enum muster_status kernels_copy_on_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                          struct muster_error *err)
{
    struct kernels_check check = kernels_copy_check("copy_on_device", to, from, bytes);
    return kernels_check_failed(&check, err) ? check.status : k->ops->copy_on_device(k, to, from, bytes, err);
}

void *kernels_stream(struct kernels *k)
{
    return k->ops->stream(k);
}

enum muster_status kernels_capture_begin(struct kernels *k, struct muster_error *err)
{
    return k->ops->capture_begin(k, err);
}

enum muster_status kernels_capture_end(struct kernels *k, void **recorded, struct muster_error *err)
{
    *recorded = NULL;
    return k->ops->capture_end(k, recorded, err);
}

enum muster_status kernels_capture_run(struct kernels *k, void *recorded, struct muster_error *err)
{
    return k->ops->capture_run(k, recorded, err);
}

void kernels_capture_free(struct kernels *k, void *recorded)
{
    if (recorded != NULL)
        k->ops->capture_free(k, recorded);
}

enum muster_status kernels_synchronise(struct kernels *k, struct muster_error *err)
{
    return k->ops->synchronise(k, err);
}

enum muster_status kernels_timer_begin(struct kernels *k, struct muster_error *err)
{
    return k->ops->timer_begin(k, err);
}

enum muster_status kernels_timer_end(struct kernels *k, struct muster_error *err)
{
    return k->ops->timer_end(k, err);
}

enum muster_status kernels_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err)
{
    return k->ops->timer_seconds(k, seconds, err);
}

double kernels_peak_flops(struct kernels *k, enum dtype dtype)
{
    return k->ops->peak_flops(k, dtype);
}

bool kernels_choice(struct kernels *k, int index, char *text, size_t size)
{
    return k->ops->choice(k, index, text, size);
}
