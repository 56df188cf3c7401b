/* SPDX-License-Identifier: MIT
 *
 * Who may still write: the number in the run folder against the one a process was launched with.
 */
#include "base/epoch.h"

#include "base/fs.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static char folder[64], path[FS_PATH_MAX];
static struct muster_error err;

static void setup(void)
{
    strcpy(folder, "/tmp/muster-epoch-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_path_join(path, folder, EPOCH_FILE_NAME, NULL), MUSTER_OK);
}

static void teardown(void)
{
    unsetenv(EPOCH_ENVIRONMENT);
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

static void count(const char *text)
{
    ck_assert_int_eq(fs_file_write(path, text, strlen(text), &err), MUSTER_OK);
}

START_TEST(a_process_without_a_supervisor_has_no_epoch)
{
    unsetenv(EPOCH_ENVIRONMENT);
    ck_assert_int_eq(epoch_of_process(), -1);
    setenv(EPOCH_ENVIRONMENT, "seven", 1);
    ck_assert_int_eq(epoch_of_process(), -1);
    setenv(EPOCH_ENVIRONMENT, "-2", 1);
    ck_assert_int_eq(epoch_of_process(), -1);
    setenv(EPOCH_ENVIRONMENT, "7", 1);
    ck_assert_int_eq(epoch_of_process(), 7);
}
END_TEST

START_TEST(only_an_older_launch_is_fenced)
{
    ck_assert_int_eq(epoch_check(folder, 1, &err), MUSTER_OK); /* nobody has counted yet */
    count("7\n");
    ck_assert_int_eq(epoch_check(folder, -1, &err), MUSTER_OK);
    ck_assert_int_eq(epoch_check(folder, 7, &err), MUSTER_OK);
    ck_assert_int_eq(epoch_check(folder, 8, &err), MUSTER_OK);
    ck_assert_int_eq(epoch_check(folder, 6, &err), MUSTER_ERR_FENCED);
    ck_assert_str_eq(err.text, "launch 7 of this run has taken over; launch 6 ends and changes nothing");
}
END_TEST

START_TEST(a_number_that_cannot_be_read_is_an_error_and_no_permission)
{
    count("7x\n");
    ck_assert_int_eq(epoch_check(folder, 9, &err), MUSTER_ERR_CORRUPT);
    count("");
    ck_assert_int_eq(epoch_check(folder, 9, &err), MUSTER_ERR_CORRUPT);
    count("-1");
    ck_assert_int_eq(epoch_check(folder, 9, &err), MUSTER_ERR_CORRUPT);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("epoch");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_process_without_a_supervisor_has_no_epoch);
    tcase_add_test(tcase, only_an_older_launch_is_fenced);
    tcase_add_test(tcase, a_number_that_cannot_be_read_is_an_error_and_no_permission);
    Suite *suite = suite_create("epoch");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
