/* SPDX-License-Identifier: MIT
 *
 * The two tile products that the plain attention is made of. A block of 256 threads works on tiles of 64
 * queries or keys; a thread owns a 4 × 4 piece of what its block computes. Matrices pass through shared
 * memory in slices, so that any head width up to 256 fits every device, and are multiplied in fp32.
 */
#ifndef MUSTER_KERNELS_CUDA_ATTENTION_PLAIN_CUH
#define MUSTER_KERNELS_CUDA_ATTENTION_PLAIN_CUH

#include "kernels/cuda/cuda_device.cuh"

enum {
    PLAIN_TILE = 64,
    PLAIN_PITCH = PLAIN_TILE + 4, /* of a slice stored with rows running fastest */
    PLAIN_SLICE = 32,
    PLAIN_SHARED = 2 * PLAIN_SLICE * PLAIN_PITCH, /* floats for slices */
    PLAIN_WEIGHTS = PLAIN_TILE * PLAIN_PITCH,
    PLAIN_LOAD = 8 /* elements that a thread loads at a time */
};

/* Up to PLAIN_TILE rows of one head, somewhere in a packed array. */
template <typename T> struct plain_rows {
    const T *first;
    int64_t stride;
    int count, width;
    bool aligned;
};

static __device__ __forceinline__ int plain_row()
{
    return (int)threadIdx.x / 16 * 4;
}

static __device__ __forceinline__ int plain_column()
{
    return (int)threadIdx.x % 16 * 4;
}

/* slice[e · PITCH + row] = element d + e of the row, for e < PLAIN_SLICE; 0 outside. */
template <typename T>
static __device__ __forceinline__ void plain_slice_turned(const struct plain_rows<T> &rows, int d,
                                                          float *slice)
{
    const int row = (int)threadIdx.x % PLAIN_TILE, e = (int)threadIdx.x / PLAIN_TILE * PLAIN_LOAD;
    float values[PLAIN_LOAD];
    cuda_group_load(rows.first + row * rows.stride + d + e, row < rows.count ? rows.width - d - e : 0,
                    rows.aligned, values);
    for (int i = 0; i < PLAIN_LOAD; i++)
        slice[(e + i) * PLAIN_PITCH + row] = values[i];
}

/* slice[row · TILE + e] = element d + e of the row, for e < PLAIN_TILE; 0 outside. */
template <typename T>
static __device__ __forceinline__ void plain_slice(const struct plain_rows<T> &rows, int d, float *slice)
{
    const int e = (int)threadIdx.x % 8 * PLAIN_LOAD;
    for (int row = (int)threadIdx.x / 8; row < PLAIN_TILE; row += CUDA_BLOCK / 8) {
        float values[PLAIN_LOAD];
        cuda_group_load(rows.first + row * rows.stride + d + e, row < rows.count ? rows.width - d - e : 0,
                        rows.aligned, values);
        for (int i = 0; i < PLAIN_LOAD; i++)
            slice[row * PLAIN_TILE + e + i] = values[i];
    }
}

/* sums += four rows times four columns. */
static __device__ __forceinline__ void plain_multiply(const float *rows, const float *columns,
                                                      float (&sums)[4][4])
{
    const float4 u = *reinterpret_cast<const float4 *>(rows);
    const float4 v = *reinterpret_cast<const float4 *>(columns);
    const float a[4] = {u.x, u.y, u.z, u.w}, b[4] = {v.x, v.y, v.z, v.w};
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++)
            sums[r][c] = fmaf(a[r], b[c], sums[r][c]);
}

/* sums[r][c] = the product of row plain_row() + r of `a` with row plain_column() + c of `b`. */
template <typename T>
static __device__ __forceinline__ void plain_dot(const struct plain_rows<T> &a, const struct plain_rows<T> &b,
                                                 float *shared, float (&sums)[4][4])
{
    float *a_slice = shared, *b_slice = shared + PLAIN_SLICE * PLAIN_PITCH;
    for (int i = 0; i < 16; i++)
        sums[i / 4][i % 4] = 0.0f;
    for (int d = 0; d < a.width; d += PLAIN_SLICE) {
        __syncthreads();
        plain_slice_turned(a, d, a_slice);
        plain_slice_turned(b, d, b_slice);
        __syncthreads();
        const int depth = a.width - d < PLAIN_SLICE ? a.width - d : PLAIN_SLICE;
#pragma unroll 4
        for (int e = 0; e < depth; e++)
            plain_multiply(a_slice + e * PLAIN_PITCH + plain_row(),
                           b_slice + e * PLAIN_PITCH + plain_column(), sums);
    }
}

/* sums[s][r][c] += over rows k of `rows`: weights[k][plain_row() + r] · element s · TILE + plain_column() + c
 * of row k. Weights written by the block before the call are seen. */
template <typename T, int SLICES>
static __device__ __forceinline__ void plain_combine(const float *weights, const struct plain_rows<T> &rows,
                                                     float *shared, float (&sums)[SLICES][4][4])
{
#pragma unroll
    for (int s = 0; s < SLICES; s++) {
        if (s * PLAIN_TILE >= rows.width)
            continue;
        __syncthreads();
        plain_slice(rows, s * PLAIN_TILE, shared);
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < rows.count; k++)
            plain_multiply(weights + k * PLAIN_PITCH + plain_row(), shared + k * PLAIN_TILE + plain_column(),
                           sums[s]);
    }
}

/* weights[plain_column() + c][plain_row() + r] = values[r][c]. */
static __device__ __forceinline__ void plain_weights_store(float *weights, const float (&values)[4][4])
{
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 4; r++)
            weights[(plain_column() + c) * PLAIN_PITCH + plain_row() + r] = values[r][c];
}

/* Stores the thread's piece of a tile whose row 0 starts at `first`, times factor[r]. */
template <typename T, int SLICES>
static __device__ __forceinline__ void plain_store(T *first, int64_t stride, int count, int width,
                                                   bool aligned, const float (&factor)[4],
                                                   const float (&sums)[SLICES][4][4])
{
#pragma unroll
    for (int s = 0; s < SLICES; s++) {
        for (int r = 0; r < 4; r++) {
            const int row = plain_row() + r, c = s * PLAIN_TILE + plain_column();
            float values[4];
            for (int i = 0; i < 4; i++)
                values[i] = sums[s][r][i] * factor[r];
            if (row < count && c < width)
                cuda_group_store(first + row * stride + c, width - c, aligned, values);
        }
    }
}

#endif
