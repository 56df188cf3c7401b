/* SPDX-License-Identifier: MIT
 *
 * Rows of logits to losses and, in place, to their gradient. One block per row; the row is read once for the
 * maximum, the sum of exponentials (kept relative to the largest value so far) and the comparison with the
 * target, and once more where its gradient is written over it. Milakov & Gimelshein, "Online normalizer
 * calculation for softmax", 2018.
 */
#include "kernels/cuda/cuda_device.cuh"

#include <float.h>

enum { LOSS_THREADS_MAX = 1024 };

/* The largest value seen and the sum of exp(value - largest). */
struct loss_sum {
    float largest, total;
};

static __device__ __forceinline__ struct loss_sum loss_sum_of(struct loss_sum a, struct loss_sum b)
{
    struct loss_sum sum;
    sum.largest = fmaxf(a.largest, b.largest);
    sum.total = a.total * expf(a.largest - sum.largest) + b.total * expf(b.largest - sum.largest);
    return sum;
}

/* The same in every thread; `shared` has room for two floats a warp. */
static __device__ __forceinline__ struct loss_sum loss_block_sum(struct loss_sum sum, float *shared)
{
    const int warp = (int)threadIdx.x / CUDA_WARP, warps = (int)blockDim.x / CUDA_WARP;
    for (int distance = CUDA_WARP / 2; distance > 0; distance /= 2) {
        struct loss_sum other;
        other.largest = __shfl_xor_sync(0xffffffffu, sum.largest, distance);
        other.total = __shfl_xor_sync(0xffffffffu, sum.total, distance);
        sum = loss_sum_of(sum, other);
    }
    if (threadIdx.x % CUDA_WARP == 0) {
        shared[warp] = sum.largest;
        shared[CUDA_WARPS_MAX + warp] = sum.total;
    }
    __syncthreads();
    for (int w = 0; w < warps; w++) {
        struct loss_sum other = {shared[w], shared[CUDA_WARPS_MAX + w]};
        sum = w == 0 ? other : loss_sum_of(sum, other);
    }
    return sum;
}

/* A group of logits with the bias added; columns beyond the vocabulary come out as the lowest number. */
template <typename T, int N>
static __device__ __forceinline__ void loss_logits(const struct cuda_cross_entropy_args &a, const T *row,
                                                   int64_t c, bool aligned, float (&logits)[N])
{
    const int64_t there = a.vocabulary - c;
    cuda_group_load(row + c, there, aligned, logits);
    for (int i = 0; i < N; i++) {
        if (i >= there)
            logits[i] = -FLT_MAX;
        else if (a.bias != nullptr && a.bias_dtype == DTYPE_BF16)
            logits[i] += cuda_at<struct cuda_bf16>(a.bias, c + i);
        else if (a.bias != nullptr && a.bias_dtype == DTYPE_F16)
            logits[i] += cuda_at<struct cuda_f16>(a.bias, c + i);
        else if (a.bias != nullptr)
            logits[i] += cuda_at<float>(a.bias, c + i);
    }
}

/* The logit of the target as loss_logits gives it. */
template <typename T, int N>
static __device__ __forceinline__ float loss_target(const struct cuda_cross_entropy_args &a, const T *row,
                                                    int64_t target)
{
    float logits[1];
    loss_logits(a, row, target, false, logits);
    return logits[0];
}

/* Zeros, or the gradient: columns beyond the vocabulary always get 0. */
template <typename T>
static __device__ void loss_gradient(const struct cuda_cross_entropy_args &a, T *row, int64_t target,
                                     float lse, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    for (int64_t c = (int64_t)threadIdx.x * N; c < a.stride; c += (int64_t)blockDim.x * N) {
        float logits[N];
        loss_logits(a, row, c, aligned, logits);
        for (int i = 0; i < N; i++) {
            const float onehot = c + i == target ? 1.0f : 0.0f;
            const bool counts = target >= 0 && c + i < a.vocabulary;
            logits[i] = counts ? (expf(logits[i] - lse) - onehot) * a.gradient_scale : 0.0f;
        }
        cuda_group_store(row + c, a.stride - c, aligned, logits);
    }
}

template <typename T>
static __global__ void cross_entropy_kernel(struct cuda_cross_entropy_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED(float, shared, 2 * CUDA_WARPS_MAX);
    const int64_t t = blockIdx.x, target = a.targets[t];
    T *row = static_cast<T *>(a.logits) + t * a.stride;
    float loss = 0.0f, correct = 0.0f, lse = 0.0f;
    if (target >= 0) {
        const float wanted = loss_target<T, 1>(a, row, target);
        struct loss_sum sum = {-FLT_MAX, 0.0f};
        int beaten = 0;
        for (int64_t c = (int64_t)threadIdx.x * N; c < a.vocabulary; c += (int64_t)blockDim.x * N) {
            float logits[N];
            loss_logits(a, row, c, aligned, logits);
            float largest = sum.largest;
            for (int i = 0; i < N; i++)
                largest = fmaxf(largest, logits[i]);
            sum.total *= expf(sum.largest - largest);
            sum.largest = largest;
            for (int i = 0; i < N && c + i < a.vocabulary; i++) {
                sum.total += expf(logits[i] - largest);
                beaten |= logits[i] > wanted || (logits[i] == wanted && c + i < target);
            }
        }
        sum = loss_block_sum(sum, shared);
        lse = sum.largest + logf(sum.total);
        loss = lse - wanted;
        correct = __syncthreads_or(beaten) ? 0.0f : 1.0f;
    }
    if (threadIdx.x == 0) {
        a.loss[t] = loss;
        if (a.correct != nullptr)
            a.correct[t] = correct;
    }
    if (a.gradient)
        loss_gradient(a, row, target, lse, aligned);
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
