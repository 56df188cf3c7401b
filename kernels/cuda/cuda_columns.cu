/* SPDX-License-Identifier: MIT
 *
 * Sums over the rows of a matrix, for the gradients of biases and gains. Rows are cut into chunks by a rule
 * that knows the shape only; each chunk gives one row of partial sums in the scratch block, and a second
 * kernel adds those in order. The grid therefore never decides a bit.
 */
#include "kernels/cuda/cuda_device.cuh"

/* A block of the first kernel: CUDA_WARP groups side by side, COLUMNS_LANES rows at a time. Of the second:
 * CUDA_WARP columns, PARTIALS_LANES chunks at a time. */
enum { COLUMNS_LANES = CUDA_BLOCK / CUDA_WARP, COLUMNS_BLOCKS = 1024, COLUMNS_ROWS_MIN = 64 };
enum { PARTIALS_LANES = 32, PARTIALS_BLOCK = PARTIALS_LANES * CUDA_WARP };

template <typename T>
static __global__ void columns_kernel(const T *rows, int64_t row_count, int64_t columns, int64_t stride,
                                      int64_t chunk_rows, bool aligned, float *partials)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED(float, sums, COLUMNS_LANES *CUDA_WARP *N);
    const int lane = (int)threadIdx.x / CUDA_WARP, group = (int)threadIdx.x % CUDA_WARP;
    const int64_t c = ((int64_t)blockIdx.x * CUDA_WARP + group) * N, there = columns - c;
    const int64_t first = (int64_t)blockIdx.y * chunk_rows;
    const int64_t end = first + chunk_rows < row_count ? first + chunk_rows : row_count;
    const int64_t count = there > 0 ? (end - first - lane + COLUMNS_LANES - 1) / COLUMNS_LANES : 0;
    const auto at = [=](int64_t n) { return (first + lane + n * COLUMNS_LANES) * stride + c; };
    float sum[N];
    for (int i = 0; i < N; i++)
        sum[i] = 0.0f;
    cuda_groups_add(rows, count, at, there, aligned, sum);
    for (int i = 0; i < N; i++)
        sums[(lane * N + i) * CUDA_WARP + group] = sum[i];
    __syncthreads();
    if (lane != 0)
        return;
    for (int i = 0; i < N && i < there; i++) {
        float total = 0.0f;
        for (int l = 0; l < COLUMNS_LANES; l++)
            total += sums[(l * N + i) * CUDA_WARP + group];
        partials[(int64_t)blockIdx.y * columns + c + i] = total;
    }
}

static __global__ void __launch_bounds__(PARTIALS_BLOCK)
    partials_kernel(const float *partials, int64_t chunks, int64_t columns, float *out, int64_t width,
                    float *rest)
{
    CUDA_SHARED(float, sums, PARTIALS_BLOCK);
    const int lane = (int)threadIdx.x / CUDA_WARP, column = (int)threadIdx.x % CUDA_WARP;
    const int64_t c = (int64_t)blockIdx.x * CUDA_WARP + column;
    float sum = 0.0f;
    for (int64_t chunk = lane; c < columns && chunk < chunks; chunk += PARTIALS_LANES)
        sum += partials[chunk * columns + c];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (lane != 0 || c >= columns)
        return;
    for (int l = 1; l < PARTIALS_LANES; l++)
        sum += sums[l * CUDA_WARP + column];
    *(c < width ? out + c : rest + (c - width)) += sum;
}

void cuda_partials_add(cudaStream_t stream, const float *partials, int64_t chunks, int64_t columns,
                       float *out, int64_t width, float *rest)
{
    CUDA_LAUNCH(partials_kernel, cuda_blocks(columns, CUDA_WARP), PARTIALS_BLOCK, 0, stream, partials, chunks,
                columns, out, width, rest);
}

/* Chunks times tiles of columns is about COLUMNS_BLOCKS: enough to fill a device, few enough to be added
 * quickly. */
static int64_t columns_chunk_rows(int64_t rows, int64_t tiles)
{
    const int64_t most = cuda_divide_up(rows, COLUMNS_ROWS_MIN);
    return cuda_divide_up(rows, cuda_clamp(COLUMNS_BLOCKS / tiles, 1, most));
}

enum muster_status cuda_bias_gradient(struct kernels *k, enum dtype dtype, const void *dy, int64_t rows,
                                      int64_t columns, int64_t stride, float *dbias, struct muster_error *err)
{
    const int64_t size = (int64_t)dtype_size(dtype), tile = CUDA_WARP * 16 / size;
    const int64_t tiles = cuda_divide_up(columns, tile);
    const int64_t chunk_rows = columns_chunk_rows(rows, tiles), chunks = cuda_divide_up(rows, chunk_rows);
    enum muster_status status = cuda_scratch_check(k, chunks * columns * 4, "bias_gradient", err);
    if (status != MUSTER_OK)
        return status;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    float *partials = static_cast<float *>(k->scratch);
    const bool aligned = stride * size % 16 == 0 && cuda_aligned(dy);
    CUDA_FOR_DTYPE(dtype, T,
                   CUDA_LAUNCH((columns_kernel<T>), dim3((unsigned)tiles, (unsigned)chunks), CUDA_BLOCK, 0,
                               stream, static_cast<const T *>(dy), rows, columns, stride, chunk_rows, aligned,
                               partials));
    cuda_partials_add(stream, partials, chunks, columns, dbias, columns, nullptr);
    return cuda_launched("bias_gradient", err);
}
