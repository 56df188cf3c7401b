/* SPDX-License-Identifier: MIT
 *
 * Kernels with known faults, and some without, for the tests of the emulation itself.
 */
#include "emulation_cases.h"

#include "kernels/cuda/cuda_device.cuh"

static __global__ void half_barrier_kernel(int *out)
{
    if (threadIdx.x < 32)
        __syncthreads();
    out[threadIdx.x] = 1;
}

static __global__ void lost_lane_kernel(int *out)
{
    if (threadIdx.x % 32 != 7)
        out[threadIdx.x] = __shfl_sync(0xffffffffu, (int)threadIdx.x, 0);
}

static __global__ void wrong_lane_kernel(int *out)
{
    out[threadIdx.x] = __shfl_sync(threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u, 1, 20);
}

static __global__ void greedy_kernel(int *out)
{
    CUDA_SHARED(char, large, 49 << 10);
    out[threadIdx.x] = large[0];
}

static __global__ void early_read_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    values[threadIdx.x] = 1;
    out[threadIdx.x] = values[63 - threadIdx.x];
}

static __global__ void early_write_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    values[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = values[63 - threadIdx.x];
    values[threadIdx.x] = 2;
}

static __global__ void warp_read_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    values[threadIdx.x] = 1;
    const int other = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);
    out[threadIdx.x] = values[other];
}

static __global__ void two_blocks_kernel(int *out)
{
    if (blockIdx.x == 0)
        out[threadIdx.x] = 1;
    else
        out[64 + threadIdx.x] = out[threadIdx.x];
}

static __global__ void half_atomic_kernel(int *out)
{
    if (threadIdx.x < 32)
        atomicAdd(out, 1);
    else
        out[threadIdx.x] = out[0];
}

static __global__ void unwritten_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    if (threadIdx.x < 32)
        values[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}

static __global__ void crooked_kernel(int *out)
{
    float values[4];
    cuda_group_load(reinterpret_cast<const float *>(out) + 1, 4, true, values);
    out[8] = (int)values[0];
}

static __global__ void beyond_kernel(int *out)
{
    out[1024] = 1;
}

typedef void (*faulty_kernel)(int *out);

void emulation_case_run_faulty(enum emulation_case which, cudaStream_t stream, int *out)
{
    static const struct {
        faulty_kernel kernel;
        int blocks, threads;
    } cases[EMULATION_CASES] = {
        {half_barrier_kernel, 1, 64}, {lost_lane_kernel, 1, 32}, {wrong_lane_kernel, 1, 32},
        {greedy_kernel, 1, 32},       {crooked_kernel, 1, 1},    {early_read_kernel, 1, 64},
        {early_write_kernel, 1, 64},  {warp_read_kernel, 1, 64}, {two_blocks_kernel, 2, 64},
        {half_atomic_kernel, 1, 64},  {unwritten_kernel, 1, 64}, {beyond_kernel, 1, 1}};
    CUDA_LAUNCH(cases[which].kernel, cases[which].blocks, cases[which].threads, 0, stream, out);
}

static __global__ void neighbours_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    for (int turn = 0; turn < 2; turn++) {
        values[threadIdx.x] = (int)threadIdx.x;
        __syncwarp();
        out[threadIdx.x] = values[threadIdx.x ^ 1];
        __syncwarp();
    }
}

void emulation_case_neighbours(cudaStream_t stream, int *out)
{
    CUDA_LAUNCH(neighbours_kernel, 1, 64, 0, stream, out);
}

/* Every thread sees what every other one of its block wrote before the barrier; out of the block's place. */
static __global__ void exchange_kernel(int *out)
{
    CUDA_SHARED(int, values, 64);
    CUDA_SHARED_DYNAMIC(int, more);
    const int me = (int)threadIdx.x, other = 63 - me;
    values[me] = me;
    more[me] = 100 * me;
    __syncthreads();
    out[(int)blockIdx.x * 64 + me] = values[other] + more[other] + 10000 * (int)blockIdx.x;
}

void emulation_case_exchange(cudaStream_t stream, int blocks, int *out)
{
    CUDA_LAUNCH(exchange_kernel, blocks, 64, 64 * sizeof(int), stream, out);
}

static __global__ void warp_kernel(int *out)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int *mine = out + 8 * threadIdx.x;
    mine[0] = __shfl_xor_sync(0xffffffffu, lane, 5);
    mine[1] = __shfl_down_sync(0xffffffffu, lane, 3);
    mine[2] = __shfl_up_sync(0xffffffffu, lane, 3);
    mine[3] = (int)__ballot_sync(0xffffffffu, lane % 3 == warp);
    mine[4] = __any_sync(0xffffffffu, lane == 31 && warp == 1);
    mine[5] = __all_sync(0xffffffffu, warp == 1);
    mine[6] = __syncthreads_count(lane < 5);
    __syncwarp();
    mine[7] = __syncthreads_or(threadIdx.x == 40) + 2 * __syncthreads_and(threadIdx.x < 64) +
              4 * __syncthreads_and(threadIdx.x < 63);
}

void emulation_case_warps(cudaStream_t stream, int *out)
{
    CUDA_LAUNCH(warp_kernel, 1, 64, 0, stream, out);
}

/* The order in which blocks and threads get their turn. */
static __global__ void turns_kernel(int *next, int *turn_of)
{
    turn_of[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1);
}

void emulation_case_turns(cudaStream_t stream, int blocks, int threads, int *next, int *turn_of)
{
    CUDA_LAUNCH(turns_kernel, blocks, threads, 0, stream, next, turn_of);
}
