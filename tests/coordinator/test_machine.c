/* SPDX-License-Identifier: MIT
 *
 * Machine profiles: what is read, what is refused and where, what stands in for numbers that are missing, and
 * that the shipped ones can be used.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cost/machine.h"
#include "tests/suite.h"

static const char sample[] = "name: box\n"
                             "source: \"measured by hand\"\n"
                             "device: cpu\n"
                             "cores: 5\n"
                             "rates:\n"
                             "  peak_fp32: 1.2e11\n"
                             "  matrix_fp32: 1.0e11\n"
                             "  rows_bf16: 7.0e9\n"
                             "  stream: 1.0e10\n"
                             "ranks:\n"
                             "  matrix_fp32: 8.0e10\n"
                             "threads:\n"
                             "  matrix_fp32: 6.0e10\n"
                             "host:\n"
                             "  latency: 1.0e-6\n"
                             "  bandwidth: 5.0e9\n";

static struct job_report report;
static struct muster_error err;

static void setup(void)
{
    job_report_init(&report);
    err = (struct muster_error){.status = MUSTER_OK};
}

static void teardown(void)
{
    job_report_release(&report);
}

static struct machine_profile *read_profile(const char *yaml)
{
    struct machine_profile *profile = NULL;
    enum muster_status status =
        machine_profile_parse("box.yaml", yaml, strlen(yaml), &report, &profile, &err);
    ck_assert_msg(status == MUSTER_OK, "%s%s", err.text, report.errors.data);
    return profile;
}

/* The yaml is refused, and this line is among what is said. */
static void check_refused(const char *yaml, const char *line)
{
    struct machine_profile *profile = NULL;
    ck_assert_int_eq(machine_profile_parse("box.yaml", yaml, strlen(yaml), &report, &profile, &err),
                     MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(profile);
    ck_assert_msg(strstr(report.errors.data, line) != NULL, "expected:\n%s\nsaid:\n%s", line,
                  report.errors.data);
}

START_TEST(a_profile_is_read_with_its_numbers)
{
    struct machine_profile *profile = read_profile(sample);
    ck_assert_str_eq(profile->name, "box");
    ck_assert_str_eq(profile->source, "measured by hand");
    ck_assert_int_eq(profile->device, MACHINE_CPU);
    ck_assert_int_eq(profile->cores, 5);
    ck_assert_int_eq(profile->ranks_per_host, 1);
    ck_assert_double_eq(profile->rates.peak[DTYPE_F32], 1.2e11);
    ck_assert_double_eq(profile->rates.rows[DTYPE_BF16], 7e9);
    ck_assert_double_eq(profile->threads.matrix[DTYPE_F32], 6e10);
    ck_assert_double_eq(profile->host.latency_s, 1e-6);
    ck_assert_double_eq(profile->host.bandwidth, 5e9);
    ck_assert_double_eq(profile->network.bandwidth, 0.0);
    ck_assert_double_eq(profile->efficiency.matrix, 1.0);
    machine_profile_destroy(profile);
}
END_TEST

START_TEST(what_is_written_reads_back_the_same)
{
    struct text first, second;
    text_init(&first);
    text_init(&second);
    struct machine_profile *profile = read_profile(sample);
    profile->rates.matrix[DTYPE_BF16] = 1.0 / 3.0 * 1e12;
    profile->efficiency.link = 0.8;
    profile->assumed = alloc_text("a \"guess\" of \\ latency");
    ck_assert_int_eq(machine_profile_write(profile, &first, &err), MUSTER_OK);
    struct machine_profile *again = read_profile(first.data);
    ck_assert_int_eq(machine_profile_write(again, &second, &err), MUSTER_OK);
    ck_assert_str_eq(first.data, second.data);
    ck_assert_double_eq(again->rates.matrix[DTYPE_BF16], profile->rates.matrix[DTYPE_BF16]);
    ck_assert_str_eq(again->assumed, profile->assumed);
    ck_assert_ptr_null(strstr(first.data, "network"));
    machine_profile_destroy(profile);
    machine_profile_destroy(again);
    text_release(&first);
    text_release(&second);
}
END_TEST

START_TEST(every_mistake_is_named_with_its_place)
{
    static const char wrong[] = "name: box\n"
                                "device: gpu\n"
                                "rates:\n"
                                "  matrix_fp32: fast\n"
                                "  steam: 1.0e10\n"
                                "host:\n"
                                "  bandwidth: -1\n"
                                "links: 3\n"
                                "efficiency:\n"
                                "  matrix: 1.5\n"
                                "network: 7\n";
    check_refused(wrong, "box.yaml:1:1: source: is required, but missing\n");
    check_refused(wrong, "box.yaml:2:9: device: unknown value \"gpu\"");
    check_refused(wrong, "box.yaml:4:16: rates.matrix_fp32: expected a finite number, read \"fast\"\n");
    check_refused(wrong, "box.yaml:5:3: rates.\"steam\": unknown key; did you mean stream?\n");
    check_refused(wrong, "box.yaml:3:1: rates.stream: is required and above 0");
    check_refused(wrong, "box.yaml:7:14: host.bandwidth: must be from 0 to");
    check_refused(wrong, "box.yaml:8:1: \"links\": unknown key");
    check_refused(wrong, "box.yaml:10:11: efficiency.matrix: must be above 0 and at most 1");
    check_refused(wrong, "box.yaml:11:10: network: is a section");
    ck_assert_int_eq(report.error_count, 9);
    ck_assert_ptr_nonnull(strstr(err.text, "box.yaml:1:1: source"));
}
END_TEST

START_TEST(what_is_no_profile_at_all_is_refused)
{
    check_refused("", "box.yaml:1:1: the file is empty");
    check_refused("- a\n- b\n", "box.yaml:1:1: a machine profile is a mapping");
    check_refused("name: [1\n", "not valid YAML");
    check_refused("name: box\nsource: s\ndevice: cpu\nrates: {stream: 1.0e9}\n",
                  "box.yaml:4:1: rates.matrix_fp32: is required and above 0");
}
END_TEST

START_TEST(a_core_slows_down_as_its_neighbours_work)
{
    static const struct {
        struct machine_load load;
        double expected;
    } cases[] = {
        {{1, 1}, 100e9},            /* alone */
        {{5, 1}, 80e9},             /* every core a rank */
        {{3, 1}, 90e9},             /* half way */
        {{1, 5}, 5 * 60e9},         /* one rank has all */
        {{1, 3}, 3 * 90e9 * 0.875}, /* half way on both */
        {{10, 1}, 40e9},            /* two ranks a core */
        {{1, 10}, 10 * 60e9 / 2},   /* two threads a core */
    };
    struct machine_profile *profile = read_profile(sample);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_double_eq_tol(machine_rate(profile, MACHINE_MATRIX, DTYPE_F32, &cases[i].load),
                                cases[i].expected, 1.0);
    machine_profile_destroy(profile);
}
END_TEST

START_TEST(what_is_not_known_is_stood_in_for)
{
    const struct machine_load alone = {1, 1}, all = {5, 1};
    struct machine_profile *profile = read_profile(sample);
    ck_assert_double_eq(machine_rate(profile, MACHINE_ATTENTION_FORWARD, DTYPE_F32, &alone), 1e11);
    ck_assert_double_eq(machine_rate(profile, MACHINE_ROWS, DTYPE_F32, &alone), 1e10);
    ck_assert_double_eq(machine_rate(profile, MACHINE_ROWS, DTYPE_BF16, &alone), 7e9);
    ck_assert_double_eq(machine_rate(profile, MACHINE_STREAM, DTYPE_F32, &all), 1e10);
    ck_assert_double_eq(machine_rate(profile, MACHINE_MATRIX, DTYPE_BF16, &alone), 0.0);
    profile->rates.matrix[DTYPE_F32] = 0.0;
    ck_assert_double_eq(machine_rate(profile, MACHINE_MATRIX, DTYPE_F32, &alone), 1.2e11);
    machine_profile_destroy(profile);
}
END_TEST

START_TEST(assumed_efficiencies_lower_the_rates_but_not_the_peak_and_are_told)
{
    const struct machine_load load = {8, 4};
    struct text said;
    text_init(&said);
    struct machine_profile *profile = read_profile(sample);
    machine_profile_assumptions(profile, &said);
    ck_assert_str_eq(said.data, "");
    profile->device = MACHINE_CUDA;
    profile->efficiency = (struct machine_efficiency){0.5, 0.25, 0.75, 1.0};
    ck_assert_double_eq(machine_rate(profile, MACHINE_MATRIX, DTYPE_F32, &load), 5e10);
    ck_assert_double_eq(machine_rate(profile, MACHINE_ATTENTION_BACKWARD, DTYPE_F32, &load), 2.5e10);
    ck_assert_double_eq(machine_rate(profile, MACHINE_STREAM, DTYPE_F32, &load), 7.5e9);
    ck_assert_double_eq(machine_rate(profile, MACHINE_PEAK, DTYPE_F32, &load), 1.2e11);
    profile->assumed = alloc_text("latencies");
    machine_profile_assumptions(profile, &said);
    ck_assert_str_eq(said.data,
                     "matrix products at 50%, attention at 25%, memory at 75% of the source's rates; "
                     "latencies");
    text_release(&said);
    machine_profile_destroy(profile);
}
END_TEST

START_TEST(shipped_profiles_can_be_read_and_say_what_they_assume)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    struct fs_list files;
    struct text said;
    text_init(&said);
    ck_assert_int_eq(fs_path_join(folder, getenv("MUSTER_SOURCE"), "configs/profiles", &err), MUSTER_OK);
    ck_assert_msg(fs_list_read(folder, &files, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_uint_ge(files.count, 6);
    for (size_t i = 0; i < files.count; i++) {
        struct machine_profile *profile = NULL;
        ck_assert_int_eq(fs_path_join(path, folder, files.names[i], &err), MUSTER_OK);
        ck_assert_msg(machine_profile_load(path, &report, &profile, &err) == MUSTER_OK, "%s",
                      report.errors.data);
        ck_assert_int_eq(strncmp(profile->name, files.names[i], strlen(profile->name)), 0);
        ck_assert_str_eq(files.names[i] + strlen(profile->name), ".yaml");
        machine_profile_assumptions(profile, &said);
        ck_assert_ptr_nonnull(strstr(said.data, "matrix products at"));
        ck_assert_double_gt(profile->memory_bytes, 1e10);
        ck_assert_double_gt(profile->network.bandwidth, 0.0);
        machine_profile_destroy(profile);
    }
    fs_list_release(&files);
    text_release(&said);
}
END_TEST

START_TEST(a_name_that_is_no_profile_is_refused_and_a_path_is_taken_as_it_is)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(machine_profile_find("some/where", path, &err), MUSTER_OK);
    ck_assert_str_eq(path, "some/where");
    ck_assert_int_eq(machine_profile_find("box.yaml", path, &err), MUSTER_OK);
    ck_assert_str_eq(path, "box.yaml");
    ck_assert_int_eq(machine_profile_find("h200", path, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "no machine profile \"h200\""));
}
END_TEST

START_TEST(the_measured_profile_lies_in_the_cache_folder)
{
    char path[FS_PATH_MAX];
    setenv("XDG_CACHE_HOME", "/cache", 1);
    setenv("HOME", "/home/me", 1);
    ck_assert_int_eq(machine_profile_cache_path(path, &err), MUSTER_OK);
    ck_assert_str_eq(path, "/cache/muster/machine.yaml");
    setenv("XDG_CACHE_HOME", "not absolute", 1);
    ck_assert_int_eq(machine_profile_cache_path(path, &err), MUSTER_OK);
    ck_assert_str_eq(path, "/home/me/.cache/muster/machine.yaml");
    unsetenv("HOME");
    ck_assert_int_eq(machine_profile_cache_path(path, &err), MUSTER_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(auto_without_a_measurement_and_none_give_no_profile)
{
    struct machine_profile *profile = NULL;
    setenv("XDG_CACHE_HOME", "/nothing/here", 1);
    ck_assert_int_eq(machine_profile_open("auto", &report, &profile, &err), MUSTER_OK);
    ck_assert_ptr_null(profile);
    ck_assert_int_eq(machine_profile_open("none", &report, &profile, &err), MUSTER_OK);
    ck_assert_ptr_null(profile);
    ck_assert_int_eq(machine_profile_open("/nothing/here.yaml", &report, &profile, &err),
                     MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "/nothing/here.yaml"));
}
END_TEST

START_TEST(a_failed_allocation_is_reported_and_nothing_leaks)
{
    bool succeeded = false;
    for (int nth = 1; !succeeded; nth++) {
        struct job_report own;
        struct machine_profile *profile = NULL;
        int64_t live = alloc_live_count();
        job_report_init(&own);
        alloc_fail_nth(nth);
        enum muster_status status =
            machine_profile_parse("box.yaml", sample, strlen(sample), &own, &profile, &err);
        alloc_fail_nth(0);
        succeeded = status == MUSTER_OK;
        ck_assert_msg(succeeded || status == MUSTER_ERR_NO_MEMORY, "allocation %d: %s", nth, err.text);
        machine_profile_destroy(profile);
        job_report_release(&own);
        ck_assert_int_eq(alloc_live_count(), live);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("machine");
    TCase *tests = tcase_create("machine");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_profile_is_read_with_its_numbers);
    tcase_add_test(tests, what_is_written_reads_back_the_same);
    tcase_add_test(tests, every_mistake_is_named_with_its_place);
    tcase_add_test(tests, what_is_no_profile_at_all_is_refused);
    tcase_add_test(tests, a_core_slows_down_as_its_neighbours_work);
    tcase_add_test(tests, what_is_not_known_is_stood_in_for);
    tcase_add_test(tests, assumed_efficiencies_lower_the_rates_but_not_the_peak_and_are_told);
    tcase_add_test(tests, shipped_profiles_can_be_read_and_say_what_they_assume);
    tcase_add_test(tests, a_name_that_is_no_profile_is_refused_and_a_path_is_taken_as_it_is);
    tcase_add_test(tests, the_measured_profile_lies_in_the_cache_folder);
    tcase_add_test(tests, auto_without_a_measurement_and_none_give_no_profile);
    tcase_add_test(tests, a_failed_allocation_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
