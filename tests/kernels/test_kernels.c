/* SPDX-License-Identifier: MIT
 *
 * The checked wrappers: a bad argument is refused with the operation's name before a back end sees it, and
 * the reference back end reports each failed allocation and keeps nothing.
 */
#include "base/alloc.h"
#include "kernels/kernels.h"
#include "tests/suite.h"

#include <stdlib.h>

static struct kernels *ref;
static struct muster_error err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &ref, NULL), MUSTER_OK);
}

static void teardown(void)
{
    kernels_destroy(ref);
}

static void assert_refused(enum muster_status status, enum muster_status expected, const char *operation,
                           const char *why)
{
    ck_assert_int_eq(status, expected);
    ck_assert_int_eq(err.status, expected);
    ck_assert_msg(strstr(err.text, operation) != NULL, "'%s' does not name %s", err.text, operation);
    ck_assert_msg(strstr(err.text, why) != NULL, "'%s' does not say '%s'", err.text, why);
}

#define ASSERT_BAD(operation, args, why)                                                                     \
    assert_refused(kernels_##operation(ref, &(args), &err), MUSTER_ERR_INTERNAL, #operation, why)

START_TEST(every_operation_refuses_an_unset_struct_by_name)
{
    struct embedding_args embedding = {DTYPE_F32};
    struct linear_args linear = {DTYPE_F32};
    struct activation_args activation = {DTYPE_F32};
    struct norm_args norm = {DTYPE_F32};
    struct rope_args rope = {DTYPE_F32};
    struct attention_args attention = {DTYPE_F32};
    struct swiglu_args swiglu = {DTYPE_F32};
    struct dropout_args dropout = {DTYPE_F32};
    struct head_loss_args head = {DTYPE_F32};
    struct adamw_args adamw = {.count = 1};
    struct sgd_args sgd = {.count = 1};
    ASSERT_BAD(embedding_forward, embedding, "positive tokens");
    ASSERT_BAD(embedding_backward, embedding, "positive tokens");
    ASSERT_BAD(linear_forward, linear, "positive tokens");
    ASSERT_BAD(linear_backward_input, linear, "positive tokens");
    ASSERT_BAD(linear_backward_weight, linear, "positive tokens");
    ASSERT_BAD(activation_forward, activation, "positive count");
    ASSERT_BAD(activation_backward, activation, "positive count");
    ASSERT_BAD(norm_forward, norm, "positive tokens");
    ASSERT_BAD(norm_backward, norm, "positive tokens");
    ASSERT_BAD(rope, rope, "positive tokens");
    ASSERT_BAD(attention_forward, attention, "positive batch");
    ASSERT_BAD(attention_backward, attention, "positive batch");
    ASSERT_BAD(swiglu_forward, swiglu, "positive tokens");
    ASSERT_BAD(swiglu_backward, swiglu, "positive tokens");
    ASSERT_BAD(dropout, dropout, "positive count");
    ASSERT_BAD(head_loss, head, "positive tokens");
    ASSERT_BAD(adamw, adamw, "param and grad");
    ASSERT_BAD(sgd, sgd, "param, grad and momentum");
}
END_TEST

START_TEST(a_missing_array_is_named)
{
    float f[8] = {0};
    struct linear_args linear = {.tokens = 1, .in_width = 1, .out_width = 1, .x = f, .w = f};
    ASSERT_BAD(linear_forward, linear, "x, w and y");
    ASSERT_BAD(linear_backward_input, linear, "dy, w and dx");
    ASSERT_BAD(linear_backward_weight, linear, "dy, x and dw");
    struct activation_args activation = {.count = 1, .pre = f, .dy = f};
    ASSERT_BAD(activation_forward, activation, "pre and y");
    ASSERT_BAD(activation_backward, activation, "pre, dy and dx");
    struct norm_args norm = {.tokens = 1, .width = 1, .x = f, .y = f, .gain = f, .delta = f};
    ASSERT_BAD(norm_forward, norm, "residual");
    norm.residual = norm.dresidual = f;
    norm.dy = norm.rstd = f;
    ASSERT_BAD(norm_backward, norm, "mean");
    norm.kind = NORM_RMS;
    ASSERT_BAD(norm_backward, norm, "dgain");
    norm.bias = f;
    ASSERT_BAD(norm_forward, norm, "no bias");
    int32_t target = 0;
    struct head_loss_args head = {.tokens = 1, .width = 1, .vocabulary = 1, .chunk_rows = 1, .x = f, .w = f};
    head.targets = &target;
    head.loss = f;
    ASSERT_BAD(head_loss, head, "work");
    head.work = head.dx = f;
    ASSERT_BAD(head_loss, head, "dw");
}
END_TEST

START_TEST(a_shape_that_no_model_has_is_refused)
{
    float f[64] = {0};
    struct attention_args attention = {.batch = 1, .sequence = 1, .heads = 3, .kv_heads = 2, .head_width = 1};
    attention.qkv = f;
    attention.y = attention.lse = f;
    ASSERT_BAD(attention_forward, attention, "multiple of kv_heads");
    attention.kv_heads = 3;
    attention.dropout = 1.0f;
    ASSERT_BAD(attention_forward, attention, "dropout in [0, 1)");
    struct rope_args rope = {DTYPE_F32, 1, 1, 1, 1, 3, 10.0f, false, f};
    ASSERT_BAD(rope, rope, "even head_width");
    struct dropout_args dropout = {.count = 1, .p = -0.1f, .x = f, .y = f};
    ASSERT_BAD(dropout, dropout, "p in [0, 1)");
}
END_TEST

START_TEST(a_dtype_that_the_back_end_lacks_is_unsupported_and_integers_are_a_bug)
{
    struct swiglu_args a = {.dtype = DTYPE_F16, .tokens = 1, .width = 1};
    ref->dtypes &= ~(1u << DTYPE_F16);
    assert_refused(kernels_swiglu_forward(ref, &a, &err), MUSTER_ERR_UNSUPPORTED, "swiglu_forward", "dtype");
    a.dtype = DTYPE_I32;
    assert_refused(kernels_swiglu_forward(ref, &a, &err), MUSTER_ERR_INTERNAL, "swiglu_forward", "dtype");
}
END_TEST

START_TEST(vector_operations_refuse_negative_sizes_and_take_empty_ones)
{
    float f[2] = {1.0f, 2.0f};
    uint16_t narrow[2];
    double sum = -1.0;
    assert_refused(kernels_add(ref, f, f, -1, &err), MUSTER_ERR_INTERNAL, "add", "size");
    assert_refused(kernels_round_to(ref, DTYPE_BF16, narrow, f, -1, &err), MUSTER_ERR_INTERNAL, "round_to",
                   "size");
    assert_refused(kernels_fill_zero(ref, f, -1, &err), MUSTER_ERR_INTERNAL, "fill_zero", "size");
    assert_refused(kernels_sum_squares(ref, f, -1, 1, &sum, &err), MUSTER_ERR_INTERNAL, "sum_squares",
                   "count");
    assert_refused(kernels_sum_squares(ref, NULL, 1, 1, &sum, &err), MUSTER_ERR_INTERNAL, "sum_squares", "x");
    assert_refused(kernels_sum_squares(ref, f, 1, 0, &sum, &err), MUSTER_ERR_INTERNAL, "sum_squares",
                   "chunk");
    assert_refused(kernels_copy_to_host(ref, f, NULL, 4, &err), MUSTER_ERR_INTERNAL, "copy_to_host",
                   "source");
    assert_refused(kernels_copy_to_device(ref, NULL, f, 4, &err), MUSTER_ERR_INTERNAL, "copy_to_device",
                   "source");
    ck_assert_int_eq(kernels_add(ref, NULL, NULL, 0, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_fill_zero(ref, NULL, 0, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_host(ref, NULL, NULL, 0, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_sum_squares(ref, NULL, 0, 1, &sum, &err), MUSTER_OK);
    ck_assert(sum == -1.0);
}
END_TEST

START_TEST(bytes_survive_the_way_to_device_memory_and_back)
{
    const int64_t live = alloc_live_count();
    char sent[] = "forty-two bytes that go there and back too", back[sizeof sent] = "";
    void *block = NULL;
    ck_assert_int_eq(kernels_memory_allocate(ref, sizeof sent, &block, &err), MUSTER_OK);
    ck_assert_uint_eq((uintptr_t)block % 64, 0);
    ck_assert_int_eq(kernels_copy_to_device(ref, block, sent, sizeof sent, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_synchronise(ref, &err), MUSTER_OK);
    ck_assert_int_eq(kernels_copy_to_host(ref, back, block, sizeof back, &err), MUSTER_OK);
    ck_assert_str_eq(back, sent);
    kernels_memory_free(ref, block, sizeof sent);
    kernels_memory_free(ref, NULL, 0);
    ck_assert_int_eq(alloc_live_count(), live);
    alloc_fail_nth(1);
    ck_assert_int_eq(kernels_memory_allocate(ref, 64, &block, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(block);
}
END_TEST

START_TEST(the_back_end_names_itself_and_goes_away_completely)
{
    const int64_t live = alloc_live_count();
    struct kernels *k = NULL;
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &k, &err), MUSTER_OK);
    ck_assert_str_eq(k->ops->name, "ref");
    ck_assert_ptr_nonnull(k->numerics);
    ck_assert_int_eq(k->threads, 1);
    kernels_destroy(k);
    kernels_destroy(NULL);
    ck_assert_int_eq(alloc_live_count(), live);
    alloc_fail_nth(1);
    ck_assert_int_eq(kernels_ref_create(NULL, 0, &k, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(k);
}
END_TEST

/* One small call of an allocating operation. */
static enum muster_status call_head(void)
{
    static float f[8];
    static const int32_t target = 1;
    struct head_loss_args a = {
        .tokens = 1, .width = 2, .vocabulary = 2, .chunk_rows = 1, .gradient_scale = 1};
    a.x = a.w = f;
    a.targets = &target;
    a.loss = f + 4;
    a.dx = f + 5;
    a.dw = f;
    a.work = f;
    return kernels_head_loss(ref, &a, &err);
}

static enum muster_status call_linear(void)
{
    static float f[8];
    struct linear_args a = {.tokens = 1, .in_width = 2, .out_width = 2, .x = f, .w = f, .y = f + 4, .dy = f};
    a.dx = a.dw = f + 4;
    enum muster_status status = kernels_linear_forward(ref, &a, &err);
    if (status == MUSTER_OK)
        status = kernels_linear_backward_input(ref, &a, &err);
    return status == MUSTER_OK ? kernels_linear_backward_weight(ref, &a, &err) : status;
}

static enum muster_status call_norm(void)
{
    static float f[16];
    struct norm_args a = {.kind = NORM_LAYER, .epsilon = 1.0f, .tokens = 1, .width = 2, .x = f, .gain = f};
    a.residual = f;
    a.y = a.dresidual = f + 4;
    a.mean = f + 8;
    a.rstd = f + 9;
    a.dy = f + 10;
    a.dgain = f + 12;
    enum muster_status status = kernels_norm_forward(ref, &a, &err);
    return status == MUSTER_OK ? kernels_norm_backward(ref, &a, &err) : status;
}

static enum muster_status call_attention(void)
{
    static float f[16];
    struct attention_args a = {.batch = 1, .sequence = 1, .heads = 1, .kv_heads = 1, .head_width = 1};
    a.qkv = f;
    a.y = a.lse = f + 4;
    a.dy = f + 8;
    a.dqkv = f + 12;
    enum muster_status status = kernels_attention_forward(ref, &a, &err);
    return status == MUSTER_OK ? kernels_attention_backward(ref, &a, &err) : status;
}

static enum muster_status call_embedding(void)
{
    static float f[8];
    static const int32_t id = 0;
    struct embedding_args a = {.tokens = 1, .sequence = 1, .width = 1, .vocabulary = 1, .ids = &id, .dy = f};
    a.dtoken_table = a.dposition_table = f + 4;
    return kernels_embedding_backward(ref, &a, &err);
}

START_TEST(each_failed_allocation_is_reported_and_leaves_nothing_behind)
{
    static enum muster_status (*const calls[])(void) = {call_head, call_linear, call_norm, call_attention,
                                                        call_embedding};
    const int64_t live = alloc_live_count();
    const int64_t before = alloc_call_count();
    ck_assert_int_eq(calls[_i](), MUSTER_OK);
    const int64_t allocations = alloc_call_count() - before;
    ck_assert_int_gt(allocations, 0);
    for (int64_t n = 1; n <= allocations; n++) {
        memset(&err, 0, sizeof err);
        alloc_fail_nth(n);
        ck_assert_int_eq(calls[_i](), MUSTER_ERR_NO_MEMORY);
        ck_assert_int_eq(err.status, MUSTER_ERR_NO_MEMORY);
        ck_assert_int_eq(alloc_live_count(), live);
        alloc_fail_nth(0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tc = tcase_create("wrappers");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_operation_refuses_an_unset_struct_by_name);
    tcase_add_test(tc, a_missing_array_is_named);
    tcase_add_test(tc, a_shape_that_no_model_has_is_refused);
    tcase_add_test(tc, a_dtype_that_the_back_end_lacks_is_unsupported_and_integers_are_a_bug);
    tcase_add_test(tc, vector_operations_refuse_negative_sizes_and_take_empty_ones);
    tcase_add_test(tc, bytes_survive_the_way_to_device_memory_and_back);
    tcase_add_test(tc, the_back_end_names_itself_and_goes_away_completely);
    tcase_add_loop_test(tc, each_failed_allocation_is_reported_and_leaves_nothing_behind, 0, 5);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
