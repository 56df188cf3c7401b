/* SPDX-License-Identifier: MIT
 *
 * Memory, copies, order and recordings of the CUDA back end, through the plug-in named by MUSTER_CUDA_PLUGIN.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "kernels/cuda/cuda_plugin.h"
#include "tests/kernels/compare.h"
#include "tests/suite.h"

static void ok(enum muster_status status, const struct muster_error *err)
{
    if (status != MUSTER_OK)
        ck_abort_msg("%s", err->text);
}

static void *device_block(int64_t bytes)
{
    struct muster_error err = {0};
    void *block = NULL;
    ok(kernels_memory_allocate(compare_subject(), bytes, &block, &err), &err);
    return block;
}

static void *pinned_block(int64_t bytes)
{
    struct muster_error err = {0};
    void *block = NULL;
    ok(kernels_memory_allocate_host(compare_subject(), bytes, &block, &err), &err);
    return block;
}

/* Byte i of a pattern that no shift or swap of pieces leaves as it is. */
static unsigned char pattern(int64_t i)
{
    return (unsigned char)((uint64_t)i * 0x9E3779B97F4A7C15u >> 56);
}

START_TEST(an_array_larger_than_the_staging_ring_arrives_whole)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    const int64_t bytes = (20 << 20) + 12345;
    unsigned char *host = alloc_zeroed((size_t)bytes, 1), *back = alloc_zeroed((size_t)bytes, 1);
    void *device = device_block(bytes);
    ck_assert(host != NULL && back != NULL);
    for (int64_t i = 0; i < bytes; i++)
        host[i] = pattern(i);
    ok(kernels_copy_to_device(k, device, host, bytes, &err), &err);
    ok(kernels_copy_to_host(k, back, device, bytes, &err), &err);
    ck_assert(memcmp(host, back, (size_t)bytes) == 0);
    kernels_memory_free(k, device, bytes);
    alloc_free(host);
    alloc_free(back);
}
END_TEST

START_TEST(host_memory_may_be_reused_as_soon_as_a_copy_returns)
{
    enum { COPIES = 3000, PIECE = 7001 };
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    static unsigned char host[PIECE], back[PIECE];
    unsigned char *device = device_block((int64_t)COPIES * PIECE);
    for (int c = 0; c < COPIES; c++) {
        memset(host, c % 251, PIECE);
        ok(kernels_copy_to_device(k, device + (int64_t)c * PIECE, host, PIECE, &err), &err);
    }
    for (int c = 0; c < COPIES; c += 7) {
        ok(kernels_copy_to_host(k, back, device + (int64_t)c * PIECE, PIECE, &err), &err);
        ck_assert_int_eq(back[0], c % 251);
        ck_assert_int_eq(back[PIECE - 1], c % 251);
    }
    kernels_memory_free(k, device, (int64_t)COPIES * PIECE);
}
END_TEST

START_TEST(copies_of_nothing_are_done_at_once)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    ok(kernels_copy_to_device(k, NULL, NULL, 0, &err), &err);
    ok(kernels_copy_to_host(k, NULL, NULL, 0, &err), &err);
    ok(kernels_copy_to_host_later(k, NULL, NULL, 0, &err), &err);
    ok(kernels_copy_on_device(k, NULL, NULL, 0, &err), &err);
    ok(kernels_fill_zero(k, NULL, 0, &err), &err);
}
END_TEST

START_TEST(copies_on_the_device_and_later_copies_keep_their_order)
{
    enum { COUNT = 1000 };
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    static float ones[COUNT];
    float *x = device_block(sizeof ones), *y = device_block(sizeof ones),
          *seen = pinned_block(2 * sizeof ones);
    for (int i = 0; i < COUNT; i++)
        ones[i] = 1.0f;
    ok(kernels_copy_to_device(k, x, ones, sizeof ones, &err), &err);
    ok(kernels_copy_on_device(k, y, x, sizeof ones, &err), &err);
    ok(kernels_add(k, y, x, COUNT, &err), &err);
    ok(kernels_copy_to_host_later(k, seen, y, sizeof ones, &err), &err);
    ok(kernels_fill_zero(k, y, sizeof ones, &err), &err);
    ok(kernels_copy_to_host_later(k, seen + COUNT, y, sizeof ones, &err), &err);
    ok(kernels_synchronise(k, &err), &err);
    for (int i = 0; i < COUNT; i++) {
        ck_assert(seen[i] == 2.0f);
        ck_assert(seen[COUNT + i] == 0.0f);
    }
    kernels_memory_free_host(k, seen, 2 * sizeof ones);
    kernels_memory_free(k, x, sizeof ones);
    kernels_memory_free(k, y, sizeof ones);
}
END_TEST

START_TEST(a_recording_runs_on_what_its_arrays_hold_then)
{
    enum { COUNT = 777, RUNS = 3 };
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    static float host[COUNT];
    void *recorded = NULL;
    float *x = device_block(sizeof host), *y = device_block(sizeof host);
    double *sum = pinned_block(sizeof *sum);
    ok(kernels_fill_zero(k, y, sizeof host, &err), &err);
    ok(kernels_capture_begin(k, &err), &err);
    ok(kernels_add(k, y, x, COUNT, &err), &err);
    ok(kernels_sum_squares(k, y, COUNT, COUNT, sum, &err), &err);
    ok(kernels_capture_end(k, &recorded, &err), &err);
    *sum = -1.0;
    ok(kernels_synchronise(k, &err), &err);
    ck_assert(*sum == -1.0);
    for (int run = 1; run <= RUNS; run++) {
        for (int i = 0; i < COUNT; i++)
            host[i] = (float)run;
        ok(kernels_copy_to_device(k, x, host, sizeof host, &err), &err);
        ok(kernels_capture_run(k, recorded, &err), &err);
        ok(kernels_synchronise(k, &err), &err);
        ck_assert(*sum == COUNT * (run * (run + 1) / 2.0) * (run * (run + 1) / 2.0));
    }
    kernels_capture_free(k, recorded);
    kernels_memory_free_host(k, sum, sizeof *sum);
    kernels_memory_free(k, x, sizeof host);
    kernels_memory_free(k, y, sizeof host);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_refused_and_the_recording_goes_on)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    float one = 1.0f, back = 0.0f;
    void *recorded = NULL;
    float *x = device_block(sizeof one), *y = device_block(sizeof one);
    ok(kernels_copy_to_device(k, x, &one, sizeof one, &err), &err);
    ok(kernels_fill_zero(k, y, sizeof one, &err), &err);
    ok(kernels_capture_begin(k, &err), &err);
    ck_assert_int_eq(kernels_copy_to_device(k, x, &back, sizeof one, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "copy_to_device cannot be recorded"));
    ck_assert_int_eq(kernels_copy_to_host(k, &back, x, sizeof one, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(kernels_synchronise(k, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(kernels_capture_begin(k, &err), MUSTER_ERR_UNSUPPORTED);
    ok(kernels_add(k, y, x, 1, &err), &err);
    ok(kernels_capture_end(k, &recorded, &err), &err);
    ok(kernels_capture_run(k, recorded, &err), &err);
    ok(kernels_copy_to_host(k, &back, y, sizeof one, &err), &err);
    ck_assert(back == 1.0f);
    kernels_capture_free(k, recorded);
    kernels_memory_free(k, x, sizeof one);
    kernels_memory_free(k, y, sizeof one);
}
END_TEST

START_TEST(ending_a_recording_that_was_not_begun_fails_and_says_so)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    void *recorded = &err;
    ck_assert_int_ne(kernels_capture_end(k, &recorded, &err), MUSTER_OK);
    ck_assert_ptr_null(recorded);
    ck_assert_ptr_nonnull(strstr(err.text, "capture_end"));
    ok(kernels_synchronise(k, &err), &err);
}
END_TEST

START_TEST(more_memory_than_there_is_is_refused_with_its_size)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    void *block = NULL;
    ck_assert_int_eq(kernels_memory_allocate(k, (int64_t)1 << 50, &block, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(block);
    ck_assert_ptr_nonnull(strstr(err.text, "1125899906842624"));
    ok(kernels_synchronise(k, &err), &err);
}
END_TEST

/* A real device keeps its own size. */
START_TEST(the_libraries_are_left_some_memory)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    struct cuda_device_info info;
    void *block = NULL;
    setenv("MUSTER_STANDIN_MEMORY", "700000000", 1);
    ok(cuda_plugin_open(&plugin, &err), &err);
    ok(plugin->device_info(0, &info, &err), &err);
    const int64_t much = info.free_bytes - (64 << 20), fine = info.free_bytes - ((int64_t)512 << 20);
    ck_assert_int_eq(kernels_memory_allocate(k, much, &block, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(block);
    ok(kernels_memory_allocate(k, fine, &block, &err), &err);
    kernels_memory_free(k, block, fine);
    unsetenv("MUSTER_STANDIN_MEMORY");
}
END_TEST

START_TEST(the_device_describes_itself)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    struct cuda_device_info info;
    int count = 0;
    ok(cuda_plugin_open(&plugin, &err), &err);
    ok(plugin->device_count(&count, &err), &err);
    ck_assert_int_ge(count, 1);
    ok(plugin->device_info(0, &info, &err), &err);
    ck_assert(strncmp(info.uuid, "GPU-", 4) == 0 && strlen(info.uuid) == 40);
    ck_assert(info.uuid[12] == '-' && info.uuid[17] == '-' && info.uuid[22] == '-' && info.uuid[27] == '-');
    ck_assert(info.name[0] != '\0' && info.pci_bus_id[0] != '\0');
    ck_assert(info.memory_bytes > 0 && info.free_bytes > 0 && info.free_bytes <= info.memory_bytes);
    ck_assert_int_eq(plugin->device_info(count, &info, &err), MUSTER_ERR_BAD_INPUT);
    const struct cuda_kernels_options beyond = {.device = count};
    struct kernels *none = NULL;
    ck_assert_int_eq(plugin->kernels_create(&beyond, &none, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(numerics_name_the_device_and_the_libraries)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    const struct cuda_kernels_options options = {.device = 0, .allow_tf32 = true};
    struct cuda_device_info info;
    char device[160];
    struct kernels *k = NULL;
    ok(cuda_plugin_open(&plugin, &err), &err);
    ok(plugin->kernels_create(&options, &k, &err), &err);
    ok(plugin->device_info(0, &info, &err), &err);
    snprintf(device, sizeof device, "cuda %.64s sm_%d%d %d SMs ", info.name, info.compute_major,
             info.compute_minor, info.multiprocessor_count);
    ck_assert_msg(strncmp(k->numerics, device, strlen(device)) == 0, "%s", k->numerics);
    ck_assert_ptr_nonnull(strstr(k->numerics, "cuBLASLt "));
    ck_assert_ptr_nonnull(strstr(k->numerics, "cuDNN"));
    ck_assert_ptr_nonnull(strstr(k->numerics, " tf32"));
    ck_assert_ptr_null(strstr(compare_subject()->numerics, " tf32"));
    ck_assert_ptr_nonnull(kernels_stream(k));
    kernels_destroy(k);
}
END_TEST

/* What takes how long, the stand-in says to the microsecond
 * (tests/run/a_gpu_step_asks_for_no_more_than_it_needs.sh). */
START_TEST(a_stretch_of_the_stream_is_timed_without_waiting_for_it)
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    const int64_t bytes = 32 << 20;
    double seconds = -1.0, nothing = -1.0;
    void *block = device_block(bytes);
    ok(kernels_timer_begin(k, &err), &err);
    ok(kernels_timer_end(k, &err), &err);
    ok(kernels_synchronise(k, &err), &err);
    ok(kernels_timer_seconds(k, &nothing, &err), &err);
    const double started = clock_seconds();
    ok(kernels_timer_begin(k, &err), &err);
    for (int i = 0; i < 4; i++)
        ok(kernels_fill_zero(k, block, bytes, &err), &err);
    ok(kernels_timer_end(k, &err), &err);
    ok(kernels_synchronise(k, &err), &err);
    ok(kernels_timer_seconds(k, &seconds, &err), &err);
    ck_assert(nothing >= 0.0 && seconds > nothing && seconds <= clock_seconds() - started);
    kernels_memory_free(k, block, bytes);
}
END_TEST

START_TEST(the_rate_of_products_is_measured)
{
    ck_assert(kernels_peak_flops(compare_subject(), DTYPE_BF16) > 1e6);
    ck_assert(kernels_peak_flops(compare_subject(), DTYPE_I32) == 0.0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_memory");
    TCase *memory = tcase_create("memory");
    tcase_add_unchecked_fixture(memory, compare_open, compare_close);
    tcase_set_timeout(memory, 0);
    tcase_add_test(memory, an_array_larger_than_the_staging_ring_arrives_whole);
    tcase_add_test(memory, host_memory_may_be_reused_as_soon_as_a_copy_returns);
    tcase_add_test(memory, copies_of_nothing_are_done_at_once);
    tcase_add_test(memory, copies_on_the_device_and_later_copies_keep_their_order);
    tcase_add_test(memory, a_recording_runs_on_what_its_arrays_hold_then);
    tcase_add_test(memory, what_cannot_be_recorded_is_refused_and_the_recording_goes_on);
    tcase_add_test(memory, ending_a_recording_that_was_not_begun_fails_and_says_so);
    tcase_add_test(memory, more_memory_than_there_is_is_refused_with_its_size);
    tcase_add_test(memory, the_libraries_are_left_some_memory);
    tcase_add_test(memory, the_device_describes_itself);
    tcase_add_test(memory, numerics_name_the_device_and_the_libraries);
    tcase_add_test(memory, a_stretch_of_the_stream_is_timed_without_waiting_for_it);
    tcase_add_test(memory, the_rate_of_products_is_measured);
    suite_add_tcase(suite, memory);
    return suite_run(suite);
}
