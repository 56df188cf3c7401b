/* SPDX-License-Identifier: MIT
 *
 * See cuda_fiber.h. The switch saves what the x86-64 System V calling convention asks a function to preserve;
 * elsewhere swapcontext does it. AddressSanitizer is told about every change of stack.
 */
#include "cuda_fiber.h"

#include <stdint.h>

#ifdef __SANITIZE_ADDRESS__
extern "C" {
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(const volatile void *start, size_t size);
}

void cuda_fiber_abandon(void *stacks, size_t bytes)
{
    __asan_unpoison_memory_region(stacks, bytes);
}

static void fiber_leave(struct cuda_fiber *from, struct cuda_fiber *to, bool last)
{
    __sanitizer_start_switch_fiber(last ? nullptr : &from->fake_stack, to->stack, to->stack_bytes);
}

/* The stack of the thread that started fibers becomes known when they are first entered from it. */
static void fiber_arrive(void *fake_stack, struct cuda_fiber *from)
{
    const void *bottom = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
    if (from != nullptr && from->stack == nullptr) {
        from->stack = const_cast<void *>(bottom);
        from->stack_bytes = size;
    }
}
#else
void cuda_fiber_abandon(void *, size_t)
{
}

static void fiber_leave(struct cuda_fiber *, struct cuda_fiber *, bool)
{
}

static void fiber_arrive(void *, struct cuda_fiber *)
{
}
#endif

#ifdef __x86_64__
extern "C" void cuda_fiber_jump(void **save, void *load);

asm(R"(
.text
.hidden cuda_fiber_jump
.globl cuda_fiber_jump
.type cuda_fiber_jump, @function
cuda_fiber_jump:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_fiber_jump, .-cuda_fiber_jump
)");

void cuda_fiber_prepare(struct cuda_fiber *fiber, void *stack, size_t stack_bytes, void (*entry)())
{
    uint64_t *top = reinterpret_cast<uint64_t *>(static_cast<char *>(stack) + stack_bytes);
    *--top = 0; /* the address that `entry` would return to; keeps its stack aligned */
    *--top = reinterpret_cast<uint64_t>(entry);
    for (int preserved = 0; preserved < 6; preserved++)
        *--top = 0;
    *fiber = {top, stack, stack_bytes, nullptr};
}

static void fiber_change(struct cuda_fiber *from, struct cuda_fiber *to)
{
    cuda_fiber_jump(&from->stack_pointer, to->stack_pointer);
}
#else
void cuda_fiber_prepare(struct cuda_fiber *fiber, void *stack, size_t stack_bytes, void (*entry)())
{
    fiber->stack = stack;
    fiber->stack_bytes = stack_bytes;
    fiber->fake_stack = nullptr;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = stack_bytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, entry, 0);
}

static void fiber_change(struct cuda_fiber *from, struct cuda_fiber *to)
{
    swapcontext(&from->context, &to->context);
}
#endif

void cuda_fiber_switch(struct cuda_fiber *from, struct cuda_fiber *to, bool last)
{
    fiber_leave(from, to, last);
    fiber_change(from, to);
    fiber_arrive(from->fake_stack, nullptr);
}

void cuda_fiber_entered(struct cuda_fiber *from)
{
    fiber_arrive(nullptr, from);
}
