/* SPDX-License-Identifier: MIT
 *
 * Devices and errors of the stand-in: how many there are, what they say of themselves, and what went wrong.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utility>

#include "cudart_standin_internal.h"

enum { DEVICE_FAULT_TEXT = 256 };

static char device_fault[DEVICE_FAULT_TEXT];
static thread_local cudaError_t device_last_error = cudaSuccess;
static thread_local int device_current;
static uint64_t device_contexts; /* a bit for each device that has one */

std::recursive_mutex &standin_lock()
{
    static std::recursive_mutex lock;
    return lock;
}

int64_t standin_environment(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    return text != nullptr && text[0] != '\0' ? strtoll(text, nullptr, 10) : otherwise;
}

/* A shuffle by a small linear generator (Knuth's MMIX constants): any order will do, but always the same. */
void standin_order(unsigned count, unsigned salt, unsigned *order)
{
    const char *wanted = getenv("MUSTER_EMULATION_ORDER");
    const bool reverse = wanted != nullptr && strcmp(wanted, "reverse") == 0;
    for (unsigned i = 0; i < count; i++)
        order[i] = reverse ? count - 1 - i : i;
    if (wanted == nullptr || wanted[0] < '0' || wanted[0] > '9')
        return;
    uint64_t state = strtoull(wanted, nullptr, 10) + salt;
    for (unsigned i = count; i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(order[i - 1], order[(state >> 33) % i]);
    }
}

void standin_fault(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (device_fault[0] == '\0') {
        vsnprintf(device_fault, sizeof device_fault, format, arguments);
        fprintf(stderr, "CUDA emulation: %s\n", device_fault);
    }
    va_end(arguments);
}

const char *cuda_standin_fault(void)
{
    return device_fault;
}

void cuda_standin_reset(void)
{
    device_fault[0] = '\0';
    device_last_error = cudaSuccess;
}

cudaError_t standin_error(cudaError_t error)
{
    device_last_error = error;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return device_fault[0] != '\0' ? cudaErrorLaunchFailure : device_last_error;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = cudaPeekAtLastError();
    device_last_error = cudaSuccess;
    return error;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} device_errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &known : device_errors)
        if (known.error == error)
            return known.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &known : device_errors)
        if (known.error == error)
            return known.text;
    return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = (int)standin_environment("MUSTER_STANDIN_DEVICES", 1);
    return *count > 0 ? cudaSuccess : standin_error(cudaErrorNoDevice);
}

static bool device_exists(int device)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && device >= 0 && device < count;
}

cudaError_t cudaSetDevice(int device)
{
    if (!device_exists(device))
        return standin_error(cudaErrorInvalidDevice);
    device_current = device;
    (void)standin_device();
    return cudaSuccess;
}

int standin_device()
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    device_contexts |= UINT64_C(1) << device_current;
    return device_current;
}

uint64_t cuda_standin_contexts(void)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    return device_contexts;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = device_current;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    if (!device_exists(device))
        return standin_error(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "host stand-in");
    for (int i = 0; i < 16; i++)
        properties->uuid.bytes[i] = (char)(16 * i + device);
    properties->totalGlobalMem = (size_t)standin_environment("MUSTER_STANDIN_MEMORY", (int64_t)8 << 30);
    properties->sharedMemPerBlock = 48 << 10;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->multiProcessorCount = 4;
    properties->major = 9;
    properties->minor = 0;
    properties->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    if (!device_exists(device))
        return standin_error(cudaErrorInvalidDevice);
    *value = attribute == cudaDevAttrComputeCapabilityMajor    ? 9
             : attribute == cudaDevAttrMultiProcessorCount     ? 4
             : attribute == cudaDevAttrWarpSize                ? 32
             : attribute == cudaDevAttrMaxThreadsPerBlock      ? 1024
             : attribute == cudaDevAttrMaxSharedMemoryPerBlock ? 48 << 10
             : attribute == cudaDevAttrPciBusId                ? device + 1
             : attribute == cudaDevAttrCanMapHostMemory        ? 1
             : attribute == cudaDevAttrUnifiedAddressing       ? 1
                                                               : 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device)
{
    if (!device_exists(device))
        return standin_error(cudaErrorInvalidDevice);
    const int board = standin_environment("MUSTER_STANDIN_MIG", 0) != 0 ? 0 : device;
    snprintf(text, (size_t)bytes, "0000:%02X:00.0", (unsigned)(board + 1) & 0xffu);
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, enum cudaFuncAttribute attribute, int value)
{
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > 48 << 10)
        return standin_error(cudaErrorInvalidValue);
    return cudaSuccess;
}
