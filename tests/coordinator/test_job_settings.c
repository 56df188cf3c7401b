/* SPDX-License-Identifier: MIT
 *
 * What a command line sets of a job: it is read as if the file said so, and refused with the file's words.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "tests/coordinator/job_outcome.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static struct outcome outcome;

static void setup(void)
{
    program_folder_enter();
    program_write("job.yaml",
                  "name: job\n" MODEL DATA TRAIN OPTIM "lr_scheduler: {type: constant}\nslurm:\n");
}

static void teardown(void)
{
    outcome_release(&outcome);
    outcome = (struct outcome){.status = MUSTER_OK};
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

static enum muster_status load(const char *const *words)
{
    struct job_settings settings = {.count = 0};
    outcome_release(&outcome);
    for (; *words != NULL; words++)
        ck_assert(job_settings_add(&settings, *words));
    job_report_init(&outcome.report);
    return outcome.status = job_load("job.yaml", &settings, &outcome.report, &outcome.job, &outcome.err);
}

static const struct job *set(const char *const *words)
{
    enum muster_status status = load(words);
    ck_assert_msg(status == MUSTER_OK, "%s", outcome.report.errors.data);
    return outcome.job;
}
#define set(...) set((const char *const[]){__VA_ARGS__, NULL})

/* The errors of a job that is refused. */
static const char *refused(const char *const *words)
{
    ck_assert_int_eq(load(words), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(outcome.job);
    return outcome.report.errors.data;
}
#define refused(...) refused((const char *const[]){__VA_ARGS__, NULL})

START_TEST(a_setting_takes_the_place_of_what_the_file_says)
{
    ck_assert_int_eq(set("train.max_steps=7")->train.max_steps, 7);
    ck_assert_str_eq(set("name=other", "output_dir=a b")->name, "other");
    ck_assert_str_eq(outcome.job->output_dir, "a b");
    ck_assert_str_eq(outcome.job->checkpoint.dir, "a b/checkpoints");
    ck_assert_int_eq(set("train.max_steps=7", "train.max_steps=8")->train.max_steps, 8);
    ck_assert_int_eq(outcome.job->train.global_batch_size, 32);
}
END_TEST

START_TEST(a_setting_may_use_any_name_of_a_key_and_of_a_section)
{
    ck_assert_int_eq(set("train.steps=7")->train.max_steps, 7);
    ck_assert_ptr_nonnull(strstr(outcome.report.notes.data, "--set train.steps=7: train.steps is read as"));
    ck_assert_int_eq(set("scheduler.type=cosine")->scheduler.type, JOB_SCHEDULER_COSINE);
    ck_assert_int_eq(set("train.steps=7", "train.max_steps=9")->train.max_steps, 9);
}
END_TEST

START_TEST(a_section_that_the_file_lacks_or_leaves_empty_is_filled)
{
    ck_assert_int_eq(set("parallel.logical_workers=2")->parallel.logical_workers, 2);
    const struct job *job = set("slurm.nodes=3", "slurm.time=1:00:00", "slurm.modules=[a, b]");
    ck_assert_int_eq(job->slurm.nodes, 3);
    ck_assert_str_eq(job->slurm.time, "1:00:00");
    ck_assert_int_eq(job->slurm.modules.count, 2);
}
END_TEST

START_TEST(lists_and_mappings_are_written_as_in_a_file)
{
    const struct job *job = set("data.train=[{path: x, weight: 3}, {path: y, weight: 1}]");
    ck_assert_int_eq(job->data.train.count, 2);
    ck_assert_str_eq(job->data.train.items[1].path, "y");
    ck_assert_int_eq(job->data.train.items[1].line, 0);
    ck_assert_str_eq(set("slurm.environment={A: 1}")->slurm.environment.items[0], "A=1");
    ck_assert_str_eq(set("name='007'")->name, "007");
}
END_TEST

START_TEST(what_is_wrong_is_said_as_of_a_file)
{
    ck_assert_str_eq(refused("train.stesp=1"),
                     "--set train.stesp=1: train.stesp: unknown key; did you mean train.max_steps?\n");
    ck_assert_ptr_nonnull(strstr(refused("train.max_steps=-1"),
                                 "--set train.max_steps=-1: train.max_steps: must be from 1 to"));
    ck_assert_ptr_nonnull(strstr(refused("trian.max_steps=1"), "--set trian.max_steps=1: trian: unknown key; "
                                                               "did you mean train?"));
    ck_assert_ptr_nonnull(strstr(refused("max_steps=1"), "did you mean train.max_steps?"));
    ck_assert_ptr_nonnull(strstr(refused("model.typ=gpt"), "did you mean model.type?"));
    ck_assert_ptr_nonnull(strstr(refused("train.global_batch_size=33"), "micro_batch_size"));
    refused("train.max_steps=0", "model.hidden_size=x", "sede=1");
    ck_assert_int_eq(outcome.report.error_count, 3);
}
END_TEST

START_TEST(what_is_no_setting_is_named)
{
    static const char *const wrong[][2] = {
        {"train", "expected KEY=VALUE, such as train.max_steps=100"},
        {"=1", "expected KEY=VALUE"},
        {"train.=1", "expected KEY=VALUE"},
        {".max_steps=1", "expected KEY=VALUE"},
        {"train={max_steps: 1}", "train is a section: set its keys one by one, as train.KEY=VALUE"},
        {"train.max_steps=", "no value is given"},
        {"train.max_steps= # 5", "no value is given"},
        {"train.max_steps=[1", "not valid YAML"},
        {"name=*a", "alias"},
        {"train.max_steps.x=1", "unknown key"},
        {"name=a\nmax_steps: 1", "--set name=a?max_steps: 1: "},
        {"data.train=[]", "names no file"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(strstr(refused(wrong[i][0]), wrong[i][1]) != NULL, "\"%s\" gave %s", wrong[i][0],
                      outcome.report.errors.data);
}
END_TEST

START_TEST(errors_of_the_file_come_first)
{
    program_write("job.yaml", "name: job\n" MODEL DATA TRAIN OPTIM "sede: 1\n");
    ck_assert_ptr_eq(strstr(refused("sedee=1"), "job.yaml:6:1: sede: unknown key"),
                     outcome.report.errors.data);
    ck_assert_ptr_nonnull(strstr(outcome.report.errors.data, "\n--set sedee=1: "));
}
END_TEST

START_TEST(a_job_with_settings_is_the_job_of_a_changed_file)
{
    struct text yaml;
    text_init(&yaml);
    set("train.max_steps=7", "optimizer.lr=0.5");
    ck_assert_int_eq(job_write_yaml(outcome.job, &yaml, NULL), MUSTER_OK);
    struct hash128 hash = job_hash(outcome.job);
    struct outcome again = outcome_of(yaml.data);
    ck_assert_msg(again.status == MUSTER_OK, "%s", again.report.errors.data);
    ck_assert(hash_equal(hash, job_hash(again.job)));
    ck_assert_int_eq(again.job->train.max_steps, 7);
    outcome_release(&again);
    text_release(&yaml);
}
END_TEST

START_TEST(there_is_room_for_so_many_and_no_more)
{
    struct job_settings settings = {.count = 0};
    for (int i = 0; i < JOB_SETTINGS_MAX; i++)
        ck_assert(job_settings_add(&settings, "seed=1"));
    ck_assert(!job_settings_add(&settings, "seed=2"));
}
END_TEST

START_TEST(a_failed_allocation_anywhere_is_reported_and_leaks_nothing)
{
    static const char *const words[] = {"train.steps=7", "eval.interval=2", "slurm.nodes=2", "sede=1", NULL};
    outcome_release(&outcome);
    int64_t live = alloc_live_count(), calls = alloc_call_count();
    ck_assert_int_eq(load(words), MUSTER_ERR_BAD_INPUT);
    outcome_release(&outcome);
    int64_t call_count = alloc_call_count() - calls;
    for (int64_t n = 1; n <= call_count; n++) {
        alloc_fail_nth(n);
        enum muster_status status = load(words);
        alloc_fail_nth(0);
        outcome_release(&outcome);
        ck_assert_msg(status == MUSTER_ERR_NO_MEMORY, "call %lld: %s", (long long)n,
                      muster_status_name(status));
        ck_assert_int_eq(alloc_live_count(), live);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job_settings");
    TCase *cases = tcase_create("job_settings");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_setting_takes_the_place_of_what_the_file_says);
    tcase_add_test(cases, a_setting_may_use_any_name_of_a_key_and_of_a_section);
    tcase_add_test(cases, a_section_that_the_file_lacks_or_leaves_empty_is_filled);
    tcase_add_test(cases, lists_and_mappings_are_written_as_in_a_file);
    tcase_add_test(cases, what_is_wrong_is_said_as_of_a_file);
    tcase_add_test(cases, what_is_no_setting_is_named);
    tcase_add_test(cases, errors_of_the_file_come_first);
    tcase_add_test(cases, a_job_with_settings_is_the_job_of_a_changed_file);
    tcase_add_test(cases, there_is_room_for_so_many_and_no_more);
    tcase_add_test(cases, a_failed_allocation_anywhere_is_reported_and_leaks_nothing);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
