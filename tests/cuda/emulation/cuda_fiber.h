/* SPDX-License-Identifier: MIT
 *
 * Fibers: functions with stacks of their own that hand over to each other explicitly. A switch on x86-64 is a
 * dozen instructions, which matters: a kernel's barrier is one switch per thread.
 */
#ifndef MUSTER_TESTS_CUDA_FIBER_H
#define MUSTER_TESTS_CUDA_FIBER_H

#include <stddef.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

struct cuda_fiber {
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void *stack; /* NULL for the one that a host thread came with */
    size_t stack_bytes;
    void *fake_stack; /* AddressSanitizer's */
};

enum { CUDA_FIBER_STACK = 256 << 10 };

/** `fiber` will run `entry`, which must never return, on `stack` when it is first switched to. */
void cuda_fiber_prepare(struct cuda_fiber *fiber, void *stack, size_t stack_bytes, void (*entry)());

/** Stops `from` and goes on with `to`; with `last` set `from` never runs again. */
void cuda_fiber_switch(struct cuda_fiber *from, struct cuda_fiber *to, bool last);

/** Fibers that stopped on these stacks will never run again, wherever they are. */
void cuda_fiber_abandon(void *stacks, size_t bytes);

/** To be called first by an entry function that was reached from `from`. */
void cuda_fiber_entered(struct cuda_fiber *from);

#endif
