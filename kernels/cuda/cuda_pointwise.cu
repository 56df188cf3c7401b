/* SPDX-License-Identifier: MIT
 *
 * Operations that treat every element (or pair) on its own. They are bound by memory: one thread takes one
 * group of 16 bytes, reads it before it writes, and leaves.
 */
#include "kernels/cuda/cuda_device.cuh"

template <typename T> static __global__ void activation_forward_kernel(struct activation_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t at = cuda_thread_index() * N, there = a.count - at;
    if (there <= 0)
        return;
    float x[N];
    cuda_group_load(static_cast<const T *>(a.pre) + at, there, aligned, x);
    for (int i = 0; i < N; i++)
        x[i] = cuda_activation_value(a.activation, x[i]);
    cuda_group_store(static_cast<T *>(a.y) + at, there, aligned, x);
}

CUDA_OPERATION(activation_forward, activation_args)
{
    const bool aligned = cuda_aligned(a->pre) && cuda_aligned(a->y);
    const int64_t threads = cuda_divide_up(a->count, 16 / (int64_t)dtype_size(a->dtype));
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((activation_forward_kernel<T>), cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK,
                               0, cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("activation_forward", err);
}

template <typename T>
static __global__ void activation_backward_kernel(struct activation_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t at = cuda_thread_index() * N, there = a.count - at;
    if (there <= 0)
        return;
    float x[N], dy[N];
    cuda_group_load(static_cast<const T *>(a.pre) + at, there, aligned, x);
    cuda_group_load(static_cast<const T *>(a.dy) + at, there, aligned, dy);
    for (int i = 0; i < N; i++)
        dy[i] *= cuda_activation_slope(a.activation, x[i]);
    cuda_group_store(static_cast<T *>(a.dx) + at, there, aligned, dy);
}

CUDA_OPERATION(activation_backward, activation_args)
{
    const bool aligned = cuda_aligned(a->pre) && cuda_aligned(a->dy) && cuda_aligned(a->dx);
    const int64_t threads = cuda_divide_up(a->count, 16 / (int64_t)dtype_size(a->dtype));
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((activation_backward_kernel<T>), cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK,
                               0, cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("activation_backward", err);
}

/* The group of a thread in [tokens, width]: row t, columns from c on. */
struct swiglu_place {
    int64_t t, c;
};

template <int N> static __device__ __forceinline__ struct swiglu_place swiglu_place_of(int64_t width)
{
    const int64_t index = cuda_thread_index(), groups = (width + N - 1) / N;
    struct swiglu_place place;
    place.t = cuda_quotient(index, groups);
    place.c = (index - place.t * groups) * N;
    return place;
}

template <typename T> static __global__ void swiglu_forward_kernel(struct swiglu_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const struct swiglu_place p = swiglu_place_of<N>(a.width);
    if (p.t >= a.tokens)
        return;
    const T *gate_at = static_cast<const T *>(a.gate_up) + p.t * 2 * a.width + p.c;
    const int64_t there = a.width - p.c;
    float gate[N], up[N];
    cuda_group_load(gate_at, there, aligned, gate);
    cuda_group_load(gate_at + a.width, there, aligned, up);
    for (int i = 0; i < N; i++)
        gate[i] = gate[i] * cuda_sigmoid_of(gate[i]).value * up[i];
    cuda_group_store(static_cast<T *>(a.y) + p.t * a.width + p.c, there, aligned, gate);
}

template <typename T> static __global__ void swiglu_backward_kernel(struct swiglu_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const struct swiglu_place p = swiglu_place_of<N>(a.width);
    if (p.t >= a.tokens)
        return;
    const int64_t gate_at = p.t * 2 * a.width + p.c, there = a.width - p.c;
    float gate[N], up[N], dy[N];
    cuda_group_load(static_cast<const T *>(a.gate_up) + gate_at, there, aligned, gate);
    cuda_group_load(static_cast<const T *>(a.gate_up) + gate_at + a.width, there, aligned, up);
    cuda_group_load(static_cast<const T *>(a.dy) + p.t * a.width + p.c, there, aligned, dy);
    for (int i = 0; i < N; i++) {
        const float sigmoid = cuda_sigmoid_of(gate[i]).value;
        const float slope = sigmoid * fmaf(gate[i], 1.0f - sigmoid, 1.0f);
        up[i] = dy[i] * up[i] * slope;
        dy[i] = dy[i] * gate[i] * sigmoid;
    }
    cuda_group_store(static_cast<T *>(a.dgate_up) + gate_at, there, aligned, up);
    cuda_group_store(static_cast<T *>(a.dgate_up) + gate_at + a.width, there, aligned, dy);
}

static int64_t swiglu_groups(const struct swiglu_args *a)
{
    return a->tokens * cuda_divide_up(a->width, 16 / (int64_t)dtype_size(a->dtype));
}

static bool swiglu_rows_aligned(const struct swiglu_args *a)
{
    return a->width * (int64_t)dtype_size(a->dtype) % 16 == 0 && cuda_aligned(a->gate_up);
}

CUDA_OPERATION(swiglu_forward, swiglu_args)
{
    const bool aligned = swiglu_rows_aligned(a) && cuda_aligned(a->y);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((swiglu_forward_kernel<T>), cuda_blocks(swiglu_groups(a), CUDA_BLOCK),
                               CUDA_BLOCK, 0, cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("swiglu_forward", err);
}

CUDA_OPERATION(swiglu_backward, swiglu_args)
{
    const bool aligned = swiglu_rows_aligned(a) && cuda_aligned(a->dy) && cuda_aligned(a->dgate_up);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((swiglu_backward_kernel<T>), cuda_blocks(swiglu_groups(a), CUDA_BLOCK),
                               CUDA_BLOCK, 0, cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("swiglu_backward", err);
}

template <typename T> static __global__ void dropout_kernel(struct dropout_args a, float factor, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t at = cuda_thread_index() * N, there = a.count - at;
    if (there <= 0)
        return;
    float x[N];
    cuda_group_load(static_cast<const T *>(a.x) + at, there, aligned, x);
    for (int quad = 0; quad < N; quad += 4) {
        const struct rng_block block = rng_philox(a.key, 0, (uint64_t)(at + quad) / 4);
        for (int i = 0; i < 4; i++)
            x[quad + i] = rng_uniform(block.word[i]) >= a.p ? x[quad + i] * factor : 0.0f;
    }
    cuda_group_store(static_cast<T *>(a.y) + at, there, aligned, x);
}

CUDA_OPERATION(dropout, dropout_args)
{
    const bool aligned = cuda_aligned(a->x) && cuda_aligned(a->y);
    const float factor = (float)(1.0 / (1.0 - (double)a->p));
    const int64_t threads = cuda_divide_up(a->count, 16 / (int64_t)dtype_size(a->dtype));
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((dropout_kernel<T>), cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK, 0,
                               cuda_kernels_from(k)->stream, *a, factor, aligned));
    return cuda_launched("dropout", err);
}

/* pre is rounded before the activation also where it is not stored, so that keeping it never changes y. */
template <typename T> static __global__ void epilogue_kernel(struct cuda_epilogue_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t index = cuda_thread_index(), groups = (a.columns + N - 1) / N;
    const int64_t r = cuda_quotient(index, groups), c = (index - r * groups) * N;
    if (r >= a.rows)
        return;
    const int64_t at = r * a.columns + c, there = a.columns - c;
    float x[N], bias[N];
    cuda_group_load(static_cast<const T *>(a.x) + at, there, aligned, x);
    if (a.bias != nullptr) {
        cuda_group_load(static_cast<const T *>(a.bias) + c, there, aligned, bias);
        for (int i = 0; i < N; i++)
            x[i] += bias[i];
    }
    if (a.activation != ACTIVATION_NONE) {
        for (int i = 0; i < N; i++)
            x[i] = cuda_rounded<T>(x[i]);
        if (a.pre != nullptr)
            cuda_group_store(static_cast<T *>(a.pre) + at, there, aligned, x);
        for (int i = 0; i < N; i++)
            x[i] = cuda_activation_value(a.activation, x[i]);
    }
    cuda_group_store(static_cast<T *>(a.y) + at, there, aligned, x);
}

CUDA_OPERATION(epilogue, cuda_epilogue_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype);
    const bool aligned = a->columns * size % 16 == 0 && cuda_aligned(a->x) && cuda_aligned(a->bias) &&
                         cuda_aligned(a->pre) && cuda_aligned(a->y);
    const int64_t threads = a->rows * cuda_divide_up(a->columns, 16 / size);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((epilogue_kernel<T>), cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK, 0,
                               cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("epilogue", err);
}
