/* SPDX-License-Identifier: MIT
 *
 * The CUDA back end as the rest of muster sees it: the plug-in's one table, and the life of an instance. An
 * instance is one device and one stream; it selects its device for the thread that creates it.
 */
#include "kernels/cuda/cuda_attention.h"
#include "kernels/cuda/cuda_gemm.h"
#include "kernels/cuda/cuda_parts.h"

#include <cublasLt.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"

static void cuda_destroy(struct kernels *k)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    (void)cudaSetDevice(c->device);
    if (c->stream != NULL)
        (void)cudaStreamSynchronize(c->stream);
    cuda_sdpa_destroy(c->sdpa);
    cuda_gemm_destroy(c->gemm);
    cuda_staging_destroy(c->staging);
    for (int i = 0; i < 2; i++)
        if (c->timer[i] != NULL)
            (void)cudaEventDestroy(c->timer[i]);
    if (c->stream != NULL)
        (void)cudaStreamDestroy(c->stream);
    alloc_free(c);
}

static bool cuda_choice(struct kernels *k, int index, char *text, size_t size)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    const int products = cuda_gemm_choice_count(c->gemm);
    if (index >= products)
        return cuda_sdpa_choice(c->sdpa, index - products, text, size);
    cuda_gemm_choice(c->gemm, index, text, size);
    return true;
}

static const struct kernels_ops cuda_ops = {
    .name = "cuda",
    .destroy = cuda_destroy,
    .embedding_forward = cuda_embedding_forward,
    .embedding_backward = cuda_embedding_backward,
    .linear_forward = cuda_linear_forward,
    .linear_backward_input = cuda_linear_backward_input,
    .linear_backward_weight = cuda_linear_backward_weight,
    .activation_forward = cuda_activation_forward,
    .activation_backward = cuda_activation_backward,
    .norm_forward = cuda_norm_forward,
    .norm_backward = cuda_norm_backward,
    .rope = cuda_rope,
    .attention_forward = cuda_attention_forward,
    .attention_backward = cuda_attention_backward,
    .swiglu_forward = cuda_swiglu_forward,
    .swiglu_backward = cuda_swiglu_backward,
    .dropout = cuda_dropout,
    .head_loss = cuda_head_loss,
    .adamw = cuda_adamw,
    .sgd = cuda_sgd,
    .sum_squares = cuda_sum_squares,
    .add = cuda_add,
    .fill_zero = cuda_fill_zero,
    .round_to = cuda_round_to,
    .memory_allocate = cuda_memory_allocate,
    .memory_free = cuda_memory_free,
    .memory_allocate_host = cuda_memory_allocate_host,
    .memory_free_host = cuda_memory_free_host,
    .copy_to_device = cuda_copy_to_device,
    .copy_to_host = cuda_copy_to_host,
    .copy_to_host_later = cuda_copy_to_host_later,
    .copy_on_device = cuda_copy_on_device,
    .stream = cuda_stream_of,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .capture_run = cuda_capture_run,
    .capture_free = cuda_capture_free,
    .synchronise = cuda_synchronise,
    .timer_begin = cuda_timer_begin,
    .timer_end = cuda_timer_end,
    .timer_seconds = cuda_timer_seconds,
    .peak_flops = cuda_peak_flops,
    .choice = cuda_choice,
};

/* What the bits depend on: the kind of device, and the libraries that choose algorithms. cuBLAS promises the
 * same bits on the same number of multiprocessors only, and that is not in the name: there are two RTX 3080,
 * and MPS can hand out a part of a device. */
static void cuda_numerics_describe(struct cuda_kernels *c, const struct cuda_device_info *info, bool tf32)
{
    char attention[24];
    const size_t version = cublasLtGetVersion(); /* 130100 is 13.1.0 */
    cuda_sdpa_describe(attention, sizeof attention);
    snprintf(c->numerics, sizeof c->numerics, "cuda %.64s sm_%d%d %d SMs cuBLASLt %zu.%zu.%zu %s%s",
             info->name, info->compute_major, info->compute_minor, info->multiprocessor_count,
             version / 10000, version / 100 % 100, version % 100, attention, tf32 ? " tf32" : "");
    c->base.numerics = c->numerics;
}

static enum muster_status cuda_parts_create(struct cuda_kernels *c, bool tf32, struct muster_error *err)
{
    enum muster_status status = cuda_check(cudaSetDevice(c->device), "select the device", err);
    if (status == MUSTER_OK)
        status =
            cuda_check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "create a stream", err);
    for (int i = 0; i < 2 && status == MUSTER_OK; i++)
        status = cuda_check(cudaEventCreate(&c->timer[i]), "create an event", err);
    if (status == MUSTER_OK)
        status = cuda_staging_create(&c->staging, err);
    if (status == MUSTER_OK)
        status = cuda_gemm_create(tf32, &c->gemm, err);
    if (status == MUSTER_OK)
        status = cuda_sdpa_create(c->stream, &c->sdpa, err);
    return status;
}

static void cuda_warn(const char *text)
{
    log_warn("%s", text);
}

static enum muster_status cuda_kernels_create(const struct cuda_kernels_options *options,
                                              struct kernels **out, struct muster_error *err)
{
    struct cuda_device_info info;
    *out = NULL;
    enum muster_status status = cuda_device_info(options->device, &info, err);
    if (status != MUSTER_OK)
        return status;
    struct cuda_kernels *c = alloc_zeroed(1, sizeof *c);
    if (c == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for the back end");
    c->base.ops = &cuda_ops;
    c->base.threads = 1;
    c->base.dtypes = 1u << DTYPE_F32 | 1u << DTYPE_F16 | (info.compute_major >= 8 ? 1u << DTYPE_BF16 : 0u);
    c->device = options->device;
    c->warn = options->warn != NULL ? options->warn : cuda_warn;
    c->compute_major = info.compute_major;
    c->compute_minor = info.compute_minor;
    cuda_numerics_describe(c, &info, options->allow_tf32);
    status = cuda_parts_create(c, options->allow_tf32, err);
    if (status == MUSTER_OK)
        *out = &c->base;
    else
        cuda_destroy(&c->base);
    return status;
}

/* The one thing the plug-in shows (comm/nccl.c adds another). */
__attribute__((visibility("default"))) extern const struct cuda_plugin muster_cuda_plugin;

static enum muster_status cuda_plugin_sum(void *stream, float *out, const struct tree_terms *terms,
                                          int64_t count, struct muster_error *err)
{
    return cuda_sum_on_stream((cudaStream_t)stream, out, terms, count, err);
}

const struct cuda_plugin muster_cuda_plugin = {
    .version = CUDA_PLUGIN_VERSION,
    .device_count = cuda_device_count,
    .device_info = cuda_device_info,
    .kernels_create = cuda_kernels_create,
    .sum_on_stream = cuda_plugin_sum,
};
