/* SPDX-License-Identifier: MIT
 *
 * Reads the micro-batches a rank will need ahead of time, on one thread, into a ring allocated at creation.
 * The consumer names the slot it wants in the order it said at creation; a read error comes out of the call
 * for the slot it happened in.
 */
#ifndef MUSTER_WORKER_LOADER_H
#define MUSTER_WORKER_LOADER_H

#include "coordinator/data/dataset.h"
#include "worker/data/sampler.h"

struct loader;

/** One micro-batch in host memory, valid until the next loader_next. */
struct loader_batch {
    int64_t step;
    int slot;
    const int32_t *ids;     /* [micro_batch · seq_len] tokens; NULL for images */
    const int32_t *targets; /* [micro_batch · seq_len], or [micro_batch] labels */
    const float *pixels;    /* [micro_batch · input_size]; NULL for tokens */
};

struct loader_options {
    int64_t micro_batch_size, slots_per_step; /* S of the job */
    int slot_begin, slot_end;                 /* this rank's slots of every step */
    int64_t first_step,
        last_step; /* steps [first, last) are delivered in order, then loader_next is INTERNAL: a bad call */
    int64_t seq_len, vocab_size, input_size;
    int depth; /* micro-batches read ahead, at least 1; one more is allocated for the consumer */
};

/**
 * Starts the thread; `dataset` and `sampler` must outlive the loader. For images vocab_size is the number of
 * classes and input_size must be the data set's; for tokens input_size is ignored.
 * Sample i of slot s of step t stands at position ((t · slots_per_step) + s) · micro_batch_size + i.
 */
enum muster_status loader_create(const struct dataset *dataset, const struct sampler *sampler,
                                 const struct loader_options *options, struct loader **out,
                                 struct muster_error *err);
/** Stops the thread and frees; takes NULL. */
void loader_destroy(struct loader *loader);

/** Waits for the next micro-batch; no allocation. An error belongs to the slot that was asked for and comes
 * again on every later call. */
enum muster_status loader_next(struct loader *loader, struct loader_batch *batch, struct muster_error *err);

#endif
