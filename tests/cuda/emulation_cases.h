/* SPDX-License-Identifier: MIT
 *
 * Launches of the kernels in emulation_cases.cu.
 */
#ifndef MUSTER_TESTS_CUDA_EMULATION_CASES_H
#define MUSTER_TESTS_CUDA_EMULATION_CASES_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum emulation_case {
    EMULATION_CASE_HALF_BARRIER, /* half of the threads leave before the barrier */
    EMULATION_CASE_LOST_LANE,    /* one lane of the mask never comes */
    EMULATION_CASE_WRONG_LANE,   /* a shuffle reads a lane outside its mask */
    EMULATION_CASE_GREEDY,       /* more shared memory than a block has */
    EMULATION_CASE_CROOKED,      /* 16 bytes from an address that is not a multiple of 16 */
    /* from here on only where accesses are watched */
    EMULATION_CASE_EARLY_READ,  /* of what another warp writes, without a barrier */
    EMULATION_CASE_EARLY_WRITE, /* of what another warp still reads, without a second barrier */
    EMULATION_CASE_WARP_READ,   /* of what another lane writes: shuffles order no memory */
    EMULATION_CASE_TWO_BLOCKS,  /* one writes what the other reads */
    EMULATION_CASE_HALF_ATOMIC, /* one adds atomically, another just reads */
    EMULATION_CASE_UNWRITTEN,   /* shared memory is read before it is written */
    EMULATION_CASE_BEYOND,      /* one byte behind a block of memory */
    EMULATION_CASES
};

void emulation_case_run_faulty(enum emulation_case which, cudaStream_t stream, int *out);

/** out[64 · block + i] = 101 · (63 - i) + 10000 · block. */
void emulation_case_exchange(cudaStream_t stream, int blocks, int *out);

/** out[i] = i ^ 1 for 64 threads, through shared memory with a barrier of the warp alone. */
void emulation_case_neighbours(cudaStream_t stream, int *out);

/** Eight results of each of 64 threads. */
void emulation_case_warps(cudaStream_t stream, int *out);

/** turn_of[i] = how many threads had their turn before thread i. */
void emulation_case_turns(cudaStream_t stream, int blocks, int threads, int *next, int *turn_of);

#ifdef __cplusplus
}
#endif
#endif
