/* SPDX-License-Identifier: MIT
 *
 * Everything here is integer arithmetic on (seed, g), apart from turning weights into whole shares once. With
 * weights the run is cut into blocks of 4096 positions. One pattern says for each place of a block which
 * source stands there and how many of its places come before; a block walks the pattern in its own shuffled
 * order. A source with c places a block has used block·c samples before it, so the place in its own sequence
 * of epochs is block·c plus that rank, without counting anything.
 */
#include "worker/data/sampler.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <math.h>

enum { PATTERN_SIZE = 4096 };

#define SAMPLE_COUNT_MAX ((int64_t)1 << 60)

/* First coordinates of the keys, apart from those of other users of the job's seed. */
enum { KEY_EPOCH = 0x53414d31, KEY_PATTERN = 0x53414d32 };

struct sampler {
    uint64_t seed;
    bool shuffle, weighted;
    int source_count;
    int64_t sample_count;  /* of all sources */
    int64_t *counts;       /* [source_count] */
    int64_t *begins;       /* [source_count]: first sample in the sequence of all sources */
    int *shares;           /* [source_count]: places in a pattern */
    int16_t *pattern;      /* [PATTERN_SIZE]: source, when weighted */
    int16_t *pattern_rank; /* [PATTERN_SIZE]: places of that source before this one */
};

void sampler_destroy(struct sampler *sampler)
{
    if (sampler == NULL)
        return;
    alloc_free(sampler->counts);
    alloc_free(sampler->begins);
    alloc_free(sampler->shares);
    alloc_free(sampler->pattern);
    alloc_free(sampler->pattern_rank);
    alloc_free(sampler);
}

static enum muster_status sources_check(const struct sampler_source *sources, int source_count,
                                        bool *weighted, struct muster_error *err)
{
    int weighted_count = 0;
    int64_t total = 0;
    if (source_count < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "there is no data source");
    for (int i = 0; i < source_count; i++) {
        int64_t count = sources[i].sample_count;
        if (count < 1 || count > SAMPLE_COUNT_MAX - total)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "data source %d: %lld samples; each needs one, all together at most 2^60",
                                    i, (long long)count);
        if (!isfinite(sources[i].weight) || sources[i].weight < 0)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "data source %d: weight %g is not a number of at least 0", i,
                                    sources[i].weight);
        total += count;
        weighted_count += sources[i].weight > 0;
    }
    if (weighted_count != 0 && weighted_count != source_count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%d of %d data sources have a weight: give all of them one, or none",
                                weighted_count, source_count);
    if (weighted_count > PATTERN_SIZE)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%d weighted data sources, at most %d can be mixed", source_count,
                                PATTERN_SIZE);
    *weighted = weighted_count != 0;
    return MUSTER_OK;
}

/* The source that a place more (direction 1) or less (-1, never the last one) brings nearest to its quota. */
static int share_nearest(const int *shares, const double *quotas, int source_count, int direction)
{
    int best = -1;
    double best_gap = 0;
    for (int i = 0; i < source_count; i++) {
        double gap = direction * (quotas[i] - shares[i]);
        if (direction < 0 && shares[i] <= 1)
            continue;
        if (best < 0 || gap > best_gap) {
            best = i;
            best_gap = gap;
        }
    }
    return best;
}

/* Largest remainder: whole parts first (at least 1), then the places left over one by one. */
static void shares_fill(int *shares, double *quotas, const struct sampler_source *sources, int source_count)
{
    double scale = 0, sum = 0;
    for (int i = 0; i < source_count; i++)
        scale = fmax(scale, sources[i].weight);
    for (int i = 0; i < source_count; i++)
        sum += sources[i].weight / scale;
    int total = 0;
    for (int i = 0; i < source_count; i++) {
        quotas[i] = sources[i].weight / scale / sum * PATTERN_SIZE;
        shares[i] = quotas[i] < 1 ? 1 : (int)quotas[i];
        total += shares[i];
    }
    for (; total < PATTERN_SIZE; total++)
        shares[share_nearest(shares, quotas, source_count, 1)]++;
    for (; total > PATTERN_SIZE; total--)
        shares[share_nearest(shares, quotas, source_count, -1)]--;
}

/*
 * Spreads the sources evenly (each place goes to the source furthest behind its share), so that a run without
 * shuffling is mixed too. The credits return to 0 after one pattern, hence every share comes out exactly.
 */
static void pattern_fill(struct sampler *sampler, int *credits)
{
    int16_t used[PATTERN_SIZE] = {0};
    for (int place = 0; place < PATTERN_SIZE; place++) {
        int best = 0;
        for (int i = 0; i < sampler->source_count; i++) {
            credits[i] += sampler->shares[i];
            if (credits[i] > credits[best])
                best = i;
        }
        credits[best] -= PATTERN_SIZE;
        sampler->pattern[place] = (int16_t)best;
        sampler->pattern_rank[place] = used[best]++;
    }
}

static enum muster_status pattern_build(struct sampler *sampler, const struct sampler_source *sources,
                                        struct muster_error *err)
{
    size_t count = (size_t)sampler->source_count;
    enum muster_status status = MUSTER_OK;
    double *quotas = alloc_zeroed(count, sizeof *quotas);
    int *credits = alloc_zeroed(count, sizeof *credits);
    sampler->shares = alloc_zeroed(count, sizeof *sampler->shares);
    sampler->pattern = alloc_zeroed(PATTERN_SIZE, sizeof *sampler->pattern);
    sampler->pattern_rank = alloc_zeroed(PATTERN_SIZE, sizeof *sampler->pattern_rank);
    if (quotas == NULL || credits == NULL || sampler->shares == NULL || sampler->pattern == NULL ||
        sampler->pattern_rank == NULL) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to mix %zu data sources", count);
        goto out;
    }
    shares_fill(sampler->shares, quotas, sources, sampler->source_count);
    pattern_fill(sampler, credits);
out:
    alloc_free(quotas);
    alloc_free(credits);
    return status;
}

enum muster_status sampler_create_sized(const struct sampler_source *sources, int source_count, uint64_t seed,
                                        bool shuffle, struct sampler **out, struct muster_error *err)
{
    *out = NULL;
    bool weighted = false;
    enum muster_status status = sources_check(sources, source_count, &weighted, err);
    if (status != MUSTER_OK)
        return status;
    struct sampler *sampler = alloc_zeroed(1, sizeof *sampler);
    if (sampler != NULL) {
        sampler->counts = alloc_zeroed((size_t)source_count, sizeof *sampler->counts);
        sampler->begins = alloc_zeroed((size_t)source_count, sizeof *sampler->begins);
    }
    if (sampler == NULL || sampler->counts == NULL || sampler->begins == NULL) {
        sampler_destroy(sampler);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d data sources", source_count);
    }
    sampler->seed = seed;
    sampler->shuffle = shuffle;
    sampler->weighted = weighted;
    sampler->source_count = source_count;
    for (int i = 0; i < source_count; i++) {
        sampler->counts[i] = sources[i].sample_count;
        sampler->begins[i] = sampler->sample_count;
        sampler->sample_count += sources[i].sample_count;
    }
    if (weighted)
        status = pattern_build(sampler, sources, err);
    if (status != MUSTER_OK) {
        sampler_destroy(sampler);
        return status;
    }
    *out = sampler;
    return MUSTER_OK;
}

enum muster_status sampler_create(const struct dataset *dataset, uint64_t seed, bool shuffle,
                                  struct sampler **out, struct muster_error *err)
{
    *out = NULL;
    int source_count = dataset_info(dataset)->source_count;
    struct sampler_source *sources = alloc_zeroed((size_t)source_count, sizeof *sources);
    if (sources == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d data sources", source_count);
    for (int i = 0; i < source_count; i++)
        dataset_source_info(dataset, i, &sources[i].sample_count, &sources[i].weight);
    enum muster_status status = sampler_create_sized(sources, source_count, seed, shuffle, out, err);
    alloc_free(sources);
    return status;
}

/* Place `position` of an endless sequence of shuffled epochs over `count` samples; `stream` tells sequences
 * apart. */
static int64_t epoch_sample(const struct sampler *sampler, uint64_t stream, int64_t count, int64_t position,
                            int64_t *epoch)
{
    *epoch = position / count;
    int64_t index = position % count;
    if (!sampler->shuffle)
        return index;
    struct rng_key key = rng_key_make(sampler->seed, KEY_EPOCH, stream, (uint64_t)*epoch);
    return (int64_t)rng_permute(key, (uint64_t)count, (uint64_t)index);
}

static struct sampler_choice weighted_at(const struct sampler *sampler, int64_t g)
{
    struct sampler_choice choice;
    int64_t block = g / PATTERN_SIZE, place = g % PATTERN_SIZE;
    if (sampler->shuffle) {
        struct rng_key key = rng_key_make(sampler->seed, KEY_PATTERN, (uint64_t)block, 0);
        place = (int64_t)rng_permute(key, PATTERN_SIZE, (uint64_t)place);
    }
    choice.source = sampler->pattern[place];
    int64_t position = block * sampler->shares[choice.source] + sampler->pattern_rank[place];
    choice.index = epoch_sample(sampler, 1 + (uint64_t)choice.source, sampler->counts[choice.source],
                                position, &choice.epoch);
    return choice;
}

struct sampler_choice sampler_at(const struct sampler *sampler, int64_t g)
{
    if (sampler->weighted)
        return weighted_at(sampler, g);
    struct sampler_choice choice;
    int64_t sample = epoch_sample(sampler, 0, sampler->sample_count, g, &choice.epoch);
    int low = 0, high = sampler->source_count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (sampler->begins[middle] <= sample)
            low = middle;
        else
            high = middle;
    }
    choice.source = low;
    choice.index = sample - sampler->begins[low];
    return choice;
}
