/* SPDX-License-Identifier: MIT
 *
 * Folders of checkpoints: what is listed, what is deleted and above all what is not, and the lines a person
 * reads.
 */
#include "coordinator/ckpt/ckpt.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_retention.h"
#include "tests/coordinator/ckpt_case.h"
#include "tests/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(the_catalogue_is_newest_first_with_reasons_and_ignores_strangers)
{
    struct ckpt_catalogue catalogue;
    ckpt_case_add(9, true);
    ckpt_case_add(1000000000, true); /* ten digits: sorts by number, not by name */
    ckpt_case_add(300, false);
    ckpt_case_add(200, true);
    ckpt_case_add(100, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000200/MANIFEST.json"), 50, 1));
    const char *strangers[] = {"step-1",          "step-", "step-00000009x",
                               "step-0000000009", "best",  ".aside-step-000000009"};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        ck_assert_int_eq(fs_folder_create(ckpt_case_path(strangers[i]), &here.err), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(ckpt_case_path("step-000000777"), "x", 1, &here.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_catalogue_read(here.dir, &catalogue, &here.err), MUSTER_OK);
    ck_assert_int_eq(catalogue.count, 5);
    const int64_t steps[] = {1000000000, 300, 200, 100, 9};
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(catalogue.entries[i].step, steps[i]);
    ck_assert_str_eq(catalogue.entries[0].folder, "step-1000000000");
    ck_assert(catalogue.entries[0].committed);
    ck_assert_int_eq(catalogue.entries[0].shard_count, 2);
    ck_assert_int_gt(catalogue.entries[0].bytes, 1000);
    ck_assert(!catalogue.entries[1].committed);
    ck_assert_ptr_nonnull(strstr(catalogue.entries[1].reason, "never finished"));
    ck_assert(!catalogue.entries[2].committed);
    ck_assert_ptr_nonnull(strstr(catalogue.entries[2].reason, "do not match the hash"));
    ck_assert(catalogue.entries[3].committed);
    ckpt_catalogue_release(&catalogue);
}
END_TEST

START_TEST(a_checkpoint_under_another_steps_name_is_not_taken_for_that_step)
{
    struct ckpt_catalogue catalogue;
    char old_path[FS_PATH_MAX];
    ckpt_case_add(100, true);
    strcpy(old_path, ckpt_case_path("step-000000100"));
    ck_assert_int_eq(rename(old_path, ckpt_case_path("step-000000900")), 0);
    ck_assert_int_eq(ckpt_catalogue_read(here.dir, &catalogue, &here.err), MUSTER_OK);
    ck_assert_int_eq(catalogue.count, 1);
    ck_assert(!catalogue.entries[0].committed);
    ck_assert_ptr_nonnull(strstr(catalogue.entries[0].reason, "its MANIFEST is of step 100"));
    ckpt_catalogue_release(&catalogue);
}
END_TEST

START_TEST(a_checkpoint_that_lost_a_shard_is_not_listed_as_committed)
{
    struct ckpt_catalogue catalogue;
    ckpt_case_add(100, true);
    ck_assert_int_eq(unlink(ckpt_case_path("step-000000100/shard-00001-of-00002.safetensors")), 0);
    ck_assert_int_eq(ckpt_catalogue_read(here.dir, &catalogue, &here.err), MUSTER_OK);
    ck_assert(catalogue.count == 1 && !catalogue.entries[0].committed);
    ck_assert_ptr_nonnull(strstr(catalogue.entries[0].reason, "00001-of-00002.safetensors is missing"));
    ckpt_catalogue_release(&catalogue);
}
END_TEST

START_TEST(a_missing_folder_is_an_empty_catalogue)
{
    struct ckpt_catalogue catalogue;
    ck_assert_int_eq(ckpt_catalogue_read(ckpt_case_path("nowhere"), &catalogue, &here.err), MUSTER_OK);
    ck_assert_int_eq(catalogue.count, 0);
    ckpt_catalogue_release(&catalogue);
    ck_assert_int_eq(ckpt_prune(ckpt_case_path("nowhere"), 3, &here.err), MUSTER_OK);
}
END_TEST

START_TEST(pruning_keeps_the_newest_and_never_fewer_than_two)
{
    for (int step = 1; step <= 5; step++)
        ckpt_case_add(step, true);
    ck_assert_int_eq(ckpt_prune(here.dir, 4, &here.err), MUSTER_OK);
    ck_assert(!ckpt_case_has(1) && ckpt_case_has(2) && ckpt_case_has(3) && ckpt_case_has(4) &&
              ckpt_case_has(5));
    ck_assert_int_eq(ckpt_prune(here.dir, 0, &here.err), MUSTER_OK);
    ck_assert(!ckpt_case_has(2) && !ckpt_case_has(3) && ckpt_case_has(4) && ckpt_case_has(5));
    ck_assert_int_eq(ckpt_prune(here.dir, 1, &here.err), MUSTER_OK);
    ck_assert(ckpt_case_has(4) && ckpt_case_has(5));
}
END_TEST

START_TEST(pruning_removes_unfinished_folders_only_below_the_newest_committed)
{
    ckpt_case_add(1, true);
    ckpt_case_add(2, false);
    ckpt_case_add(3, true);
    ckpt_case_add(4, false);
    ck_assert_int_eq(fs_folder_create(ckpt_case_path("keep-me"), &here.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_prune(here.dir, 2, &here.err), MUSTER_OK);
    ck_assert(ckpt_case_has(1) && !ckpt_case_has(2) && ckpt_case_has(3) && ckpt_case_has(4));
    ck_assert(fs_exists(ckpt_case_path("keep-me")));
}
END_TEST

START_TEST(unfinished_folders_do_not_count_among_the_two_that_stay)
{
    ckpt_case_add(1, true);
    ckpt_case_add(2, true);
    ckpt_case_add(3, false);
    ckpt_case_add(4, false);
    ck_assert_int_eq(ckpt_prune(here.dir, 2, &here.err), MUSTER_OK);
    ck_assert(ckpt_case_has(1) && ckpt_case_has(2) && ckpt_case_has(3) && ckpt_case_has(4));
}
END_TEST

START_TEST(a_damaged_checkpoint_does_not_count_among_the_two_that_stay)
{
    for (int step = 1; step <= 4; step++)
        ckpt_case_add(step, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000003/MANIFEST.json"), 50, 1));
    ck_assert_int_eq(ckpt_prune(here.dir, 2, &here.err), MUSTER_OK);
    ck_assert(!ckpt_case_has(1) && ckpt_case_has(2) && !ckpt_case_has(3) && ckpt_case_has(4));
}
END_TEST

START_TEST(a_checkpoint_that_cannot_be_read_today_is_not_rubbish)
{
    ck_assert_int_eq(fs_folder_create(ckpt_case_path("step-000000001/MANIFEST.json"), &here.err),
                     MUSTER_OK); /* EISDIR */
    ckpt_case_add(2, true);
    ckpt_case_add(3, true);
    ck_assert_int_eq(ckpt_prune(here.dir, 2, &here.err), MUSTER_OK);
    ck_assert(ckpt_case_has(1) && ckpt_case_has(2) && ckpt_case_has(3));
}
END_TEST

static void retain(const struct ckpt_retention_policy *policy, const struct ckpt_retention_scope *scope)
{
    ck_assert_msg(ckpt_retain(here.dir, policy, scope, &here.err) == MUSTER_OK, "%s", here.err.text);
}

START_TEST(nothing_goes_before_two_that_stay_are_known_to_be_good)
{
    const struct ckpt_retention_policy policy = {.keep_last = 2};
    const int64_t known[] = {1, 2, 4, 3};
    for (int step = 1; step <= 4; step++)
        ckpt_case_add(step, true);
    retain(&policy, &(struct ckpt_retention_scope){.newest_step = 4, .verified = known, .verified_count = 3});
    ck_assert(ckpt_case_has(1) && ckpt_case_has(2) && ckpt_case_has(3) &&
              ckpt_case_has(4)); /* 3 and 4 would stay, 3 was never read */
    retain(&policy, &(struct ckpt_retention_scope){.newest_step = 4, .verified = known, .verified_count = 4});
    ck_assert(!ckpt_case_has(1) && !ckpt_case_has(2) && ckpt_case_has(3) && ckpt_case_has(4));
}
END_TEST

START_TEST(every_so_many_and_the_best_stay_and_a_given_up_future_is_left_alone)
{
    static const double losses[] = {0, 3.0, 1.0, 2.0, 5.0, 4.0, 4.5, 0.5};
    const struct ckpt_retention_policy policy = {.keep_last = 2, .keep_every = 3, .keep_best = 1};
    for (int step = 1; step <= 7; step++) {
        char folder[FS_PATH_MAX];
        ckpt_fixture_init(&here.fixture, step);
        here.fixture.identity.validation = (struct ckpt_validation){true, losses[step]};
        ck_assert_int_eq(ckpt_fixture_write(&here.fixture, here.dir, 2, true, folder, &here.err), MUSTER_OK);
    }
    retain(&policy, &(struct ckpt_retention_scope){.newest_step = 6, .trusts_all = true});
    ck_assert(!ckpt_case_has(1) && ckpt_case_has(2) && ckpt_case_has(3) && !ckpt_case_has(4) &&
              ckpt_case_has(5) && ckpt_case_has(6) && ckpt_case_has(7));
    struct ckpt_catalogue catalogue;
    ck_assert_int_eq(ckpt_catalogue_read(here.dir, &catalogue, &here.err), MUSTER_OK);
    ck_assert(catalogue.entries[4].validation.known);
    ck_assert_double_eq(catalogue.entries[4].validation.loss, 1.0);
    ckpt_catalogue_release(&catalogue);
}
END_TEST

/* Every line of a table, except for its last column, is as long as the heading: the columns stand in line. */
static void columns_must_align(const char *table, const char *last)
{
    size_t column = (size_t)(strstr(table, last) - table);
    const char *line = strchr(table, '\n') + 1;
    for (; *line != '\0'; line = strchr(line, '\n') + 1)
        ck_assert_msg(line[column] != ' ' && line[column - 1] == ' ', "%s", line);
}

START_TEST(the_list_is_a_table_for_a_run_folder_a_folder_or_one_checkpoint)
{
    char run[FS_PATH_MAX];
    strcpy(run, here.dir);
    ck_assert_int_eq(fs_path_join(here.dir, run, "checkpoints", &here.err), MUSTER_OK);
    ckpt_case_add(8, true);
    ckpt_case_add(1234567890123, true);
    ckpt_case_add(5, false);
    ck_assert_int_eq(ckpt_command_list(run, &here.out, &here.err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(here.out.data, "CHECKPOINT"));
    ck_assert_ptr_nonnull(strstr(here.out.data, "step-000000008"));
    ck_assert_ptr_nonnull(strstr(here.out.data, "never finished"));
    columns_must_align(here.out.data, "STATE");
    char *from_run = alloc_text(here.out.data);
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_list(here.dir, &here.out, &here.err), MUSTER_OK);
    ck_assert_str_eq(here.out.data, from_run);
    alloc_free(from_run);
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_list(ckpt_case_path("step-000000008/"), &here.out, &here.err), MUSTER_OK);
    ck_assert_ptr_nonnull(strstr(here.out.data, "\nstep-000000008 "));
    ck_assert_ptr_null(strstr(here.out.data, "1234567890123"));
    strcpy(here.dir, run);
}
END_TEST

START_TEST(what_was_set_aside_is_told_with_its_size_and_the_command_that_removes_it)
{
    struct text said;
    text_init(&said);
    ckpt_given_up_print(here.dir, "set aside: ", &said);
    ck_assert_str_eq(said.data, "");
    for (int step = 10; step <= 20; step += 10) {
        ckpt_case_add(5, true);
        ckpt_case_add(step, true);
        ck_assert_int_eq(ckpt_give_up_later(here.dir, 5, &said, &here.err), MUSTER_OK);
    }
    ck_assert_int_eq(fs_folder_create(ckpt_case_path("given-up-by-me"), &here.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_command_list(here.dir, &here.out, &here.err), MUSTER_OK);
    const char *line = strstr(here.out.data, "\nset aside: ");
    ck_assert_ptr_nonnull(line);
    text_clear(&said);
    text_print(&said,
               "iB in 2 folders; nothing removes them by itself; when not wanted: rm -r %s/given-up-1 "
               "%s/given-up-2\n",
               here.dir, here.dir);
    ck_assert_ptr_nonnull(strstr(line, said.data));
    text_release(&said);
}
END_TEST

START_TEST(verify_tells_good_unfinished_and_damaged_apart)
{
    ckpt_case_add(1, true);
    ckpt_case_add(2, false);
    ck_assert_msg(ckpt_command_verify(here.dir, &here.out, &here.err) == MUSTER_OK, "%s", here.err.text);
    ck_assert_ptr_nonnull(strstr(here.out.data, "step-000000001  ok          step 1, "));
    ck_assert_ptr_nonnull(strstr(here.out.data, "step-000000002  unfinished  "));
    ckpt_case_add(3, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000003/shard-00001-of-00002.safetensors"), -1, 1));
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_verify(here.dir, &here.out, &here.err), MUSTER_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(here.err.text, "1 of 3"));
    ck_assert_ptr_nonnull(strstr(here.out.data, "step-000000003  BAD         "));
    ck_assert_ptr_nonnull(strstr(here.out.data, "step-000000001  ok "));
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_verify(ckpt_case_path("step-000000003"), &here.out, &here.err),
                     MUSTER_ERR_CORRUPT);
}
END_TEST

START_TEST(hash_prints_digits_and_folder_and_recomputes)
{
    char digits[HASH_TEXT_SIZE], expected[128];
    ckpt_case_add(1, true);
    ckpt_case_add(2, false);
    ckpt_case_add(3, true);
    hash_format(ckpt_fixture_hash(&here.fixture), digits);
    snprintf(expected, sizeof expected, "%s  step-000000003\n", digits);
    ck_assert_int_eq(ckpt_command_hash(ckpt_case_path("step-000000003"), &here.out, &here.err), MUSTER_OK);
    ck_assert_str_eq(here.out.data, expected);
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_hash(here.dir, &here.out, &here.err), MUSTER_OK);
    ck_assert_uint_eq(here.out.length, 2 * strlen(expected));
    ck_assert_ptr_eq(strstr(here.out.data, expected), here.out.data);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000003/shard-00000-of-00002.safetensors"), -1, 1));
    ck_assert_int_eq(ckpt_command_hash(here.dir, &here.out, &here.err), MUSTER_ERR_CORRUPT);
}
END_TEST

START_TEST(a_path_without_checkpoints_is_bad_input)
{
    ck_assert_int_eq(ckpt_command_list(ckpt_case_path("nowhere"), &here.out, &here.err),
                     MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(ckpt_command_verify(here.dir, &here.out, &here.err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(here.err.text, "no checkpoints"));
    ck_assert_int_eq(ckpt_command_hash(here.dir, &here.out, &here.err), MUSTER_ERR_BAD_INPUT);
    ck_assert_uint_eq(here.out.length, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ckpt_catalogue");
    TCase *tcase = tcase_create("ckpt_catalogue");
    tcase_add_checked_fixture(tcase, ckpt_case_setup, ckpt_case_teardown);
    tcase_add_test(tcase, the_catalogue_is_newest_first_with_reasons_and_ignores_strangers);
    tcase_add_test(tcase, a_checkpoint_under_another_steps_name_is_not_taken_for_that_step);
    tcase_add_test(tcase, a_checkpoint_that_lost_a_shard_is_not_listed_as_committed);
    tcase_add_test(tcase, a_missing_folder_is_an_empty_catalogue);
    tcase_add_test(tcase, pruning_keeps_the_newest_and_never_fewer_than_two);
    tcase_add_test(tcase, pruning_removes_unfinished_folders_only_below_the_newest_committed);
    tcase_add_test(tcase, unfinished_folders_do_not_count_among_the_two_that_stay);
    tcase_add_test(tcase, a_damaged_checkpoint_does_not_count_among_the_two_that_stay);
    tcase_add_test(tcase, a_checkpoint_that_cannot_be_read_today_is_not_rubbish);
    tcase_add_test(tcase, nothing_goes_before_two_that_stay_are_known_to_be_good);
    tcase_add_test(tcase, every_so_many_and_the_best_stay_and_a_given_up_future_is_left_alone);
    tcase_add_test(tcase, the_list_is_a_table_for_a_run_folder_a_folder_or_one_checkpoint);
    tcase_add_test(tcase, what_was_set_aside_is_told_with_its_size_and_the_command_that_removes_it);
    tcase_add_test(tcase, verify_tells_good_unfinished_and_damaged_apart);
    tcase_add_test(tcase, hash_prints_digits_and_folder_and_recomputes);
    tcase_add_test(tcase, a_path_without_checkpoints_is_bad_input);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
