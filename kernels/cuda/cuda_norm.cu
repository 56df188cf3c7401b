/* SPDX-License-Identifier: MIT
 *
 * Layer norm and RMS norm with the residual addition in front. Forward: one block per row, which is read
 * once and kept in shared memory while it fits. Backward: one block per chunk of rows, because the gradients
 * of gain and bias are sums over rows; each thread owns the same columns in every row, so their sums need no
 * barrier. Chunks follow from the shape, never from the device. Ba, Kiros & Hinton, "Layer Normalization",
 * 2016; Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019.
 */
#include "kernels/cuda/cuda_device.cuh"

enum { NORM_SHARED_BYTES = 40 << 10, NORM_THREADS_MAX = 512 };
enum { NORM_CHUNKS_LEAST = 64, NORM_CHUNKS_MOST = 1024, NORM_CHUNK_ROWS_LEAST = 4 };

/* One row of the forward operation as its block sees it. */
template <typename T> struct norm_row {
    const T *x, *delta; /* delta may be NULL */
    T *residual;
    int64_t width;
    bool aligned;
    float *kept; /* the row in shared memory, or NULL */
};

/* x + delta as it is stored, storing it. */
template <typename T, int N>
static __device__ __forceinline__ void norm_read(const struct norm_row<T> &row, int64_t c, float (&values)[N])
{
    const int64_t there = row.width - c;
    float delta[N];
    cuda_group_load(row.x + c, there, row.aligned, values);
    if (row.delta != nullptr) {
        cuda_group_load(row.delta + c, there, row.aligned, delta);
        for (int i = 0; i < N; i++)
            values[i] = cuda_rounded<T>(values[i] + delta[i]);
        cuda_group_store(row.residual + c, there, row.aligned, values);
    }
    for (int i = 0; row.kept != nullptr && i < N; i++)
        row.kept[c + i] = values[i];
}

template <typename T, int N>
static __device__ __forceinline__ void norm_read_again(const struct norm_row<T> &row, int64_t c,
                                                       float (&values)[N])
{
    const T *stored = row.delta != nullptr ? row.residual : row.x;
    if (row.kept == nullptr)
        cuda_group_load(stored + c, row.width - c, row.aligned, values);
    for (int i = 0; row.kept != nullptr && i < N; i++)
        values[i] = row.kept[c + i];
}

/* Reads the row, and sums it: over all threads, only where the mean is wanted. */
template <typename T>
static __device__ float norm_mean(const struct norm_row<T> &row, bool wanted, float *sums)
{
    const int N = cuda_group<T>::COUNT;
    float values[N], total = 0.0f;
    for (int64_t c = (int64_t)threadIdx.x * N; c < row.width; c += (int64_t)blockDim.x * N) {
        norm_read(row, c, values);
        for (int i = 0; i < N; i++)
            total += values[i];
    }
    return wanted ? cuda_block_sum(total, sums) / (float)row.width : 0.0f;
}

template <typename T>
static __device__ float norm_rstd(const struct norm_row<T> &row, float mean, float epsilon, float *sums)
{
    const int N = cuda_group<T>::COUNT;
    float values[N], total = 0.0f;
    for (int64_t c = (int64_t)threadIdx.x * N; c < row.width; c += (int64_t)blockDim.x * N) {
        norm_read_again(row, c, values);
        for (int i = 0; i < N; i++)
            if (c + i < row.width)
                total = fmaf(values[i] - mean, values[i] - mean, total);
    }
    return 1.0f / sqrtf(cuda_block_sum(total, sums) / (float)row.width + epsilon);
}

template <typename T> static __global__ void norm_forward_kernel(struct norm_args a, bool aligned, bool keep)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED_DYNAMIC(float, kept);
    CUDA_SHARED(float, sums, CUDA_WARPS_MAX);
    const int64_t t = blockIdx.x, at = t * a.width;
    const T *delta = static_cast<const T *>(a.delta), *gain = static_cast<const T *>(a.gain);
    const T *bias = static_cast<const T *>(a.bias);
    const struct norm_row<T> row = {
        static_cast<const T *>(a.x) + at, delta != nullptr ? delta + at : nullptr,
            static_cast<T *>(a.residual) + (delta != nullptr ? at : 0), a.width, aligned,
            keep ? kept : nullptr
    };
    const float mean = norm_mean(row, a.kind == NORM_LAYER, sums);
    const float rstd = norm_rstd(row, mean, a.epsilon, sums);
    for (int64_t c = (int64_t)threadIdx.x * N; c < a.width; c += (int64_t)blockDim.x * N) {
        float values[N], gains[N], biases[N];
        norm_read_again(row, c, values);
        cuda_group_load(gain + c, a.width - c, aligned, gains);
        if (bias != nullptr)
            cuda_group_load(bias + c, a.width - c, aligned, biases);
        for (int i = 0; i < N; i++) {
            const float h = (values[i] - mean) * rstd;
            values[i] = bias != nullptr ? fmaf(h, gains[i], biases[i]) : h * gains[i];
        }
        cuda_group_store(static_cast<T *>(a.y) + at + c, a.width - c, aligned, values);
    }
    if (threadIdx.x == 0 && a.mean != nullptr && a.kind == NORM_LAYER)
        a.mean[t] = mean;
    if (threadIdx.x == 0 && a.rstd != nullptr)
        a.rstd[t] = rstd;
}

CUDA_OPERATION(norm_forward, norm_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype), groups = cuda_divide_up(a->width * size, 16);
    const bool aligned = a->width * size % 16 == 0 && cuda_aligned(a->x) && cuda_aligned(a->delta) &&
                         (a->delta == nullptr || cuda_aligned(a->residual)) && cuda_aligned(a->gain) &&
                         cuda_aligned(a->bias) && cuda_aligned(a->y);
    const int64_t kept_bytes = groups * (16 / size) * 4;
    const bool keep = kept_bytes <= NORM_SHARED_BYTES;
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((norm_forward_kernel<T>), (unsigned)a->tokens,
                               cuda_row_threads(groups, NORM_THREADS_MAX), keep ? (size_t)kept_bytes : 0,
                               cuda_kernels_from(k)->stream, *a, aligned, keep));
    return cuda_launched("norm_forward", err);
}

/* What a group of columns of one row brings to the backward rule: dy, h = (residual - mean) · rstd, and
 * g = dy · gain. */
template <int N> struct norm_slopes {
    float dy[N], h[N], g[N];
};

template <typename T, int N>
static __device__ __forceinline__ void norm_slopes_read(const struct norm_args &a, int64_t t, int64_t c,
                                                        bool aligned, struct norm_slopes<N> *s)
{
    const int64_t at = t * a.width + c, there = a.width - c;
    const float mean = a.kind == NORM_LAYER ? a.mean[t] : 0.0f, rstd = a.rstd[t];
    cuda_group_load(static_cast<const T *>(a.dy) + at, there, aligned, s->dy);
    cuda_group_load(static_cast<const T *>(a.residual) + at, there, aligned, s->h);
    cuda_group_load(static_cast<const T *>(a.gain) + c, there, aligned, s->g);
    for (int i = 0; i < N; i++) {
        s->h[i] = (s->h[i] - mean) * rstd;
        s->g[i] *= s->dy[i];
    }
}

/* dresidual (+)= rstd · (g - average(g) - h · average(g · h)) for the thread's columns of row t. */
template <typename T>
static __device__ __forceinline__ void norm_row_store(const struct norm_args &a, int64_t t, bool aligned,
                                                      float average, float average_scaled)
{
    const int N = cuda_group<T>::COUNT;
    T *out = static_cast<T *>(a.dresidual) + t * a.width;
    const float rstd = a.rstd[t];
    struct norm_slopes<N> s;
    float earlier[N];
    for (int64_t c = (int64_t)threadIdx.x * N; c < a.width; c += (int64_t)blockDim.x * N) {
        norm_slopes_read<T, N>(a, t, c, aligned, &s);
        for (int i = 0; i < N; i++)
            earlier[i] = 0.0f;
        if (a.accumulate)
            cuda_group_load(out + c, a.width - c, aligned, earlier);
        for (int i = 0; i < N; i++)
            s.g[i] = fmaf(rstd, s.g[i] - average - s.h[i] * average_scaled, earlier[i]);
        cuda_group_store(out + c, a.width - c, aligned, s.g);
    }
}

/* dgain (and behind it, where wanted, dbias) of a chunk: `own` is shared memory or the chunk's partial row.
 */
template <typename T>
static __global__ void norm_backward_kernel(struct norm_args a, int64_t chunk_rows, bool aligned,
                                            bool in_shared, float *partials)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED_DYNAMIC(float, shared);
    CUDA_SHARED(float, sums, CUDA_WARPS_MAX);
    const bool with_bias = a.dbias != nullptr;
    const int64_t columns = with_bias ? 2 * a.width : a.width;
    float *partial = partials + (int64_t)blockIdx.x * columns, *own = in_shared ? shared : partial;
    const int64_t step = (int64_t)blockDim.x * N, start = (int64_t)threadIdx.x * N;
    const int64_t first = (int64_t)blockIdx.x * chunk_rows;
    const int64_t end = first + chunk_rows < a.tokens ? first + chunk_rows : a.tokens;
    for (int64_t t = first; t < end; t++) {
        float average = 0.0f, average_scaled = 0.0f;
        for (int64_t c = start; c < a.width; c += step) {
            struct norm_slopes<N> s;
            norm_slopes_read<T, N>(a, t, c, aligned, &s);
            for (int i = 0; i < N && c + i < a.width; i++) {
                average += s.g[i];
                average_scaled = fmaf(s.g[i], s.h[i], average_scaled);
                own[c + i] = fmaf(s.dy[i], s.h[i], t == first ? 0.0f : own[c + i]);
                if (with_bias)
                    own[a.width + c + i] = s.dy[i] + (t == first ? 0.0f : own[a.width + c + i]);
            }
        }
        average = a.kind == NORM_LAYER ? cuda_block_sum(average, sums) / (float)a.width : 0.0f;
        average_scaled = cuda_block_sum(average_scaled, sums) / (float)a.width;
        norm_row_store<T>(a, t, aligned, average, average_scaled);
    }
    for (int64_t c = start; in_shared && c < a.width; c += step) {
        for (int i = 0; i < N && c + i < a.width; i++) {
            partial[c + i] = own[c + i];
            if (with_bias)
                partial[a.width + c + i] = own[a.width + c + i];
        }
    }
}

/* As many chunks as keep the partial sums below OPS_GEMM_WORKSPACE_BYTES (two floats a column), within
 * limits; see ops_device_scratch_bytes. */
static int64_t norm_chunk_rows(int64_t tokens, int64_t width)
{
    const int64_t chunks =
        cuda_clamp(OPS_GEMM_WORKSPACE_BYTES / (8 * width), NORM_CHUNKS_LEAST, NORM_CHUNKS_MOST);
    return cuda_clamp(cuda_divide_up(tokens, chunks), NORM_CHUNK_ROWS_LEAST, tokens);
}

CUDA_OPERATION(norm_backward, norm_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype), groups = cuda_divide_up(a->width * size, 16);
    const int64_t columns = a->dbias != nullptr ? 2 * a->width : a->width;
    const int64_t chunk_rows = norm_chunk_rows(a->tokens, a->width);
    const int64_t chunks = cuda_divide_up(a->tokens, chunk_rows);
    enum muster_status status = cuda_scratch_check(k, chunks * columns * 4, "norm_backward", err);
    if (status != MUSTER_OK)
        return status;
    const bool aligned = a->width * size % 16 == 0 && cuda_aligned(a->residual) && cuda_aligned(a->gain) &&
                         cuda_aligned(a->dy) && cuda_aligned(a->dresidual);
    const bool in_shared = columns * 4 <= NORM_SHARED_BYTES;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    float *partials = static_cast<float *>(k->scratch);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((norm_backward_kernel<T>), (unsigned)chunks,
                               cuda_row_threads(groups, NORM_THREADS_MAX),
                               in_shared ? (size_t)(columns * 4) : 0, stream, *a, chunk_rows, aligned,
                               in_shared, partials));
    cuda_partials_add(stream, partials, chunks, a->width, columns, a->dgain);
    if (a->dbias != nullptr)
        cuda_partials_add(stream, partials + a->width, chunks, a->width, columns, a->dbias);
    return cuda_launched("norm_backward", err);
}
