/* SPDX-License-Identifier: MIT
 *
 * What lets a host compiler compile the kernels as plain C++: the built-in variables, barriers and warp
 * operations of device code, and CUDA_LAUNCH. Each thread of a block is a fiber; blocks run one after
 * another. A barrier or warp operation switches to the next fiber, so data really is exchanged there and
 * nowhere else, and one that can never complete is reported as a fault of the kernel (cudart_standin.h).
 */
#ifndef MUSTER_TESTS_CUDA_EMULATION_H
#define MUSTER_TESTS_CUDA_EMULATION_H

#include <cuda_runtime.h>

#include <functional>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

/* Where a fiber is. */
struct cuda_emulation_place {
    uint3 thread, block;
    dim3 block_size, grid_size;
};

/* Of the running fiber. */
const struct cuda_emulation_place *cuda_emulation_here();

#define threadIdx (cuda_emulation_here()->thread)
#define blockIdx  (cuda_emulation_here()->block)
#define blockDim  (cuda_emulation_here()->block_size)
#define gridDim   (cuda_emulation_here()->grid_size)

/* Shared memory of the running block, filled with 0xff bytes when the block starts. `site` names a variable.
 */
void *cuda_emulation_shared(const void *site, size_t bytes);
void *cuda_emulation_shared_dynamic();

#define CUDA_SHARED(type, name, count)                                                                       \
    static const char name##_site = 0;                                                                       \
    type *name = static_cast<type *>(cuda_emulation_shared(&name##_site, sizeof(type) * (count)))
#define CUDA_SHARED_DYNAMIC(type, name) type *name = static_cast<type *>(cuda_emulation_shared_dynamic())

/* Faults where the address is not a multiple of `bytes`. */
void cuda_emulation_align(const void *address, size_t bytes);

template <typename V> static inline V *cuda_emulation_whole(V *pointer)
{
    cuda_emulation_align(pointer, sizeof *pointer);
    return pointer;
}
#define CUDA_WHOLE(pointer) cuda_emulation_whole(pointer)

struct cuda_emulation_kernel {
    const char *name;
    const void *function;
    std::function<void()> thread; /* runs one thread */
};

void cuda_emulation_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           const struct cuda_emulation_kernel &kernel);

/* An argument that is the address of host memory is a fault: a device could not read it. Those within structs
 * are not looked at. */
void cuda_emulation_look(const char *name, const void *address);

template <typename Argument> static inline int cuda_emulation_look_at(const char *name, Argument *argument)
{
    cuda_emulation_look(name, argument);
    return 0;
}

template <typename Argument> static inline int cuda_emulation_look_at(const char *, const Argument &)
{
    return 0;
}

/* The running thread is about to begin with the kernel itself. */
void cuda_emulation_enter();

template <typename... Parameters, typename... Arguments>
__attribute__((noinline, no_sanitize("thread"))) static void
cuda_emulation_call(void (*kernel)(Parameters...), Arguments... arguments)
{
    cuda_emulation_enter();
    kernel(arguments...);
}

#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                          \
    cuda_emulation_start((kernel), #kernel, dim3(grid), dim3(block), (shared_bytes), (stream), __VA_ARGS__)

template <typename... Parameters, typename... Arguments>
static inline void cuda_emulation_start(void (*kernel)(Parameters...), const char *name, dim3 grid,
                                        dim3 block, size_t shared_bytes, cudaStream_t stream,
                                        Arguments... arguments)
{
    const int looked[] = {0, cuda_emulation_look_at(name, arguments)...};
    (void)looked;
    struct cuda_emulation_kernel launched = {name, reinterpret_cast<const void *>(kernel),
                                             [=]() { cuda_emulation_call(kernel, arguments...); }};
    cuda_emulation_launch(grid, block, shared_bytes, stream, launched);
}

/* The threads of the block meet. */
void __syncthreads();
/* The sum of `value` over the block; all threads meet. */
int cuda_emulation_block_count(int value);

/* The lanes of `mask` meet; each gives `value` and gets that of lane `from` (of its own warp). */
uint64_t cuda_emulation_exchange(unsigned mask, uint64_t value, unsigned from);
/* The lanes of `mask` meet; bit n is set where lane n gave true. */
unsigned cuda_emulation_ballot(unsigned mask, bool value);
unsigned cuda_emulation_lane();

static inline int __syncthreads_or(int value)
{
    return cuda_emulation_block_count(value != 0) > 0;
}

static inline int __syncthreads_and(int value)
{
    return cuda_emulation_block_count(value == 0) == 0;
}

static inline int __syncthreads_count(int value)
{
    return cuda_emulation_block_count(value != 0);
}

/* The lanes of `mask` meet, and what each did before is ordered before what the others do then. */
void __syncwarp(unsigned mask = 0xffffffffu);

static inline unsigned __ballot_sync(unsigned mask, bool value)
{
    return cuda_emulation_ballot(mask, value);
}

static inline int __any_sync(unsigned mask, bool value)
{
    return cuda_emulation_ballot(mask, value) != 0;
}

static inline int __all_sync(unsigned mask, bool value)
{
    return cuda_emulation_ballot(mask, value) == mask;
}

template <typename T> static inline T cuda_emulation_shuffle(unsigned mask, T value, unsigned from)
{
    uint64_t bits = 0;
    static_assert(sizeof(T) <= sizeof bits, "a shuffle moves up to 8 bytes");
    memcpy(&bits, &value, sizeof value);
    bits = cuda_emulation_exchange(mask, bits, from);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T> static inline T __shfl_sync(unsigned mask, T value, int from)
{
    return cuda_emulation_shuffle(mask, value, (unsigned)from % 32);
}

template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int distance)
{
    return cuda_emulation_shuffle(mask, value, cuda_emulation_lane() ^ (unsigned)distance);
}

template <typename T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned distance)
{
    const unsigned lane = cuda_emulation_lane();
    return cuda_emulation_shuffle(mask, value, lane + distance < 32 ? lane + distance : lane);
}

template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned distance)
{
    const unsigned lane = cuda_emulation_lane();
    return cuda_emulation_shuffle(mask, value, lane >= distance ? lane - distance : lane);
}

/* The running thread changes memory as no other one can see half done (cuda_race.h). */
void cuda_emulation_atomic(const void *address, size_t bytes);

template <typename T> __attribute__((noinline, no_sanitize("thread"))) static T atomicAdd(T *to, T value)
{
    cuda_emulation_atomic(to, sizeof *to);
    const T before = *to;
    *to = before + value;
    return before;
}

/* One rounding but in rare ties: where the host's own would be a call of a library for each element. */
static inline float cuda_emulation_fmaf(float a, float b, float c)
{
    return (float)((double)a * (double)b + (double)c);
}
#define fmaf cuda_emulation_fmaf

static inline int __popc(unsigned value)
{
    return __builtin_popcount(value);
}

static inline int __ffs(int value)
{
    return __builtin_ffs(value);
}

#endif
