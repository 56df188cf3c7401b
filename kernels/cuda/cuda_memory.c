/* SPDX-License-Identifier: MIT
 *
 * Device memory, host memory that the device reaches, and the copies between them that need no staging (those
 * to the device are in cuda_staging.c). Blocks are allocated before the step loop, so this is the plain
 * allocator of the runtime and no pool. Any thread may call: each entry that the selected device decides
 * selects it.
 */
#include "kernels/cuda/cuda_parts.h"

#include <inttypes.h>

/* Left for the kernels that libraries load at their first calls. cuBLASLt passes over what it cannot load and
 * takes another algorithm: the bits of a rank would depend on what else fills its device. */
enum { CUDA_MEMORY_LEFT = 256 << 20 };

static enum muster_status cuda_memory_short(cudaError_t result, const char *kind, int64_t bytes,
                                            struct muster_error *err)
{
    size_t free_bytes = 0, total_bytes = 0;
    if (result != cudaErrorMemoryAllocation)
        return cuda_check(result, "allocate memory", err);
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &total_bytes);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                            "cuda: no %s memory for a block of %" PRId64
                            " bytes; of the device's %zu are %zu free",
                            kind, bytes, total_bytes, free_bytes);
}

enum muster_status cuda_memory_allocate(struct kernels *k, int64_t bytes, void **block,
                                        struct muster_error *err)
{
    size_t free_bytes = 0, total_bytes = 0;
    cudaError_t result = cudaSetDevice(cuda_kernels_from(k)->device);
    *block = NULL;
    if (result == cudaSuccess)
        result = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (result == cudaSuccess && free_bytes < (size_t)bytes + CUDA_MEMORY_LEFT)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                                "cuda: no device memory for a block of %" PRId64
                                " bytes: %zu are free, and the libraries need %d",
                                bytes, free_bytes, (int)CUDA_MEMORY_LEFT);
    if (result == cudaSuccess)
        result = cudaMalloc(block, bytes > 0 ? (size_t)bytes : 1);
    return result == cudaSuccess ? MUSTER_OK : cuda_memory_short(result, "device", bytes, err);
}

void cuda_memory_free(struct kernels *k, void *block, int64_t bytes)
{
    (void)k;
    (void)bytes;
    (void)cudaFree(block);
}

enum muster_status cuda_memory_allocate_host(struct kernels *k, int64_t bytes, void **block,
                                             struct muster_error *err)
{
    cudaError_t result = cudaSetDevice(cuda_kernels_from(k)->device);
    if (result == cudaSuccess)
        result = cudaHostAlloc(block, bytes > 0 ? (size_t)bytes : 1, cudaHostAllocDefault);
    if (result == cudaSuccess)
        return MUSTER_OK;
    *block = NULL;
    return cuda_memory_short(result, "pinned host", bytes, err);
}

void cuda_memory_free_host(struct kernels *k, void *block, int64_t bytes)
{
    (void)k;
    (void)bytes;
    (void)cudaFreeHost(block);
}

enum muster_status cuda_fill_zero(struct kernels *k, void *y, int64_t bytes, struct muster_error *err)
{
    if (bytes == 0)
        return MUSTER_OK;
    return cuda_check(cudaMemsetAsync(y, 0, (size_t)bytes, cuda_kernels_from(k)->stream), "fill_zero", err);
}

static enum muster_status cuda_copy(struct kernels *k, void *to, const void *from, int64_t bytes,
                                    enum cudaMemcpyKind kind, const char *operation, struct muster_error *err)
{
    if (bytes == 0)
        return MUSTER_OK;
    return cuda_check(cudaMemcpyAsync(to, from, (size_t)bytes, kind, cuda_kernels_from(k)->stream), operation,
                      err);
}

enum muster_status cuda_copy_to_host(struct kernels *k, void *host, const void *device, int64_t bytes,
                                     struct muster_error *err)
{
    enum muster_status status = cuda_capture_refuse(k, "copy_to_host", err);
    if (status == MUSTER_OK)
        status = cuda_copy(k, host, device, bytes, cudaMemcpyDeviceToHost, "copy_to_host", err);
    return status == MUSTER_OK ? cuda_synchronise(k, err) : status;
}

enum muster_status cuda_copy_to_host_later(struct kernels *k, void *host, const void *device, int64_t bytes,
                                           struct muster_error *err)
{
    return cuda_copy(k, host, device, bytes, cudaMemcpyDeviceToHost, "copy_to_host_later", err);
}

enum muster_status cuda_copy_on_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                       struct muster_error *err)
{
    return cuda_copy(k, to, from, bytes, cudaMemcpyDeviceToDevice, "copy_on_device", err);
}
