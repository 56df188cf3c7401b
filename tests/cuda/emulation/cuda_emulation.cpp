/* SPDX-License-Identifier: MIT
 *
 * Runs kernels: see cuda_emulation.h. The host thread that launches a kernel is the scheduler: it switches to
 * each fiber that can go on, in the order asked for, until all have ended. When none can go on although some
 * have not ended, the barrier they wait at is one that other threads never reach, and the kernel has a fault.
 */
#include "cuda_emulation.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <vector>

#include "cuda_fiber.h"
#include "cuda_race.h"
#include "cudart_standin_internal.h"

enum { EMULATION_THREADS_MAX = 1024, EMULATION_WARP = 32, EMULATION_SHARED_MAX = 48 << 10 };
enum { EMULATION_RANGES = 8 };

enum emulation_state { EMULATION_READY, EMULATION_AT_BARRIER, EMULATION_AT_WARP, EMULATION_ENDED };

struct emulation_thread {
    struct cuda_fiber fiber;
    struct cuda_emulation_place place;
    enum emulation_state state;
    unsigned index, warp_barriers; /* barriers of the whole warp that it has passed */
    bool entered;                  /* the kernel: what came before is the emulation's own */
    int64_t waits_for;             /* the round of the barrier or warp that has to pass */
};

/* A meeting of threads; two rounds can be under way, since some threads still read the one that passed. */
struct emulation_meeting {
    int64_t round;
    unsigned mask, arrived; /* lanes, of a warp */
    int count;              /* threads, of a block */
    int sum[2];
    uint64_t value[2][EMULATION_WARP];
    unsigned ballot[2];
};

struct emulation_range {
    const void *begin;
    size_t bytes;
    enum race_memory memory;
};

struct emulation_block {
    const struct cuda_emulation_kernel *kernel;
    unsigned count, number; /* threads; of the block in its grid */
    uint32_t launch_scope, scope;
    struct emulation_range ranges[EMULATION_RANGES]; /* that its threads touched before */
    unsigned range_next;
    struct emulation_meeting barrier, warp[EMULATION_THREADS_MAX / EMULATION_WARP];
    std::map<const void *, std::vector<char>> shared; /* by site */
    std::vector<char> dynamic;
    size_t shared_bytes;
    bool broken;
};

/* Scopes given out (cuda_race.h). */
static uint32_t emulation_scopes;

/* The one kernel that runs (standin_lock is held). */
static struct {
    struct cuda_fiber scheduler;
    struct emulation_thread *threads, *running;
    char *stacks;
    struct emulation_block *block;
} emulation;

const struct cuda_emulation_place *cuda_emulation_here()
{
    return &emulation.running->place;
}

void cuda_emulation_enter()
{
    emulation.running->entered = true;
}

unsigned cuda_emulation_lane()
{
    return emulation.running->index % EMULATION_WARP;
}

static void emulation_entry()
{
    cuda_fiber_entered(&emulation.scheduler);
    emulation.block->kernel->thread();
    emulation.running->state = EMULATION_ENDED;
    cuda_fiber_switch(&emulation.running->fiber, &emulation.scheduler, true);
    abort();
}

/* Lets others run until the meeting's round has passed. */
static void emulation_wait(enum emulation_state state, int64_t round)
{
    struct emulation_thread *self = emulation.running;
    self->state = state;
    self->waits_for = round;
    cuda_fiber_switch(&self->fiber, &emulation.scheduler, false);
}

void cuda_emulation_give_up()
{
    emulation.block->broken = true;
    emulation_wait(EMULATION_AT_BARRIER, INT64_MAX);
    abort();
}

int cuda_emulation_block_count(int value)
{
    struct emulation_meeting *barrier = &emulation.block->barrier;
    const int64_t round = barrier->round;
    barrier->sum[round % 2] += value;
    if (++barrier->count < (int)emulation.block->count) {
        emulation_wait(EMULATION_AT_BARRIER, round);
    } else {
        barrier->count = 0;
        barrier->sum[(round + 1) % 2] = 0;
        barrier->round++;
    }
    return barrier->sum[round % 2];
}

void __syncthreads()
{
    cuda_emulation_block_count(0);
}

/* The lanes of `mask` meet, leaving their values in the round that is returned. */
static int64_t emulation_warp_meet(unsigned mask, uint64_t value, bool vote)
{
    struct emulation_meeting *warp = &emulation.block->warp[emulation.running->index / EMULATION_WARP];
    const unsigned self = 1u << cuda_emulation_lane();
    const int64_t round = warp->round;
    if (!(mask & self) || (warp->arrived != 0 && warp->mask != mask)) {
        standin_fault("%s: lane %u meets others of its warp with mask %#x, which %s",
                      emulation.block->kernel->name, cuda_emulation_lane(), mask,
                      mask & self ? "is not theirs" : "lacks it");
        cuda_emulation_give_up();
    }
    if (warp->arrived == 0)
        warp->ballot[round % 2] = 0;
    warp->mask = mask;
    warp->arrived |= self;
    warp->value[round % 2][cuda_emulation_lane()] = value;
    warp->ballot[round % 2] |= vote ? self : 0;
    if (warp->arrived != mask) {
        emulation_wait(EMULATION_AT_WARP, round);
    } else {
        warp->arrived = 0;
        warp->round++;
    }
    return round;
}

uint64_t cuda_emulation_exchange(unsigned mask, uint64_t value, unsigned from)
{
    const int64_t round = emulation_warp_meet(mask, value, false);
    if (from >= EMULATION_WARP || !(mask >> from & 1)) {
        standin_fault("%s: a shuffle reads lane %u, which is not in its mask %#x",
                      emulation.block->kernel->name, from, mask);
        cuda_emulation_give_up();
    }
    return emulation.block->warp[emulation.running->index / EMULATION_WARP].value[round % 2][from];
}

unsigned cuda_emulation_ballot(unsigned mask, bool value)
{
    const int64_t round = emulation_warp_meet(mask, 0, value);
    return emulation.block->warp[emulation.running->index / EMULATION_WARP].ballot[round % 2];
}

void __syncwarp(unsigned mask)
{
    emulation_warp_meet(mask, 0, false);
    if (mask == 0xffffffffu)
        emulation.running->warp_barriers++;
}

static bool emulation_within(const void *address, size_t bytes, const void *begin, size_t size)
{
    const uintptr_t at = reinterpret_cast<uintptr_t>(address), first = reinterpret_cast<uintptr_t>(begin);
    return at >= first && at - first <= size && bytes <= size - (at - first);
}

/* Where the address lies, with the whole piece of memory around it. */
static struct emulation_range emulation_range_find(const void *address, size_t bytes)
{
    struct emulation_block *block = emulation.block;
    if (emulation_within(address, bytes, block->dynamic.data(), block->dynamic.size()))
        return {block->dynamic.data(), block->dynamic.size(), RACE_SHARED};
    for (const auto &site : block->shared)
        if (emulation_within(address, bytes, site.second.data(), site.second.size()))
            return {site.second.data(), site.second.size(), RACE_SHARED};
    struct emulation_range range = {nullptr, 0, RACE_FOREIGN};
    if (standin_memory_around(address, &range.begin, &range.bytes) != STANDIN_HOST &&
        emulation_within(address, bytes, range.begin, range.bytes))
        range.memory = RACE_GLOBAL;
    return range;
}

static enum race_memory emulation_memory_of(const void *address, size_t bytes)
{
    struct emulation_block *block = emulation.block;
    if (emulation_within(address, bytes, emulation.stacks,
                         (size_t)EMULATION_THREADS_MAX * CUDA_FIBER_STACK) ||
        emulation_within(address, bytes, emulation.threads,
                         EMULATION_THREADS_MAX * sizeof *emulation.threads))
        return RACE_OWN;
    for (const struct emulation_range &range : block->ranges)
        if (emulation_within(address, bytes, range.begin, range.bytes))
            return range.memory;
    const struct emulation_range range = emulation_range_find(address, bytes);
    if (range.memory != RACE_FOREIGN)
        block->ranges[block->range_next++ % EMULATION_RANGES] = range;
    return range.memory;
}

bool cuda_emulation_view(const void *address, size_t bytes, struct race_view *view)
{
    const struct emulation_block *block = emulation.block;
    if (block == nullptr || !emulation.running->entered)
        return false;
    view->kernel = block->kernel->name;
    view->memory = emulation_memory_of(address, bytes);
    view->scope = view->memory == RACE_SHARED ? block->scope : block->launch_scope;
    view->block = block->number;
    view->thread = emulation.running->index;
    view->barriers = (uint32_t)block->barrier.round;
    view->warp_barriers = emulation.running->warp_barriers;
    return true;
}

void *cuda_emulation_shared(const void *site, size_t bytes)
{
    struct emulation_block *block = emulation.block;
    std::vector<char> &memory = block->shared[site];
    if (memory.empty()) {
        memory.assign(bytes, (char)0xff);
        block->shared_bytes += bytes;
    }
    if (block->shared_bytes > EMULATION_SHARED_MAX) {
        standin_fault("%s: %zu bytes of shared memory", block->kernel->name, block->shared_bytes);
        cuda_emulation_give_up();
    }
    return memory.data();
}

void cuda_emulation_align(const void *address, size_t bytes)
{
    if (reinterpret_cast<uintptr_t>(address) % bytes == 0)
        return;
    standin_fault("%s: %zu bytes at an address that is not a multiple of that", emulation.block->kernel->name,
                  bytes);
    cuda_emulation_give_up();
}

void *cuda_emulation_shared_dynamic()
{
    return emulation.block->dynamic.data();
}

static bool emulation_can_run(const struct emulation_thread *thread)
{
    const struct emulation_block *block = emulation.block;
    if (thread->state == EMULATION_AT_BARRIER)
        return block->barrier.round > thread->waits_for;
    if (thread->state == EMULATION_AT_WARP)
        return block->warp[thread->index / EMULATION_WARP].round > thread->waits_for;
    return thread->state == EMULATION_READY;
}

static void emulation_report_stuck(const struct emulation_block *block)
{
    unsigned at_barrier = 0, at_warp = 0;
    for (unsigned i = 0; i < block->count; i++) {
        at_barrier += emulation.threads[i].state == EMULATION_AT_BARRIER;
        at_warp += emulation.threads[i].state == EMULATION_AT_WARP;
    }
    standin_fault("%s: of %u threads %u wait at a barrier of the block, %u at one of their warp, and %u have "
                  "ended",
                  block->kernel->name, block->count, at_barrier, at_warp,
                  block->count - at_barrier - at_warp);
}

/* Runs the threads of a warp as far as they get without other warps; returns whether any got a turn. */
static bool emulation_warp_run(struct emulation_block *block, unsigned warp, const unsigned *lanes,
                               unsigned *ended)
{
    bool moved = false;
    for (bool again = true; again && !block->broken;) {
        again = false;
        for (unsigned i = 0; i < EMULATION_WARP && !block->broken; i++) {
            const unsigned index = warp * EMULATION_WARP + lanes[i];
            struct emulation_thread *thread = &emulation.threads[index];
            if (index >= block->count || !emulation_can_run(thread))
                continue;
            thread->state = EMULATION_READY;
            emulation.running = thread;
            cuda_fiber_switch(&emulation.scheduler, &thread->fiber, false);
            *ended += thread->state == EMULATION_ENDED;
            again = moved = true;
        }
    }
    return moved;
}

/* Switches between the fibers until all have ended. Each warp runs ahead of the others as far as it may: what
 * lacks a barrier shows. */
static void emulation_schedule(struct emulation_block *block, unsigned salt)
{
    unsigned warps = (block->count + EMULATION_WARP - 1) / EMULATION_WARP, ended = 0;
    unsigned warp_order[EMULATION_THREADS_MAX / EMULATION_WARP], lane_order[EMULATION_WARP];
    standin_order(warps, salt, warp_order);
    standin_order(EMULATION_WARP, salt, lane_order);
    for (bool moved = true; moved && !block->broken;) {
        moved = false;
        for (unsigned w = 0; w < warps; w++)
            moved = emulation_warp_run(block, warp_order[w], lane_order, &ended) || moved;
    }
    if (!block->broken && ended < block->count)
        emulation_report_stuck(block);
    block->broken = block->broken || ended < block->count;
}

static void emulation_block_start(struct emulation_block *block, dim3 grid, dim3 size, uint3 at)
{
    memset(&block->barrier, 0, sizeof block->barrier);
    memset(block->warp, 0, sizeof block->warp);
    block->shared.clear();
    block->shared_bytes = block->dynamic.size();
    std::fill(block->dynamic.begin(), block->dynamic.end(), (char)0xff);
    block->count = size.x * size.y * size.z;
    block->number = at.x + grid.x * (at.y + grid.y * at.z);
    block->scope = ++emulation_scopes;
    memset(block->ranges, 0, sizeof block->ranges);
    for (unsigned i = 0; i < block->count; i++) {
        struct emulation_thread *thread = &emulation.threads[i];
        thread->place = {{i % size.x, i / size.x % size.y, i / size.x / size.y}, at, size, grid};
        thread->state = EMULATION_READY;
        thread->index = i;
        thread->warp_barriers = 0;
        thread->entered = false;
        cuda_fiber_prepare(&thread->fiber, emulation.stacks + (size_t)i * CUDA_FIBER_STACK, CUDA_FIBER_STACK,
                           emulation_entry);
    }
}

static bool emulation_open()
{
    if (emulation.stacks != nullptr)
        return true;
    void *stacks = mmap(nullptr, (size_t)EMULATION_THREADS_MAX * CUDA_FIBER_STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
        return false;
    emulation.stacks = static_cast<char *>(stacks);
    emulation.threads = new emulation_thread[EMULATION_THREADS_MAX];
    return true;
}

static void emulation_run(dim3 grid, dim3 size, size_t shared_bytes,
                          const struct cuda_emulation_kernel &kernel)
{
    struct emulation_block block = {};
    block.kernel = &kernel;
    block.launch_scope = ++emulation_scopes;
    block.dynamic.resize(shared_bytes);
    emulation.block = &block;
    const unsigned blocks = grid.x * grid.y * grid.z;
    std::vector<unsigned> block_order(blocks);
    standin_order(blocks, 1, block_order.data());
    for (unsigned i = 0; i < blocks && !block.broken; i++) {
        const unsigned b = block_order[i];
        emulation_block_start(&block, grid, size, {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y});
        emulation_schedule(&block, b + 2);
    }
    if (block.broken)
        cuda_fiber_abandon(emulation.stacks, (size_t)EMULATION_THREADS_MAX * CUDA_FIBER_STACK);
    emulation.block = nullptr;
}

void cuda_emulation_look(const char *name, const void *address)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    static const bool lets = standin_environment("MUSTER_STANDIN_HOST_ARGUMENTS", 0) != 0;
    bool whole;
    if (!lets && address != nullptr && standin_memory_of(address, 1, &whole) == STANDIN_HOST)
        standin_fault("%s was given an address of host memory", name);
}

void cuda_emulation_launch(dim3 grid, dim3 size, size_t shared_bytes, cudaStream_t stream,
                           const struct cuda_emulation_kernel &kernel)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    const uint64_t threads = (uint64_t)size.x * size.y * size.z;
    if (blocks == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > INT32_MAX || blocks > UINT32_MAX ||
        threads == 0 || threads > EMULATION_THREADS_MAX || size.z > 64 ||
        shared_bytes > EMULATION_SHARED_MAX) {
        standin_error(cudaErrorInvalidConfiguration);
        return;
    }
    if (!standin_device_suits(stream)) {
        standin_error(cudaErrorInvalidResourceHandle);
        return;
    }
    if (!emulation_open()) {
        standin_error(cudaErrorMemoryAllocation);
        return;
    }
    standin_submit(stream, kernel.name, [=]() { emulation_run(grid, size, shared_bytes, kernel); });
}
