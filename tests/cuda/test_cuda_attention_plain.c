/* SPDX-License-Identifier: MIT
 *
 * The plain attention kernels judged by the reference; compare_emulated.c says what each comparison checks.
 */

#include "kernels/cuda/cuda_internal.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/cases.h"
#include "tests/suite.h"

/* Sequences on both sides of a tile border; heads of one, two and four slices, whole and not. */
static const int64_t attention_sizes[][5] = {{1, 1, 1, 1, 1},    {2, 5, 3, 3, 7},    {1, 64, 2, 1, 16},
                                             {2, 65, 4, 2, 8},   {1, 130, 1, 1, 24}, {1, 33, 2, 2, 80},
                                             {1, 17, 6, 2, 128}, {1, 70, 1, 1, 200}};
enum { ATTENTION_SIZES = sizeof attention_sizes / sizeof *attention_sizes };

START_TEST(attention_and_its_gradient_agree_with_the_reference)
{
    for (int variant = 0; variant < 4; variant++) {
        const int64_t *n = attention_sizes[_i];
        struct case_attention s = {tolerance_dtypes[variant % 3], n[0], n[1], n[2], n[3], n[4], 0.0f};
        s.dropout = variant < 3 ? 0.0f : 0.3f;
        case_attention_run(&s, tolerance_of(s.dtype));
    }
}
END_TEST

static enum muster_status large_scores_call(struct kernels *k, const void *shape, void *const data[],
                                            struct muster_error *err)
{
    (void)shape;
    struct attention_args a = {.batch = 1, .sequence = 70, .heads = 1, .kv_heads = 1, .head_width = 4};
    a.qkv = data[0], a.y = data[1], a.lse = data[2];
    return kernels_attention_forward(k, &a, err);
}

START_TEST(scores_of_any_size_give_finite_results)
{
    const struct compare_array arrays[] = {{COMPARE_INPUT, DTYPE_F32, 70 * 12, 0, -60, 60, NULL},
                                           {COMPARE_OUTPUT, DTYPE_F32, 70 * 4, 1e-3, 0, 0, NULL},
                                           {COMPARE_OUTPUT, DTYPE_F32, 70, 1e-5, 0, 0, NULL}};
    compare_run("large scores", arrays, 3, large_scores_call, NULL);
}
END_TEST

START_TEST(heads_wider_than_256_are_unsupported)
{
    struct muster_error err = {0};
    struct attention_args a = {.batch = 1, .sequence = 1, .heads = 1, .kv_heads = 1, .head_width = 257};
    ck_assert_int_eq(cuda_attention_forward_plain(compare_subject(), &a, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "257"));
    ck_assert_int_eq(cuda_attention_backward_plain(compare_subject(), &a, &err), MUSTER_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(a_scratch_block_that_is_too_small_is_refused)
{
    struct muster_error err = {0};
    struct kernels *k = compare_subject();
    const int64_t scratch_bytes = k->scratch_bytes;
    struct attention_args a = {.batch = 2, .sequence = 10, .heads = 2, .kv_heads = 1, .head_width = 4};
    k->scratch_bytes = 2 * 10 * 2 * 4 - 1;
    ck_assert_int_eq(cuda_attention_backward_plain(k, &a, &err), MUSTER_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "scratch"));
    k->scratch_bytes = scratch_bytes;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plain attention");
    TCase *cases = tcase_create("plain attention");
    tcase_add_unchecked_fixture(cases, compare_open, compare_close);
    tcase_add_loop_test(cases, attention_and_its_gradient_agree_with_the_reference, 0, ATTENTION_SIZES);
    tcase_add_test(cases, scores_of_any_size_give_finite_results);
    tcase_add_test(cases, heads_wider_than_256_are_unsupported);
    tcase_add_test(cases, a_scratch_block_that_is_too_small_is_refused);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
