/* SPDX-License-Identifier: MIT
 *
 * "Please stop": SIGINT, SIGTERM and SIGUSR1, taken without a handler. The signals are blocked in every
 * thread and asked for at step ends, so nothing is ever interrupted. This is more than taste: oneDNN's
 * generated matrix kernels (2.6.3, AVX-512) point the stack register elsewhere while they run, and a handler
 * called in the middle of one writes its frame over the heap.
 */
#ifndef MUSTER_WORKER_STOP_SIGNAL_H
#define MUSTER_WORKER_STOP_SIGNAL_H

#include <stdbool.h>

struct stop_signal {
    bool seen; /* once seen, for good */
};

/** Blocks the signals in the calling thread and all it starts: to be called first in main. */
void stop_signal_init(struct stop_signal *stop);

/** Whether one has arrived since stop_signal_init. Does not wait. */
bool stop_signal_poll(struct stop_signal *stop);

#endif
