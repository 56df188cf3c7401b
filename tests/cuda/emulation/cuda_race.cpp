/* SPDX-License-Identifier: MIT
 *
 * See cuda_race.h. Every two bytes have a cell: who wrote them last, and two who read them since and are not
 * ordered among each other, which is enough to find a writer that is unordered with any reader of the launch.
 * Barriers of the block order its threads, __syncwarp those of a warp; shuffles and votes order nothing, and
 * nothing orders blocks.
 */
#include "cuda_race.h"

#include <memory>
#include <unordered_map>

#include "cuda_emulation.h"
#include "cudart_standin_internal.h"

enum { RACE_PAGE = 4096, RACE_GRAIN = 2, RACE_RECENT = 64 };
enum race_kind { RACE_READ, RACE_WRITE, RACE_ATOMIC };

/* `who`: the thread in its block, RACE_ATOMICALLY or not, and above that the barriers of the warp that it has
 * passed; packed by hand, because this is written for every access. */
enum { RACE_THREADS = 1 << 10, RACE_ATOMICALLY = 1 << 10, RACE_WHO_BITS = 11 };

struct race_mark {
    uint32_t scope, block, barriers, who;
};

static uint32_t race_thread(const struct race_mark &mark)
{
    return mark.who % RACE_THREADS;
}

struct race_cell {
    struct race_mark write, read[2];
};

struct race_page {
    struct race_cell cells[RACE_PAGE / RACE_GRAIN];
};

static struct race_cell *race_cell_at(uintptr_t address)
{
    static std::unordered_map<uintptr_t, std::unique_ptr<race_page>> pages;
    static struct {
        uintptr_t number;
        struct race_page *page;
    } recent[RACE_RECENT];
    const uintptr_t number = address / RACE_PAGE;
    auto &place = recent[number % RACE_RECENT];
    if (place.page == nullptr || place.number != number) {
        std::unique_ptr<race_page> &found = pages[number];
        if (!found)
            found.reset(new race_page());
        place = {number, found.get()};
    }
    return &place.page->cells[address % RACE_PAGE / RACE_GRAIN];
}

/* Nothing orders the two, and they are not both atomic. */
static bool race_between(const struct race_mark &before, const struct race_mark &now)
{
    if (before.scope != now.scope || (before.who & now.who & RACE_ATOMICALLY) != 0)
        return false;
    if (before.block != now.block)
        return true;
    if (race_thread(before) == race_thread(now) || before.barriers != now.barriers)
        return false;
    return race_thread(before) / 32 != race_thread(now) / 32 ||
           before.who >> RACE_WHO_BITS == now.who >> RACE_WHO_BITS;
}

static void race_report(const struct race_view &view, const struct race_mark &before, bool wrote,
                        enum race_kind kind)
{
    standin_fault("%s: race: thread %u of block %u %s %s memory that thread %u of block %u %s, and nothing "
                  "orders the two",
                  view.kernel, view.thread, view.block, kind == RACE_READ ? "reads" : "writes",
                  view.memory == RACE_SHARED ? "shared" : "global", race_thread(before), before.block,
                  wrote ? "writes" : "reads");
}

static void race_cell_touch(struct race_cell *cell, const struct race_view &view, const struct race_mark &now,
                            enum race_kind kind)
{
    if (race_between(cell->write, now))
        race_report(view, cell->write, true, kind);
    if (kind == RACE_READ) {
        if (view.memory == RACE_SHARED && cell->write.scope != view.scope)
            standin_fault("%s: reads shared memory that no thread of the block has written", view.kernel);
        cell->read[race_between(cell->read[0], now) ? 1 : 0] = now;
        return;
    }
    for (const struct race_mark &read : cell->read)
        if (race_between(read, now))
            race_report(view, read, false, kind);
    cell->write = now;
}

/* Whether accesses are looked at. */
static bool race_watching = true;

void cuda_standin_watch(bool watch)
{
    race_watching = watch;
}

static void race_touch(const void *address, size_t bytes, enum race_kind kind)
{
    struct race_view view;
    if (!race_watching || !cuda_emulation_view(address, bytes, &view) || view.memory == RACE_OWN)
        return;
    if (view.memory == RACE_FOREIGN) {
        standin_fault("%s: touches %p, which is not the device's memory", view.kernel, address);
        cuda_emulation_give_up();
    }
    static const bool places_only = standin_environment("MUSTER_STANDIN_PLACES", 0) != 0;
    if (places_only)
        return;
    const uint32_t atomically = kind == RACE_ATOMIC ? RACE_ATOMICALLY : 0;
    const struct race_mark now = {view.scope, view.block, view.barriers,
                                  view.thread | atomically | view.warp_barriers << RACE_WHO_BITS};
    const uintptr_t first = reinterpret_cast<uintptr_t>(address) / RACE_GRAIN * RACE_GRAIN;
    for (uintptr_t at = first; at < reinterpret_cast<uintptr_t>(address) + bytes; at += RACE_GRAIN)
        race_cell_touch(race_cell_at(at), view, now, kind);
}

void cuda_emulation_atomic(const void *address, size_t bytes)
{
    race_touch(address, bytes, RACE_ATOMIC);
}

/* What the compiler calls; with its own library under a sanitizer of the whole build. */
#ifndef __SANITIZE_THREAD__
#define RACE_HOOKS(bytes)                                                                                    \
    void __tsan_read##bytes(const void *address)                                                             \
    {                                                                                                        \
        race_touch(address, bytes, RACE_READ);                                                               \
    }                                                                                                        \
    void __tsan_write##bytes(void *address)                                                                  \
    {                                                                                                        \
        race_touch(address, bytes, RACE_WRITE);                                                              \
    }

extern "C" {
RACE_HOOKS(1)
RACE_HOOKS(2)
RACE_HOOKS(4)
RACE_HOOKS(8)
RACE_HOOKS(16)

void __tsan_read_range(const void *address, size_t bytes)
{
    race_touch(address, bytes, RACE_READ);
}

void __tsan_write_range(void *address, size_t bytes)
{
    race_touch(address, bytes, RACE_WRITE);
}

void __tsan_init()
{
}

void __tsan_func_entry(void *)
{
}

void __tsan_func_exit()
{
}
}
#endif
