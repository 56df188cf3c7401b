/* SPDX-License-Identifier: MIT
 *
 * `muster plan` with a machine's profile, as a person meets it: the real binary and the profiles beside it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/coordinator/program.h"
#include "tests/suite.h"

static const char job_yaml[] =
    "name: good\n"
    "model: {type: gpt, num_layers: 2, hidden_size: 64, num_heads: 2, vocab_size: 256}\n"
    "data: {format: bytes, train: text.txt, seq_len: 32}\n"
    "train: {micro_batch_size: 1, global_batch_size: 64, max_steps: 10, precision: bf16}\n"
    "optimizer: {lr: 1e-3}\n";
static const char box_yaml[] = "name: box\nsource: by hand\ndevice: cpu\ncores: 4\nranks_per_host: 4\n"
                               "rates: {matrix_bf16: 1.0e11, stream: 1.0e10}\n"
                               "host: {latency: 1.0e-6, bandwidth: 5.0e9}\n";

static struct program_result result;

static void setup(void)
{
    program_folder_enter();
    program_write("good.yaml", job_yaml);
    program_write("box.yaml", box_yaml);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
}

static void teardown(void)
{
    program_release(&result);
    program_folder_leave();
}

#define plan(exit_code, ...)                                                                                 \
    program_muster(&result, exit_code, (const char *const[]){"plan", "good.yaml", __VA_ARGS__, NULL})

START_TEST(clusters_nobody_has_are_predicted_with_what_is_assumed)
{
    plan(0, "--nodes", "8", "--gpus-per-node", "8", "--profile", "h200-ndr");
    program_expect(&result.out, "predicted for 8 hosts of 8 ranks like h200-ndr");
    program_expect(&result.out, "ASSUMED      matrix products at 70%");
    program_expect(&result.out, "H200 Tensor Core GPU Datasheet");
    program_expect(&result.out, "pinned host memory");
    plan(0, "-n", "16", "--profile", "h200-ndr");
    program_expect(&result.out, "predicted for 2 hosts of 8 ranks");
    plan(0, "--nodes", "2", "--profile", "a100-pcie-100gbe");
    program_expect(&result.out, "predicted for 2 hosts of 4 ranks");
}
END_TEST

START_TEST(without_a_profile_nothing_is_predicted)
{
    plan(0, "-n", "2");
    ck_assert_ptr_null(strstr(result.out.data, "predicted"));
    ck_assert_ptr_null(strstr(result.out.data, "pinned host memory"));
}
END_TEST

START_TEST(what_a_gpu_keeps_for_others_is_in_the_plan_and_in_the_check)
{
    plan(0, "-n", "2", "--device", "cuda");
    program_expect(&result.out,
                   "spare                  2.50 GiB  (beside them: CUDA, libraries, NCCL; a reserve");
    plan(0, "-n", "1", "--device", "cuda");
    program_expect(&result.out, "spare                  1.00 GiB  (beside them: CUDA, libraries; a reserve");
    plan(0, "-n", "2", "--device", "cuda", "--set", "comm.backend=mpi");
    program_expect(&result.out, "spare                  1.00 GiB");
    plan(0, "-n", "2", "--device", "cpu");
    ck_assert_ptr_null(strstr(result.out.data, "spare"));
    char text[4096 + 1];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    program_write("text.txt", text);
    program_muster(
        &result, 0,
        (const char *const[]){"check", "good.yaml", "--set", "machine.profile=a100-pcie-100gbe", NULL});
    program_expect(&result.out, "note: on one host of 4 ranks like a100-pcie-100gbe:\n  memory ");
    ck_assert_ptr_null(strstr(result.out.data, "DOES NOT FIT"));
    program_muster(&result, 0, (const char *const[]){"check", "good.yaml", NULL});
    ck_assert_ptr_null(strstr(result.out.data, "memory"));
}
END_TEST

START_TEST(a_plan_for_gpus_needs_no_gpu)
{
    plan(0, "-n", "2", "--device", "cuda");
    program_expect(&result.out, "copy of the state");
    program_expect(&result.out, "pinned host memory");
    plan(0, "-n", "2", "--device", "cuda", "--json");
    program_expect(&result.out, "\"on_device\": true");
    plan(0, "-n", "2", "--device", "cpu", "--json");
    program_expect(&result.out, "\"on_device\": false");
    program_expect(&result.out, "\"host_bytes\": 0");
    plan(2, "--device", "tpu");
    program_expect(&result.err, "--device: \"tpu\" is neither cpu nor cuda");
    plan(2, "--device", "cpu", "--profile", "h200-ndr");
    program_expect(&result.err, "the plan computes on CPUs, machine profile h200-ndr describes GPUs");
}
END_TEST

START_TEST(a_profile_of_ones_own_is_a_file)
{
    plan(0, "-n", "2", "--profile", "box.yaml");
    program_expect(&result.out, "predicted for 1 host of 2 ranks like box");
    program_expect(&result.out, "on 2 ranks of 2 threads"); /* the four cores of the box */
    ck_assert_ptr_null(strstr(result.out.data, "ASSUMED"));
    plan(2, "--nodes", "2", "--profile", "box.yaml");
    program_expect(&result.err, "machine profile box has no link between hosts (network.bandwidth)");
}
END_TEST

START_TEST(what_muster_bench_machine_left_in_the_cache_is_used)
{
    char here[FS_PATH_MAX];
    struct muster_error err;
    ck_assert_ptr_nonnull(realpath(".", here));
    setenv("XDG_CACHE_HOME", here, 1);
    ck_assert_int_eq(fs_folder_create("muster", &err), MUSTER_OK);
    program_copy("box.yaml", "muster/machine.yaml");
    plan(0, "-n", "2");
    program_expect(&result.out, "predicted for 1 host of 2 ranks like box");
    plan(0, "-n", "2", "--profile", "none");
    ck_assert_ptr_null(strstr(result.out.data, "predicted"));
    plan(0, "-n", "2", "--device", "cuda"); /* found, but of CPUs: left aside */
    ck_assert_ptr_null(strstr(result.out.data, "predicted"));
}
END_TEST

START_TEST(words_that_contradict_each_other_are_refused)
{
    plan(2, "-n", "5", "--nodes", "2", "--profile", "h200-ndr");
    program_expect(&result.err, "5 ranks are not 2 hosts of 2");
    plan(2, "-n", "12", "--profile", "h200-ndr");
    program_expect(&result.err, "12 ranks are not 1 hosts of 8");
    plan(2, "--nodes", "64", "--profile", "h200-ndr");
    program_expect(&result.err, "512 ranks but parallel.logical_workers is 64");
}
END_TEST

START_TEST(a_wrong_profile_is_told_with_every_place)
{
    program_write("bad.yaml",
                  "name: bad\nsource: s\ndevice: cpu\nrates:\n  matrix_fp32: 1.0e11\n  steam: 1\n");
    plan(2, "--profile", "bad.yaml");
    program_expect(&result.err, "bad.yaml:4:1: rates.stream: is required");
    program_expect(&result.err, "bad.yaml:6:3: rates.\"steam\": unknown key; did you mean stream?");
    program_expect(&result.err, "2 errors in the machine profile");
    plan(2, "--profile", "h200-ndx");
    program_expect(&result.err, "no machine profile \"h200-ndx\"; did you mean h200-ndr?");
    program_expect(&result.err, "a100-hdr");
    plan(2, "--profile", "nowhere.yaml");
    program_expect(&result.err, "nowhere.yaml");
}
END_TEST

START_TEST(the_json_has_the_prediction)
{
    plan(0, "-n", "8", "--profile", "h100-ndr", "--json");
    json_t *root = json_loads(result.out.data, JSON_REJECT_DUPLICATES, NULL);
    const json_t *prediction = json_object_get(root, "prediction");
    ck_assert_str_eq(json_string_value(json_object_get(prediction, "profile")), "h100-ndr");
    ck_assert_double_gt(json_real_value(json_object_get(prediction, "step_s")), 0.0);
    ck_assert_int_gt(json_integer_value(json_object_get(prediction, "host_bytes")), 0);
    json_decref(root);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("muster plan");
    TCase *tests = tcase_create("muster plan");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, clusters_nobody_has_are_predicted_with_what_is_assumed);
    tcase_add_test(tests, without_a_profile_nothing_is_predicted);
    tcase_add_test(tests, a_plan_for_gpus_needs_no_gpu);
    tcase_add_test(tests, what_a_gpu_keeps_for_others_is_in_the_plan_and_in_the_check);
    tcase_add_test(tests, a_profile_of_ones_own_is_a_file);
    tcase_add_test(tests, what_muster_bench_machine_left_in_the_cache_is_used);
    tcase_add_test(tests, words_that_contradict_each_other_are_refused);
    tcase_add_test(tests, a_wrong_profile_is_told_with_every_place);
    tcase_add_test(tests, the_json_has_the_prediction);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
