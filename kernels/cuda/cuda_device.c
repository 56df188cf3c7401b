/* SPDX-License-Identifier: MIT
 *
 * What devices there are, and what the runtime's error codes mean to the rest of muster. A code after which
 * the device's context is lost says so: every later call fails with the same code, so the first text is the
 * only useful one.
 */
#include "kernels/cuda/cuda_parts.h"

#include <stdio.h>
#include <string.h>

/* Nothing works in this process after one of these. */
static bool cuda_error_is_sticky(cudaError_t result)
{
    switch (result) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
        return true;
    default:
        return false;
    }
}

enum muster_status cuda_check(cudaError_t result, const char *operation, struct muster_error *err)
{
    if (result == cudaSuccess)
        return MUSTER_OK;
    (void)cudaGetLastError(); /* or the next launch would be blamed for it */
    if (result == cudaErrorMemoryAllocation)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: %s: out of device memory", operation);
    return muster_error_set(
        err, MUSTER_ERR_INTERNAL, "cuda: %s: %s (%s)%s", operation, cudaGetErrorString(result),
        cudaGetErrorName(result),
        cuda_error_is_sticky(result)
            ? "; the device is lost to this process, and an earlier operation may be the cause"
            : "");
}

/* 35 is both "no driver" and "driver too old for this runtime"; the driver's version tells them apart. */
static enum muster_status cuda_device_missing(cudaError_t result, struct muster_error *err)
{
    int driver = 0, runtime = 0;
    (void)cudaGetLastError();
    if (result == cudaErrorNoDevice)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: no device is visible to this process");
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: no driver on this machine");
    (void)cudaRuntimeGetVersion(&runtime);
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                            "cuda: the driver supports CUDA %d.%d, this build needs %d.%d", driver / 1000,
                            driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

enum muster_status cuda_device_count(int *count, struct muster_error *err)
{
    *count = 0;
    cudaError_t result = cudaGetDeviceCount(count);
    if (result == cudaSuccess && *count > 0)
        return MUSTER_OK;
    *count = 0;
    if (result == cudaSuccess || result == cudaErrorNoDevice)
        return cuda_device_missing(cudaErrorNoDevice, err);
    if (result == cudaErrorInsufficientDriver)
        return cuda_device_missing(result, err);
    return cuda_check(result, "count devices", err);
}

static void cuda_device_describe(const struct cudaDeviceProp *properties, struct cuda_device_info *info)
{
    static const int dashes = 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10; /* before these bytes */
    snprintf(info->name, sizeof info->name, "%.95s", properties->name);
    int at = snprintf(info->uuid, sizeof info->uuid, "GPU-");
    for (int i = 0; i < 16; i++)
        at += snprintf(info->uuid + at, sizeof info->uuid - (size_t)at, "%s%02x", dashes >> i & 1 ? "-" : "",
                       (unsigned)(unsigned char)properties->uuid.bytes[i]);
    info->compute_major = properties->major;
    info->compute_minor = properties->minor;
    info->multiprocessor_count = properties->multiProcessorCount;
    info->memory_bytes = (int64_t)properties->totalGlobalMem;
}

/* Free memory is asked of the selected device. The thread's former selection is not put back: to select a
 * device makes a context on it, and every rank of a host would take some hundred MB of its first GPU. */
static enum muster_status cuda_device_free_bytes(int device, int64_t *bytes, struct muster_error *err)
{
    size_t free_bytes = 0, total_bytes = 0;
    enum muster_status status = cuda_check(cudaSetDevice(device), "device information", err);
    if (status == MUSTER_OK)
        status = cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "device information", err);
    *bytes = (int64_t)free_bytes;
    return status;
}

enum muster_status cuda_device_info(int device, struct cuda_device_info *info, struct muster_error *err)
{
    struct cudaDeviceProp properties;
    int count = 0;
    memset(info, 0, sizeof *info);
    enum muster_status status = cuda_device_count(&count, err);
    if (status != MUSTER_OK)
        return status;
    if (device < 0 || device >= count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "cuda: there is no device %d, only %d", device,
                                count);
    status = cuda_check(cudaGetDeviceProperties(&properties, device), "device information", err);
    if (status != MUSTER_OK)
        return status;
    cuda_device_describe(&properties, info);
    status = cuda_check(cudaDeviceGetPCIBusId(info->pci_bus_id, (int)sizeof info->pci_bus_id, device),
                        "device information", err);
    if (status != MUSTER_OK)
        return status;
    return cuda_device_free_bytes(device, &info->free_bytes, err);
}
