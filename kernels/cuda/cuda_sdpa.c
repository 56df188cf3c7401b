/* SPDX-License-Identifier: MIT
 *
 * Attention by cuDNN on muster's packed rows: which shapes are handed over, the plans made so far, and where
 * a slice of heads lies. A shape that the library refused is remembered too. The gradient is taken slice by
 * slice (ops_attention_slice), because its fixed order of sums costs work memory that grows with the square
 * of the sequence; heads do not meet, so slicing changes no sum.
 */
#include "kernels/cuda/cuda_sdpa.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { SDPA_PLANS_MAX = 32, SDPA_HEAD_WIDTH_MAX = 256 };

struct sdpa_entry {
    struct cuda_sdpa_shape shape;
    struct cuda_sdpa_plan *plan; /* NULL: the library has none */
};

struct cuda_sdpa {
    cudnnHandle_t handle;
    struct sdpa_entry entries[SDPA_PLANS_MAX];
    int count;
};

static enum muster_status sdpa_check(cudnnStatus_t result, const char *what, struct muster_error *err)
{
    char reason[512] = "";
    if (result == CUDNN_STATUS_SUCCESS)
        return MUSTER_OK;
    cudnnGetLastErrorString(reason, sizeof reason);
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "cuda: cuDNN: %s: %s: %.*s", what,
                            cudnnGetErrorString(result), (int)strcspn(reason, "\n"), reason);
}

enum muster_status cuda_sdpa_create(cudaStream_t stream, struct cuda_sdpa **out, struct muster_error *err)
{
    *out = NULL;
    struct cuda_sdpa *sdpa = alloc_zeroed(1, sizeof *sdpa);
    if (sdpa == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for the plans of attention");
    enum muster_status status = sdpa_check(cudnnCreate(&sdpa->handle), "create", err);
    if (status == MUSTER_OK)
        status = sdpa_check(cudnnSetStream(sdpa->handle, stream), "set the stream", err);
    if (status == MUSTER_OK)
        *out = sdpa;
    else
        cuda_sdpa_destroy(sdpa);
    return status;
}

void cuda_sdpa_destroy(struct cuda_sdpa *sdpa)
{
    if (sdpa == NULL)
        return;
    for (int i = 0; i < sdpa->count; i++)
        cuda_sdpa_plan_destroy(sdpa->entries[i].plan);
    if (sdpa->handle != NULL)
        (void)cudnnDestroy(sdpa->handle);
    alloc_free(sdpa);
}

void cuda_sdpa_describe(char *text, size_t size)
{
    const size_t version = cudnnGetVersion();
    snprintf(text, size, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
}

bool cuda_sdpa_choice(const struct cuda_sdpa *sdpa, int index, char *text, size_t size)
{
    if (sdpa == NULL || index >= sdpa->count)
        return false;
    const struct sdpa_entry *entry = &sdpa->entries[index];
    const struct cuda_sdpa_shape *s = &entry->shape;
    int at = snprintf(text, size,
                      "attention %s %s %" PRId64 " x %" PRId64 ", heads %" PRId64 " over %" PRId64
                      " of %" PRId64 ", rows of %" PRId64 " %" PRId64 ":",
                      s->backward ? "backward" : "forward", dtype_name((enum dtype)s->dtype), s->batch,
                      s->sequence, s->heads, s->kv_heads, s->head_width, s->qkv_stride, s->y_stride);
    if (entry->plan == NULL)
        snprintf(text + at, size - (size_t)at, " none");
    else
        snprintf(text + at, size - (size_t)at, " engine %" PRId64 " work %" PRId64,
                 cuda_sdpa_plan_engine(entry->plan), cuda_sdpa_plan_workspace_bytes(entry->plan));
    return true;
}

/* Offset of the row sums in scratch, behind the library's own work memory. */
static int64_t sdpa_row_sums_offset(const struct cuda_sdpa_plan *plan)
{
    return (cuda_sdpa_plan_workspace_bytes(plan) + 255) / 256 * 256;
}

static int64_t sdpa_scratch_bytes(const struct cuda_sdpa_plan *plan, const struct cuda_sdpa_shape *s)
{
    return sdpa_row_sums_offset(plan) + (s->backward ? s->batch * s->heads * s->sequence * 4 : 0);
}

/* A plan that runs in the scratch block, or NULL, which is said. */
static enum muster_status sdpa_plan_make(const struct cuda_kernels *k, const struct cuda_sdpa_shape *shape,
                                         struct cuda_sdpa_plan **out, struct muster_error *err)
{
    struct muster_error refusal = {0};
    enum muster_status status = cuda_sdpa_plan_create(k->sdpa->handle, NULL, shape, out, &refusal);
    if (status != MUSTER_OK && status != MUSTER_ERR_UNSUPPORTED)
        return muster_error_set(err, status, "%s", refusal.text);
    if (*out != NULL && sdpa_scratch_bytes(*out, shape) > k->base.scratch_bytes) {
        muster_error_set(&refusal, MUSTER_ERR_UNSUPPORTED,
                         "cuda: cuDNN wants %lld bytes of work memory for attention, there are %lld",
                         (long long)sdpa_scratch_bytes(*out, shape), (long long)k->base.scratch_bytes);
        cuda_sdpa_plan_destroy(*out);
        *out = NULL;
    }
    if (*out == NULL) {
        char text[sizeof refusal.text + 64];
        snprintf(text, sizeof text, "%s; a kernel of muster's own does it, which is slower", refusal.text);
        k->warn(text);
    }
    return MUSTER_OK;
}

/* The plan of a shape, made when it is first asked for; `*out` is NULL where there is none. */
static enum muster_status sdpa_plan_of(const struct cuda_kernels *k, const struct cuda_sdpa_shape *shape,
                                       struct cuda_sdpa_plan **out, struct muster_error *err)
{
    struct cuda_sdpa *sdpa = k->sdpa;
    *out = NULL;
    for (int i = 0; i < sdpa->count; i++) {
        if (memcmp(&sdpa->entries[i].shape, shape, sizeof *shape) == 0) {
            *out = sdpa->entries[i].plan;
            return MUSTER_OK;
        }
    }
    if (sdpa->count == SDPA_PLANS_MAX)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "cuda: more than %d shapes of attention",
                                (int)SDPA_PLANS_MAX);
    struct sdpa_entry *entry = &sdpa->entries[sdpa->count];
    enum muster_status status = sdpa_plan_make(k, shape, &entry->plan, err);
    if (status != MUSTER_OK)
        return status;
    entry->shape = *shape;
    sdpa->count++;
    *out = entry->plan;
    return MUSTER_OK;
}

static bool sdpa_aligned(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

/* What the library makes plans for but gets wrong, as its maker says (cudnn-frontend, sdpa_support_surface.h,
 * and its release notes): one position; anything in 9.10.0 and 9.10.1; gradients whose last tile is not
 * whole, in a recording, up to 9.15.0; gradients in a fixed order on Blackwell before 9.18.1. */
static bool sdpa_is_sound(const struct cuda_kernels *k, const struct attention_args *a, bool backward)
{
    const size_t version = cudnnGetVersion();
    if (a->sequence == 1 || version == 91000 || version == 91001)
        return false;
    return !backward ||
           ((version > 91500 || a->sequence % 128 == 0) && (version >= 91801 || k->compute_major < 10));
}

static bool sdpa_suits(const struct cuda_kernels *k, const struct attention_args *a, bool backward)
{
    return k->sdpa != NULL && k->compute_major >= 8 && (a->dtype == DTYPE_BF16 || a->dtype == DTYPE_F16) &&
           a->dropout == 0.0f && a->head_width % 8 == 0 && a->head_width <= SDPA_HEAD_WIDTH_MAX &&
           sdpa_aligned(a->qkv) && sdpa_aligned(a->y) && sdpa_aligned(a->lse) && sdpa_aligned(a->dy) &&
           sdpa_aligned(a->dqkv) && sdpa_is_sound(k, a, backward);
}

static enum muster_status sdpa_refuse(struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: not a shape of attention for cuDNN");
}

static struct cuda_sdpa_shape sdpa_shape_of(const struct attention_args *a, bool backward, int64_t batch,
                                            int64_t kv_heads)
{
    return (struct cuda_sdpa_shape){
        .dtype = a->dtype,
        .backward = backward,
        .batch = batch,
        .sequence = a->sequence,
        .heads = kv_heads * (a->heads / a->kv_heads),
        .kv_heads = kv_heads,
        .head_width = a->head_width,
        .qkv_stride = (a->heads + 2 * a->kv_heads) * a->head_width,
        .y_stride = a->heads * a->head_width,
    };
}

/* A number in host memory, read when the pack is run. */
struct sdpa_numbers {
    float scale, minus_infinity, one;
};

static void sdpa_pack_add(struct cuda_sdpa_pack *pack, int64_t name, const void *base, int64_t offset_bytes)
{
    pack->name[pack->count] = name;
    pack->pointer[pack->count++] = (void *)((uintptr_t)base + (uintptr_t)offset_bytes);
}

/* The tensors of both directions for the slice that starts at sequence b and kv head g. */
static void sdpa_pack_fill(struct cuda_sdpa_pack *pack, const struct attention_args *a,
                           const struct cuda_sdpa_shape *s, int64_t b, int64_t g,
                           struct sdpa_numbers *numbers)
{
    const int64_t width = a->head_width * 2, head = g * (a->heads / a->kv_heads);
    const int64_t row = b * a->sequence * s->qkv_stride * 2;
    numbers->scale = 1.0f / sqrtf((float)a->head_width);
    numbers->minus_infinity = cudnnGetVersion() < 91000 ? -FLT_MAX : -INFINITY; /* what the library wants */
    numbers->one = 1.0f;
    sdpa_pack_add(pack, SDPA_Q, a->qkv, row + head * width);
    sdpa_pack_add(pack, SDPA_K, a->qkv, row + (a->heads + g) * width);
    sdpa_pack_add(pack, SDPA_V, a->qkv, row + (a->heads + a->kv_heads + g) * width);
    sdpa_pack_add(pack, SDPA_Y, a->y, b * a->sequence * s->y_stride * 2 + head * width);
    sdpa_pack_add(pack, SDPA_LSE, a->lse, (b * a->heads + head) * a->sequence * 4);
    sdpa_pack_add(pack, SDPA_SCALE, &numbers->scale, 0);
    sdpa_pack_add(pack, SDPA_MINUS_INFINITY, &numbers->minus_infinity, 0);
    if (!s->backward)
        return;
    sdpa_pack_add(pack, SDPA_DY, a->dy, b * a->sequence * s->y_stride * 2 + head * width);
    sdpa_pack_add(pack, SDPA_DQ, a->dqkv, row + head * width);
    sdpa_pack_add(pack, SDPA_DK, a->dqkv, row + (a->heads + g) * width);
    sdpa_pack_add(pack, SDPA_DV, a->dqkv, row + (a->heads + a->kv_heads + g) * width);
    sdpa_pack_add(pack, SDPA_ONE, &numbers->one, 0);
}

static enum muster_status sdpa_run_slice(struct cuda_kernels *k, const struct attention_args *a,
                                         const struct cuda_sdpa_plan *plan, const struct cuda_sdpa_shape *s,
                                         int64_t b, int64_t g, struct muster_error *err)
{
    struct cuda_sdpa_pack pack = {.workspace = k->base.scratch};
    struct sdpa_numbers numbers;
    sdpa_pack_fill(&pack, a, s, b, g, &numbers);
    if (s->backward)
        sdpa_pack_add(&pack, SDPA_ROW_SUMS, k->base.scratch, sdpa_row_sums_offset(plan));
    return sdpa_check(cuda_sdpa_plan_run(plan, k->sdpa->handle, &pack), "attention", err);
}

enum muster_status cuda_sdpa_forward(struct cuda_kernels *k, const struct attention_args *a,
                                     struct muster_error *err)
{
    if (!sdpa_suits(k, a, false))
        return sdpa_refuse(err);
    const struct cuda_sdpa_shape shape = sdpa_shape_of(a, false, a->batch, a->kv_heads);
    struct cuda_sdpa_plan *plan = NULL;
    enum muster_status status = sdpa_plan_of(k, &shape, &plan, err);
    if (status != MUSTER_OK)
        return status;
    if (plan == NULL)
        return sdpa_refuse(err);
    return sdpa_run_slice(k, a, plan, &shape, 0, 0, err);
}

enum muster_status cuda_sdpa_backward(struct cuda_kernels *k, const struct attention_args *a,
                                      struct muster_error *err)
{
    if (!sdpa_suits(k, a, true))
        return sdpa_refuse(err);
    const struct ops_attention_shape whole = {a->batch, a->sequence, a->heads, a->kv_heads, a->head_width};
    const struct ops_attention_slice slice = ops_attention_slice(&whole);
    const struct cuda_sdpa_shape shape = sdpa_shape_of(a, true, slice.batch, slice.kv_heads);
    struct cuda_sdpa_plan *plan = NULL;
    enum muster_status status = sdpa_plan_of(k, &shape, &plan, err);
    if (status != MUSTER_OK)
        return status;
    if (plan == NULL)
        return sdpa_refuse(err);
    for (int64_t b = 0; b < a->batch && status == MUSTER_OK; b += slice.batch)
        for (int64_t g = 0; g < a->kv_heads && status == MUSTER_OK; g += slice.kv_heads)
            status = sdpa_run_slice(k, a, plan, &shape, b, g, err);
    return status;
}
