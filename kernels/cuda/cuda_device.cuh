/* SPDX-License-Identifier: MIT
 *
 * What our own kernels share: element types, 16-byte groups, sums over a block, and the few macros through
 * which the same sources also compile as plain C++ for the emulation in tests/cuda. Elements are loaded in
 * groups of 16 bytes where the addresses allow it and one by one elsewhere; which thread gets which element
 * does not depend on that, so neither do the bits. Sources are compiled without contraction of a * b + c
 * (--fmad=false): where one rounding is wanted, fmaf says so.
 */
#ifndef MUSTER_KERNELS_CUDA_DEVICE_CUH
#define MUSTER_KERNELS_CUDA_DEVICE_CUH

#include "kernels/cuda/cuda_internal.h"

#include <math.h>

#ifdef MUSTER_CUDA_EMULATION
#include <cuda_emulation.h>
#else
/* kernel(args…) on the stream; a kernel with several template arguments goes in parentheses. */
#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                          \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define CUDA_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define CUDA_SHARED_DYNAMIC(type, name)                                                                      \
    extern __shared__ __align__(16) unsigned char cuda_shared_bytes[];                                       \
    type *name = reinterpret_cast<type *>(cuda_shared_bytes)
/* A pointer that the thread goes through at once: a device wants it aligned to the size of what it points to.
 */
#define CUDA_WHOLE(pointer) (pointer)
#endif

/* Calls `statement` with T as the element type of `dtype`. */
#define CUDA_FOR_DTYPE(dtype, T, statement)                                                                  \
    do {                                                                                                     \
        if ((dtype) == DTYPE_BF16) {                                                                         \
            typedef struct cuda_bf16 T;                                                                      \
            statement;                                                                                       \
        } else if ((dtype) == DTYPE_F16) {                                                                   \
            typedef struct cuda_f16 T;                                                                       \
            statement;                                                                                       \
        } else {                                                                                             \
            typedef float T;                                                                                 \
            statement;                                                                                       \
        }                                                                                                    \
    } while (0)

/* The 16-bit types are their bits: loading and storing them needs no hardware that older devices lack. */
struct cuda_bf16 {
    uint16_t bits;
};
struct cuda_f16 {
    uint16_t bits;
};

enum { CUDA_WARP = 32, CUDA_BLOCK = 256, CUDA_WARPS_MAX = 32, CUDA_GROUPS_AHEAD = 4 };

/* Elements of T in a group of 16 bytes. */
template <typename T> struct cuda_group {
    static const int COUNT = 16 / (int)sizeof(T);
};

static __device__ __forceinline__ float cuda_to_float(float value)
{
    return value;
}

static __device__ __forceinline__ float cuda_to_float(struct cuda_bf16 value)
{
    return dtype_f32_from_bf16(value.bits);
}

static __device__ __forceinline__ float cuda_to_float(struct cuda_f16 value)
{
#ifdef __CUDA_ARCH__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    return dtype_f32_from_f16(value.bits);
#endif
}

static __device__ __forceinline__ void cuda_from_float(float *to, float value)
{
    *to = value;
}

static __device__ __forceinline__ void cuda_from_float(struct cuda_bf16 *to, float value)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(0.0f), "f"(value));
    to->bits = (uint16_t)pair;
#else
    to->bits = dtype_bf16_from_f32(value);
#endif
}

static __device__ __forceinline__ void cuda_from_float(struct cuda_f16 *to, float value)
{
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value));
#else
    to->bits = dtype_f16_from_f32(value);
#endif
}

/* What storing as T and loading again gives. */
template <typename T> static __device__ __forceinline__ float cuda_rounded(float value)
{
    T stored;
    cuda_from_float(&stored, value);
    return cuda_to_float(stored);
}

/* Element i of a stored array. */
template <typename T> static __device__ __forceinline__ float cuda_at(const void *array, int64_t i)
{
    return cuda_to_float(static_cast<const T *>(array)[i]);
}

/* A register image of N elements that moves to and from memory in pieces of 16 (or 8) bytes. */
template <typename T, int N> union cuda_pack {
    T element[N];
    uint2 half[N * sizeof(T) / 8];
    uint4 whole[(N * sizeof(T) + 15) / 16];
};

/* The elements from[i] for i < there, zeros beyond, as they are stored; `aligned` says that 16-byte (of fewer
 * bytes: 8-byte) pieces may be used. `there` may be negative. */
template <typename T, int N>
static __device__ __forceinline__ void cuda_group_fetch(const T *from, int64_t there, bool aligned,
                                                        union cuda_pack<T, N> *pack)
{
    if (aligned && there >= N) {
        if (N * sizeof(T) % 16 == 0) {
            for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
                pack->whole[i] = *CUDA_WHOLE(reinterpret_cast<const uint4 *>(from) + i);
        } else {
            for (int i = 0; i < (int)(N * sizeof(T) / 8); i++)
                pack->half[i] = *CUDA_WHOLE(reinterpret_cast<const uint2 *>(from) + i);
        }
        return;
    }
    for (int i = 0; i < N; i++)
        if (i < there)
            pack->element[i] = from[i];
        else
            cuda_from_float(&pack->element[i], 0.0f);
}

template <typename T, int N>
static __device__ __forceinline__ void cuda_group_values(const union cuda_pack<T, N> &pack,
                                                         float (&values)[N])
{
    for (int i = 0; i < N; i++)
        values[i] = cuda_to_float(pack.element[i]);
}

/* Both. A thread goes on past a load until it needs what it loads: several groups are all fetched before the
 * first is looked at. */
template <typename T, int N>
static __device__ __forceinline__ void cuda_group_load(const T *from, int64_t there, bool aligned,
                                                       float (&values)[N])
{
    union cuda_pack<T, N> pack;
    cuda_group_fetch(from, there, aligned, &pack);
    cuda_group_values(pack, values);
}

/* Adds the groups at from + at(0), … from + at(count - 1) to the sums in order, several under way at once. */
template <typename T, int N, typename At>
static __device__ __forceinline__ void cuda_groups_add(const T *from, int64_t count, At at, int64_t there,
                                                       bool aligned, float (&sums)[N])
{
    for (int64_t first = 0; first < count; first += CUDA_GROUPS_AHEAD) {
        union cuda_pack<T, N> ahead[CUDA_GROUPS_AHEAD];
        for (int n = 0; n < CUDA_GROUPS_AHEAD; n++)
            if (first + n < count)
                cuda_group_fetch(from + at(first + n), there, aligned, &ahead[n]);
        for (int n = 0; n < CUDA_GROUPS_AHEAD; n++) {
            float values[N];
            if (first + n >= count)
                break;
            cuda_group_values(ahead[n], values);
            for (int i = 0; i < N; i++)
                sums[i] += values[i];
        }
    }
}

/* One store to global memory: where a plain assignment says so, nvcc splits it into words in some kernels. */
static __device__ __forceinline__ void cuda_store(uint4 *to, uint4 value)
{
#ifdef __CUDA_ARCH__
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(value.x),
                 "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
#else
    *CUDA_WHOLE(to) = value;
#endif
}

static __device__ __forceinline__ void cuda_store(uint2 *to, uint2 value)
{
#ifdef __CUDA_ARCH__
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(value.x),
                 "r"(value.y)
                 : "memory");
#else
    *CUDA_WHOLE(to) = value;
#endif
}

template <typename T, int N>
static __device__ __forceinline__ void cuda_group_store(T *to, int64_t there, bool aligned,
                                                        const float (&values)[N])
{
    if (aligned && there >= N) {
        union cuda_pack<T, N> pack;
        for (int i = 0; i < N; i++)
            cuda_from_float(&pack.element[i], values[i]);
        if (N * sizeof(T) % 16 == 0) {
            for (int i = 0; i < (int)(N * sizeof(T) / 16); i++)
                cuda_store(reinterpret_cast<uint4 *>(to) + i, pack.whole[i]);
        } else {
            for (int i = 0; i < (int)(N * sizeof(T) / 8); i++)
                cuda_store(reinterpret_cast<uint2 *>(to) + i, pack.half[i]);
        }
        return;
    }
    for (int i = 0; i < N; i++)
        if (i < there)
            cuda_from_float(&to[i], values[i]);
}

/* The thread's place in a grid of one dimension. */
static __device__ __forceinline__ int64_t cuda_thread_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* value / divisor, by the short way where both fit. */
static __device__ __forceinline__ int64_t cuda_quotient(int64_t value, int64_t divisor)
{
    if (((uint64_t)value | (uint64_t)divisor) >> 32 == 0)
        return (int64_t)((uint32_t)value / (uint32_t)divisor);
    return value / divisor;
}

/* The sum over the warp, added in the same order in every lane. */
template <typename T> static __device__ __forceinline__ T cuda_warp_sum(T value)
{
    for (int distance = CUDA_WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

/* The sum over the block (of whole warps, one dimension), the same in every thread: warps are added in order.
 * `shared` has room for CUDA_WARPS_MAX values and may be used again at once. */
template <typename T> static __device__ __forceinline__ T cuda_block_sum(T value, T *shared)
{
    const int warps = (int)blockDim.x / CUDA_WARP;
    value = cuda_warp_sum(value);
    __syncthreads();
    if (threadIdx.x % CUDA_WARP == 0)
        shared[threadIdx.x / CUDA_WARP] = value;
    __syncthreads();
    T sum = shared[0];
    for (int warp = 1; warp < warps; warp++)
        sum += shared[warp];
    return sum;
}

/* Host side. */

static inline int64_t cuda_divide_up(int64_t value, int64_t divisor)
{
    return (value + divisor - 1) / divisor;
}

static inline int64_t cuda_clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Blocks of `per_block` that cover `count`. */
static inline unsigned cuda_blocks(int64_t count, int64_t per_block)
{
    return (unsigned)cuda_divide_up(count, per_block);
}

/* Threads of a block that works on one row of `groups`: whole warps, at most `most`. */
static inline unsigned cuda_row_threads(int64_t groups, int64_t most)
{
    int64_t threads = cuda_divide_up(groups, CUDA_WARP) * CUDA_WARP;
    return (unsigned)(threads < most ? threads : most);
}

/* NULL counts as aligned. */
static inline bool cuda_aligned(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

static inline enum muster_status cuda_launched(const char *operation, struct muster_error *err)
{
    return cuda_check(cudaGetLastError(), operation, err);
}

static inline enum muster_status cuda_scratch_check(const struct kernels *k, int64_t bytes,
                                                    const char *operation, struct muster_error *err)
{
    if (k->scratch_bytes >= bytes)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "cuda: %s needs %lld bytes of scratch, there are %lld",
                            operation, (long long)bytes, (long long)k->scratch_bytes);
}

/* out[c] += the sum over chunks of partials[chunk · columns + c], in an order that depends on `chunks` alone
 * (cuda_columns.cu); columns from `width` on go to `rest`. */
void cuda_partials_add(cudaStream_t stream, const float *partials, int64_t chunks, int64_t columns,
                       float *out, int64_t width, float *rest);

/* exp of a number that is at most 0, or nearly so: what matters is near 0, where this is as good as expf at a
 * sixth of its instructions. Losses need two for each logit, GELU one for each value of the widest rows: with
 * expf and a division they would be bound by instructions, not by memory. */
static __device__ __forceinline__ float cuda_exp_below(float x)
{
#ifdef __CUDA_ARCH__
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.44269504f));
    return result;
#else
    return exp2f(x * 1.44269504f);
#endif
}

/* 1 / x for x from 1 to 2, right to the last bit or next to it, without the division's care for other
 * numbers. */
static __device__ __forceinline__ float cuda_reciprocal(float x)
{
#ifdef __CUDA_ARCH__
    float guess;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(guess) : "f"(x));
    return fmaf(guess, fmaf(-x, guess, 1.0f), guess);
#else
    return 1.0f / x;
#endif
}

struct cuda_sigmoid {
    float value, slope; /* slope = value · (1 - value) */
};

static __device__ __forceinline__ struct cuda_sigmoid cuda_sigmoid_of(float x)
{
    const float e = cuda_exp_below(-fabsf(x)), p = cuda_reciprocal(1.0f + e);
    struct cuda_sigmoid sigmoid;
    sigmoid.value = x >= 0.0f ? p : e * p;
    sigmoid.slope = e * p * p;
    return sigmoid;
}

/* The tanh form of GELU (Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016, section 2), as x ·
 * sigmoid(2u): 1 + tanh(u) would cancel where x is negative. */
static __device__ __forceinline__ struct cuda_sigmoid cuda_gelu_sigmoid(float x)
{
    return cuda_sigmoid_of(2.0f * 0.79788456f * fmaf(0.044715f * x * x, x, x));
}

static __device__ __forceinline__ float cuda_activation_value(enum activation activation, float x)
{
    if (activation == ACTIVATION_RELU)
        return x > 0.0f ? x : 0.0f;
    if (activation == ACTIVATION_GELU_TANH)
        return x * cuda_gelu_sigmoid(x).value;
    return x;
}

static __device__ __forceinline__ float cuda_activation_slope(enum activation activation, float x)
{
    if (activation == ACTIVATION_RELU)
        return x > 0.0f ? 1.0f : 0.0f;
    if (activation == ACTIVATION_GELU_TANH) {
        const struct cuda_sigmoid sigmoid = cuda_gelu_sigmoid(x);
        const float inner = 2.0f * 0.79788456f * fmaf(3.0f * 0.044715f * x, x, 1.0f);
        return fmaf(x * sigmoid.slope, inner, sigmoid.value);
    }
    return 1.0f;
}

#endif
