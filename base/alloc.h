/* SPDX-License-Identifier: MIT
 *
 * The one door to the heap. Tests make the n-th call fail and count what is live; the training step is proved
 * to make no call at all. Thread-safe.
 */
#ifndef MUSTER_BASE_ALLOC_H
#define MUSTER_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** count × size zeroed bytes, or NULL when memory is short or the product overflows. Zero bytes gives a valid
 * pointer. */
void *alloc_zeroed(size_t count, size_t size);

/** Grows or shrinks; on NULL the old block is untouched. New bytes are not initialised. */
void *alloc_resize(void *pointer, size_t count, size_t size);

/** `bytes` zeroed bytes aligned to `alignment` (a power of two, at least 16), released with alloc_free. */
void *alloc_aligned(size_t bytes, size_t alignment);

/**
 * Large blocks straight from the system: zero pages that are only made real when touched, with huge pages where the machine
 * offers them. NULL when the address space or the commit limit is short. Counted like every other call.
 */
void *alloc_pages(size_t bytes);

/** The same size as was asked for; takes NULL. */
void alloc_pages_free(void *pointer, size_t bytes);

/** A copy of `text`, or NULL. */
char *alloc_text(const char *text);

/** Takes NULL. */
void alloc_free(void *pointer);

/** Blocks allocated and not yet freed. */
int64_t alloc_live_count(void);

/** Calls made since the process started; equal before and after a step that allocates nothing. */
int64_t alloc_call_count(void);

/** The n-th call from now (1 = the next) returns NULL, once; 0 switches it off. For tests. */
void alloc_fail_nth(int64_t n);

#ifdef __cplusplus
}
#endif
#endif
