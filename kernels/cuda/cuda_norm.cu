/* SPDX-License-Identifier: MIT
 *
 * Layer norm and RMS norm with the residual addition in front. Forward: one block per row. Backward: one
 * block per chunk of rows, because the gradients of gain and bias are sums over rows; each thread owns the
 * same columns in every row, so their sums need no barrier. Where a thread has one group of columns, as in
 * all usual widths, they stay in its registers; wider rows are read again. Chunks follow from the shape,
 * never from the device. Ba, Kiros & Hinton, "Layer Normalization", 2016; Zhang & Sennrich, "Root Mean Square
 * Layer Normalization", 2019.
 */
#include "kernels/cuda/cuda_device.cuh"

enum { NORM_THREADS_MAX = 512 };
enum { NORM_CHUNKS_LEAST = 64, NORM_CHUNKS_MOST = 1024, NORM_CHUNK_ROWS_LEAST = 4 };

/* One row of the forward operation as its block sees it. */
template <typename T> struct norm_row {
    const T *x, *delta; /* delta may be NULL */
    T *residual;
    int64_t width;
    bool aligned, single; /* single: no thread has more than one group of columns */
};

/* x + delta as it is stored, storing it. */
template <typename T, int N>
static __device__ __forceinline__ void norm_read(const struct norm_row<T> &row, int64_t c, float (&values)[N])
{
    const int64_t there = row.width - c;
    union cuda_pack<T, N> x, delta;
    cuda_group_fetch(row.x + c, there, row.aligned, &x);
    if (row.delta != nullptr)
        cuda_group_fetch(row.delta + c, there, row.aligned, &delta);
    cuda_group_values(x, values);
    if (row.delta != nullptr) {
        float more[N];
        cuda_group_values(delta, more);
        for (int i = 0; i < N; i++)
            values[i] = cuda_rounded<T>(values[i] + more[i]);
        cuda_group_store(row.residual + c, there, row.aligned, values);
    }
}

/* The group again, where `values` does not hold it any more. */
template <typename T, int N>
static __device__ __forceinline__ void norm_read_again(const struct norm_row<T> &row, int64_t c,
                                                       float (&values)[N])
{
    if (!row.single)
        cuda_group_load((row.delta != nullptr ? row.residual : row.x) + c, row.width - c, row.aligned,
                        values);
}

/* Reads the row, and sums it: over all threads, only where the mean is wanted. */
template <typename T, int N>
static __device__ __forceinline__ float norm_mean(const struct norm_row<T> &row, bool wanted,
                                                  float (&values)[N], float *sums)
{
    float total = 0.0f;
    for (int64_t c = (int64_t)threadIdx.x * N; c < row.width; c += (int64_t)blockDim.x * N) {
        norm_read(row, c, values);
        for (int i = 0; i < N; i++)
            total += values[i];
    }
    return wanted ? cuda_block_sum(total, sums) / (float)row.width : 0.0f;
}

template <typename T, int N>
static __device__ __forceinline__ float norm_rstd(const struct norm_row<T> &row, float mean, float epsilon,
                                                  float (&values)[N], float *sums)
{
    float total = 0.0f;
    for (int64_t c = (int64_t)threadIdx.x * N; c < row.width; c += (int64_t)blockDim.x * N) {
        norm_read_again(row, c, values);
        for (int i = 0; i < N; i++)
            if (c + i < row.width)
                total = fmaf(values[i] - mean, values[i] - mean, total);
    }
    return 1.0f / sqrtf(cuda_block_sum(total, sums) / (float)row.width + epsilon);
}

template <typename T>
static __global__ void __launch_bounds__(NORM_THREADS_MAX)
    norm_forward_kernel(struct norm_args a, bool aligned, bool single)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED(float, sums, CUDA_WARPS_MAX);
    const int64_t t = blockIdx.x, at = t * a.width;
    const T *delta = static_cast<const T *>(a.delta), *gain = static_cast<const T *>(a.gain);
    const T *bias = static_cast<const T *>(a.bias);
    const struct norm_row<T> row = {
        static_cast<const T *>(a.x) + at, delta != nullptr ? delta + at : nullptr,
            static_cast<T *>(a.residual) + (delta != nullptr ? at : 0), a.width, aligned, single
    };
    float values[N] = {};
    const float mean = norm_mean(row, a.kind == NORM_LAYER, values, sums);
    const float rstd = norm_rstd(row, mean, a.epsilon, values, sums);
    for (int64_t c = (int64_t)threadIdx.x * N; c < a.width; c += (int64_t)blockDim.x * N) {
        float gains[N], biases[N];
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
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((norm_forward_kernel<T>), (unsigned)a->tokens,
                               cuda_row_threads(groups, NORM_THREADS_MAX), 0, cuda_kernels_from(k)->stream,
                               *a, aligned, groups <= NORM_THREADS_MAX));
    return cuda_launched("norm_forward", err);
}

/* What a group of columns of one row brings to the backward rule: dy, h = (residual - mean) · rstd, g = dy ·
 * gain, and where it is added to, what dresidual is before. */
template <int N> struct norm_slopes {
    float dy[N], h[N], g[N], before[N];
};

/* The arguments of the backward operation, and how its blocks go about it. */
struct norm_backward {
    struct norm_args a;
    int64_t chunk_rows,
        columns;          /* columns: of a partial row, the gradient of the gain and behind it the bias's */
    bool aligned, single; /* single: as in norm_row */
    float *partials;      /* a row for each chunk */
};

/* `before` is left out where it is not wanted yet. */
template <typename T, int N>
static __device__ __forceinline__ void norm_slopes_read(const struct norm_backward &b, int64_t t, int64_t c,
                                                        bool wanted, struct norm_slopes<N> *s)
{
    const struct norm_args &a = b.a;
    const int64_t at = t * a.width + c, there = a.width - c;
    const bool before_wanted = wanted && a.accumulate;
    const float mean = a.kind == NORM_LAYER ? a.mean[t] : 0.0f, rstd = a.rstd[t];
    union cuda_pack<T, N> dy, residual, gain, before;
    cuda_group_fetch(static_cast<const T *>(a.dy) + at, there, b.aligned, &dy);
    cuda_group_fetch(static_cast<const T *>(a.residual) + at, there, b.aligned, &residual);
    cuda_group_fetch(static_cast<const T *>(a.gain) + c, there, b.aligned, &gain);
    cuda_group_fetch(static_cast<const T *>(a.dresidual) + at, before_wanted ? there : 0, b.aligned, &before);
    cuda_group_values(dy, s->dy);
    cuda_group_values(residual, s->h);
    cuda_group_values(gain, s->g);
    cuda_group_values(before, s->before);
    for (int i = 0; i < N; i++) {
        s->h[i] = (s->h[i] - mean) * rstd;
        s->g[i] *= s->dy[i];
    }
}

/* The gradients of gain and bias so far, of the thread's only group of columns. */
template <int N> struct norm_sums {
    float gain[N], bias[N];
};

/* Adds the group's part of a row to them, or where there is not one group alone, to the chunk's partial row.
 */
template <int N>
static __device__ __forceinline__ void norm_sums_add(const struct norm_backward &b,
                                                     const struct norm_slopes<N> &s, int64_t c, bool first,
                                                     struct norm_sums<N> *sums)
{
    float *own = b.partials + (int64_t)blockIdx.x * b.columns + c;
    for (int i = 0; i < N; i++) {
        if (!b.single && c + i < b.a.width) {
            sums->gain[i] = first ? 0.0f : own[i];
            sums->bias[i] = first || b.columns == b.a.width ? 0.0f : own[b.a.width + i];
        }
        sums->gain[i] = fmaf(s.dy[i], s.h[i], sums->gain[i]);
        sums->bias[i] += s.dy[i];
    }
}

template <int N>
static __device__ __forceinline__ void norm_sums_store(const struct norm_backward &b, int64_t c,
                                                       const struct norm_sums<N> &sums)
{
    float *own = b.partials + (int64_t)blockIdx.x * b.columns + c;
    for (int i = 0; i < N && c + i < b.a.width; i++) {
        own[i] = sums.gain[i];
        if (b.columns != b.a.width)
            own[b.a.width + i] = sums.bias[i];
    }
}

/* The sums of g and of g · h over a row, the same in every thread. `turn` alternates from row to row: a row
 * writes where the row before does not read, so one barrier a row is enough. */
static __device__ __forceinline__ void norm_row_sums(float *sum, float *sum_scaled, int turn, float *shared)
{
    const int warp = (int)threadIdx.x / CUDA_WARP, warps = (int)blockDim.x / CUDA_WARP;
    float *own = shared + turn * 2 * CUDA_WARPS_MAX;
    *sum = cuda_warp_sum(*sum);
    *sum_scaled = cuda_warp_sum(*sum_scaled);
    if (threadIdx.x % CUDA_WARP == 0) {
        own[warp] = *sum;
        own[CUDA_WARPS_MAX + warp] = *sum_scaled;
    }
    __syncthreads();
    *sum = own[0];
    *sum_scaled = own[CUDA_WARPS_MAX];
    for (int w = 1; w < warps; w++) {
        *sum += own[w];
        *sum_scaled += own[CUDA_WARPS_MAX + w];
    }
}

/* dresidual (+)= rstd · (g - average(g) - h · average(g · h)) for a group of columns of row t. */
template <typename T, int N>
static __device__ __forceinline__ void norm_row_store(const struct norm_backward &b, int64_t t, int64_t c,
                                                      float average, float average_scaled,
                                                      const struct norm_slopes<N> &s)
{
    const int64_t there = b.a.width - c;
    T *out = static_cast<T *>(b.a.dresidual) + t * b.a.width + c;
    const float rstd = b.a.rstd[t];
    float values[N];
    for (int i = 0; i < N; i++)
        values[i] = fmaf(rstd, s.g[i] - average - s.h[i] * average_scaled, s.before[i]);
    cuda_group_store(out, there, b.aligned, values);
}

template <typename T>
static __global__ void __launch_bounds__(NORM_THREADS_MAX) norm_backward_kernel(struct norm_backward b)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED(float, shared, 4 * CUDA_WARPS_MAX);
    const int64_t step = (int64_t)blockDim.x * N, start = (int64_t)threadIdx.x * N, width = b.a.width;
    const int64_t first = (int64_t)blockIdx.x * b.chunk_rows;
    const int64_t end = first + b.chunk_rows < b.a.tokens ? first + b.chunk_rows : b.a.tokens;
    struct norm_slopes<N> s = {
    };
    struct norm_sums<N> sums = {
    };
    for (int64_t t = first; t < end; t++) {
        float average = 0.0f, average_scaled = 0.0f;
        for (int64_t c = start; c < width; c += step) {
            norm_slopes_read<T, N>(b, t, c, b.single, &s);
            for (int i = 0; i < N && c + i < width; i++) {
                average += s.g[i];
                average_scaled = fmaf(s.g[i], s.h[i], average_scaled);
            }
            norm_sums_add(b, s, c, t == first, &sums);
            if (!b.single)
                norm_sums_store(b, c, sums);
        }
        norm_row_sums(&average, &average_scaled, (int)(t - first) % 2, shared);
        average = b.a.kind == NORM_LAYER ? average / (float)width : 0.0f;
        average_scaled /= (float)width;
        for (int64_t c = start; c < width; c += step) {
            if (!b.single)
                norm_slopes_read<T, N>(b, t, c, true, &s);
            norm_row_store<T, N>(b, t, c, average, average_scaled, s);
        }
    }
    if (b.single && start < width)
        norm_sums_store(b, start, sums);
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
    struct norm_backward b;
    b.a = *a;
    b.chunk_rows = norm_chunk_rows(a->tokens, a->width);
    b.columns = a->dbias != nullptr ? 2 * a->width : a->width;
    b.aligned = a->width * size % 16 == 0 && cuda_aligned(a->residual) && cuda_aligned(a->gain) &&
                cuda_aligned(a->dy) && cuda_aligned(a->dresidual);
    b.single = groups <= NORM_THREADS_MAX;
    b.partials = static_cast<float *>(k->scratch);
    const int64_t chunks = cuda_divide_up(a->tokens, b.chunk_rows);
    enum muster_status status = cuda_scratch_check(k, chunks * b.columns * 4, "norm_backward", err);
    if (status != MUSTER_OK)
        return status;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((norm_backward_kernel<T>), (unsigned)chunks,
                               cuda_row_threads(groups, NORM_THREADS_MAX), 0, stream, b));
    cuda_partials_add(stream, b.partials, chunks, b.columns, a->dgain, a->width, a->dbias);
    return cuda_launched("norm_backward", err);
}
