/* SPDX-License-Identifier: MIT
 *
 * Philox against the known answers of its authors' Random123 library; the fills against their own addresses
 * and against the moments of their distributions (fixed keys, so the bounds hold or fail for good); the
 * permutation as a bijection.
 */
#include "base/rng.h"

#include "base/hash.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

enum { SAMPLE_COUNT = 200000 };

static float samples[SAMPLE_COUNT];

static void check_philox(uint32_t k0, uint32_t k1, uint64_t high, uint64_t low, const uint32_t expected[4])
{
    struct rng_block block = rng_philox((struct rng_key){{k0, k1}}, high, low);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(block.word[i], expected[i]);
}

START_TEST(philox_gives_the_known_answers)
{
    check_philox(0, 0, 0, 0, (uint32_t[]){0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
    check_philox(0xffffffffu, 0xffffffffu, UINT64_MAX, UINT64_MAX,
                 (uint32_t[]){0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
    check_philox(0xa4093822u, 0x299f31d0u, 0x0370734413198a2eu, 0x85a308d3243f6a88u,
                 (uint32_t[]){0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}
END_TEST

START_TEST(keys_that_differ_in_one_coordinate_differ)
{
    enum { N = 500 };
    static uint64_t seen[4 * N];
    int count = 0;
    for (uint64_t i = 1; i <= N; i++) {
        struct rng_key keys[4] = {rng_key_make(i, 0, 0, 0), rng_key_make(0, i, 0, 0),
                                  rng_key_make(0, 0, i, 0), rng_key_make(0, 0, 0, i)};
        for (int k = 0; k < 4; k++)
            seen[count++] = (uint64_t)keys[k].word[1] << 32 | keys[k].word[0];
    }
    int equal_count = 0;
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < i; j++)
            equal_count += seen[i] == seen[j];
    }
    ck_assert_int_eq(equal_count, 0);
}
END_TEST

START_TEST(a_key_depends_on_the_order_of_its_coordinates)
{
    struct rng_key a = rng_key_make(1, 2, 3, 4), b = rng_key_make(1, 3, 2, 4), c = rng_key_make(1, 2, 4, 3);
    struct rng_key d = rng_key_make(2, 1, 3, 4), again = rng_key_make(1, 2, 3, 4);
    ck_assert_int_ne(memcmp(&a, &b, sizeof a), 0);
    ck_assert_int_ne(memcmp(&a, &c, sizeof a), 0);
    ck_assert_int_ne(memcmp(&a, &d, sizeof a), 0);
    ck_assert_mem_eq(&a, &again, sizeof a);
}
END_TEST

START_TEST(a_key_is_the_same_on_every_build)
{
    /* Recorded: a change here changes every run that anybody ever made. */
    struct rng_key key = rng_key_make(1234, 1, 2, 3);
    ck_assert_uint_eq(key.word[0], 0x67a53875u);
    ck_assert_uint_eq(key.word[1], 0x737aac98u);
    ck_assert_uint_eq(rng_permute(key, 1000000, 7), 762750u);
    ck_assert_uint_eq(rng_permute(key, 1000000, 999999), 467212u);
}
END_TEST

START_TEST(one_flipped_seed_bit_flips_about_half_of_the_key)
{
    int flipped = 0;
    struct rng_key base = rng_key_make(42, 1, 1, 1);
    for (int bit = 0; bit < 64; bit++) {
        struct rng_key key = rng_key_make(42 ^ ((uint64_t)1 << bit), 1, 1, 1);
        flipped +=
            __builtin_popcount(key.word[0] ^ base.word[0]) + __builtin_popcount(key.word[1] ^ base.word[1]);
    }
    ck_assert_int_gt(flipped, 64 * 28);
    ck_assert_int_lt(flipped, 64 * 36);
}
END_TEST

START_TEST(uniform_words_cover_zero_to_below_one)
{
    ck_assert(rng_uniform(0) == 0.0f);
    ck_assert(rng_uniform(0xffffffffu) < 1.0f);
    ck_assert(rng_uniform(0x80000000u) == 0.5f);
}
END_TEST

START_TEST(a_normal_fill_has_the_moments_asked_for)
{
    rng_normal_fill(rng_key_make(1, 0, 0, 0), 0, 3.0f, 2.0f, samples, SAMPLE_COUNT);
    double sum = 0, squares = 0, inside = 0;
    for (int i = 0; i < SAMPLE_COUNT; i++) {
        double z = ((double)samples[i] - 3) / 2;
        sum += z;
        squares += z * z;
        inside += fabs(z) < 1;
    }
    ck_assert_double_eq_tol(sum / SAMPLE_COUNT, 0, 0.01);
    ck_assert_double_eq_tol(squares / SAMPLE_COUNT, 1, 0.02);
    ck_assert_double_eq_tol(inside / SAMPLE_COUNT, 0.6827, 0.005);
}
END_TEST

START_TEST(the_two_numbers_of_a_normal_pair_are_uncorrelated)
{
    rng_normal_fill(rng_key_make(2, 0, 0, 0), 0, 0, 1, samples, SAMPLE_COUNT);
    double product = 0;
    for (int i = 0; i < SAMPLE_COUNT; i += 2)
        product += (double)samples[i] * (double)samples[i + 1];
    ck_assert_double_eq_tol(product / (SAMPLE_COUNT / 2), 0, 0.015);
}
END_TEST

START_TEST(a_longer_fill_begins_like_a_shorter_one)
{
    float few[9];
    for (uint64_t count = 0; count <= 8; count++) {
        few[count] = -77;
        rng_normal_fill(rng_key_make(3, 0, 0, 0), 0, 0, 1, samples, 100);
        rng_normal_fill(rng_key_make(3, 0, 0, 0), 0, 0, 1, few, count);
        ck_assert_mem_eq(few, samples, count * sizeof(float));
        ck_assert(few[count] == -77);
        rng_uniform_fill(rng_key_make(3, 0, 0, 0), -1, 1, samples, 100);
        rng_uniform_fill(rng_key_make(3, 0, 0, 0), -1, 1, few, count);
        ck_assert_mem_eq(few, samples, count * sizeof(float));
        ck_assert(few[count] == -77);
    }
}
END_TEST

START_TEST(any_range_of_normal_numbers_is_a_piece_of_the_whole)
{
    static float piece[300];
    struct rng_key key = rng_key_make(7, 0, 0, 0);
    rng_normal_fill(key, 0, 1, 2, samples, 1000);
    for (uint64_t first = 0; first < 700; first += 37) {
        for (uint64_t count = 0; count < 300; count = count * 2 + 1) {
            piece[count] = -77;
            rng_normal_fill(key, first, 1, 2, piece, count);
            ck_assert_mem_eq(piece, samples + first, count * sizeof(float));
            ck_assert(piece[count] == -77);
        }
    }
}
END_TEST

START_TEST(a_normal_number_is_close_to_the_formula_in_double)
{
    struct rng_key key = rng_key_make(8, 0, 0, 0);
    rng_normal_fill(key, 0, 0, 1, samples, SAMPLE_COUNT);
    double error_max = 0;
    for (int i = 0; i < SAMPLE_COUNT; i++) {
        struct rng_block block = rng_philox(key, 0, (uint64_t)i / 4);
        const uint32_t *pair = block.word + i % 4 / 2 * 2;
        double u = ((pair[0] >> 8) + 1) * 0x1p-24,
               angle = 2 * 3.14159265358979323846 * (pair[1] >> 8) * 0x1p-24;
        double expected = sqrt(-2 * log(u)) * (i % 2 == 0 ? cos(angle) : sin(angle));
        error_max = fmax(error_max, fabs((double)samples[i] - expected));
    }
    ck_assert_double_lt(error_max, 2e-6);
}
END_TEST

START_TEST(normal_numbers_have_the_same_bits_on_every_build)
{
    /* Recorded: compilers and vector widths that fuse a multiplication and an addition would change it. */
    rng_normal_fill(rng_key_make(1234, 5, 6, 7), 3, 0.5f, 0.02f, samples, 50000);
    ck_assert_uint_eq(hash_crc32c(0, samples, 50000 * sizeof(float)), 288137683u);
}
END_TEST

START_TEST(a_uniform_fill_stays_in_its_bounds_and_spreads)
{
    rng_uniform_fill(rng_key_make(4, 0, 0, 0), -2, 6, samples, SAMPLE_COUNT);
    double sum = 0, low = 6, high = -2;
    int outside_count = 0;
    for (int i = 0; i < SAMPLE_COUNT; i++) {
        outside_count += !(samples[i] >= -2 && samples[i] < 6);
        sum += (double)samples[i];
        low = fmin(low, (double)samples[i]);
        high = fmax(high, (double)samples[i]);
    }
    ck_assert_int_eq(outside_count, 0);
    ck_assert_double_eq_tol(sum / SAMPLE_COUNT, 2, 0.02);
    ck_assert(low < -1.99 && high > 5.99);
}
END_TEST

START_TEST(rounding_never_reaches_the_upper_bound)
{
    float low = 1.0f, high = nextafterf(1.0f, 2.0f);
    rng_uniform_fill(rng_key_make(5, 0, 0, 0), low, high, samples, 1000);
    for (int i = 0; i < 1000; i++)
        ck_assert(samples[i] == low);
}
END_TEST

START_TEST(the_permutation_is_a_bijection_for_every_small_n)
{
    for (uint64_t n = 1; n <= 300; n++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            unsigned char hit[300] = {0};
            for (uint64_t i = 0; i < n; i++) {
                uint64_t image = rng_permute(rng_key_make(seed, n, 0, 0), n, i);
                if (image >= n || hit[image]++ != 0)
                    ck_abort_msg("n %llu: %llu is out of range or taken", (unsigned long long)n,
                                 (unsigned long long)image);
            }
        }
    }
}
END_TEST

START_TEST(the_permutation_is_a_bijection_for_a_large_n)
{
    enum { N = 262147 }; /* just above a power of four: the longest walks */
    static unsigned char hit[N];
    struct rng_key key = rng_key_make(9, 9, 9, 9);
    memset(hit, 0, sizeof hit);
    for (uint64_t i = 0; i < N; i++) {
        uint64_t image = rng_permute(key, N, i);
        if (image >= N || hit[image]++ != 0)
            ck_abort_msg("%llu is out of range or taken", (unsigned long long)image);
    }
}
END_TEST

START_TEST(sparse_images_in_huge_ranges_stay_inside_and_differ)
{
    static const uint64_t sizes[] = {(uint64_t)1 << 32, ((uint64_t)1 << 40) + 1, ((uint64_t)1 << 61) + 12345,
                                     (uint64_t)1 << 62};
    for (int s = 0; s < 4; s++) {
        uint64_t images[300], n = sizes[s], above_half = 0, equal_count = 0;
        for (uint64_t i = 0; i < 300; i++) {
            images[i] = rng_permute(rng_key_make(6, 0, 0, 0), n, i < 150 ? i : n - 1 - i);
            ck_assert_uint_lt(images[i], n);
            above_half += images[i] >= n / 2;
            for (uint64_t j = 0; j < i; j++)
                equal_count += images[i] == images[j];
        }
        ck_assert_uint_eq(equal_count, 0);
        ck_assert(above_half > 100 && above_half < 200);
    }
}
END_TEST

START_TEST(three_elements_are_shuffled_into_all_six_orders_alike)
{
    int orders[9] = {0};
    for (uint64_t seed = 0; seed < 6000; seed++) {
        struct rng_key key = rng_key_make(seed, 0, 0, 0);
        orders[3 * rng_permute(key, 3, 0) + rng_permute(key, 3, 1)]++;
    }
    for (int i = 0; i < 9; i++) {
        if (i % 4 == 0)
            ck_assert_int_eq(orders[i], 0);
        else
            ck_assert(orders[i] > 800 && orders[i] < 1200);
    }
}
END_TEST

START_TEST(an_element_lands_everywhere_alike)
{
    enum { N = 50, SEEDS = 20000 };
    int landed[N] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        landed[rng_permute(rng_key_make(seed, 1, 0, 0), N, 17)]++;
    double chi = 0;
    for (int i = 0; i < N; i++)
        chi += pow(landed[i] - SEEDS / N, 2) / (SEEDS / N);
    ck_assert(chi < 85.4); /* 49 degrees of freedom, one in a thousand */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rng");
    TCase *cases = tcase_create("rng");
    tcase_add_test(cases, philox_gives_the_known_answers);
    tcase_add_test(cases, keys_that_differ_in_one_coordinate_differ);
    tcase_add_test(cases, a_key_depends_on_the_order_of_its_coordinates);
    tcase_add_test(cases, a_key_is_the_same_on_every_build);
    tcase_add_test(cases, one_flipped_seed_bit_flips_about_half_of_the_key);
    tcase_add_test(cases, uniform_words_cover_zero_to_below_one);
    tcase_add_test(cases, a_normal_fill_has_the_moments_asked_for);
    tcase_add_test(cases, the_two_numbers_of_a_normal_pair_are_uncorrelated);
    tcase_add_test(cases, a_longer_fill_begins_like_a_shorter_one);
    tcase_add_test(cases, any_range_of_normal_numbers_is_a_piece_of_the_whole);
    tcase_add_test(cases, a_normal_number_is_close_to_the_formula_in_double);
    tcase_add_test(cases, normal_numbers_have_the_same_bits_on_every_build);
    tcase_add_test(cases, a_uniform_fill_stays_in_its_bounds_and_spreads);
    tcase_add_test(cases, rounding_never_reaches_the_upper_bound);
    tcase_add_test(cases, the_permutation_is_a_bijection_for_every_small_n);
    tcase_add_test(cases, the_permutation_is_a_bijection_for_a_large_n);
    tcase_add_test(cases, sparse_images_in_huge_ranges_stay_inside_and_differ);
    tcase_add_test(cases, three_elements_are_shuffled_into_all_six_orders_alike);
    tcase_add_test(cases, an_element_lands_everywhere_alike);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
