/* SPDX-License-Identifier: MIT
 *
 * The CPU back end judged by the reference, continued from test_cpu.c: attention, positions, embeddings,
 * dropout and the operations on the flat parameter space.
 */
#include <math.h>

#include "cases.h"
#include "tests/suite.h"

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};

static double tolerance_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 1e-5 : 0.008;
}

/* Sequences on both sides of a block border; heads narrower and wider than a vector, even and odd. */
START_TEST(attention_and_its_gradient_agree_with_the_reference)
{
    static const int64_t sizes[][5] = {{1, 1, 1, 1, 1},    {2, 5, 3, 3, 7},    {1, 64, 2, 1, 16},
                                       {2, 65, 4, 2, 24},  {1, 130, 3, 1, 64}, {1, 33, 2, 2, 80},
                                       {3, 17, 6, 2, 128}, {1, 200, 1, 1, 33}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            const int64_t *n = sizes[size];
            struct case_attention s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], n[4], 0.0f};
            s.dropout = variant < 2 ? 0.0f : 0.3f;
            case_attention_run(&s, tolerance_of(s.dtype));
        }
    }
}
END_TEST

START_TEST(rotary_positions_agree_with_the_reference)
{
    static const int64_t sizes[][5] = {
        {1, 1, 1, 1, 2}, {12, 4, 3, 1, 10}, {70, 35, 2, 2, 64}, {5, 9, 1, 1, 34}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            const int64_t *n = sizes[size];
            struct case_rope s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], n[4], variant < 2};
            case_rope_run(&s, tolerance_of(s.dtype));
        }
    }
}
END_TEST

START_TEST(embeddings_and_their_gradients_agree_with_the_reference)
{
    static const int64_t sizes[][4] = {{1, 1, 1, 1}, {24, 8, 70, 5}, {60, 20, 48, 100}, {9, 3, 200, 2}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (int variant = 0; variant < 4; variant++) {
            const int64_t *n = sizes[size];
            struct case_embedding s = {dtypes[variant % 2], n[0], n[1], n[2], n[3], variant < 2};
            case_embedding_run(&s);
        }
    }
}
END_TEST

START_TEST(swiglu_and_its_gradient_agree_with_the_reference)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 17}, {40, 100}};
    for (size_t size = 0; size < 3; size++) {
        for (size_t d = 0; d < 2; d++) {
            struct case_rows s = {dtypes[d], sizes[size][0], sizes[size][1]};
            case_swiglu_run(&s, tolerance_of(s.dtype));
        }
    }
}
END_TEST

START_TEST(dropout_drops_what_the_reference_drops)
{
    static const int64_t counts[] = {1, 7, 257, 40001};
    for (size_t n = 0; n < 4; n++) {
        for (int variant = 0; variant < 6; variant++) {
            struct case_dropout s = {.dtype = dtypes[variant % 2], .count = counts[n]};
            s.p = variant / 2 == 0 ? 0.0f : 0.1f, s.in_place = variant / 2 == 2;
            case_dropout_run(&s, tolerance_of(s.dtype));
        }
    }
}
END_TEST

/* The last turns of weight decay lie on both sides of a border between threads. */
START_TEST(the_optimizers_agree_with_the_reference)
{
    static const int64_t counts[] = {1, 15, 16, 1000, 140001};
    for (size_t n = 0; n < 5; n++) {
        for (int variant = 0; variant < 4; variant++) {
            struct case_update s = {.count = counts[n], .rounded = dtypes[variant % 2]};
            s.nesterov = variant % 2 == 1, s.turns = variant < 2 ? 0 : 7;
            case_updates_run(&s, 0.004);
        }
    }
}
END_TEST

/* A shard may begin anywhere: the same elements must become the same bits. */
START_TEST(an_update_cut_in_two_gives_the_same_bits)
{
    enum { COUNT = 1003, CUT = 389 };
    static float param[2][COUNT], grad[COUNT], m[2][COUNT], v[2][COUNT];
    rng_uniform_fill(rng_key_make(1, 0, 0, 0), -1.0f, 1.0f, grad, COUNT);
    for (int way = 0; way < 2; way++) {
        rng_uniform_fill(rng_key_make(2, 0, 0, 0), -1.0f, 1.0f, param[way], COUNT);
        rng_uniform_fill(rng_key_make(3, 0, 0, 0), -1.0f, 1.0f, m[way], COUNT);
        rng_uniform_fill(rng_key_make(4, 0, 0, 0), 0.0f, 1.0f, v[way], COUNT);
    }
    struct case_update whole = {.count = COUNT}, first = {.count = CUT}, second = {.count = COUNT - CUT};
    struct kernels *k = compare_subject();
    void *const all[] = {param[0], NULL, grad, m[0], v[0]}, *const start[] = {param[1], NULL, grad, m[1],
                                                                              v[1]};
    void *const rest[] = {param[1] + CUT, NULL, grad + CUT, m[1] + CUT, v[1] + CUT};
    ck_assert_int_eq(case_adamw_call(k, &whole, all, NULL), MUSTER_OK);
    ck_assert_int_eq(case_adamw_call(k, &first, start, NULL), MUSTER_OK);
    ck_assert_int_eq(case_adamw_call(k, &second, rest, NULL), MUSTER_OK);
    ck_assert_mem_eq(param[0], param[1], sizeof param[0]);
    ck_assert_mem_eq(m[0], m[1], sizeof m[0]);
    ck_assert_mem_eq(v[0], v[1], sizeof v[0]);
}
END_TEST

static enum muster_status zero_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    return kernels_fill_zero(k, data[0], *(const int64_t *)shape * 4, err);
}

START_TEST(sums_casts_and_zeros_are_exact)
{
    static const int64_t counts[] = {1, 15, 33, 150001};
    for (size_t n = 0; n < 4; n++) {
        const struct compare_array zero[] = {
            {.role = COMPARE_OUTPUT, .dtype = DTYPE_F32, .count = counts[n]}};
        case_vectors_run(counts[n]);
        compare_run("fill_zero", zero, 1, zero_call, &counts[n]);
    }
}
END_TEST

static enum muster_status cast_call(struct kernels *k, const void *shape, void *const data[],
                                    struct muster_error *err)
{
    return kernels_round_to(k, DTYPE_BF16, data[0], data[1], *(const int64_t *)shape, err);
}

START_TEST(special_values_are_cast_as_everywhere)
{
    static const float values[7] = {INFINITY, -INFINITY, NAN, 3.4e38f, 1e-40f, -0.0f, 1.00390625f};
    static const int64_t count = 7;
    const struct compare_array cast[] = {{.role = COMPARE_OUTPUT, .dtype = DTYPE_BF16, .count = count},
                                         {COMPARE_INPUT, DTYPE_F32, count, 0, 0, 0, values}};
    compare_run("cast_bf16", cast, 2, cast_call, &count);
}
END_TEST

START_TEST(the_sums_of_squares_agree_with_the_reference)
{
    static const struct case_squares shapes[] = {
        {1, 1}, {17, 7}, {65536, 65536}, {3072, 1024}, {300007, 131072}};
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++)
        case_squares_run(&shapes[n], 1e-7);
}
END_TEST

static Suite *cpu_rest_suite(void)
{
    Suite *suite = suite_create("cpu_rest");
    TCase *rest = tcase_create("rest");
    tcase_add_unchecked_fixture(rest, compare_open, compare_close);
    tcase_add_test(rest, attention_and_its_gradient_agree_with_the_reference);
    tcase_add_test(rest, rotary_positions_agree_with_the_reference);
    tcase_add_test(rest, embeddings_and_their_gradients_agree_with_the_reference);
    tcase_add_test(rest, swiglu_and_its_gradient_agree_with_the_reference);
    tcase_add_test(rest, dropout_drops_what_the_reference_drops);
    tcase_add_test(rest, the_optimizers_agree_with_the_reference);
    tcase_add_test(rest, an_update_cut_in_two_gives_the_same_bits);
    tcase_add_test(rest, sums_casts_and_zeros_are_exact);
    tcase_add_test(rest, special_values_are_cast_as_everywhere);
    tcase_add_test(rest, the_sums_of_squares_agree_with_the_reference);
    suite_add_tcase(suite, rest);
    return suite;
}

int main(void)
{
    return suite_run(cpu_rest_suite());
}
