/* SPDX-License-Identifier: MIT
 *
 * The sink as its readers see it: the bytes in the file and on stderr, which each test points at a file of
 * its own.
 */
#include "base/log.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], log_path[FS_PATH_MAX], console_path[FS_PATH_MAX];
static int stderr_saved;

static void setup(void)
{
    strcpy(folder, "/tmp/muster-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_path_join(log_path, folder, "rank.log", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_path_join(console_path, folder, "console", NULL), MUSTER_OK);
    fflush(stderr);
    stderr_saved = dup(STDERR_FILENO);
    int fd = open(console_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    ck_assert_int_ge(fd, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static void teardown(void)
{
    dup2(stderr_saved, STDERR_FILENO);
    close(stderr_saved);
    log_file_close();
    log_console_level_set(LOG_WARN);
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

/* The content of a file, valid until the next call. */
static const char *content(const char *path)
{
    static char kept[200000];
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_int_eq(fs_file_read(path, sizeof kept - 1, &data, &bytes, NULL), MUSTER_OK);
    memcpy(kept, data, bytes + 1);
    alloc_free(data);
    return kept;
}

START_TEST(warnings_reach_stderr_and_information_does_not)
{
    log_info("quiet");
    log_debug("quiet");
    log_warn("low on %s", "disk");
    log_error("gone");
    ck_assert_str_eq(content(console_path), "muster: warning: low on disk\nmuster: error: gone\n");
}
END_TEST

START_TEST(the_console_level_can_be_changed)
{
    log_console_level_set(LOG_DEBUG);
    log_debug("a");
    log_console_level_set(LOG_ERROR);
    log_warn("b");
    log_error("c");
    ck_assert_str_eq(content(console_path), "muster: debug: a\nmuster: error: c\n");
}
END_TEST

START_TEST(a_line_in_the_file_has_time_level_and_rank)
{
    ck_assert_int_eq(log_file_open(log_path, 3, NULL), MUSTER_OK);
    log_info("step %d", 7);
    const char *line = content(log_path);
    ck_assert_uint_eq(strlen(line), strlen("2026-01-31T23:59:59.123Z info rank 3: step 7\n"));
    ck_assert_str_eq(line + 24, " info rank 3: step 7\n");
    int year, month, day, hour, minute, second, ms;
    ck_assert_int_eq(
        sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &year, &month, &day, &hour, &minute, &second, &ms), 7);
    ck_assert_int_ge(year, 2020);
    ck_assert_str_eq(content(console_path), "");
}
END_TEST

START_TEST(a_process_that_is_no_rank_names_none)
{
    ck_assert_int_eq(log_file_open(log_path, -1, NULL), MUSTER_OK);
    log_debug("x");
    ck_assert_str_eq(content(log_path) + 24, " debug: x\n");
}
END_TEST

START_TEST(the_file_is_private_appended_to_and_closed)
{
    struct stat info;
    ck_assert_int_eq(log_file_open(log_path, 0, NULL), MUSTER_OK);
    ck_assert_int_eq(stat(log_path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    log_info("first");
    log_file_close();
    log_info("lost");
    ck_assert_int_eq(log_file_open(log_path, 0, NULL), MUSTER_OK);
    log_info("second");
    ck_assert_int_eq(log_file_open(NULL, 0, NULL), MUSTER_OK);
    log_info("lost");
    const char *text = content(log_path);
    ck_assert_ptr_nonnull(strstr(text, "first\n"));
    ck_assert_ptr_nonnull(strstr(text, "second\n"));
    ck_assert_ptr_null(strstr(text, "lost"));
}
END_TEST

START_TEST(a_file_replaced_by_another_is_closed)
{
    ck_assert_int_eq(log_file_open(log_path, 0, NULL), MUSTER_OK);
    int before = dup(STDERR_FILENO); /* the lowest number free */
    close(before);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(log_file_open(log_path, 0, NULL), MUSTER_OK);
    log_file_close();
    int after = dup(STDERR_FILENO);
    close(after);
    ck_assert_int_le(after, before);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_is_named_and_the_old_one_stays)
{
    struct muster_error err = {.status = MUSTER_OK};
    char wrong[FS_PATH_MAX];
    ck_assert_int_eq(fs_path_join(wrong, folder, "missing/rank.log", NULL), MUSTER_OK);
    ck_assert_int_eq(log_file_open(log_path, 0, NULL), MUSTER_OK);
    ck_assert_int_eq(log_file_open(wrong, 0, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, wrong));
    log_info("still here");
    ck_assert_ptr_nonnull(strstr(content(log_path), "still here\n"));
}
END_TEST

START_TEST(a_message_cannot_forge_a_second_line)
{
    log_warn("name is \"a\nmuster: error: forged\r\x1b[31m\"\n\n");
    ck_assert_str_eq(content(console_path), "muster: warning: name is \"a muster: error: forged  [31m\"\n");
}
END_TEST

START_TEST(a_very_long_message_is_cut_and_says_so)
{
    char message[10000];
    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    log_warn("%s", message);
    const char *line = content(console_path);
    size_t length = strlen(line);
    ck_assert_uint_gt(length, 4000);
    ck_assert_uint_le(length, 4096);
    ck_assert_str_eq(line + length - 5, "m...\n");
}
END_TEST

START_TEST(a_full_disk_stops_nobody)
{
    ck_assert_int_eq(log_file_open("/dev/full", 0, NULL), MUSTER_OK);
    log_error("still on the console");
    ck_assert_str_eq(content(console_path), "muster: error: still on the console\n");
}
END_TEST

enum { THREAD_COUNT = 4, LINES_PER_THREAD = 200 };

static void *log_many(void *name)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        log_info("%s%s%s%s end", (const char *)name, (const char *)name, (const char *)name,
                 (const char *)name);
    return NULL;
}

START_TEST(threads_do_not_mix_inside_a_line)
{
    static char names[THREAD_COUNT][2] = {"a", "b", "c", "d"};
    pthread_t threads[THREAD_COUNT];
    ck_assert_int_eq(log_file_open(log_path, 1, NULL), MUSTER_OK);
    for (int i = 0; i < THREAD_COUNT; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    for (int i = 0; i < THREAD_COUNT; i++)
        pthread_join(threads[i], NULL);
    const char *line = content(log_path);
    int counts[THREAD_COUNT] = {0};
    for (int i = 0; i < THREAD_COUNT * LINES_PER_THREAD; i++) {
        const char *text = strstr(line, " rank 1: "), *end = strchr(line, '\n');
        ck_assert(text != NULL && end != NULL && end - text == 17);
        char name = text[9];
        ck_assert(name >= 'a' && name <= 'd' && text[10] == name && text[11] == name && text[12] == name);
        counts[name - 'a']++;
        line = end + 1;
    }
    ck_assert_str_eq(line, "");
    for (int i = 0; i < THREAD_COUNT; i++)
        ck_assert_int_eq(counts[i], LINES_PER_THREAD);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *cases = tcase_create("log");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, warnings_reach_stderr_and_information_does_not);
    tcase_add_test(cases, the_console_level_can_be_changed);
    tcase_add_test(cases, a_line_in_the_file_has_time_level_and_rank);
    tcase_add_test(cases, a_process_that_is_no_rank_names_none);
    tcase_add_test(cases, the_file_is_private_appended_to_and_closed);
    tcase_add_test(cases, a_file_replaced_by_another_is_closed);
    tcase_add_test(cases, a_file_that_cannot_be_opened_is_named_and_the_old_one_stays);
    tcase_add_test(cases, a_message_cannot_forge_a_second_line);
    tcase_add_test(cases, a_very_long_message_is_cut_and_says_so);
    tcase_add_test(cases, a_full_disk_stops_nobody);
    tcase_add_test(cases, threads_do_not_mix_inside_a_line);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
