/* SPDX-License-Identifier: MIT
 *
 * Which sample stands at position g of a run: a pure function of (seed, sizes, weights, g), so shuffling
 * needs no memory, a resume is exact and costs nothing, and the number of ranks does not matter.
 *
 * Without weights all sources are one sequence, shuffled by a keyed bijection (base/rng.h) with a new key
 * every epoch. With weights a pattern of 4096 positions holds each source in its share; position by position
 * a source is walked in its own shuffled epochs. Shuffling moves samples within their block of 4096
 * positions, so there the last samples of an epoch of a source may come after the first of its next one.
 */
#ifndef MUSTER_WORKER_SAMPLER_H
#define MUSTER_WORKER_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "coordinator/data/dataset.h"

struct sampler;

struct sampler_choice {
    int source;
    int64_t index; /* sample within the source */
    int64_t epoch; /* of that source (or of the whole set without weights) */
};

/** One source as the sampler sees it; weight 0 = none. */
struct sampler_source {
    int64_t sample_count;
    double weight;
};

/** As sampler_create from sizes alone. At most 4096 sources when they have weights, 2^60 samples in all. */
enum muster_status sampler_create_sized(const struct sampler_source *sources, int source_count, uint64_t seed,
                                        bool shuffle, struct sampler **out, struct muster_error *err);

/** Keeps sizes and weights, not the data set. All or no sources must have a weight, else BAD_INPUT. */
enum muster_status sampler_create(const struct dataset *dataset, uint64_t seed, bool shuffle,
                                  struct sampler **out, struct muster_error *err);
/** Takes NULL. */
void sampler_destroy(struct sampler *sampler);

/** The sample at position `g` (0 … 2^60). Thread-safe; time does not depend on the number of samples. */
struct sampler_choice sampler_at(const struct sampler *sampler, int64_t g);

#endif
