/* SPDX-License-Identifier: MIT
 *
 * Rows of logits to losses and, in place, to their gradient. One block per row; the row is read once for the
 * maximum, the sum of exponentials (kept relative to the largest value so far) and the comparison with the
 * target, and once more where its gradient is written over it. Milakov & Gimelshein, "Online normalizer
 * calculation for softmax", 2018.
 */
#include "kernels/cuda/cuda_device.cuh"

#include <float.h>

enum { LOSS_THREADS_MAX = 512 };

/* The largest value seen and the sum of exp(value - largest). */
struct loss_sum {
    float largest, total;
};

/* The largest over the block, the same in every thread; `shared` has room for CUDA_WARPS_MAX values. */
static __device__ __forceinline__ float loss_block_largest(float value, float *shared)
{
    for (int distance = CUDA_WARP / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    if (threadIdx.x % CUDA_WARP == 0)
        shared[threadIdx.x / CUDA_WARP] = value;
    __syncthreads();
    for (int warp = 0; warp < (int)blockDim.x / CUDA_WARP; warp++)
        value = fmaxf(value, shared[warp]);
    return value;
}

/* log of the sum of exp over the row, from what each thread saw; the same in every thread. */
static __device__ __forceinline__ float loss_block_lse(struct loss_sum sum, float *shared)
{
    const float largest = loss_block_largest(sum.largest, shared);
    return largest + logf(cuda_block_sum(sum.total * cuda_exp_below(sum.largest - largest), shared));
}

/* The bias of column c; called only where there is one. */
static __device__ __forceinline__ float loss_bias(const struct cuda_cross_entropy_args &a, int c)
{
    if (a.bias_dtype == DTYPE_BF16)
        return cuda_at<struct cuda_bf16>(a.bias, c);
    if (a.bias_dtype == DTYPE_F16)
        return cuda_at<struct cuda_f16>(a.bias, c);
    return cuda_at<float>(a.bias, c);
}

/* A group of logits with the bias added; columns beyond the vocabulary come out as minus infinity. */
template <typename T, int N>
static __device__ __forceinline__ void loss_logits(const struct cuda_cross_entropy_args &a, const T *row,
                                                   int c, bool aligned, float (&logits)[N])
{
    const int there = (int)a.vocabulary - c;
    cuda_group_load(row + c, there, aligned, logits);
    for (int i = 0; a.bias != nullptr && i < N; i++)
        logits[i] += i < there ? loss_bias(a, c + i) : 0.0f;
    for (int i = 0; there < N && i < N; i++)
        logits[i] = i < there ? logits[i] : -INFINITY;
}

/* The logit of the target as loss_logits gives it. */
template <typename T>
static __device__ __forceinline__ float loss_target(const struct cuda_cross_entropy_args &a, const T *row,
                                                    int target)
{
    const float logit = cuda_to_float(row[target]);
    return a.bias != nullptr ? logit + loss_bias(a, target) : logit;
}

/* The gradient of a group: columns beyond the vocabulary get 0, and all where the row has no target. */
template <typename T, int N>
static __device__ __forceinline__ void loss_gradient(const struct cuda_cross_entropy_args &a, T *row, int c,
                                                     int target, float lse, bool aligned)
{
    const int there = (int)a.vocabulary - c;
    float values[N];
    loss_logits(a, row, c, aligned, values);
    for (int i = 0; i < N; i++)
        values[i] = cuda_exp_below(values[i] - lse);
    if (target >= c && target - c < N)
        for (int i = 0; i < N; i++)
            values[i] -= c + i == target ? 1.0f : 0.0f;
    for (int i = 0; i < N; i++)
        values[i] *= a.gradient_scale;
    if (there < N || target < 0)
        for (int i = 0; i < N; i++)
            values[i] = i < there && target >= 0 ? values[i] : 0.0f;
    cuda_group_store(row + c, a.stride - c, aligned, values);
}

/* Brings a group of logits into the sum. */
template <int N>
static __device__ __forceinline__ void loss_sum_add(struct loss_sum *sum, const float (&logits)[N],
                                                    float largest)
{
    largest = fmaxf(sum->largest, largest);
    sum->total *= cuda_exp_below(sum->largest - largest);
    sum->largest = largest;
    for (int i = 0; i < N; i++)
        sum->total += cuda_exp_below(logits[i] - largest);
}

template <typename T>
static __global__ void __launch_bounds__(LOSS_THREADS_MAX)
    cross_entropy_kernel(struct cuda_cross_entropy_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT, step = (int)blockDim.x * N, vocabulary = (int)a.vocabulary;
    CUDA_SHARED(float, shared, CUDA_WARPS_MAX);
    const int64_t t = blockIdx.x;
    const int target = a.targets[t];
    T *row = static_cast<T *>(a.logits) + t * a.stride;
    float loss = 0.0f, correct = 0.0f, lse = 0.0f;
    if (target >= 0) {
        const float wanted = loss_target(a, row, target);
        struct loss_sum sum = {-FLT_MAX, 0.0f};
        int beaten = 0;
        for (int c = (int)threadIdx.x * N; c < vocabulary; c += step) {
            float logits[N], largest = -FLT_MAX;
            loss_logits(a, row, c, aligned, logits);
            for (int i = 0; i < N; i++)
                largest = fmaxf(largest, logits[i]);
            for (int i = 0; largest >= wanted && i < N; i++)
                beaten |= logits[i] > wanted || (logits[i] == wanted && c + i < target);
            loss_sum_add(&sum, logits, largest);
        }
        lse = loss_block_lse(sum, shared);
        loss = lse - wanted;
        correct = __syncthreads_or(beaten) ? 0.0f : 1.0f;
    }
    if (threadIdx.x == 0) {
        a.loss[t] = loss;
        if (a.correct != nullptr)
            a.correct[t] = correct;
    }
    /* backwards: what was read last is still near */
    const int mine = (int)threadIdx.x * N, stride = (int)a.stride;
    for (int c = mine + (stride - 1 - mine) / step * step; a.gradient && c >= mine && mine < stride;
         c -= step)
        loss_gradient<T, N>(a, row, c, target, lse, aligned);
}

CUDA_OPERATION(cross_entropy, cuda_cross_entropy_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype);
    const bool aligned = a->stride * size % 16 == 0 && cuda_aligned(a->logits);
    const unsigned threads = cuda_row_threads(cuda_divide_up(a->vocabulary * size, 16), LOSS_THREADS_MAX);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((cross_entropy_kernel<T>), (unsigned)a->rows, threads, 0,
                               cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("cross_entropy", err);
}
