/* SPDX-License-Identifier: MIT
 *
 * Streams that put their work off (MUSTER_STANDIN_DEFER): a piece of work runs when somebody waits for it,
 * and of the other streams only what an event makes it wait for. What was not ordered by an event thus meets
 * memory in the order that is the worst for it, and not in that of the program, as it nearly always does on a
 * device too. Seeds above 1 also let streams run ahead, to where the next event holds them up.
 */
#include <unistd.h>

#include <atomic>
#include <deque>
#include <map>

#include "cudart_standin_internal.h"

/* Work, or an event that the stream waits for. */
struct defer_piece {
    std::function<void()> run;
    standin_marker wait;
};

typedef std::deque<defer_piece> defer_queue;

enum { DEFER_SEED_FIRST = 4 };

/* Streams with work; in order of creation, so that a seed means the same each time. */
static std::map<int, defer_queue> defer_queues;

static int64_t defer_seed()
{
    static const int64_t seed = standin_environment("MUSTER_STANDIN_DEFER", 0);
    return seed;
}

bool standin_defers()
{
    return defer_seed() > 0;
}

/* The first piece of a stream; false where there is none or an event holds it up. */
static bool defer_run_first(int stream)
{
    auto entry = defer_queues.find(stream);
    if (entry == defer_queues.end())
        return false;
    defer_piece &first = entry->second.front();
    if (first.wait != nullptr && !first.wait->reached)
        return false;
    const defer_piece piece = std::move(first);
    entry->second.pop_front();
    if (entry->second.empty())
        defer_queues.erase(entry);
    if (piece.run)
        piece.run();
    return true;
}

static unsigned defer_random(unsigned count)
{
    static uint64_t state = (uint64_t)defer_seed();
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % count;
}

/* One stream as far as events let it, or any as far as fortune has it. */
static void defer_run_ahead()
{
    const int64_t seed = defer_seed();
    if (seed == 1 || defer_queues.empty())
        return;
    unsigned count = UINT_MAX;
    int stream = (int)seed - 2;
    if (seed >= DEFER_SEED_FIRST) {
        auto entry = defer_queues.begin();
        std::advance(entry, defer_random((unsigned)defer_queues.size()));
        stream = entry->first;
        count = defer_random(16);
    }
    while (count-- > 0 && defer_run_first(stream))
        continue;
}

void standin_put_off(int stream, std::function<void()> run)
{
    defer_queues[stream].push_back({std::move(run), nullptr});
    defer_run_ahead();
}

void standin_put_wait(int stream, const standin_marker &marker)
{
    defer_queues[stream].push_back({nullptr, marker});
}

/* Events only wait for what was recorded before, so there is always a stream that goes on. */
void standin_step(const standin_marker &marker)
{
    int stream = marker->stream;
    while (!marker->reached && !defer_run_first(stream))
        stream = defer_queues.at(stream).front().wait->stream;
}

void standin_drain(int stream)
{
    for (auto entry = defer_queues.find(stream); entry != defer_queues.end();
         entry = defer_queues.find(stream)) {
        const standin_marker wait = entry->second.front().wait;
        if (!defer_run_first(stream))
            standin_step(wait);
    }
}

static std::atomic<bool> defer_stuck;

void cuda_standin_stick(void)
{
    defer_stuck = true;
}

void standin_wait_for_kernel()
{
    while (defer_stuck)
        pause();
}

void standin_drain_all()
{
    standin_wait_for_kernel();
    while (!defer_queues.empty())
        standin_drain(defer_queues.begin()->first);
}
