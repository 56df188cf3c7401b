/* SPDX-License-Identifier: MIT
 *
 * Files of lengths around every border (block, buffer), handed in in awkward pieces, with and without direct
 * writes: what comes back is what went in. Whether the file system takes direct writes does not matter for
 * that.
 */
#include "base/fs_bulk.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/suite.h"

static char folder[64], path[FS_PATH_MAX];
static int64_t live_before;

static void setup(void)
{
    live_before = alloc_live_count();
    strcpy(folder, "/tmp/muster-bulk-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_path_join(path, folder, "file", NULL), MUSTER_OK);
}

static void teardown(void)
{
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    ck_assert_int_eq(alloc_live_count(), live_before);
}

static float *noise(size_t bytes)
{
    float *data = alloc_zeroed(bytes / sizeof *data + 1, sizeof *data);
    ck_assert_ptr_nonnull(data);
    rng_uniform_fill(rng_key_make(1, bytes, 0, 0), -1.0f, 1.0f, data, bytes / sizeof *data + 1);
    return data;
}

static void write_and_compare(size_t bytes, size_t expected, size_t piece, bool direct)
{
    struct muster_error err = {0};
    struct fs_bulk bulk;
    char *data = (char *)noise(bytes), *found = NULL;
    size_t found_bytes = 0;
    ck_assert_msg(fs_bulk_open(&bulk, path, (int64_t)expected, direct, &err) == MUSTER_OK, "%s", err.text);
    for (size_t at = 0; at < bytes; at += piece) {
        size_t part = bytes - at < piece ? bytes - at : piece;
        ck_assert_msg(fs_bulk_write(&bulk, data + at, part, &err) == MUSTER_OK, "%s", err.text);
        ck_assert_int_eq(fs_bulk_length(&bulk), (int64_t)(at + part));
    }
    ck_assert_msg(fs_bulk_finish(&bulk, &err) == MUSTER_OK, "%s", err.text);
    fs_bulk_release(&bulk);
    ck_assert_int_eq(fs_file_read(path, bytes + 1, &found, &found_bytes, NULL), MUSTER_OK);
    ck_assert_uint_eq(found_bytes, bytes);
    ck_assert(memcmp(found, data, bytes) == 0);
    alloc_free(found);
    alloc_free(data);
}

START_TEST(every_length_and_every_piece_comes_back_the_same)
{
    static const size_t lengths[] = {0,
                                     1,
                                     4095,
                                     4096,
                                     4097,
                                     8192,
                                     8200,
                                     70001,
                                     FS_BULK_BYTES,
                                     FS_BULK_BYTES + 5000,
                                     5 * FS_BULK_BYTES,
                                     5 * FS_BULK_BYTES + 4097};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int direct = 0; direct < 2; direct++) {
            write_and_compare(lengths[i], lengths[i], 1000003, direct);
            if (lengths[i] <= 8200)
                write_and_compare(lengths[i], lengths[i], 7, direct);
            write_and_compare(lengths[i], 0, 4096, direct); /* longer than was expected */
        }
    }
}
END_TEST

START_TEST(a_file_that_cannot_be_written_leaves_nothing_and_names_itself)
{
    struct muster_error err = {0};
    struct fs_bulk bulk;
    struct rlimit before;
    static const struct {
        size_t bytes, expected, limit;
    } files[] = {
        {100000, 1000, 50000},
        {5 * FS_BULK_BYTES, 5 * FS_BULK_BYTES, 5 * FS_BULK_BYTES - 5000},      /* seen at the end */
        {5 * FS_BULK_BYTES, 5 * FS_BULK_BYTES, FS_BULK_BYTES / 2},             /* while it is written */
        {5 * FS_BULK_BYTES + 9, 5 * FS_BULK_BYTES + 9, 5 * FS_BULK_BYTES + 4}, /* in its last bytes */
    };
    char *data = (char *)noise(5 * FS_BULK_BYTES + 9);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < 2 * sizeof files / sizeof files[0]; i++) {
        struct rlimit limit = {.rlim_cur = files[i / 2].limit, .rlim_max = before.rlim_max};
        ck_assert_int_eq(fs_bulk_open(&bulk, path, (int64_t)files[i / 2].expected, i % 2, &err), MUSTER_OK);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        enum muster_status status = fs_bulk_write(&bulk, data, files[i / 2].bytes, &err);
        if (status == MUSTER_OK)
            status = fs_bulk_finish(&bulk, &err);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        fs_bulk_release(&bulk);
        ck_assert_int_eq(status, MUSTER_ERR_IO);
        ck_assert_ptr_nonnull(strstr(err.text, path));
        struct fs_list list;
        ck_assert_int_eq(fs_list_read(folder, &list, NULL), MUSTER_OK);
        ck_assert_uint_eq(list.count, 0);
        fs_list_release(&list);
    }
    alloc_free(data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_bulk");
    TCase *tcase = tcase_create("fs_bulk");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_length_and_every_piece_comes_back_the_same);
    tcase_add_test(tcase, a_file_that_cannot_be_written_leaves_nothing_and_names_itself);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
