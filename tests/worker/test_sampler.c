/* SPDX-License-Identifier: MIT
 *
 * The properties a run rests on: every epoch holds every sample once, shares are exact, and a position says
 * everything. Sizes are odd on purpose; a block of the mixing pattern has 4096 positions.
 */
#include "worker/data/sampler.h"

#include "base/alloc.h"
#include "tests/coordinator/data_files.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

static struct muster_error err;

static struct sampler *make(const struct sampler_source *sources, int count, uint64_t seed, bool shuffle)
{
    struct sampler *sampler;
    enum muster_status status = sampler_create_sized(sources, count, seed, shuffle, &sampler, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    return sampler;
}

static bool same(struct sampler_choice a, struct sampler_choice b)
{
    return a.source == b.source && a.index == b.index && a.epoch == b.epoch;
}

START_TEST(every_epoch_visits_every_sample_once)
{
    const struct sampler_source sources[] = {{97, 0}, {1, 0}, {333, 0}};
    enum { TOTAL = 97 + 1 + 333, EPOCHS = 5 };
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct sampler *sampler = make(sources, 3, 7, shuffle);
        for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
            bool seen[3][333] = {{false}};
            for (int64_t i = 0; i < TOTAL; i++) {
                struct sampler_choice choice = sampler_at(sampler, epoch * TOTAL + i);
                ck_assert_int_eq(choice.epoch, epoch);
                ck_assert(choice.source >= 0 && choice.source < 3);
                ck_assert(choice.index >= 0 && choice.index < sources[choice.source].sample_count);
                ck_assert(!seen[choice.source][choice.index]);
                seen[choice.source][choice.index] = true;
            }
        }
        sampler_destroy(sampler);
    }
}
END_TEST

START_TEST(without_shuffling_samples_come_in_order)
{
    const struct sampler_source sources[] = {{10, 0}, {20, 0}};
    struct sampler *sampler = make(sources, 2, 7, false);
    for (int64_t g = 0; g < 60; g++) {
        struct sampler_choice choice = sampler_at(sampler, g);
        ck_assert_int_eq(choice.source, g % 30 >= 10);
        ck_assert_int_eq(choice.index, g % 30 - (choice.source == 1 ? 10 : 0));
    }
    sampler_destroy(sampler);
}
END_TEST

/* How many places each source gets in one block. */
static void count_block(const struct sampler *sampler, int64_t block, int source_count, int *places)
{
    memset(places, 0, (size_t)source_count * sizeof *places);
    for (int64_t i = 0; i < BLOCK; i++)
        places[sampler_at(sampler, block * BLOCK + i).source]++;
}

START_TEST(weights_become_exact_shares_of_every_block)
{
    static const struct {
        int count;
        double weights[4];
        int places[4];
    } cases[] = {
        {2, {3, 1}, {3072, 1024}},
        {3, {1, 1, 1}, {1366, 1365, 1365}},      /* the place left over goes to the first of equals */
        {3, {0.2, 0.3, 0.5}, {819, 1229, 2048}}, /* 819.2, 1228.8, 2048 */
        {3, {1e-9, 0.5, 0.5}, {1, 2048, 2047}},  /* nobody is left out */
        {4, {1e300, 1e300, 1e300, 1e300}, {1024, 1024, 1024, 1024}},
        {2, {1e-300, 1e300}, {1, 4095}},
        {1, {0.1}, {4096}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_source sources[4];
        int places[4];
        for (int s = 0; s < cases[i].count; s++)
            sources[s] = (struct sampler_source){1000, cases[i].weights[s]};
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            struct sampler *sampler = make(sources, cases[i].count, 5, shuffle);
            for (int64_t block = 0; block < 3; block++) {
                count_block(sampler, block, cases[i].count, places);
                for (int s = 0; s < cases[i].count; s++)
                    ck_assert_msg(places[s] == cases[i].places[s], "case %zu source %d: %d places", i, s,
                                  places[s]);
            }
            sampler_destroy(sampler);
        }
    }
}
END_TEST

START_TEST(as_many_sources_as_places_get_one_each)
{
    struct sampler_source *sources = calloc(BLOCK + 1, sizeof *sources);
    int *places = calloc(BLOCK, sizeof *places);
    for (int i = 0; i <= BLOCK; i++)
        sources[i] = (struct sampler_source){3, 1 + i};
    struct sampler *sampler = make(sources, BLOCK, 5, true);
    count_block(sampler, 2, BLOCK, places);
    for (int i = 0; i < BLOCK; i++)
        ck_assert_int_eq(places[i], 1);
    sampler_destroy(sampler);
    ck_assert_int_eq(sampler_create_sized(sources, BLOCK + 1, 5, true, &sampler, &err), MUSTER_ERR_BAD_INPUT);
    free(sources);
    free(places);
}
END_TEST

START_TEST(with_weights_each_source_walks_whole_epochs)
{
    const struct sampler_source sources[] = {{1001, 0.7}, {37, 0.2}, {1, 0.1}};
    enum { BLOCKS = 8 };
    static int16_t visits[2][1001][200];
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct sampler *sampler = make(sources, 3, 11, shuffle);
        int64_t counts[3] = {0};
        memset(visits, 0, sizeof visits);
        for (int64_t g = 0; g < BLOCKS * BLOCK; g++) {
            struct sampler_choice choice = sampler_at(sampler, g);
            counts[choice.source]++;
            if (choice.source < 2)
                visits[choice.source][choice.index][choice.epoch]++;
            else
                ck_assert(choice.index == 0);
        }
        for (int s = 0; s < 2; s++) {
            int64_t n = sources[s].sample_count, whole = counts[s] / n;
            for (int64_t i = 0; i < n; i++) {
                for (int64_t epoch = 0; epoch < whole; epoch++)
                    ck_assert_int_eq(visits[s][i][epoch], 1);
                ck_assert_int_le(visits[s][i][whole], 1);
            }
        }
        sampler_destroy(sampler);
    }
}
END_TEST

START_TEST(unshuffled_mixing_is_even_and_in_order)
{
    const struct sampler_source sources[] = {{1 << 20, 3}, {1 << 20, 1}};
    struct sampler *sampler = make(sources, 2, 11, false);
    int64_t next[2] = {0};
    for (int64_t g = 0; g < 3 * BLOCK; g++) {
        struct sampler_choice choice = sampler_at(sampler, g);
        ck_assert_int_eq(choice.index, next[choice.source]++);
        ck_assert(llabs(next[1] * 4 - (g + 1)) <= 4);
    }
    sampler_destroy(sampler);
}
END_TEST

START_TEST(a_position_means_the_same_in_any_order)
{
    const struct sampler_source plain[] = {{101, 0}, {57, 0}}, mixed[] = {{101, 1}, {57, 2}};
    enum { COUNT = 10000 };
    static struct sampler_choice forward[COUNT];
    for (int kind = 0; kind < 2; kind++) {
        struct sampler *sampler = make(kind ? mixed : plain, 2, 3, true);
        for (int64_t g = 0; g < COUNT; g++)
            forward[g] = sampler_at(sampler, g);
        sampler_destroy(sampler);
        sampler = make(kind ? mixed : plain, 2, 3, true);
        int64_t calls = alloc_call_count();
        for (int64_t g = COUNT - 1; g >= 0; g--)
            ck_assert(same(sampler_at(sampler, g), forward[g]));
        for (int64_t g = 0; g < COUNT; g++)
            ck_assert(same(sampler_at(sampler, g * 7919 % COUNT), forward[g * 7919 % COUNT]));
        ck_assert_int_eq(alloc_call_count(), calls);
        sampler_destroy(sampler);
    }
}
END_TEST

/* Positions among the first 1000 where two samplers agree. */
static int agreements(const struct sampler *a, const struct sampler *b, int64_t shift)
{
    int count = 0;
    for (int64_t g = 0; g < 1000; g++) {
        struct sampler_choice x = sampler_at(a, g), y = sampler_at(b, g + shift);
        count += x.source == y.source && x.index == y.index;
    }
    return count;
}

START_TEST(seeds_epochs_and_blocks_shuffle_differently)
{
    const struct sampler_source plain[] = {{1000, 0}}, mixed[] = {{100000, 1}, {100000, 1}};
    struct sampler *a = make(plain, 1, 1, true), *b = make(plain, 1, 2, true),
                   *in_order = make(plain, 1, 1, false);
    ck_assert_int_le(agreements(a, b, 0), 20);
    ck_assert_int_le(agreements(a, a, 1000), 20);
    ck_assert_int_le(agreements(a, in_order, 0), 20);
    ck_assert_int_eq(agreements(a, a, 0), 1000);
    sampler_destroy(a);
    sampler_destroy(b);
    sampler_destroy(in_order);
    a = make(mixed, 2, 1, true);
    b = make(mixed, 2, 2, true);
    ck_assert_int_le(agreements(a, b, 0), 20);
    int same_source = 0;
    for (int64_t g = 0; g < BLOCK; g++)
        same_source += sampler_at(a, g).source == sampler_at(a, g + BLOCK).source;
    ck_assert(same_source > BLOCK * 4 / 10 && same_source < BLOCK * 6 / 10);
    sampler_destroy(a);
    sampler_destroy(b);
}
END_TEST

START_TEST(a_single_sample_is_always_chosen)
{
    const struct sampler_source plain[] = {{1, 0}}, mixed[] = {{1, 5}};
    for (int kind = 0; kind < 2; kind++) {
        struct sampler *sampler = make(kind ? mixed : plain, 1, 1, true);
        int64_t epoch_sum = 0;
        for (int64_t g = 0; g < 2 * BLOCK; g++) {
            struct sampler_choice choice = sampler_at(sampler, g);
            ck_assert(choice.source == 0 && choice.index == 0);
            ck_assert(kind == 1 || choice.epoch == g);
            ck_assert_int_eq(choice.epoch / BLOCK, g / BLOCK);
            epoch_sum += choice.epoch;
        }
        ck_assert_int_eq(epoch_sum, (int64_t)BLOCK * (2 * BLOCK - 1));
        sampler_destroy(sampler);
    }
}
END_TEST

START_TEST(huge_sets_and_far_positions_stay_in_range)
{
    const int64_t n = (int64_t)1 << 40, far = (int64_t)1 << 60;
    for (int weighted = 0; weighted < 2; weighted++) {
        const struct sampler_source sources[] = {{n, weighted * 0.999}, {n - 7, weighted * 0.001}};
        struct sampler *sampler = make(sources, 2, 9, true);
        for (int64_t i = 0; i < 100000; i++) {
            struct sampler_choice near = sampler_at(sampler, i), late = sampler_at(sampler, far - i);
            ck_assert(near.epoch == 0 && near.index >= 0 && near.index < sources[near.source].sample_count);
            ck_assert(late.index >= 0 && late.index < sources[late.source].sample_count && late.epoch > 0);
        }
        sampler_destroy(sampler);
    }
}
END_TEST

START_TEST(impossible_sources_are_refused)
{
    static const struct sampler_source cases[][2] = {
        {{10, 1}, {10, 0}},   {{10, 0}, {0, 0}},         {{10, 1}, {10, -1}},
        {{10, 1}, {10, NAN}}, {{10, INFINITY}, {10, 1}}, {{(int64_t)1 << 60, 0}, {1, 0}},
        {{10, 0}, {-5, 0}},
    };
    struct sampler *sampler;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(sampler_create_sized(cases[i], 2, 1, true, &sampler, &err), MUSTER_ERR_BAD_INPUT);
        ck_assert_ptr_null(sampler);
    }
    ck_assert_int_eq(sampler_create_sized(cases[0], 0, 1, true, &sampler, &err), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(a_data_set_gives_sizes_and_weights)
{
    data_folder_create();
    data_write_ramp("a.txt", 1, 41, 0);
    data_write_ramp("b.txt", 1, 21, 0);
    char *paths[] = {data_path("a.txt"), data_path("b.txt")};
    struct job_sources list = data_sources(2, paths);
    list.items[0].weight = 1;
    list.items[1].weight = 3;
    struct dataset *dataset;
    struct sampler *sampler;
    ck_assert_int_eq(dataset_open(&list, JOB_DATA_AUTO, 4, &dataset, &err), MUSTER_OK);
    ck_assert_int_eq(sampler_create(dataset, 4, true, &sampler, &err), MUSTER_OK);
    const struct sampler_source sources[] = {{10, 1}, {5, 3}};
    struct sampler *expected = make(sources, 2, 4, true);
    for (int64_t g = 0; g < 2 * BLOCK; g++)
        ck_assert(same(sampler_at(sampler, g), sampler_at(expected, g)));
    sampler_destroy(expected);
    sampler_destroy(sampler);
    dataset_close(dataset);
    data_folder_remove();
}
END_TEST

START_TEST(short_memory_is_reported_and_nothing_leaks)
{
    const struct sampler_source sources[] = {{10, 1}, {5, 3}};
    int64_t live = alloc_live_count();
    bool failed = true;
    for (int n = 1; failed; n++) {
        struct sampler *sampler;
        alloc_fail_nth(n);
        enum muster_status status = sampler_create_sized(sources, 2, 1, true, &sampler, &err);
        alloc_fail_nth(0);
        failed = status != MUSTER_OK;
        ck_assert(!failed || status == MUSTER_ERR_NO_MEMORY);
        sampler_destroy(sampler);
        ck_assert_int_eq(alloc_live_count(), live);
        ck_assert(n > 5 || failed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler");
    TCase *tcase = tcase_create("sampler");
    tcase_add_test(tcase, every_epoch_visits_every_sample_once);
    tcase_add_test(tcase, without_shuffling_samples_come_in_order);
    tcase_add_test(tcase, weights_become_exact_shares_of_every_block);
    tcase_add_test(tcase, as_many_sources_as_places_get_one_each);
    tcase_add_test(tcase, with_weights_each_source_walks_whole_epochs);
    tcase_add_test(tcase, unshuffled_mixing_is_even_and_in_order);
    tcase_add_test(tcase, a_position_means_the_same_in_any_order);
    tcase_add_test(tcase, seeds_epochs_and_blocks_shuffle_differently);
    tcase_add_test(tcase, a_single_sample_is_always_chosen);
    tcase_add_test(tcase, huge_sets_and_far_positions_stay_in_range);
    tcase_add_test(tcase, impossible_sources_are_refused);
    tcase_add_test(tcase, a_data_set_gives_sizes_and_weights);
    tcase_add_test(tcase, short_memory_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
