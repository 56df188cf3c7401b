/* SPDX-License-Identifier: MIT
 *
 * Memory of the stand-in. Every block is a host block of its own, so that AddressSanitizer sees what runs
 * past one, and is registered with its kind, so that a copy in the wrong direction is refused as a device
 * would.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <vector>

#include "cudart_standin_internal.h"

struct standin_block {
    size_t bytes, mapped; /* mapped > 0: whole pages, closed while no work runs */
    enum standin_memory kind;
};

static struct {
    std::map<const char *, standin_block> blocks;
    size_t device_bytes;
    int open_depth;
} memory;

static bool memory_protects()
{
    static const bool protects = standin_environment("MUSTER_STANDIN_PROTECT", 0) != 0;
    return protects;
}

static size_t memory_total()
{
    return (size_t)standin_environment("MUSTER_STANDIN_MEMORY", (int64_t)8 << 30);
}

static void memory_access(int protection)
{
    for (const auto &entry : memory.blocks)
        if (entry.second.mapped > 0)
            mprotect(const_cast<char *>(entry.first), entry.second.mapped, protection);
}

void standin_memory_open()
{
    if (memory_protects() && memory.open_depth++ == 0)
        memory_access(PROT_READ | PROT_WRITE);
}

void standin_memory_close()
{
    if (memory_protects() && --memory.open_depth == 0)
        memory_access(PROT_NONE);
}

enum standin_memory standin_memory_around(const void *pointer, const void **begin, size_t *bytes)
{
    const char *at = static_cast<const char *>(pointer);
    auto next = memory.blocks.upper_bound(at);
    if (next == memory.blocks.begin())
        return STANDIN_HOST;
    --next;
    *begin = next->first;
    *bytes = next->second.bytes;
    return (size_t)(at - next->first) < next->second.bytes ? next->second.kind : STANDIN_HOST;
}

enum standin_memory standin_memory_of(const void *pointer, size_t bytes, bool *whole)
{
    const void *begin = nullptr;
    size_t size = 0;
    const enum standin_memory kind = standin_memory_around(pointer, &begin, &size);
    const size_t offset = (size_t)(static_cast<const char *>(pointer) - static_cast<const char *>(begin));
    *whole = kind == STANDIN_HOST || bytes <= size - offset;
    return kind;
}

static cudaError_t memory_allocate(void **pointer, size_t bytes, enum standin_memory kind)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    *pointer = nullptr;
    if (standin_capturing())
        return standin_error(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0)
        return cudaSuccess;
    standin_count("allocation", false);
    (void)standin_device();
    if (kind == STANDIN_DEVICE && memory.device_bytes + bytes > memory_total())
        return standin_error(cudaErrorMemoryAllocation);
    standin_block block = {bytes, 0, kind};
    void *fresh = nullptr;
    if (kind == STANDIN_DEVICE && memory_protects()) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        block.mapped = (bytes + page - 1) / page * page;
        fresh = mmap(nullptr, block.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        fresh = fresh == MAP_FAILED ? nullptr : fresh;
    } else if (posix_memalign(&fresh, 256, bytes) != 0) {
        fresh = nullptr;
    }
    if (fresh == nullptr)
        return standin_error(cudaErrorMemoryAllocation);
    memset(fresh, 0xff, bytes);
    if (block.mapped > 0 && memory.open_depth == 0)
        mprotect(fresh, block.mapped, PROT_NONE);
    memory.blocks[static_cast<char *>(fresh)] = block;
    memory.device_bytes += kind == STANDIN_DEVICE ? bytes : 0;
    *pointer = fresh;
    return cudaSuccess;
}

static cudaError_t memory_free(void *pointer, enum standin_memory kind)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (pointer == nullptr)
        return cudaSuccess;
    if (standin_capturing())
        return standin_error(cudaErrorStreamCaptureUnsupported);
    standin_drain_all(); /* who frees memory waits for the device */
    auto entry = memory.blocks.find(static_cast<char *>(pointer));
    if (entry == memory.blocks.end() || entry->second.kind != kind)
        return standin_error(cudaErrorInvalidValue);
    memory.device_bytes -= kind == STANDIN_DEVICE ? entry->second.bytes : 0;
    const size_t mapped = entry->second.mapped;
    memory.blocks.erase(entry);
    if (mapped > 0)
        munmap(pointer, mapped);
    else
        free(pointer);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    return memory_allocate(pointer, bytes, STANDIN_DEVICE);
}

cudaError_t cudaFree(void *pointer)
{
    return memory_free(pointer, STANDIN_DEVICE);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    return memory_allocate(pointer, bytes, STANDIN_PINNED);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned)
{
    return memory_allocate(pointer, bytes, STANDIN_PINNED);
}

cudaError_t cudaFreeHost(void *pointer)
{
    return memory_free(pointer, STANDIN_PINNED);
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    bool whole;
    *device = host;
    return standin_memory_of(host, 1, &whole) == STANDIN_PINNED ? cudaSuccess
                                                                : standin_error(cudaErrorInvalidValue);
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    bool whole;
    const enum standin_memory kind = standin_memory_of(pointer, 1, &whole);
    memset(attributes, 0, sizeof *attributes);
    attributes->type = kind == STANDIN_DEVICE   ? cudaMemoryTypeDevice
                       : kind == STANDIN_PINNED ? cudaMemoryTypeHost
                                                : cudaMemoryTypeUnregistered;
    attributes->devicePointer = kind == STANDIN_HOST ? nullptr : const_cast<void *>(pointer);
    attributes->hostPointer = kind == STANDIN_DEVICE ? nullptr : const_cast<void *>(pointer);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    *total_bytes = memory_total();
    *free_bytes = *total_bytes - memory.device_bytes;
    return cudaSuccess;
}

int64_t cuda_standin_live(void)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    return (int64_t)memory.blocks.size();
}

/* May memory that the pointer lies in be the source (or destination) of a copy, as `kind` says? */
static bool memory_suits(const void *pointer, size_t bytes, bool device, bool any)
{
    bool whole;
    const enum standin_memory kind = standin_memory_of(pointer, bytes, &whole);
    return whole && (any || device == (kind == STANDIN_DEVICE));
}

/* From memory that is not pinned the bytes are taken at once; to such memory the copy is over on return. */
static cudaError_t memory_copy(void *to, const void *from, size_t bytes, const char *what,
                               cudaStream_t stream)
{
    bool whole;
    enum cudaStreamCaptureStatus capturing;
    std::shared_ptr<std::vector<char>> taken;
    const char *first = static_cast<const char *>(from);
    (void)cudaStreamIsCapturing(stream, &capturing);
    if (standin_defers() && capturing == cudaStreamCaptureStatusNone &&
        standin_memory_of(from, bytes, &whole) == STANDIN_HOST)
        taken.reset(new std::vector<char>(first, first + bytes));
    const cudaError_t result =
        standin_submit(stream, what, [=]() { memmove(to, taken != nullptr ? taken->data() : first, bytes); });
    if (standin_memory_of(to, bytes, &whole) == STANDIN_HOST)
        standin_finish(stream);
    return result;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    const bool any = kind == cudaMemcpyDefault;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (bytes == 0)
        return cudaSuccess;
    if (!memory_suits(to, bytes, to_device, any) || !memory_suits(from, bytes, from_device, any))
        return standin_error(cudaErrorInvalidValue);
    const char *what = to_device && from_device ? "copy_on_device"
                       : to_device              ? "copy_to_device"
                       : from_device            ? "copy_to_host"
                                                : "copy";
    return memory_copy(to, from, bytes, what, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    if (standin_capturing())
        return standin_error(cudaErrorStreamCaptureImplicit);
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    bool whole;
    if (bytes == 0)
        return cudaSuccess;
    if (standin_memory_of(to, bytes, &whole) == STANDIN_HOST || !whole)
        return standin_error(cudaErrorInvalidValue);
    return standin_submit(stream, "fill", [=]() { memset(to, value, bytes); });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    if (standin_capturing())
        return standin_error(cudaErrorStreamCaptureImplicit);
    return cudaMemsetAsync(to, value, bytes, nullptr);
}
