/* SPDX-License-Identifier: MIT
 *
 * The loader against direct reads. Nothing here waits for time: what the thread may or may not have done yet
 * must not matter. Meant to be run under ThreadSanitizer too.
 */
#include "worker/data/loader.h"

#include "base/alloc.h"
#include "tests/coordinator/data_files.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

enum { SEQ = 4, MICRO = 3, SLOTS = 6, STEPS = 5, SAMPLES = 40, IMAGE = 6 };

static struct muster_error err;
static struct dataset *dataset;
static struct sampler *sampler;

/* Windows of a ramp: the first token says which sample was read. */
static void setup(void)
{
    data_folder_create();
    data_write_ramp("a.bin", 2, SAMPLES * SEQ + 1, 0);
    struct job_sources sources = data_source(data_path("a.bin"));
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_U16, SEQ, &dataset, &err), MUSTER_OK);
    ck_assert_int_eq(sampler_create(dataset, 3, true, &sampler, &err), MUSTER_OK);
}

static void teardown(void)
{
    sampler_destroy(sampler);
    dataset_close(dataset);
    data_folder_remove();
}

static void use_images(void)
{
    sampler_destroy(sampler);
    dataset_close(dataset);
    data_write_images("i-images-idx3", "i-labels-idx1", SAMPLES, false);
    struct job_sources sources = data_source(data_path("i-images-idx3"));
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_IDX, 0, &dataset, &err), MUSTER_OK);
    ck_assert_int_eq(sampler_create(dataset, 3, true, &sampler, &err), MUSTER_OK);
}

static struct loader_options options_make(int slot_begin, int slot_end, int depth)
{
    return (struct loader_options){.micro_batch_size = MICRO,
                                   .slots_per_step = SLOTS,
                                   .slot_begin = slot_begin,
                                   .slot_end = slot_end,
                                   .last_step = STEPS,
                                   .seq_len = SEQ,
                                   .vocab_size = SAMPLES * SEQ + 1,
                                   .depth = depth};
}

static struct loader *create(const struct loader_options *options)
{
    struct loader *loader;
    enum muster_status status = loader_create(dataset, sampler, options, &loader, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    return loader;
}

static void next(struct loader *loader, struct loader_batch *batch)
{
    enum muster_status status = loader_next(loader, batch, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
}

static void check_tokens(const struct loader_batch *batch)
{
    ck_assert_ptr_null(batch->pixels);
    for (int64_t i = 0; i < MICRO; i++) {
        int64_t sample = sampler_at(sampler, (batch->step * SLOTS + batch->slot) * MICRO + i).index;
        for (int64_t j = 0; j < SEQ; j++) {
            ck_assert_int_eq(batch->ids[i * SEQ + j], sample * SEQ + j);
            ck_assert_int_eq(batch->targets[i * SEQ + j], sample * SEQ + j + 1);
        }
    }
}

START_TEST(slots_come_in_order_with_the_samples_of_their_positions)
{
    for (int depth = 1; depth <= 40; depth += 13) {
        struct loader_options options = options_make(0, SLOTS, depth);
        struct loader *loader = create(&options);
        struct loader_batch batch;
        for (int64_t k = 0; k < STEPS * SLOTS; k++) {
            next(loader, &batch);
            ck_assert_int_eq(batch.step, k / SLOTS);
            ck_assert_int_eq(batch.slot, k % SLOTS);
            check_tokens(&batch);
        }
        ck_assert_int_eq(loader_next(loader, &batch, &err), MUSTER_ERR_INTERNAL);
        loader_destroy(loader);
    }
}
END_TEST

START_TEST(images_and_labels_are_delivered)
{
    use_images();
    struct loader_options options = options_make(1, 4, 2);
    options.seq_len = 0;
    options.input_size = IMAGE;
    options.vocab_size = 10;
    struct loader *loader = create(&options);
    struct loader_batch batch;
    for (int k = 0; k < STEPS * 3; k++) {
        next(loader, &batch);
        ck_assert_ptr_null(batch.ids);
        for (int64_t i = 0; i < MICRO; i++) {
            int64_t sample = sampler_at(sampler, (batch.step * SLOTS + batch.slot) * MICRO + i).index;
            ck_assert_int_eq(batch.targets[i], sample % 10);
            ck_assert(batch.pixels[i * IMAGE + 5] == (float)(sample * IMAGE + 5) / 255.0f);
        }
    }
    loader_destroy(loader);
}
END_TEST

START_TEST(the_slots_of_all_ranks_are_those_of_one)
{
    static int32_t alone[STEPS][SLOTS][MICRO * SEQ], together[STEPS][SLOTS][MICRO * SEQ];
    for (int ranks = 1; ranks <= 3; ranks++) {
        memset(together, -1, sizeof together);
        for (int rank = 0; rank < ranks; rank++) {
            /* uneven blocks where the ranks do not divide the slots */
            int begin = rank * SLOTS / ranks + (ranks == 2 && rank == 1),
                end = (rank + 1) * SLOTS / ranks + (ranks == 2 && rank == 0);
            struct loader_options options = options_make(begin, end, 2);
            struct loader *loader = create(&options);
            for (int k = 0; k < STEPS * (end - begin); k++) {
                struct loader_batch batch;
                next(loader, &batch);
                ck_assert_int_eq(together[batch.step][batch.slot][0], -1);
                memcpy(together[batch.step][batch.slot], batch.ids, sizeof together[0][0]);
            }
            loader_destroy(loader);
        }
        if (ranks == 1)
            memcpy(alone, together, sizeof alone);
        ck_assert_mem_eq(alone, together, sizeof alone);
    }
}
END_TEST

START_TEST(a_later_first_step_continues_the_same_sequence)
{
    struct loader_options options = options_make(2, 5, 2);
    options.first_step = 3;
    struct loader *loader = create(&options);
    struct loader_batch batch;
    for (int k = 0; k < 2 * 3; k++) {
        next(loader, &batch);
        ck_assert_int_eq(batch.step, 3 + k / 3);
        ck_assert_int_eq(batch.slot, 2 + k % 3);
        check_tokens(&batch);
    }
    ck_assert_int_eq(loader_next(loader, &batch, &err), MUSTER_ERR_INTERNAL);
    loader_destroy(loader);
}
END_TEST

START_TEST(a_batch_stays_as_it_is_until_the_next_call)
{
    struct loader_options options = options_make(0, SLOTS, 1);
    options.last_step = 2000;
    struct loader *loader = create(&options);
    struct loader_batch batch;
    for (int64_t k = 0; k < 2000 * SLOTS; k++) {
        next(loader, &batch);
        check_tokens(&batch);
        check_tokens(&batch); /* the thread is filling the other entry meanwhile */
    }
    loader_destroy(loader);
}
END_TEST

/* The first slot, in order of positions, whose samples contain a token at or above `limit`. */
static int64_t first_bad_slot(int64_t limit)
{
    for (int64_t slot = 0;; slot++) {
        for (int64_t i = 0; i < MICRO; i++) {
            if (sampler_at(sampler, slot * MICRO + i).index * SEQ + SEQ >= limit)
                return slot;
        }
    }
}

START_TEST(an_error_comes_out_at_its_own_slot_and_stays)
{
    const int64_t limit = SAMPLES * SEQ; /* only the last window has a token outside */
    int64_t bad = first_bad_slot(limit);
    for (int depth = 1; depth <= 64; depth *= 4) {
        struct loader_options options = options_make(0, SLOTS, depth);
        options.vocab_size = limit;
        options.last_step = 100;
        struct loader *loader = create(&options);
        struct loader_batch batch;
        for (int64_t k = 0; k < bad; k++) {
            next(loader, &batch);
            check_tokens(&batch);
        }
        for (int again = 0; again < 3; again++) {
            ck_assert_int_eq(loader_next(loader, &batch, &err), MUSTER_ERR_CORRUPT);
            ck_assert_ptr_nonnull(strstr(err.text, "a.bin: byte offset 320: token 160 is not below"));
        }
        loader_destroy(loader);
    }
}
END_TEST

START_TEST(the_first_error_is_the_one_reported)
{
    const int64_t limit = SAMPLES * SEQ / 2; /* half of the windows are bad */
    int64_t bad = first_bad_slot(limit);
    int32_t inputs[SEQ], targets[SEQ];
    struct muster_error expected = {.status = MUSTER_OK};
    for (int64_t i = bad * MICRO; expected.status == MUSTER_OK; i++)
        dataset_read_tokens(dataset, 0, sampler_at(sampler, i).index, limit, inputs, targets, &expected);
    for (int depth = 7; depth < 70; depth += 9) {
        struct loader_options options = options_make(0, SLOTS, depth);
        options.vocab_size = limit;
        options.last_step = 1000;
        struct loader *loader = create(&options);
        struct loader_batch batch;
        for (int64_t k = 0; k < bad; k++)
            next(loader, &batch);
        for (int again = 0; again < 1000; again++) {
            ck_assert_int_eq(loader_next(loader, &batch, &err), MUSTER_ERR_CORRUPT);
            ck_assert_str_eq(err.text, expected.text);
        }
        loader_destroy(loader);
    }
}
END_TEST

START_TEST(it_ends_whatever_the_thread_is_doing)
{
    for (int round = 0; round < 300; round++) {
        struct loader_options options = options_make(0, SLOTS, 1 + round % 3);
        options.last_step = 1 << 20;
        struct loader *loader = create(&options);
        struct loader_batch batch;
        for (int k = 0; k < round % 7; k++)
            next(loader, &batch);
        loader_destroy(loader); /* the ring is full, or about to be, or the thread has not begun */
    }
    loader_destroy(NULL);
}
END_TEST

START_TEST(nothing_is_allocated_after_creation)
{
    struct loader_options options = options_make(0, SLOTS, 3);
    struct loader *loader = create(&options);
    struct loader_batch batch;
    int64_t calls = alloc_call_count();
    for (int64_t k = 0; k < STEPS * SLOTS; k++)
        next(loader, &batch);
    ck_assert_int_eq(alloc_call_count(), calls);
    loader_destroy(loader);
    ck_assert_int_eq(alloc_call_count(), calls);
}
END_TEST

START_TEST(no_steps_are_no_error)
{
    struct loader_options options = options_make(0, SLOTS, 1);
    options.first_step = options.last_step = 7;
    struct loader *loader = create(&options);
    struct loader_batch batch;
    ck_assert_int_eq(loader_next(loader, &batch, &err), MUSTER_ERR_INTERNAL);
    loader_destroy(loader);
}
END_TEST

START_TEST(requests_that_make_no_sense_are_refused)
{
    struct loader *loader;
    for (int i = 0; i < 10; i++) {
        struct loader_options options = options_make(0, SLOTS, 1);
        if (i == 0)
            options.depth = 0;
        if (i == 1)
            options.slot_end = SLOTS + 1;
        if (i == 2)
            options.slot_begin = -1;
        if (i == 3)
            options.slot_begin = SLOTS;
        if (i == 4)
            options.first_step = STEPS + 1;
        if (i == 5)
            options.micro_batch_size = 0;
        if (i == 6)
            options.seq_len = SEQ - 1;
        if (i == 7)
            options.last_step = (int64_t)1 << 60;
        if (i == 8)
            options.micro_batch_size = INT64_MAX;
        if (i == 9)
            options.vocab_size = 0;
        int64_t live = alloc_live_count();
        ck_assert_int_eq(loader_create(dataset, sampler, &options, &loader, &err), MUSTER_ERR_INTERNAL);
        ck_assert_ptr_null(loader);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    struct loader_options huge = options_make(0, 1, INT32_MAX - 1);
    huge.slots_per_step = huge.last_step = 1;
    huge.micro_batch_size = (int64_t)1 << 59;
    ck_assert_int_eq(loader_create(dataset, sampler, &huge, &loader, &err), MUSTER_ERR_NO_MEMORY);
    use_images();
    struct loader_options images = options_make(0, SLOTS, 1);
    images.input_size = IMAGE - 1;
    ck_assert_int_eq(loader_create(dataset, sampler, &images, &loader, &err), MUSTER_ERR_INTERNAL);
}
END_TEST

START_TEST(short_memory_is_reported_and_nothing_leaks)
{
    struct loader_options options = options_make(0, SLOTS, 2);
    int64_t live = alloc_live_count();
    bool failed = true;
    for (int n = 1; failed; n++) {
        struct loader *loader;
        alloc_fail_nth(n);
        enum muster_status status = loader_create(dataset, sampler, &options, &loader, &err);
        alloc_fail_nth(0);
        failed = status != MUSTER_OK;
        ck_assert(!failed || status == MUSTER_ERR_NO_MEMORY);
        loader_destroy(loader);
        ck_assert_int_eq(alloc_live_count(), live);
        ck_assert(n > 3 || failed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, slots_come_in_order_with_the_samples_of_their_positions);
    tcase_add_test(tcase, images_and_labels_are_delivered);
    tcase_add_test(tcase, the_slots_of_all_ranks_are_those_of_one);
    tcase_add_test(tcase, a_later_first_step_continues_the_same_sequence);
    tcase_add_test(tcase, a_batch_stays_as_it_is_until_the_next_call);
    tcase_add_test(tcase, an_error_comes_out_at_its_own_slot_and_stays);
    tcase_add_test(tcase, the_first_error_is_the_one_reported);
    tcase_add_test(tcase, it_ends_whatever_the_thread_is_doing);
    tcase_add_test(tcase, nothing_is_allocated_after_creation);
    tcase_add_test(tcase, no_steps_are_no_error);
    tcase_add_test(tcase, requests_that_make_no_sense_are_refused);
    tcase_add_test(tcase, short_memory_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
