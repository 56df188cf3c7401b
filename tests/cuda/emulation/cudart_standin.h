/* SPDX-License-Identifier: MIT
 *
 * A stand-in for the CUDA runtime on host memory, for tests on machines without a GPU. It exports the real
 * names of the functions that muster calls; this header has what exists only here. Streams run their work at
 * once, or as late as they may; while one is being captured its work is kept instead and run by
 * cudaGraphLaunch. Fresh memory is filled with 0xff bytes (NaN in every float format). What is not imitated:
 * time.
 *
 * The environment, read at each use:
 *   MUSTER_STANDIN_DEVICES   devices that exist (1)
 *   MUSTER_STANDIN_MIG       1: they are parts of one GPU
 *   MUSTER_STANDIN_MEMORY    bytes of memory of a device (8 GiB)
 *   MUSTER_STANDIN_PROTECT   1: memory from cudaMalloc can be touched by work on a stream only, so that a
 *                            host function that reads a device pointer crashes (read once, at the first use)
 *   MUSTER_STANDIN_HOST_ARGUMENTS   1: kernels may be given pointers to host memory (read once)
 *   MUSTER_STANDIN_PLACES    1: of kernels that are watched (cuda_race.h), only where they touch memory is
 *                            looked at, not in which order (read once)
 *   MUSTER_EMULATION_ORDER   order of blocks, and of warps and lanes between barriers: "forward" (the
 *                            default), "reverse", or a number that seeds a shuffle
 *   MUSTER_STANDIN_DEFER     1: work on a stream runs when somebody waits for it, and nothing before that
 *                            which no event makes it wait for; 2, 3: so, but the first or the second stream
 *                            runs as soon as events let it; greater: a seed with which any stream runs
 *                            ahead now and then (read once)
 *   MUSTER_STANDIN_COUNTS    path to which, with the process id behind it, a process writes at its end what
 *                            it asked for: a line "what direct in-graphs" each: kernels by name, library,
 *                            fill, copy_…, graph, wait, event, allocation
 */
#ifndef MUSTER_TESTS_CUDA_CUDART_STANDIN_H
#define MUSTER_TESTS_CUDA_CUDART_STANDIN_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Work for a stream, for stand-ins of libraries that take one: run(data copy) is called now, or by every
 * launch of the graph that the stream is being captured into. `data` (of `bytes`) is copied.
 */
cudaError_t cuda_standin_enqueue(cudaStream_t stream, void (*run)(void *data), const void *data,
                                 size_t bytes);

/** True while the calling thread records a stream, whatever the mode: for libraries that may not be asked
 * then. */
int cuda_standin_capturing(void);

/** What broke a kernel (a barrier that not all threads reach, …); "" while all is well. Such a fault stays:
 * cudaGetLastError returns cudaErrorLaunchFailure until cuda_standin_reset. */
const char *cuda_standin_fault(void);

/** Forgets faults and errors. */
void cuda_standin_reset(void);

/** A bit for each device that has a context, which takes some hundred MB there: of each that was selected. */
uint64_t cuda_standin_contexts(void);

/** From now on a kernel runs that never ends: calls that wait for the device do not return. */
void cuda_standin_stick(void);

/** Whether accesses of kernels that were compiled for it are looked at (cuda_race.h), which takes time; at
 * first they are. */
void cuda_standin_watch(bool watch);

/** Blocks of device and pinned memory that have not been freed. */
int64_t cuda_standin_live(void);

#ifdef __cplusplus
}
#endif
#endif
