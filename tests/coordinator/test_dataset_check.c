/* SPDX-License-Identifier: MIT
 *
 * A job against its data: each mistake gives one line that begins with the job file and the list.
 */
#include "tests/coordinator/data_files.h"

#include "base/alloc.h"
#include "tests/suite.h"

#include <string.h>

static struct muster_error err;
static struct job job;
static struct model_config config;
static struct job_report report;
static struct job_source train[2], val[2];

/* A job that is good: 8 samples of 4 bytes to train on, 2 to validate. */
static void setup(void)
{
    data_folder_create();
    data_write_ramp("train.txt", 1, 33, 0);
    data_write_ramp("val.txt", 1, 9, 0);
    train[0] = (struct job_source){.path = data_path("train.txt")};
    val[0] = (struct job_source){.path = data_path("val.txt")};
    job = (struct job){.path = (char *)(uintptr_t) "job.yaml"};
    job.data.train = (struct job_sources){train, 1};
    job.data.val = (struct job_sources){val, 1};
    job.data.seq_len = 4;
    job.train.global_batch_size = 8;
    job.train.micro_batch_size = 2;
    config = (struct model_config){.type = MODEL_GPT, .vocab_size = 33, .seq_len = 4};
    report = (struct job_report){.error_count = 0};
    text_init(&report.errors);
    text_init(&report.notes);
}

static void teardown(void)
{
    text_release(&report.errors);
    text_release(&report.notes);
    data_folder_remove();
}

static void check_good(void)
{
    enum muster_status status = dataset_check_job(&job, &config, &report, &err);
    ck_assert_msg(status == MUSTER_OK, "%s\n%s", err.text, report.errors.data);
    ck_assert_int_eq(report.error_count, 0);
    ck_assert_str_eq(report.errors.data, "");
}

static void check_bad(const char *start, const char *words)
{
    ck_assert_int_eq(dataset_check_job(&job, &config, &report, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(report.error_count, 1);
    ck_assert_msg(strncmp(report.errors.data, start, strlen(start)) == 0, "%s", report.errors.data);
    ck_assert_msg(strstr(report.errors.data, words) != NULL, "\"%s\" is not in: %s", words,
                  report.errors.data);
    ck_assert_int_eq(report.errors.data[report.errors.length - 1], '\n');
}

START_TEST(a_good_job_adds_notes_only)
{
    check_good();
    ck_assert_str_eq(report.notes.data, "job.yaml: data.train: 8 samples in 1 file, format bytes\n"
                                        "job.yaml: data.val: 2 samples in 1 file, format bytes\n");
}
END_TEST

START_TEST(a_file_that_is_trained_on_and_evaluated_is_noted)
{
    job.data.train.items[0].path = data_path("*.txt");
    check_good();
    ck_assert_ptr_nonnull(strstr(report.notes.data, "val.txt is in data.train too"));
    ck_assert_ptr_null(strstr(report.notes.data, "train.txt is in"));
}
END_TEST

START_TEST(validation_data_are_optional)
{
    job.data.val.count = 0;
    check_good();
}
END_TEST

START_TEST(less_than_a_global_batch_is_refused)
{
    job.train.global_batch_size = 9;
    check_bad("--set data.train: ", "8 samples are fewer than train.global_batch_size 9");
}
END_TEST

START_TEST(less_than_a_micro_batch_to_validate_is_refused)
{
    job.train.micro_batch_size = 3;
    check_bad("--set data.val: ", "2 samples are fewer than train.micro_batch_size 3");
}
END_TEST

START_TEST(a_missing_file_is_one_error_of_its_list)
{
    val[0].path = data_path("nothing.txt");
    check_bad("--set data.val: ", "nothing.txt: No such file");
}
END_TEST

START_TEST(tokens_beyond_the_vocabulary_are_named_with_the_size_that_fits)
{
    config.vocab_size = 32;
    check_bad("--set data.train: ",
              "train.txt, byte offset 32) needs model.vocab_size 33 or more, which is 32");
}
END_TEST

START_TEST(weights_are_given_to_all_sources_or_to_none)
{
    train[1] = (struct job_source){.path = val[0].path, .weight = 0.5};
    job.data.train.count = 2;
    check_bad("--set data.train: ", "give all of them one, or none");
}
END_TEST

START_TEST(a_language_model_refuses_images)
{
    data_write_images("t-images-idx3", "t-labels-idx1", 20, false);
    train[0].path = data_path("t-images-idx3");
    check_bad("--set data.train: ", "a language model needs tokens, but the format is idx");
}
END_TEST

static void use_images(void)
{
    data_write_images("t-images-idx3", "t-labels-idx1", 20, false);
    data_write_images("v-images-idx3.gz", "v-labels-idx1.gz", 12, true);
    train[0].path = data_path("t-images-idx3");
    val[0].path = data_path("v-images-idx3.gz");
    config = (struct model_config){.type = MODEL_MLP, .vocab_size = 10, .seq_len = 1};
}

START_TEST(images_tell_the_model_its_input_size)
{
    use_images();
    check_good();
    ck_assert_int_eq(config.input_size, 6);
}
END_TEST

START_TEST(labels_beyond_the_classes_are_refused)
{
    use_images();
    config.vocab_size = 9;
    job.data.val.count = 0;
    check_bad("--set data.train: ", "label 9 (");
}
END_TEST

START_TEST(images_of_another_size_to_validate_are_refused)
{
    unsigned char file[64], payload[24] = {0};
    const uint32_t sizes[] = {2, 3, 4};
    use_images();
    data_write("w-images-idx3", file, data_idx(file, 0x803, 3, sizes, payload, 24));
    data_write("w-labels-idx1", file, data_idx(file, 0x801, 1, sizes, payload, 2));
    val[0].path = data_path("w-images-idx3");
    check_bad("--set data.val: ", "its images have 12 values, those of data.train have 6");
}
END_TEST

START_TEST(an_mlp_refuses_text)
{
    config.type = MODEL_MLP;
    job.data.val.count = 0;
    check_bad("--set data.train: ", "an mlp needs images (idx), but the format is bytes");
}
END_TEST

START_TEST(short_memory_is_no_error_of_the_job)
{
    int64_t live = alloc_live_count();
    alloc_fail_nth(1);
    ck_assert_int_eq(dataset_check_job(&job, &config, &report, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_int_eq(report.error_count, 0);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset_check");
    TCase *tcase = tcase_create("jobs");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_good_job_adds_notes_only);
    tcase_add_test(tcase, a_file_that_is_trained_on_and_evaluated_is_noted);
    tcase_add_test(tcase, validation_data_are_optional);
    tcase_add_test(tcase, less_than_a_global_batch_is_refused);
    tcase_add_test(tcase, less_than_a_micro_batch_to_validate_is_refused);
    tcase_add_test(tcase, a_missing_file_is_one_error_of_its_list);
    tcase_add_test(tcase, tokens_beyond_the_vocabulary_are_named_with_the_size_that_fits);
    tcase_add_test(tcase, weights_are_given_to_all_sources_or_to_none);
    tcase_add_test(tcase, a_language_model_refuses_images);
    tcase_add_test(tcase, images_tell_the_model_its_input_size);
    tcase_add_test(tcase, labels_beyond_the_classes_are_refused);
    tcase_add_test(tcase, images_of_another_size_to_validate_are_refused);
    tcase_add_test(tcase, an_mlp_refuses_text);
    tcase_add_test(tcase, short_memory_is_no_error_of_the_job);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
