/* SPDX-License-Identifier: MIT
 *
 * One thread fills a ring of micro-batches, one consumer empties it; a mutex guards two counters and nothing
 * else. Entry k % (depth + 1) holds micro-batch k: the thread writes it only while the consumer neither holds
 * it nor waits for it, so the data itself needs no lock. What k means is arithmetic (loader.h), hence there
 * is no queue of requests. The first read error is the last micro-batch the thread delivers.
 */
#include "worker/data/loader.h"

#include "base/alloc.h"
#include "worker/fault_point.h"

#include <pthread.h>

struct entry {
    enum muster_status status;
    int32_t *ids, *targets;
    float *pixels;
};

struct loader {
    const struct dataset *dataset;
    const struct sampler *sampler;
    struct loader_options options;
    bool is_images;
    int64_t batch_count; /* micro-batches this rank gets in all */
    int entry_count;
    struct entry *entries;
    int32_t *integers; /* the entries' blocks */
    float *floats;
    struct muster_error error; /* of the one entry that has a status; written before it is filled */

    pthread_t thread;
    bool has_mutex, has_filled, has_freed, has_thread;
    pthread_mutex_t mutex;
    pthread_cond_t was_filled, was_freed;
    /* under the mutex */
    int64_t filled_count; /* micro-batches [0, filled) are or were in the ring */
    int64_t freed_count;  /* micro-batches [0, freed) may be overwritten */
    bool stop;

    int64_t next_batch; /* the consumer's own */
};

static enum muster_status entry_fill(const struct loader *loader, struct entry *entry, int64_t batch,
                                     struct muster_error *err)
{
    const struct loader_options *options = &loader->options;
    int64_t slots = options->slot_end - options->slot_begin;
    int64_t step = options->first_step + batch / slots, slot = options->slot_begin + batch % slots;
    int64_t first = (step * options->slots_per_step + slot) * options->micro_batch_size;
    enum muster_status status = fault_point_status("data", err);
    for (int64_t i = 0; status == MUSTER_OK && i < options->micro_batch_size; i++) {
        struct sampler_choice choice = sampler_at(loader->sampler, first + i);
        if (loader->is_images)
            status = dataset_read_image(loader->dataset, choice.source, choice.index, options->vocab_size,
                                        entry->pixels + i * options->input_size, entry->targets + i, err);
        else
            status = dataset_read_tokens(loader->dataset, choice.source, choice.index, options->vocab_size,
                                         entry->ids + i * options->seq_len,
                                         entry->targets + i * options->seq_len, err);
    }
    return status;
}

static void *thread_run(void *argument)
{
    struct loader *loader = argument;
    bool failed = false;
    for (int64_t batch = 0; batch < loader->batch_count && !failed; batch++) {
        pthread_mutex_lock(&loader->mutex);
        while (!loader->stop && batch - loader->freed_count >= loader->entry_count)
            pthread_cond_wait(&loader->was_freed, &loader->mutex);
        bool stop = loader->stop;
        pthread_mutex_unlock(&loader->mutex);
        if (stop)
            break;
        struct entry *entry = &loader->entries[batch % loader->entry_count];
        entry->status = entry_fill(loader, entry, batch, &loader->error);
        failed = entry->status != MUSTER_OK;
        pthread_mutex_lock(&loader->mutex);
        loader->filled_count = batch + 1;
        pthread_cond_signal(&loader->was_filled);
        pthread_mutex_unlock(&loader->mutex);
    }
    return NULL;
}

static enum muster_status options_check(const struct loader *loader, struct muster_error *err)
{
    const struct loader_options *o = &loader->options;
    int64_t positions;
    bool is_good = o->micro_batch_size >= 1 && o->slot_begin >= 0 && o->slot_begin < o->slot_end &&
                   o->slot_end <= o->slots_per_step && o->first_step >= 0 && o->first_step <= o->last_step &&
                   o->depth >= 1 && o->depth < INT32_MAX && o->vocab_size >= 1 &&
                   (loader->is_images ? o->input_size == dataset_info(loader->dataset)->input_size
                                      : o->seq_len == dataset_info(loader->dataset)->seq_len) &&
                   !__builtin_mul_overflow(o->last_step, o->slots_per_step, &positions) &&
                   !__builtin_mul_overflow(positions, o->micro_batch_size, &positions) &&
                   positions <= (int64_t)1 << 60;
    return is_good ? MUSTER_OK
                   : muster_error_set(err, MUSTER_ERR_INTERNAL,
                                      "a loader cannot serve slots %d to %d of %lld, steps %lld to %lld",
                                      o->slot_begin, o->slot_end, (long long)o->slots_per_step,
                                      (long long)o->first_step, (long long)o->last_step);
}

/* Lays the entries' arrays into two blocks. */
static enum muster_status ring_allocate(struct loader *loader, struct muster_error *err)
{
    const struct loader_options *options = &loader->options;
    size_t samples = (size_t)options->micro_batch_size, ids = 0, pixels = 0, targets, integers = 0,
           floats = 0;
    size_t row_tokens = loader->is_images ? 0 : (size_t)options->seq_len;
    size_t row_pixels = loader->is_images ? (size_t)options->input_size : 0;
    bool overflow = __builtin_mul_overflow(samples, row_tokens, &ids) ||
                    __builtin_mul_overflow(samples, row_pixels, &pixels);
    targets = loader->is_images ? samples : ids;
    overflow = overflow || __builtin_add_overflow(ids, targets, &integers) ||
               __builtin_mul_overflow(integers, (size_t)loader->entry_count, &integers) ||
               __builtin_mul_overflow(pixels, (size_t)loader->entry_count, &floats);
    if (!overflow) {
        loader->entries = alloc_zeroed((size_t)loader->entry_count, sizeof *loader->entries);
        loader->integers = alloc_zeroed(integers, sizeof *loader->integers);
        loader->floats = alloc_zeroed(floats, sizeof *loader->floats);
    }
    if (loader->entries == NULL || loader->integers == NULL || loader->floats == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                                "no memory to read %d micro-batches of %lld samples ahead", options->depth,
                                (long long)options->micro_batch_size);
    for (size_t i = 0; i < (size_t)loader->entry_count; i++) {
        loader->entries[i].ids = loader->is_images ? NULL : loader->integers + i * (ids + targets);
        loader->entries[i].targets = loader->integers + i * (ids + targets) + ids;
        loader->entries[i].pixels = loader->is_images ? loader->floats + i * pixels : NULL;
    }
    return MUSTER_OK;
}

static enum muster_status thread_start(struct loader *loader, struct muster_error *err)
{
    int result = pthread_mutex_init(&loader->mutex, NULL);
    loader->has_mutex = result == 0;
    if (result == 0)
        result = pthread_cond_init(&loader->was_filled, NULL);
    loader->has_filled = loader->has_mutex && result == 0;
    if (result == 0)
        result = pthread_cond_init(&loader->was_freed, NULL);
    loader->has_freed = loader->has_filled && result == 0;
    if (result == 0)
        result = pthread_create(&loader->thread, NULL, thread_run, loader);
    loader->has_thread = loader->has_freed && result == 0;
    return result == 0 ? MUSTER_OK : muster_error_set_errno(err, result, "start the thread that reads data");
}

enum muster_status loader_create(const struct dataset *dataset, const struct sampler *sampler,
                                 const struct loader_options *options, struct loader **out,
                                 struct muster_error *err)
{
    *out = NULL;
    struct loader *loader = alloc_zeroed(1, sizeof *loader);
    if (loader == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a loader");
    loader->dataset = dataset;
    loader->sampler = sampler;
    loader->options = *options;
    loader->is_images = dataset_info(dataset)->format == JOB_DATA_IDX;
    enum muster_status status = options_check(loader, err);
    if (status == MUSTER_OK) {
        loader->entry_count = options->depth + 1;
        loader->batch_count =
            (options->last_step - options->first_step) * (options->slot_end - options->slot_begin);
        status = ring_allocate(loader, err);
    }
    if (status == MUSTER_OK)
        status = thread_start(loader, err);
    if (status != MUSTER_OK) {
        loader_destroy(loader);
        return status;
    }
    *out = loader;
    return MUSTER_OK;
}

void loader_destroy(struct loader *loader)
{
    if (loader == NULL)
        return;
    if (loader->has_thread) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        pthread_cond_signal(&loader->was_freed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    if (loader->has_freed)
        pthread_cond_destroy(&loader->was_freed);
    if (loader->has_filled)
        pthread_cond_destroy(&loader->was_filled);
    if (loader->has_mutex)
        pthread_mutex_destroy(&loader->mutex);
    alloc_free(loader->entries);
    alloc_free(loader->integers);
    alloc_free(loader->floats);
    alloc_free(loader);
}

/* Hands micro-batch `next_batch - 1` back and waits for the next one. */
static struct entry *entry_take(struct loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    loader->freed_count = loader->next_batch;
    pthread_cond_signal(&loader->was_freed);
    while (loader->filled_count <= loader->next_batch)
        pthread_cond_wait(&loader->was_filled, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
    return &loader->entries[loader->next_batch % loader->entry_count];
}

enum muster_status loader_next(struct loader *loader, struct loader_batch *batch, struct muster_error *err)
{
    const struct loader_options *options = &loader->options;
    int slots = options->slot_end - options->slot_begin;
    if (loader->next_batch >= loader->batch_count)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "the loader was asked for a step after the last");
    const struct entry *entry = entry_take(loader);
    if (entry->status != MUSTER_OK)
        return muster_error_set(err, entry->status, "%s", loader->error.text);
    *batch = (struct loader_batch){.step = options->first_step + loader->next_batch / slots,
                                   .slot = options->slot_begin + (int)(loader->next_batch % slots),
                                   .ids = entry->ids,
                                   .targets = entry->targets,
                                   .pixels = entry->pixels};
    loader->next_batch++;
    return MUSTER_OK;
}
