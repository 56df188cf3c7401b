/* SPDX-License-Identifier: MIT
 *
 * The training step on one rank: it asks the heap for nothing, its sums are those of the tree, worked out
 * here anew, a number that is not finite leaves the weights alone, and what is allocated is what was planned.
 * The last is seen at the door to the heap: the linker puts the functions below in front of base/alloc.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/tree.h"
#include "tests/coordinator/data_files.h"
#include "tests/worker/train_fixture.h"
#include "tests/suite.h"

enum { TEXT_BYTES = 20000 };

static int64_t pages_asked, heap_asked; /* bytes */

void *__real_alloc_pages(size_t bytes);
void *__wrap_alloc_pages(size_t bytes);
void *__wrap_alloc_pages(size_t bytes)
{
    pages_asked += (int64_t)bytes;
    return __real_alloc_pages(bytes);
}

void *__real_alloc_zeroed(size_t count, size_t size);
void *__wrap_alloc_zeroed(size_t count, size_t size);
void *__wrap_alloc_zeroed(size_t count, size_t size)
{
    heap_asked += (int64_t)(count * size);
    return __real_alloc_zeroed(count, size);
}

void *__real_alloc_aligned(size_t bytes, size_t alignment);
void *__wrap_alloc_aligned(size_t bytes, size_t alignment);
void *__wrap_alloc_aligned(size_t bytes, size_t alignment)
{
    heap_asked += (int64_t)bytes;
    return __real_alloc_aligned(bytes, alignment);
}

static struct train_fixture fixture;
static struct muster_error err;

static void must(enum muster_status status)
{
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
}

static void setup(void)
{
    static char text[TEXT_BYTES];
    uint32_t state = 1;
    for (int i = 0; i < TEXT_BYTES; i++) {
        state = state * 1664525u + 1013904223u;
        text[i] = (char)('a' + (state >> 24) % 26);
    }
    data_folder_create();
    data_write("text", text, sizeof text);
}

static void teardown(void)
{
    data_folder_remove();
}

static struct train_fixture_options options_of(int i)
{
    return (struct train_fixture_options){.type = i % 2 ? "llama" : "gpt",
                                          .precision = i / 2 % 2 ? "bf16" : "fp32",
                                          .data_path = data_path("text"),
                                          .logical_workers = 12,
                                          .threads = 2,
                                          .zero_stage = 1,
                                          .ranks = 1};
}

static void start(const struct train_fixture_options *options)
{
    train_fixture_init(&fixture, options);
    must(train_fixture_build(&fixture, &err));
    must(rank_state_initialise(fixture.state, fixture.comm, &err));
}

static void run(struct loader *loader, int64_t number, struct train_step_result *result)
{
    must(train_step_run(fixture.step, loader, number, 0, result, &err));
}

START_TEST(the_step_loop_allocates_nothing)
{
    struct train_fixture_options options = options_of(_i);
    struct train_step_result result;
    start(&options);
    struct loader *loader = train_fixture_loader(&fixture);
    run(loader, 0, &result);
    int64_t calls = alloc_call_count();
    double first_loss = result.loss;
    for (int number = 1; number < 4; number++)
        run(loader, number, &result);
    ck_assert_int_eq(alloc_call_count(), calls);
    ck_assert_msg(result.loss != first_loss, "nothing was trained");
    loader_destroy(loader);
    train_fixture_release(&fixture);
}
END_TEST

START_TEST(what_was_planned_is_what_is_allocated)
{
    struct train_fixture_options options = options_of(_i);
    struct plan_memory planned;
    options.ranks = _i / 4 ? 5 : 1; /* 5 ranks with each ZeRO stage */
    options.zero_stage = _i / 4 ? _i / 4 - 1 : 1;
    train_fixture_init(&fixture, &options);
    must(plan_rank_memory(fixture.plan, 0, &planned, &err));
    pages_asked = heap_asked = 0;
    must(rank_state_create(fixture.job, fixture.plan, 0, NULL, NULL, &fixture.state, &err));
    ck_assert_int_eq(pages_asked, planned.total_bytes);
    /* beyond it tables only: nothing that grows with the model's weights or the batch */
    ck_assert_int_lt(heap_asked, 256 * 1024);
    int64_t at = 0;
    for (int region = 0; region < PLAN_REGION_COUNT; region++) {
        ck_assert_int_ge(planned.region[region].offset, at);
        at = planned.region[region].offset + planned.region[region].bytes;
    }
    ck_assert_int_le(at, planned.total_bytes);
    ck_assert_int_eq(fixture.plan->zero_stage, options.zero_stage);
    train_fixture_release(&fixture);
}
END_TEST

/* ---- the tree ---- */

/* Adds the second half of leaves [begin, end) to the first, recursively; halves end at powers of two. */
static void tree_add(float *leaves, int64_t count, int begin, int end)
{
    if (end - begin < 2)
        return;
    int half = 1;
    while (half * 2 < end - begin)
        half *= 2;
    tree_add(leaves, count, begin, begin + half);
    tree_add(leaves, count, begin + half, end);
    for (int64_t i = 0; i < count; i++)
        leaves[begin * count + i] += leaves[(begin + half) * count + i];
}

/* The gradients of every logical worker of step 0, side by side; *loss is their losses' sum in tree order. */
static float *leaves_compute(double *loss)
{
    const struct plan *plan = fixture.plan;
    float *leaves = calloc((size_t)(plan->logical_workers * plan->flat_count), sizeof *leaves);
    float *host = calloc((size_t)train_step_result_floats(plan), sizeof *host);
    double *losses = calloc((size_t)plan->logical_workers, sizeof *losses);
    ck_assert(leaves && host && losses);
    struct loader *loader = train_fixture_loader(&fixture);
    for (int slot = 0; slot < plan->slots; slot++) {
        int leaf = slot / plan->slots_per_worker;
        struct executor_step micro = {.seed = (uint64_t)fixture.job->seed,
                                      .slot = slot,
                                      .gradient_scale = (float)(1.0 / (double)plan->step_tokens),
                                      .gradients = leaves + leaf * plan->flat_count};
        struct loader_batch batch;
        double slot_loss, correct;
        must(loader_next(loader, &batch, &err));
        must(train_step_feed(fixture.state, &batch, &err));
        must(executor_run(fixture.state->executor, &micro, &err));
        must(train_step_fetch(fixture.state, host, &err));
        train_step_sum(plan, host, &slot_loss, &correct);
        losses[leaf] += slot_loss;
    }
    *loss = tree_sum(losses, plan->logical_workers);
    loader_destroy(loader);
    free(losses);
    free(host);
    return leaves;
}

/* Any other order of the same sums would be seen: left to right gives other bits. */
START_TEST(a_step_adds_gradients_in_tree_order_and_in_no_other)
{
    struct train_fixture_options options = options_of(_i);
    struct train_step_result result;
    double loss;
    options.logical_workers = _i < 4 ? 12 : 6;
    start(&options);
    int64_t count = fixture.plan->flat_count, differing = 0;
    int leaf_count = fixture.plan->logical_workers;
    float *leaves = leaves_compute(&loss);
    float *in_line = calloc((size_t)count, sizeof *in_line);
    ck_assert_ptr_nonnull(in_line);
    for (int64_t i = 0; i < count; i++)
        for (int leaf = 0; leaf < leaf_count; leaf++)
            in_line[i] += leaves[leaf * count + i];
    tree_add(leaves, count, 0, leaf_count);
    struct loader *loader = train_fixture_loader(&fixture);
    run(loader, 0, &result);
    /* on one rank the reduced gradient is the root's, in the first buffer */
    ck_assert_int_eq(memcmp(fixture.state->gradients, leaves, (size_t)count * sizeof *leaves), 0);
    ck_assert(result.loss == loss / (double)fixture.plan->step_tokens);
    for (int64_t i = 0; i < count; i++)
        differing += in_line[i] != leaves[i];
    ck_assert_msg(differing > count / 20, "%lld of %lld sums depend on the order", (long long)differing,
                  (long long)count);
    double squares = 0.0;
    for (int64_t i = 0; i < count; i++)
        squares += (double)leaves[i] * (double)leaves[i];
    ck_assert_double_le(fabs(result.grad_norm - sqrt(squares)), 1e-6 * sqrt(squares));
    loader_destroy(loader);
    free(in_line);
    free(leaves);
    train_fixture_release(&fixture);
}
END_TEST

/* ---- what goes wrong ---- */

/* The first value of one parameter becomes infinite. */
static void weight_spoil(const char *name)
{
    const struct ckpt_layout *layout = &fixture.state->layout;
    int i = 0;
    while (i < layout->tensor_count && strcmp(layout->tensors[i].name, name) != 0)
        i++;
    ck_assert_int_lt(i, layout->tensor_count);
    const struct ckpt_piece *piece = fixture.state->pieces;
    while (layout->tensors[i].offset < piece->begin || layout->tensors[i].offset >= piece->end)
        piece++;
    piece->data[0][layout->tensors[i].offset - piece->begin] = INFINITY;
}

START_TEST(a_loss_that_is_not_finite_leaves_the_state_alone)
{
    struct train_fixture_options options = options_of(_i);
    struct train_step_result result;
    start(&options);
    const struct plan_memory *memory = &fixture.state->memory;
    struct loader *loader = train_fixture_loader(&fixture);
    run(loader, 0, &result);
    weight_spoil("norm_final.weight");
    must(rank_state_publish_params(fixture.state, fixture.comm, &err));
    /* weights, master weights and both moments stand before the gradients */
    size_t bytes = (size_t)memory->region[PLAN_REGION_GRADIENTS].offset;
    char *before = malloc(bytes);
    ck_assert_ptr_nonnull(before);
    memcpy(before, fixture.state->block, bytes);
    ck_assert_int_eq(train_step_run(fixture.step, loader, 1, 0, &result, &err), MUSTER_ERR_NUMERIC);
    ck_assert_ptr_nonnull(strstr(err.text, "step 2: loss"));
    ck_assert_int_eq(memcmp(before, fixture.state->block, bytes), 0);
    free(before);
    loader_destroy(loader);
    train_fixture_release(&fixture);
}
END_TEST

START_TEST(a_flag_raised_before_a_step_comes_out_of_it)
{
    struct train_fixture_options options = options_of(0);
    struct train_step_result result;
    start(&options);
    struct loader *loader = train_fixture_loader(&fixture);
    must(train_step_run(fixture.step, loader, 0, TRAIN_FLAG_STOP, &result, &err));
    ck_assert_uint_eq(result.flags, TRAIN_FLAG_STOP);
    run(loader, 1, &result);
    ck_assert_uint_eq(result.flags, 0);
    loader_destroy(loader);
    train_fixture_release(&fixture);
}
END_TEST

START_TEST(whatever_allocation_fails_is_said_and_leaks_nothing)
{
    struct train_fixture_options options = options_of(_i);
    train_fixture_init(&fixture, &options);
    must(train_fixture_build(&fixture, &err));
    train_fixture_release_build(&fixture);
    int64_t live = alloc_live_count();
    enum muster_status status = MUSTER_ERR_NO_MEMORY;
    int n = 0;
    while (status != MUSTER_OK) {
        ck_assert_int_lt(n, 1000);
        alloc_fail_nth(++n);
        status = train_fixture_build(&fixture, &err);
        alloc_fail_nth(0);
        ck_assert_msg(status == MUSTER_OK || status == MUSTER_ERR_NO_MEMORY, "allocation %d: %s", n,
                      err.text);
        train_fixture_release_build(&fixture);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    ck_assert_int_gt(n, 10);
    train_fixture_release(&fixture);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("training step");
    tcase_set_timeout(tcase, 0);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, the_step_loop_allocates_nothing, 0, 4);
    tcase_add_loop_test(tcase, what_was_planned_is_what_is_allocated, 0, 20);
    tcase_add_loop_test(tcase, a_step_adds_gradients_in_tree_order_and_in_no_other, 0, 8);
    tcase_add_loop_test(tcase, a_loss_that_is_not_finite_leaves_the_state_alone, 0, 4);
    tcase_add_test(tcase, a_flag_raised_before_a_step_comes_out_of_it);
    tcase_add_loop_test(tcase, whatever_allocation_fails_is_said_and_leaks_nothing, 0, 4);
    Suite *suite = suite_create("train_step");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
