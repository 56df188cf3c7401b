/* SPDX-License-Identifier: MIT
 *
 * The log as its readers see it: lines that jansson, which the writer does not use, parses one by one.
 */
#include "base/event_log.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 8, LINES_EACH = 60, LINES_MAX = 1024 };

static char folder[64], log_path[FS_PATH_MAX];
static json_t *lines[LINES_MAX];
static int line_count;
static struct muster_error err;

static void setup(void)
{
    strcpy(folder, "/tmp/muster-event-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_path_join(log_path, folder, EVENT_LOG_NAME, NULL), MUSTER_OK);
    line_count = 0;
}

static void teardown(void)
{
    while (line_count > 0)
        json_decref(lines[--line_count]);
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

static void must(enum muster_status status)
{
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
}

/* Every line of the log must parse. */
static void lines_read(void)
{
    char *data = NULL;
    size_t bytes = 0;
    must(fs_file_read(log_path, 16 << 20, &data, &bytes, &err));
    ck_assert_int_eq(data[bytes - 1], '\n');
    for (char *at = data; at < data + bytes;) {
        char *end = memchr(at, '\n', (size_t)(data + bytes - at));
        json_error_t where;
        ck_assert_int_lt(line_count, LINES_MAX);
        lines[line_count] = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &where);
        ck_assert_msg(lines[line_count] != NULL, "line %d: %s", line_count + 1, where.text);
        line_count++;
        at = end + 1;
    }
    alloc_free(data);
}

static const char *word(int line, const char *key)
{
    return json_string_value(json_object_get(lines[line], key));
}

START_TEST(a_line_holds_what_was_said_and_leaves_out_what_was_not)
{
    struct event full = {"death", 3, 2, "node07", 812, "backward", "rank 2 died"};
    struct event bare = {.kind = "done", .epoch = -1, .rank = -1, .step = -1};
    must(event_log_append(folder, &full, &err));
    must(event_log_append(folder, &bare, &err));
    lines_read();
    ck_assert_int_eq(line_count, 2);
    ck_assert_str_eq(word(0, "kind"), "death");
    ck_assert_str_eq(word(0, "host"), "node07");
    ck_assert_str_eq(word(0, "phase"), "backward");
    ck_assert_str_eq(word(0, "text"), "rank 2 died");
    ck_assert_int_eq(json_integer_value(json_object_get(lines[0], "epoch")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(lines[0], "rank")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(lines[0], "step")), 812);
    ck_assert_uint_eq(strlen(word(0, "time")), strlen("2026-01-31T23:59:59.123Z"));
    ck_assert_uint_eq(json_object_size(lines[1]), 2); /* time and kind */
}
END_TEST

START_TEST(no_text_can_break_a_line)
{
    static const char *const texts[] = {
        "two\nlines\tand \"quotes\" and \\",
        "\xff\xfe latin \xe4 cut \xe2\x82",
        "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", /* three characters of 2, 3 and 4 bytes */
        "\xc0\xaf overlong \xed\xa0\x80 half a pair \xf4\x90\x80\x80", /* no UTF-8, though it looks like it */
        "\x01\x02\x1f\x7f",
    };
    char longest[5000];
    memset(longest, 1, sizeof longest - 1); /* each byte takes six in the line */
    longest[sizeof longest - 1] = '\0';
    struct event event = {
        .kind = longest, .epoch = 1, .rank = 1, .host = longest, .step = 1, .phase = longest};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct event told = {.kind = "nan", .epoch = -1, .rank = -1, .step = -1, .text = texts[i]};
        must(event_log_append(folder, &told, &err));
    }
    event.text = longest;
    must(event_log_append(folder, &event, &err));
    lines_read();
    ck_assert_int_eq(line_count, 6);
    ck_assert_str_eq(word(0, "text"), texts[0]);
    ck_assert_str_eq(word(1, "text"), "?? latin ? cut ??");
    ck_assert_str_eq(word(2, "text"), texts[2]);
    ck_assert_str_eq(word(3, "text"), "?? overlong ??? half a pair ????");
    ck_assert_str_eq(word(4, "text"), texts[4]);
    ck_assert_uint_eq(strlen(word(5, "text")), 2000);
}
END_TEST

/* The second time somebody holds the lock and never gives it back, as a stopped process would. */
START_TEST(lines_of_many_writers_never_mix)
{
    static char text[1800];
    int holder = _i == 1 ? open(log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    int64_t lines_each = _i == 1 ? 3 : LINES_EACH;
    if (holder >= 0)
        ck_assert_int_eq(flock(holder, LOCK_EX), 0);
    for (int writer = 0; writer < WRITERS; writer++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child > 0)
            continue;
        memset(text, 'a' + writer, sizeof text - 1);
        struct event event = {"straggler", 1, writer, "host", 0, NULL, text};
        for (event.step = 0; event.step < lines_each; event.step++) {
            if (event_log_append(folder, &event, NULL) != MUSTER_OK)
                _exit(1);
        }
        _exit(0);
    }
    for (int writer = 0; writer < WRITERS; writer++) {
        int status = -1;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    lines_read();
    if (holder >= 0)
        close(holder);
    ck_assert_int_eq(line_count, WRITERS * lines_each);
    int64_t next[WRITERS] = {0};
    for (int i = 0; i < line_count; i++) {
        int writer = (int)json_integer_value(json_object_get(lines[i], "rank"));
        memset(text, 'a' + writer, sizeof text - 1);
        ck_assert_str_eq(word(i, "text"), text);
        ck_assert_int_eq(json_integer_value(json_object_get(lines[i], "step")), next[writer]++);
    }
}
END_TEST

START_TEST(a_line_that_was_cut_off_does_not_swallow_the_next)
{
    must(fs_file_write(log_path, "{\"time\": \"20", 12, &err));
    struct event event = {.kind = "restart", .epoch = -1, .rank = -1, .step = -1};
    must(event_log_append(folder, &event, &err));
    char *data = NULL;
    size_t bytes = 0;
    must(fs_file_read(log_path, 4096, &data, &bytes, &err));
    ck_assert_ptr_nonnull(strstr(data, "\"20\n{\"time\": "));
    alloc_free(data);
}
END_TEST

START_TEST(what_several_witnesses_see_is_told_once)
{
    struct event old = {"death", 3, 0, "a", 1, NULL, NULL};
    must(event_log_append(folder, &old, &err));
    int64_t since = event_log_size(folder);
    ck_assert_int_gt(since, 0);
    struct event events[] = {
        {"death", 3, 1, "a", 9, NULL, "first"},   {"death", 3, 1, "a", 9, NULL, "again"},
        {"death", 3, 10, "a", 9, NULL, "other"},  {"stopped", 3, 1, "a", 9, NULL, "other"},
        {"death", 4, 1, "a", 9, NULL, "other"},   {"death", 3, 0, "a", 9, NULL, "the old one does not count"},
        {"death", 3, 10, NULL, 9, NULL, "again"},
    };
    static const bool expected[] = {true, false, true, true, true, true, false};
    for (int i = 0; i < 7; i++) {
        bool added;
        must(event_log_append_once(folder, &events[i], since, &added, &err));
        ck_assert_msg(added == expected[i], "event %d", i);
    }
    lines_read();
    ck_assert_int_eq(line_count, 6);
}
END_TEST

START_TEST(a_lock_that_is_never_given_back_delays_and_does_not_silence)
{
    int fd = open(log_path, O_RDWR | O_CREAT, 0600);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    struct event event = {.kind = "stopped", .epoch = -1, .rank = 1, .step = -1};
    must(event_log_append(folder, &event, &err));
    close(fd);
    lines_read();
    ck_assert_int_eq(line_count, 1);
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_named)
{
    struct event event = {.kind = "done", .epoch = -1, .rank = -1, .step = -1};
    ck_assert_int_eq(event_log_append("/nowhere/at/all", &event, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/at/all/events.jsonl"));
    ck_assert_int_eq(event_log_size("/nowhere/at/all"), 0);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("event log");
    tcase_set_timeout(tcase, 0);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_line_holds_what_was_said_and_leaves_out_what_was_not);
    tcase_add_test(tcase, no_text_can_break_a_line);
    tcase_add_loop_test(tcase, lines_of_many_writers_never_mix, 0, 2);
    tcase_add_test(tcase, a_line_that_was_cut_off_does_not_swallow_the_next);
    tcase_add_test(tcase, what_several_witnesses_see_is_told_once);
    tcase_add_test(tcase, a_lock_that_is_never_given_back_delays_and_does_not_silence);
    tcase_add_test(tcase, a_folder_that_is_not_there_is_named);
    Suite *suite = suite_create("event_log");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
