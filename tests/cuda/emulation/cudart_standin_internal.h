/* SPDX-License-Identifier: MIT
 *
 * What the files of the stand-in share: its lock, errors, the registry of memory, and how work reaches a
 * stream. One lock serves everything; work runs with it held, so kernels of several host threads never mix.
 */
#ifndef MUSTER_TESTS_CUDA_CUDART_STANDIN_INTERNAL_H
#define MUSTER_TESTS_CUDA_CUDART_STANDIN_INTERNAL_H

#include <functional>
#include <memory>
#include <mutex>

#include "cudart_standin.h"

enum standin_memory { STANDIN_HOST, STANDIN_DEVICE, STANDIN_PINNED };

std::recursive_mutex &standin_lock();

/* Records the error of the calling thread and returns it. */
cudaError_t standin_error(cudaError_t error);

/* Records a fault of a kernel; printed, because what comes after it is wrong. */
void standin_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs the work, or keeps it while the stream is being captured. `what` it is, for standin_count, outlives
 * the graph. */
cudaError_t standin_submit(cudaStream_t stream, const char *what, std::function<void()> work);

/* One more of `what`, asked for by the host or by the launch of a graph. */
void standin_count(const char *what, bool in_graph);

/* A place in a stream's work; shared, because an event may be recorded again while others wait for it. */
struct standin_mark {
    int stream;
    bool reached;
    int64_t time_us;
};
typedef std::shared_ptr<standin_mark> standin_marker;

/* Work that is put off; streams by number. To be called with the lock held. */
bool standin_defers();
void standin_put_off(int stream, std::function<void()> run);
void standin_put_wait(int stream, const standin_marker &marker);

/* Runs one piece that the mark needs; all of a stream; all of all. */
void standin_step(const standin_marker &marker);
void standin_drain(int stream);
void standin_drain_all();

/* Does not return once a kernel runs that never ends (cuda_standin_stick). */
void standin_wait_for_kernel();

/* All that a stream was given and that is not being captured has run. NULL: nothing is ever put off there. */
void standin_finish(cudaStream_t stream);

/* Kernels are refused by a stream of another device than the calling thread's. */
bool standin_device_suits(cudaStream_t stream);

/* The calling thread's device, on which there is a context from now on. */
int standin_device();

/* True while the calling thread may not allocate or wait because it captures a stream. */
bool standin_capturing();

/* The kind of memory that [pointer, pointer + bytes) lies in; *whole is false when it runs past the end. */
enum standin_memory standin_memory_of(const void *pointer, size_t bytes, bool *whole);

/* The same of the whole block around the pointer, STANDIN_HOST where there is none. */
enum standin_memory standin_memory_around(const void *pointer, const void **begin, size_t *bytes);

/* Around work that touches device memory (MUSTER_STANDIN_PROTECT). */
void standin_memory_open();
void standin_memory_close();

/* The order of `count` blocks or threads that the environment asks for. */
void standin_order(unsigned count, unsigned salt, unsigned *order);

int64_t standin_environment(const char *name, int64_t otherwise);

#endif
