/* SPDX-License-Identifier: MIT
 *
 * Stands in for cuDNN's plans of attention (kernels/cuda/cuda_sdpa_plan.c) on host memory, for the emulated
 * plug-in: cuda_sdpa.c itself runs, slices and all. It rounds where the real kernels must, whose products
 * take 16-bit factors and sum in fp32: probabilities, relative to the largest score so far, before they meet
 * the values; both kinds of gradients of scores before they meet keys and queries; each query head's part of
 * a shared key or value head. A tolerance that this passes is one that a GPU can pass.
 *
 * The gradient of the queries takes its scores from the work memory, as the real one in a fixed order does;
 * all of it is filled with rubbish first. Plans are not to be had while a stream is recorded.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "cudart_standin.h"
#include "kernels/cuda/cuda_sdpa.h"

enum { STANDIN_CUDNN_VERSION = 91900, STANDIN_KEYS = 128 };

struct cudnnContext {
    cudaStream_t stream;
};

struct cuda_sdpa_plan {
    struct cuda_sdpa_shape shape;
};

/* A run: what it works on by name, and the numbers as they were when it was asked for. */
struct standin_attention {
    struct cuda_sdpa_shape shape;
    void *tensor[SDPA_NAMES], *workspace;
    float scale, minus_infinity;
};

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = alloc_zeroed(1, sizeof **handle);
    return *handle != NULL ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    alloc_free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

size_t cudnnGetVersion(void)
{
    return STANDIN_CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS ? "stand-in: success" : "stand-in: refused";
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    if (size > 0)
        message[0] = '\0';
}

enum muster_status cuda_sdpa_plan_create(cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                                         const struct cuda_sdpa_shape *shape, struct cuda_sdpa_plan **out,
                                         struct muster_error *err)
{
    *out = NULL;
    if (handle == NULL || device != NULL || cuda_standin_capturing())
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "stand-in: no plan can be made now");
    *out = alloc_zeroed(1, sizeof **out);
    if (*out == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "stand-in: no memory for a plan");
    (*out)->shape = *shape;
    return MUSTER_OK;
}

void cuda_sdpa_plan_destroy(struct cuda_sdpa_plan *plan)
{
    alloc_free(plan);
}

int64_t cuda_sdpa_plan_workspace_bytes(const struct cuda_sdpa_plan *plan)
{
    const struct cuda_sdpa_shape *s = &plan->shape;
    return s->backward ? 2 * s->batch * s->heads * s->sequence * s->sequence : 0;
}

int64_t cuda_sdpa_plan_engine(const struct cuda_sdpa_plan *plan)
{
    return plan->shape.backward ? 2 : 1;
}

static float standin_number(const struct standin_attention *a, const uint16_t *from)
{
    return a->shape.dtype == DTYPE_BF16 ? dtype_f32_from_bf16(*from) : dtype_f32_from_f16(*from);
}

static uint16_t standin_bits(const struct standin_attention *a, float value)
{
    return a->shape.dtype == DTYPE_BF16 ? dtype_bf16_from_f32(value) : dtype_f16_from_f32(value);
}

static float standin_rounded(const struct standin_attention *a, float value)
{
    const uint16_t bits = standin_bits(a, value);
    return standin_number(a, &bits);
}

/* Position t of a head of a packed array. */
static uint16_t *standin_packed(const struct standin_attention *a, int name, int64_t b, int64_t head,
                                int64_t t)
{
    const struct cuda_sdpa_shape *s = &a->shape;
    const bool plain = name == SDPA_Y || name == SDPA_DY;
    return (uint16_t *)a->tensor[name] + (b * s->sequence + t) * (plain ? s->y_stride : s->qkv_stride) +
           head * s->head_width;
}

/* The number of a row of scores. */
static float *standin_row(const struct standin_attention *a, int name, int64_t b, int64_t h, int64_t t)
{
    return (float *)a->tensor[name] + (b * a->shape.heads + h) * a->shape.sequence + t;
}

static float standin_dot(const struct standin_attention *a, const uint16_t *x, const uint16_t *y)
{
    float sum = 0.0f;
    for (int64_t d = 0; d < a->shape.head_width; d++)
        sum += standin_number(a, x + d) * standin_number(a, y + d);
    return sum;
}

/* sums += weight · row */
static void standin_add(const struct standin_attention *a, float weight, const uint16_t *row, float *sums)
{
    for (int64_t d = 0; d < a->shape.head_width; d++)
        sums[d] += weight * standin_number(a, row + d);
}

static void standin_store(const struct standin_attention *a, uint16_t *to, const float *values, float factor)
{
    for (int64_t d = 0; d < a->shape.head_width; d++)
        to[d] = standin_bits(a, values[d] * factor);
}

/* One row of y, keys a tile at a time; `scores` has room for a tile, `sums` for a head. */
static void standin_forward_row(const struct standin_attention *a, int64_t b, int64_t h, int64_t i,
                                float *scores, float *sums)
{
    const int64_t g = h / (a->shape.heads / a->shape.kv_heads);
    float largest = a->minus_infinity, total = 0.0f;
    memset(sums, 0, (size_t)a->shape.head_width * sizeof *sums);
    for (int64_t first = 0; first <= i; first += STANDIN_KEYS) {
        const int64_t count = i + 1 - first < STANDIN_KEYS ? i + 1 - first : STANDIN_KEYS;
        float top = largest;
        for (int64_t j = 0; j < count; j++) {
            scores[j] = a->scale * standin_dot(a, standin_packed(a, SDPA_Q, b, h, i),
                                               standin_packed(a, SDPA_K, b, g, first + j));
            top = fmaxf(top, scores[j]);
        }
        const float correction = expf(largest - top);
        total *= correction;
        for (int64_t d = 0; d < a->shape.head_width; d++)
            sums[d] *= correction;
        for (int64_t j = 0; j < count; j++) {
            const float p = expf(scores[j] - top);
            total += p;
            standin_add(a, standin_rounded(a, p), standin_packed(a, SDPA_V, b, g, first + j), sums);
        }
        largest = top;
    }
    standin_store(a, standin_packed(a, SDPA_Y, b, h, i), sums, 1.0f / total);
    *standin_row(a, SDPA_LSE, b, h, i) = largest + logf(total);
}

static void standin_forward(void *data)
{
    const struct standin_attention *a = data;
    const struct cuda_sdpa_shape *s = &a->shape;
    float *scores = alloc_zeroed((size_t)(STANDIN_KEYS + s->head_width), sizeof *scores);
    for (int64_t row = 0; scores != NULL && row < s->batch * s->heads * s->sequence; row++)
        standin_forward_row(a, row / s->sequence / s->heads, row / s->sequence % s->heads, row % s->sequence,
                            scores, scores + STANDIN_KEYS);
    alloc_free(scores);
}

/* One row of scores: what it adds to the gradients of a head's keys and values, and its own into work. */
static void standin_backward_row(const struct standin_attention *a, int64_t b, int64_t h, int64_t i,
                                 uint16_t *work, float *dkeys, float *dvalues)
{
    const int64_t g = h / (a->shape.heads / a->shape.kv_heads), width = a->shape.head_width;
    const uint16_t *q = standin_packed(a, SDPA_Q, b, h, i), *dy = standin_packed(a, SDPA_DY, b, h, i);
    const float lse = *standin_row(a, SDPA_LSE, b, h, i);
    float *row_sum = standin_row(a, SDPA_ROW_SUMS, b, h, i);
    *row_sum = standin_dot(a, dy, standin_packed(a, SDPA_Y, b, h, i));
    for (int64_t j = 0; j <= i; j++) {
        const float p = expf(a->scale * standin_dot(a, q, standin_packed(a, SDPA_K, b, g, j)) - lse);
        const float dp = standin_dot(a, dy, standin_packed(a, SDPA_V, b, g, j)) - *row_sum;
        work[j] = standin_bits(a, dp * p * a->scale);
        standin_add(a, standin_rounded(a, p), dy, dvalues + j * width);
        standin_add(a, standin_number(a, work + j), q, dkeys + j * width);
    }
}

/* The gradient of one query head; its part of the key and value head goes to dkeys and dvalues. */
static void standin_backward_head(const struct standin_attention *a, int64_t b, int64_t h, float *dkeys,
                                  float *dvalues, float *dquery)
{
    const struct cuda_sdpa_shape *s = &a->shape;
    const int64_t g = h / (s->heads / s->kv_heads);
    uint16_t *work = (uint16_t *)a->workspace + (b * s->heads + h) * s->sequence * s->sequence;
    for (int64_t i = 0; i < s->sequence; i++)
        standin_backward_row(a, b, h, i, work + i * s->sequence, dkeys, dvalues);
    for (int64_t i = 0; i < s->sequence; i++) {
        memset(dquery, 0, (size_t)s->head_width * sizeof *dquery);
        for (int64_t j = 0; j <= i; j++)
            standin_add(a, standin_number(a, work + i * s->sequence + j), standin_packed(a, SDPA_K, b, g, j),
                        dquery);
        standin_store(a, standin_packed(a, SDPA_DQ, b, h, i), dquery, 1.0f);
    }
}

/* The gradient of one key and value head: the query heads' parts, each rounded where there are several. */
static void standin_backward_group(const struct standin_attention *a, int64_t b, int64_t g, float *memory)
{
    const struct cuda_sdpa_shape *s = &a->shape;
    const int64_t group = s->heads / s->kv_heads, count = s->sequence * s->head_width;
    float *parts = memory, *sums = memory + 2 * count, *dquery = memory + 4 * count;
    memset(sums, 0, (size_t)(2 * count) * sizeof *sums);
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        memset(parts, 0, (size_t)(2 * count) * sizeof *parts);
        standin_backward_head(a, b, h, parts, parts + count, dquery);
        for (int64_t i = 0; i < 2 * count; i++)
            sums[i] += group > 1 ? standin_rounded(a, parts[i]) : parts[i];
    }
    for (int64_t j = 0; j < s->sequence; j++) {
        standin_store(a, standin_packed(a, SDPA_DK, b, g, j), sums + j * s->head_width, 1.0f);
        standin_store(a, standin_packed(a, SDPA_DV, b, g, j), sums + count + j * s->head_width, 1.0f);
    }
}

static void standin_backward(void *data)
{
    const struct standin_attention *a = data;
    const struct cuda_sdpa_shape *s = &a->shape;
    const int64_t floats = (4 * s->sequence + 1) * s->head_width;
    float *memory = alloc_zeroed((size_t)floats, sizeof *memory);
    memset(a->workspace, 0xee, (size_t)(2 * s->batch * s->heads * s->sequence * s->sequence));
    for (int64_t head = 0; memory != NULL && head < s->batch * s->kv_heads; head++)
        standin_backward_group(a, head / s->kv_heads, head % s->kv_heads, memory);
    alloc_free(memory);
}

cudnnStatus_t cuda_sdpa_plan_run(const struct cuda_sdpa_plan *plan, cudnnHandle_t handle,
                                 const struct cuda_sdpa_pack *pack)
{
    struct standin_attention a = {.shape = plan->shape, .workspace = pack->workspace};
    for (int64_t i = 0; i < pack->count; i++) {
        const int64_t name = pack->name[i];
        const bool rows = name == SDPA_LSE || name == SDPA_ROW_SUMS;
        const uint64_t alignment = rows ? (uint64_t)cuda_sdpa_rows_alignment(&plan->shape) : 16;
        if (name < SDPA_SCALE && (uintptr_t)pack->pointer[i] % alignment != 0)
            return CUDNN_STATUS_BAD_PARAM;
        a.tensor[name] = pack->pointer[i];
    }
    memcpy(&a.scale, a.tensor[SDPA_SCALE], sizeof a.scale);
    memcpy(&a.minus_infinity, a.tensor[SDPA_MINUS_INFINITY], sizeof a.minus_infinity);
    return cuda_standin_enqueue(handle->stream, plan->shape.backward ? standin_backward : standin_forward, &a,
                                sizeof a) == cudaSuccess
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_EXECUTION_FAILED;
}
