/* SPDX-License-Identifier: MIT
 *
 * The error record: what is kept when the text is too long, and which status and exit code a cause becomes.
 */
#include "base/error.h"
#include "tests/suite.h"

#include <errno.h>
#include <string.h>

START_TEST(an_error_keeps_its_status_and_formatted_text)
{
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(muster_error_set(&err, MUSTER_ERR_CORRUPT, "shard %d of %s", 3, "x"),
                     MUSTER_ERR_CORRUPT);
    ck_assert_int_eq(err.status, MUSTER_ERR_CORRUPT);
    ck_assert_str_eq(err.text, "shard 3 of x");
}
END_TEST

START_TEST(a_null_error_still_returns_the_status)
{
    ck_assert_int_eq(muster_error_set(NULL, MUSTER_ERR_PEER, "x"), MUSTER_ERR_PEER);
    ck_assert_int_eq(muster_error_set_errno(NULL, EDQUOT, "x"), MUSTER_ERR_NO_SPACE);
    ck_assert_int_eq(muster_error_set_errno(NULL, EIO, "x"), MUSTER_ERR_IO);
}
END_TEST

START_TEST(a_system_call_error_names_the_reason)
{
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(muster_error_set_errno(&err, ENOENT, "open %s", "a"), MUSTER_ERR_IO);
    ck_assert_str_eq(err.text, "open a: No such file or directory");
    ck_assert_int_eq(muster_error_set_errno(&err, ENOSPC, "write %s", "b"), MUSTER_ERR_NO_SPACE);
    ck_assert_int_eq(err.status, MUSTER_ERR_NO_SPACE);
    ck_assert_str_eq(err.text, "write b: No space left on device");
}
END_TEST

START_TEST(a_text_too_long_is_cut_but_the_reason_of_the_system_stays)
{
    char name[3000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct muster_error err = {.status = MUSTER_OK};
    muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "%s", name);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    muster_error_set_errno(&err, ENOENT, "open %s", name);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    ck_assert_ptr_nonnull(strstr(err.text, ": No such file or directory"));
    ck_assert_mem_eq(err.text, "open nnn", 8);
}
END_TEST

START_TEST(the_old_text_may_be_an_argument_of_the_new_one)
{
    struct muster_error err = {.status = MUSTER_OK};
    muster_error_set(&err, MUSTER_ERR_IO, "cause");
    muster_error_set(&err, MUSTER_ERR_PEER, "rank 3 of the job: %s", err.text);
    ck_assert_str_eq(err.text, "rank 3 of the job: cause");
    muster_error_set_errno(&err, EIO, "again %s", err.text);
    ck_assert_str_eq(err.text, "again rank 3 of the job: cause: Input/output error");
}
END_TEST

START_TEST(every_status_has_its_own_name_and_a_documented_exit_code)
{
    for (int i = MUSTER_OK; i <= MUSTER_ERR_INTERNAL; i++) {
        const char *name = muster_status_name((enum muster_status)i);
        ck_assert_str_ne(name, "unknown");
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(name, muster_status_name((enum muster_status)j));
        int code = muster_status_exit_code((enum muster_status)i);
        ck_assert(i == MUSTER_OK ? code == 0 : code == 1 || code == 2 || code == 75);
    }
    ck_assert_str_eq(muster_status_name((enum muster_status)99), "unknown");
    ck_assert_int_eq(muster_status_exit_code((enum muster_status)99), 1);
}
END_TEST

START_TEST(what_a_person_must_correct_exits_2_and_what_can_resume_exits_75)
{
    ck_assert_int_eq(muster_status_exit_code(MUSTER_ERR_BAD_INPUT), 2);
    ck_assert_int_eq(muster_status_exit_code(MUSTER_ERR_UNSUPPORTED), 2);
    ck_assert_int_eq(muster_status_exit_code(MUSTER_ERR_CANCELLED), 75);
    ck_assert_int_eq(muster_status_exit_code(MUSTER_ERR_PEER), 1);
    ck_assert_str_eq(muster_status_name(MUSTER_ERR_BAD_INPUT), "bad input");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *cases = tcase_create("error");
    tcase_add_test(cases, an_error_keeps_its_status_and_formatted_text);
    tcase_add_test(cases, a_null_error_still_returns_the_status);
    tcase_add_test(cases, a_system_call_error_names_the_reason);
    tcase_add_test(cases, a_text_too_long_is_cut_but_the_reason_of_the_system_stays);
    tcase_add_test(cases, the_old_text_may_be_an_argument_of_the_new_one);
    tcase_add_test(cases, every_status_has_its_own_name_and_a_documented_exit_code);
    tcase_add_test(cases, what_a_person_must_correct_exits_2_and_what_can_resume_exits_75);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
