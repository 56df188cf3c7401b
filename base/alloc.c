/* SPDX-License-Identifier: MIT
 *
 * A thin layer over the C heap: three atomic numbers and no header in front of the blocks, so that tools such
 * as AddressSanitizer see the allocations as they are. The counters are the only state, and exist for tests.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_int_least64_t live_count;
static atomic_int_least64_t call_count;
static atomic_int_least64_t fail_countdown;

/* Counts one call; true when it is the one a test wants to see fail. */
static int call_must_fail(void)
{
    atomic_fetch_add_explicit(&call_count, 1, memory_order_relaxed);
    int_least64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1))
            return left == 1;
    }
    return 0;
}

static void *block_counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
    return block;
}

/* The C standard lets a request for zero bytes give NULL; here NULL always means failure. */
static size_t bytes_at_least_one(size_t bytes)
{
    return bytes > 0 ? bytes : 1;
}

void *alloc_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (call_must_fail() || __builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return block_counted(calloc(1, bytes_at_least_one(bytes)));
}

void *alloc_resize(void *pointer, size_t count, size_t size)
{
    size_t bytes;
    if (call_must_fail() || __builtin_mul_overflow(count, size, &bytes))
        return NULL;
    if (pointer == NULL)
        return block_counted(malloc(bytes_at_least_one(bytes)));
    return realloc(pointer, bytes_at_least_one(bytes));
}

void *alloc_aligned(size_t bytes, size_t alignment)
{
    void *block = NULL;
    if (call_must_fail() || posix_memalign(&block, alignment, bytes_at_least_one(bytes)) != 0)
        return NULL;
    memset(block, 0, bytes_at_least_one(bytes));
    return block_counted(block);
}

char *alloc_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = alloc_zeroed(bytes, 1);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

void alloc_free(void *pointer)
{
    if (pointer == NULL)
        return;
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    free(pointer);
}

int64_t alloc_live_count(void)
{
    return atomic_load_explicit(&live_count, memory_order_relaxed);
}

int64_t alloc_call_count(void)
{
    return atomic_load_explicit(&call_count, memory_order_relaxed);
}

void alloc_fail_nth(int64_t n)
{
    atomic_store(&fail_countdown, n);
}

void *alloc_pages(size_t bytes)
{
    if (call_must_fail())
        return NULL;
    size_t size = bytes_at_least_one(bytes);
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    madvise(pages, size, MADV_HUGEPAGE); /* a hint: kernels without huge pages refuse it, harmlessly */
    return block_counted(pages);
}

void alloc_pages_free(void *pointer, size_t bytes)
{
    if (pointer == NULL)
        return;
    munmap(pointer, bytes_at_least_one(bytes));
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
}
