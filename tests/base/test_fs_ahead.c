/* SPDX-License-Identifier: MIT
 *
 * Files of lengths around every border, blocks wanted in every pattern: what comes is what stands there, in
 * order and nothing else, past the page cache or not. A file shorter than it should be is an error at the
 * block that is missing, not before and not a short block.
 */
#include "base/fs_ahead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/suite.h"

enum { BLOCK = 1 << 20 };

static char folder[64], path[FS_PATH_MAX];
static int64_t live_before;
static unsigned char *content;

/* No two blocks alike, so that a wrong one shows. */
static void file_write(int64_t bytes)
{
    FILE *file = fopen(path, "wb");
    content = realloc(content, (size_t)bytes + 1);
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(content);
    for (int64_t i = 0; i < bytes; i++)
        content[i] = (unsigned char)(i * 31 + i / BLOCK * 7 + i / 4096);
    ck_assert_uint_eq(fwrite(content, 1, (size_t)bytes, file), (size_t)bytes);
    ck_assert_int_eq(fclose(file), 0);
}

static void setup(void)
{
    live_before = alloc_live_count();
    strcpy(folder, "/tmp/muster-ahead-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_path_join(path, folder, "file", NULL), MUSTER_OK);
}

static void teardown(void)
{
    free(content);
    content = NULL;
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    ck_assert_int_eq(alloc_live_count(), live_before);
}

static struct fs_ahead *begin(int64_t bytes, const bool *wanted, bool direct)
{
    const struct fs_ahead_plan plan = {path, bytes, BLOCK, wanted, direct};
    struct fs_ahead *ahead = NULL;
    struct muster_error err = {0};
    ck_assert_msg(fs_ahead_open(&plan, &ahead, &err) == MUSTER_OK, "%s", err.text);
    return ahead;
}

static void read_and_compare(int64_t bytes, const bool *wanted, bool direct)
{
    int64_t count = (bytes + BLOCK - 1) / BLOCK, index, length;
    const void *data;
    struct muster_error err = {0};
    struct fs_ahead *ahead = begin(bytes, wanted, direct);
    for (int64_t i = 0; i < count; i++) {
        if (!wanted[i])
            continue;
        ck_assert_msg(fs_ahead_next(ahead, &index, &data, &length, &err) == MUSTER_OK, "%s", err.text);
        ck_assert_int_eq(index, i);
        ck_assert_int_eq(length, bytes - i * BLOCK < BLOCK ? bytes - i * BLOCK : BLOCK);
        ck_assert_msg(memcmp(data, content + i * BLOCK, (size_t)length) == 0, "block %lld", (long long)i);
    }
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(fs_ahead_next(ahead, &index, &data, &length, &err), MUSTER_OK);
        ck_assert_int_eq(index, -1);
    }
    fs_ahead_close(ahead);
}

START_TEST(every_wanted_block_comes_once_and_in_order)
{
    static const int64_t lengths[] = {1,         4095,          4096,      4097,
                                      BLOCK - 1, BLOCK,         BLOCK + 1, 8 * BLOCK - 1,
                                      8 * BLOCK, 8 * BLOCK + 1, 9 * BLOCK, 40 * BLOCK + 7};
    static const unsigned patterns[] = {~0u, 1, 0, 0x55555555, 0x80000001, 0x00fff0f0, 0x7fffffff};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        file_write(lengths[l]);
        for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
            bool wanted[64];
            for (int i = 0; i < 64; i++)
                wanted[i] = patterns[p] >> (i % 32) & 1;
            read_and_compare(lengths[l], wanted, false);
            read_and_compare(lengths[l], wanted, true);
        }
    }
}
END_TEST

START_TEST(a_file_that_is_too_short_is_told_where_it_ends)
{
    bool wanted[12];
    memset(wanted, true, sizeof wanted);
    for (int direct = 0; direct < 2; direct++) {
        int64_t index, length;
        const void *data;
        struct muster_error err = {0};
        file_write(12 * BLOCK);
        ck_assert_int_eq(truncate(path, 9 * BLOCK + 4096), 0);
        struct fs_ahead *ahead = begin(12 * BLOCK, wanted, direct);
        for (int i = 0; i < 8; i++) /* those of the request before */
            ck_assert_int_eq(fs_ahead_next(ahead, &index, &data, &length, &err), MUSTER_OK);
        for (int again = 0; again < 2; again++) {
            ck_assert_int_eq(fs_ahead_next(ahead, &index, &data, &length, &err), MUSTER_ERR_CORRUPT);
            ck_assert_ptr_nonnull(strstr(err.text, "ends at byte 9441280"));
            ck_assert_ptr_nonnull(strstr(err.text, path));
        }
        fs_ahead_close(ahead);
    }
}
END_TEST

START_TEST(who_stops_early_leaves_nothing_behind)
{
    bool wanted[40];
    int64_t index, length;
    const void *data;
    struct muster_error err = {0};
    memset(wanted, true, sizeof wanted);
    file_write(40 * BLOCK);
    for (int taken = 0; taken < 20; taken++) {
        struct fs_ahead *ahead = begin(40 * BLOCK, wanted, taken % 2);
        for (int i = 0; i < taken; i++)
            ck_assert_int_eq(fs_ahead_next(ahead, &index, &data, &length, &err), MUSTER_OK);
        fs_ahead_close(ahead);
    }
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
    bool wanted[1] = {true};
    const struct fs_ahead_plan plan = {"/nonexistent/shard", 10, BLOCK, wanted, true};
    struct fs_ahead *ahead = NULL;
    struct muster_error err = {0};
    ck_assert_int_eq(fs_ahead_open(&plan, &ahead, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/shard"));
    ck_assert_ptr_null(ahead);
    fs_ahead_close(ahead);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_ahead");
    TCase *tcase = tcase_create("fs_ahead");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_wanted_block_comes_once_and_in_order);
    tcase_add_test(tcase, a_file_that_is_too_short_is_told_where_it_ends);
    tcase_add_test(tcase, who_stops_early_leaves_nothing_behind);
    tcase_add_test(tcase, a_file_that_is_not_there_is_named);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
