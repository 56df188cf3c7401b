/* SPDX-License-Identifier: MIT
 *
 * What a device does at once, fibers do one after another, so a missing barrier need not show in the results.
 * Kernels compiled with -fsanitize=thread report each access instead (the compiler's hooks, here without its
 * library): a thread that touches what another one writes in the same launch, with no barrier between the
 * two, is a fault of the kernel, in whatever order they came. So are addresses that a group of bytes may not
 * have, shared memory that is read before it is written, and memory that is not the device's.
 */
#ifndef MUSTER_TESTS_CUDA_RACE_H
#define MUSTER_TESTS_CUDA_RACE_H

#include <stddef.h>
#include <stdint.h>

enum race_memory { RACE_OWN, RACE_SHARED, RACE_GLOBAL, RACE_FOREIGN };

/* The running thread, and what it touches. */
struct race_view {
    const char *kernel;
    enum race_memory memory;
    uint32_t scope; /* of the launch, or of the block where the memory is shared: never used again */
    uint32_t block, thread;
    uint32_t barriers, warp_barriers; /* that the thread has passed */
};

/* By the emulation: false while no kernel runs. */
bool cuda_emulation_view(const void *address, size_t bytes, struct race_view *view);

/* Ends the running kernel without going on, after a fault. */
void cuda_emulation_give_up();

#endif
