/* SPDX-License-Identifier: MIT
 *
 * The entries of the operations table that every back end on the host answers alike: its memory is plain
 * memory, a copy is memcpy, nothing runs later, nothing can be recorded.
 */
#ifndef MUSTER_KERNELS_HOST_H
#define MUSTER_KERNELS_HOST_H

#include "kernels/kernels.h"

enum muster_status kernels_host_allocate(struct kernels *k, int64_t bytes, void **block,
                                         struct muster_error *err);
void kernels_host_free(struct kernels *k, void *block, int64_t bytes);
enum muster_status kernels_host_copy(struct kernels *k, void *to, const void *from, int64_t bytes,
                                     struct muster_error *err);
void *kernels_host_stream(struct kernels *k);
enum muster_status kernels_host_capture_begin(struct kernels *k, struct muster_error *err);
enum muster_status kernels_host_capture_end(struct kernels *k, void **recorded, struct muster_error *err);
enum muster_status kernels_host_capture_run(struct kernels *k, void *recorded, struct muster_error *err);
void kernels_host_capture_free(struct kernels *k, void *recorded);
enum muster_status kernels_host_synchronise(struct kernels *k, struct muster_error *err);
enum muster_status kernels_host_timer_begin(struct kernels *k, struct muster_error *err);
enum muster_status kernels_host_timer_end(struct kernels *k, struct muster_error *err);
enum muster_status kernels_host_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err);
bool kernels_host_choice(struct kernels *k, int index, char *text, size_t size);

/* A range of elements that all have weight decay, or all have none. Begins as zeroes, or with `end` where the
 * first one is to start. */
struct host_range {
    int64_t at, end;
    bool decays;
};

/* Goes on to the next range before `limit`; false where there is none. */
static inline bool host_range_next(struct host_range *range, const struct update_decay *decay, int64_t limit)
{
    int turn = 0;
    range->at = range->end;
    while (turn < decay->turn_count && decay->turns[turn] <= range->at)
        turn++;
    range->decays = turn % 2 == 0;
    range->end = turn < decay->turn_count && decay->turns[turn] < limit ? decay->turns[turn] : limit;
    return range->at < limit;
}

/* The entries above, for a table's initialiser. */
#define KERNELS_HOST_ENTRIES                                                                                 \
    .memory_allocate = kernels_host_allocate, .memory_free = kernels_host_free,                              \
    .memory_allocate_host = kernels_host_allocate, .memory_free_host = kernels_host_free,                    \
    .copy_to_device = kernels_host_copy, .copy_to_host = kernels_host_copy,                                  \
    .copy_to_host_later = kernels_host_copy, .copy_on_device = kernels_host_copy,                            \
    .stream = kernels_host_stream, .capture_begin = kernels_host_capture_begin,                              \
    .capture_end = kernels_host_capture_end, .capture_run = kernels_host_capture_run,                        \
    .capture_free = kernels_host_capture_free, .synchronise = kernels_host_synchronise,                      \
    .timer_begin = kernels_host_timer_begin, .timer_end = kernels_host_timer_end,                            \
    .timer_seconds = kernels_host_timer_seconds, .choice = kernels_host_choice

#endif
