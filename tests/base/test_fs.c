/* SPDX-License-Identifier: MIT
 *
 * Every test has a fresh folder. Failures are made without permissions (the tests may run as root): a file
 * where a folder is needed, a folder where the temporary file should go, /dev/full for a full disk.
 */
#include "base/fs.h"

#include "base/alloc.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

static void setup(void)
{
    strcpy(folder, "/tmp/muster-fs-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    alloc_fail_nth(0);
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    ck_assert(!fs_exists(folder));
}

/* The path of `name` in the test's folder; four at a time stay valid. */
static const char *in_folder(const char *name)
{
    static char paths[4][FS_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    ck_assert_int_eq(fs_path_join(path, folder, name, NULL), MUSTER_OK);
    return path;
}

static void write_text(const char *name, const char *text)
{
    ck_assert_int_eq(fs_file_write(in_folder(name), text, strlen(text), NULL), MUSTER_OK);
}

static void check_text(const char *name, const char *expected)
{
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_int_eq(fs_file_read(in_folder(name), 1 << 20, &data, &bytes, NULL), MUSTER_OK);
    ck_assert_str_eq(data, expected);
    ck_assert_uint_eq(bytes, strlen(expected));
    alloc_free(data);
}

static size_t entry_count(void)
{
    struct fs_list list;
    ck_assert_int_eq(fs_list_read(folder, &list, NULL), MUSTER_OK);
    size_t count = list.count;
    fs_list_release(&list);
    return count;
}

START_TEST(paths_are_joined_with_one_slash)
{
    char out[FS_PATH_MAX];
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a//", "//b/c", "a/b/c"}, {"/", "b", "/b"},
        {"", "b", "b"},    {"", "/b", "/b"},   {"/a", "b/", "/a/b/"},     {"a", "", "a/"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(fs_path_join(out, cases[i][0], cases[i][1], NULL), MUSTER_OK);
        ck_assert_str_eq(out, cases[i][2]);
    }
    strcpy(out, "root");
    ck_assert_int_eq(fs_path_join(out, out, "leaf", NULL), MUSTER_OK);
    ck_assert_str_eq(out, "root/leaf");
}
END_TEST

START_TEST(a_joined_path_that_does_not_fit_is_refused)
{
    char out[FS_PATH_MAX], name[FS_PATH_MAX];
    struct muster_error err = {.status = MUSTER_OK};
    memset(name, 'n', sizeof name - 1);
    name[FS_PATH_MAX - 3] = '\0';
    ck_assert_int_eq(fs_path_join(out, "f", name, NULL), MUSTER_OK);
    ck_assert_uint_eq(strlen(out), FS_PATH_MAX - 1);
    ck_assert_int_eq(fs_path_join(out, "ff", name, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "too long"));
}
END_TEST

START_TEST(folders_are_created_with_their_parents_and_private)
{
    struct stat info;
    ck_assert_int_eq(fs_folder_create(in_folder("a/b//c/"), NULL), MUSTER_OK);
    ck_assert(fs_is_folder(in_folder("a/b/c")));
    ck_assert_int_eq(stat(in_folder("a/b"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0700);
    ck_assert_int_eq(fs_folder_create(in_folder("a/b/c"), NULL), MUSTER_OK);
}
END_TEST

START_TEST(a_folder_is_not_created_over_or_under_a_file)
{
    struct muster_error err = {.status = MUSTER_OK};
    write_text("file", "x");
    ck_assert_int_eq(fs_folder_create(in_folder("file"), &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file")));
    ck_assert_ptr_nonnull(strstr(err.text, "a file of that name is in the way"));
    ck_assert_int_eq(fs_folder_create(in_folder("file/sub"), NULL), MUSTER_ERR_IO);
    ck_assert_int_eq(fs_folder_create("", NULL), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(existence_kind_and_size_are_told)
{
    write_text("file", "12345");
    ck_assert(fs_exists(in_folder("file")) && !fs_is_folder(in_folder("file")));
    ck_assert(fs_exists(folder) && fs_is_folder(folder));
    ck_assert(!fs_exists(in_folder("none")) && !fs_is_folder(in_folder("none")));
    ck_assert_int_eq(fs_file_size(in_folder("file")), 5);
    ck_assert_int_eq(fs_file_size(in_folder("none")), -1);
    ck_assert_int_eq(fs_file_size(folder), -1);
    ck_assert_int_ge(fs_free_bytes(folder), 0);
    ck_assert_int_eq(fs_free_bytes(in_folder("none")), -1);
}
END_TEST

START_TEST(a_file_written_is_read_back_private_and_without_leftovers)
{
    struct stat info;
    write_text("file", "hello");
    check_text("file", "hello");
    write_text("file", "");
    check_text("file", "");
    ck_assert_int_eq(stat(in_folder("file"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    ck_assert_uint_eq(entry_count(), 1);
}
END_TEST

START_TEST(a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read)
{
    struct muster_error err = {.status = MUSTER_OK};
    char *data = NULL;
    size_t bytes = 0;
    int64_t live = alloc_live_count();
    write_text("file", "12345");
    ck_assert_int_eq(fs_file_read(in_folder("file"), 4, &data, &bytes, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(data);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file")));
    ck_assert_int_eq(fs_file_read(in_folder("file"), 0, &data, &bytes, NULL), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(fs_file_read(in_folder("file"), 5, &data, &bytes, NULL), MUSTER_OK);
    ck_assert_str_eq(data, "12345");
    alloc_free(data);
    ck_assert_int_eq(fs_file_read(in_folder("file"), SIZE_MAX, &data, &bytes, NULL), MUSTER_OK);
    ck_assert_uint_eq(bytes, 5);
    alloc_free(data);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_file_whose_size_is_not_known_beforehand_is_read_whole)
{
    int ends[2];
    static char sent[60000];
    char path[64], *data = NULL;
    size_t bytes = 0;
    memset(sent, 's', sizeof sent);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], sent, sizeof sent), (ssize_t)sizeof sent);
    close(ends[1]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    ck_assert_int_eq(fs_file_read(path, sizeof sent, &data, &bytes, NULL), MUSTER_OK);
    close(ends[0]);
    ck_assert_uint_eq(bytes, sizeof sent);
    ck_assert_mem_eq(data, sent, sizeof sent);
    alloc_free(data);
}
END_TEST

START_TEST(what_cannot_be_read_is_named_with_its_cause)
{
    struct muster_error err = {.status = MUSTER_OK};
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_int_eq(fs_file_read(in_folder("none"), 10, &data, &bytes, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("none")));
    ck_assert_ptr_nonnull(strstr(err.text, "open "));
    ck_assert_ptr_nonnull(strstr(err.text, "No such file"));
    ck_assert_int_eq(fs_file_read(folder, 10, &data, &bytes, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, folder));
}
END_TEST

START_TEST(a_write_that_fails_names_the_path_and_keeps_the_old_content)
{
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_file_write(in_folder("none/file"), "x", 1, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("none/file")));
    write_text("file", "old");
    ck_assert_int_eq(fs_folder_create(in_folder("file.tmp"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(in_folder("file"), "new", 3, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file.tmp")));
    check_text("file", "old");
    ck_assert_int_eq(fs_file_write(folder, "x", 1, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(fs_file_write("", "x", 1, &err), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(a_device_is_never_replaced_by_a_file)
{
    struct stat info;
    char link_path[FS_PATH_MAX];
    strcpy(link_path, in_folder("null"));
    ck_assert_int_eq(symlink("/dev/null", link_path), 0);
    ck_assert_int_eq(fs_file_write(link_path, "x", 1, NULL), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(lstat(link_path, &info), 0);
    ck_assert(S_ISLNK(info.st_mode));
}
END_TEST

START_TEST(a_temporary_left_by_a_crash_is_replaced_not_followed)
{
    write_text("precious", "kept");
    write_text("file", "old");
    ck_assert_int_eq(symlink("precious", in_folder("file.tmp")), 0);
    write_text("file", "new");
    check_text("file", "new");
    check_text("precious", "kept");
    ck_assert_uint_eq(entry_count(), 2);
}
END_TEST

START_TEST(a_writer_shows_nothing_until_it_finishes)
{
    struct fs_writer writer;
    write_text("file", "old");
    ck_assert_int_eq(fs_writer_open(&writer, in_folder("file"), 1 << 20, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_writer_write(&writer, "new ", 4, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_writer_write(&writer, "content", 7, NULL), MUSTER_OK);
    ck_assert_int_eq(writer.written_bytes, 11);
    check_text("file", "old");
    ck_assert_int_eq(fs_writer_finish(&writer, NULL), MUSTER_OK);
    check_text("file", "new content");
    struct stat info;
    ck_assert_int_eq(stat(in_folder("file"), &info), 0);
    ck_assert_int_lt(info.st_blocks * 512, 1 << 20); /* what was reserved in excess is given back */
    fs_writer_abort(&writer);
    check_text("file", "new content");
    ck_assert_uint_eq(entry_count(), 1);
}
END_TEST

START_TEST(an_aborted_writer_leaves_the_old_file_only)
{
    struct fs_writer writer;
    write_text("file", "old");
    ck_assert_int_eq(fs_writer_open(&writer, in_folder("file"), 0, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_writer_write(&writer, "new", 3, NULL), MUSTER_OK);
    ck_assert_uint_eq(entry_count(), 2);
    fs_writer_abort(&writer);
    fs_writer_abort(&writer);
    check_text("file", "old");
    ck_assert_uint_eq(entry_count(), 1);
}
END_TEST

START_TEST(a_writer_that_cannot_rename_cleans_up_and_says_so)
{
    struct fs_writer writer;
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_writer_open(&writer, in_folder("file"), 0, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_folder_create(in_folder("file"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_writer_finish(&writer, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "rename "));
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file")));
    ck_assert_uint_eq(entry_count(), 1);
    fs_writer_abort(&writer);
}
END_TEST

START_TEST(a_full_disk_is_no_space_and_names_the_file)
{
    struct fs_writer writer;
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_writer_open(&writer, in_folder("file"), 0, NULL), MUSTER_OK);
    int full = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(full, 0);
    ck_assert_int_ge(dup2(full, writer.fd), 0);
    close(full);
    ck_assert_int_eq(fs_writer_write(&writer, "x", 1, &err), MUSTER_ERR_NO_SPACE);
    ck_assert_int_eq(err.status, MUSTER_ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(err.text, "write "));
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file.tmp")));
    fs_writer_abort(&writer);
    ck_assert_uint_eq(entry_count(), 0);
}
END_TEST

START_TEST(a_reservation_that_does_not_fit_leaves_no_temporary)
{
    struct fs_writer writer;
    if (fs_writer_open(&writer, in_folder("file"), (int64_t)1 << 62, NULL) == MUSTER_OK)
        fs_writer_abort(&writer); /* a file system that cannot reserve */
    ck_assert_uint_eq(entry_count(), 0);
    ck_assert_int_eq(writer.fd, -1);
}
END_TEST

START_TEST(a_rename_moves_and_a_failed_one_names_both_ends)
{
    struct muster_error err = {.status = MUSTER_OK};
    write_text("a", "x");
    ck_assert_int_eq(fs_rename(in_folder("a"), in_folder("b"), NULL), MUSTER_OK);
    check_text("b", "x");
    ck_assert(!fs_exists(in_folder("a")));
    ck_assert_int_eq(fs_rename(in_folder("a"), in_folder("c"), &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("a")));
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("c")));
    ck_assert_int_eq(fs_folder_create(in_folder("d"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_rename(in_folder("d/"), in_folder("e/"), NULL), MUSTER_OK);
    ck_assert(fs_is_folder(in_folder("e")));
}
END_TEST

START_TEST(a_relative_path_works_like_an_absolute_one)
{
    char before[PATH_MAX];
    ck_assert_ptr_nonnull(getcwd(before, sizeof before));
    ck_assert_int_eq(chdir(folder), 0);
    enum muster_status written = fs_file_write("relative", "x", 1, NULL);
    enum muster_status created = fs_folder_create("sub/deep", NULL);
    enum muster_status renamed = fs_rename("relative", "sub/relative", NULL);
    enum muster_status removed = fs_remove_tree("sub/deep", NULL);
    ck_assert_int_eq(chdir(before), 0);
    ck_assert(written == MUSTER_OK && created == MUSTER_OK && renamed == MUSTER_OK && removed == MUSTER_OK);
    check_text("sub/relative", "x");
    ck_assert(!fs_exists(in_folder("sub/deep")));
}
END_TEST

START_TEST(syncing_a_folder_that_is_none_is_an_error)
{
    struct muster_error err = {.status = MUSTER_OK};
    write_text("file", "x");
    ck_assert_int_eq(fs_folder_sync(folder, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_folder_sync(in_folder("file"), &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("file")));
}
END_TEST

START_TEST(removing_a_tree_spares_what_its_links_point_to)
{
    ck_assert_int_eq(fs_folder_create(in_folder("outside"), NULL), MUSTER_OK);
    write_text("outside/precious", "kept");
    ck_assert_int_eq(fs_folder_create(in_folder("tree/deep/deeper"), NULL), MUSTER_OK);
    write_text("tree/deep/file", "x");
    ck_assert_int_eq(symlink("../../outside", in_folder("tree/deep/link")), 0);
    ck_assert_int_eq(symlink("nowhere", in_folder("tree/dangling")), 0);
    ck_assert_int_eq(symlink("outside", in_folder("top")), 0);
    ck_assert_int_eq(fs_remove_tree(in_folder("tree"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(in_folder("top/"), NULL), MUSTER_OK);
    check_text("outside/precious", "kept");
    ck_assert_uint_eq(entry_count(), 1);
}
END_TEST

START_TEST(removing_takes_a_file_and_many_files_and_nothing)
{
    char name[32];
    ck_assert_int_eq(fs_folder_create(in_folder("many"), NULL), MUSTER_OK);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "many/file-%03d", i);
        int fd = open(in_folder(name), O_WRONLY | O_CREAT, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    write_text("file", "x");
    ck_assert_int_eq(fs_remove_tree(in_folder("many"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(in_folder("file"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(in_folder("never"), NULL), MUSTER_OK);
    ck_assert_uint_eq(entry_count(), 0);
}
END_TEST

START_TEST(the_root_and_the_folders_of_dots_are_never_removed)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_folder_create(in_folder("sub"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree("", NULL), MUSTER_ERR_BAD_INPUT);
    strcpy(path, in_folder("sub/."));
    ck_assert_int_eq(fs_remove_tree(path, NULL), MUSTER_ERR_BAD_INPUT);
    strcpy(path, in_folder("sub/../"));
    ck_assert_int_eq(fs_remove_tree(path, NULL), MUSTER_ERR_BAD_INPUT);
    ck_assert(fs_is_folder(in_folder("sub")));
}
END_TEST

START_TEST(a_tree_too_deep_is_refused_and_named)
{
    struct muster_error err = {.status = MUSTER_OK};
    char path[FS_PATH_MAX];
    strcpy(path, in_folder("tree"));
    for (int depth = 0; depth < 140; depth++)
        ck_assert_int_eq(fs_path_join(path, path, "d", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_folder_create(path, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_remove_tree(in_folder("tree"), &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("tree/d/d/d")));
    for (int depth = 0; depth < 20; depth++) { /* from inside, so that the folder can go */
        ck_assert_int_eq(rmdir(path), 0);
        *strrchr(path, '/') = '\0';
    }
}
END_TEST

START_TEST(a_folder_is_listed_sorted_without_dots)
{
    struct fs_list list;
    int64_t live = alloc_live_count();
    write_text("b", "");
    write_text("a10", "");
    write_text(".hidden", "");
    ck_assert_int_eq(fs_folder_create(in_folder("c"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_list_read(folder, &list, NULL), MUSTER_OK);
    ck_assert_uint_eq(list.count, 4);
    ck_assert_str_eq(list.names[0], ".hidden");
    ck_assert_str_eq(list.names[1], "a10");
    ck_assert_str_eq(list.names[2], "b");
    ck_assert_str_eq(list.names[3], "c");
    fs_list_release(&list);
    fs_list_release(&list);
    ck_assert_int_eq(fs_list_read(in_folder("c"), &list, NULL), MUSTER_OK);
    ck_assert_uint_eq(list.count, 0);
    fs_list_release(&list);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_list_without_memory_or_folder_is_empty_and_leaks_nothing)
{
    struct fs_list list;
    struct muster_error err = {.status = MUSTER_OK};
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        write_text(name, "");
    }
    int64_t live = alloc_live_count();
    for (int nth = 1; nth <= 22; nth++) { /* 20 names and 2 growths */
        alloc_fail_nth(nth);
        ck_assert_int_eq(fs_list_read(folder, &list, &err), MUSTER_ERR_NO_MEMORY);
        ck_assert_uint_eq(list.count, 0);
        ck_assert_ptr_null(list.names);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    alloc_fail_nth(0);
    ck_assert_int_eq(fs_list_read(in_folder("none"), &list, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("none")));
    ck_assert_uint_eq(list.count, 0);
}
END_TEST

START_TEST(a_read_without_memory_says_so)
{
    char *data = NULL;
    size_t bytes = 0;
    write_text("file", "12345");
    alloc_fail_nth(1);
    ck_assert_int_eq(fs_file_read(in_folder("file"), 10, &data, &bytes, NULL), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(data);
}
END_TEST

START_TEST(a_file_is_mapped_whole_and_an_empty_one_maps_to_nothing)
{
    struct fs_map map;
    write_text("file", "mapped");
    write_text("empty", "");
    ck_assert_int_eq(fs_map_open(&map, in_folder("file"), NULL), MUSTER_OK);
    ck_assert_uint_eq(map.bytes, 6);
    ck_assert_mem_eq(map.data, "mapped", 6);
    fs_map_release(&map);
    ck_assert(map.data == NULL && map.bytes == 0);
    fs_map_release(&map);
    ck_assert_int_eq(fs_map_open(&map, in_folder("empty"), NULL), MUSTER_OK);
    ck_assert(map.data == NULL && map.bytes == 0);
    fs_map_release(&map);
}
END_TEST

START_TEST(what_cannot_be_mapped_is_named)
{
    struct fs_map map;
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_map_open(&map, folder, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, folder));
    ck_assert_int_eq(fs_map_open(&map, in_folder("none"), &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("none")));
    ck_assert_ptr_null(map.data);
}
END_TEST

START_TEST(a_second_taker_of_a_lock_is_refused_and_told_who_holds_it)
{
    struct fs_lock first, second;
    struct muster_error err = {.status = MUSTER_OK};
    char holder[32];
    ck_assert_int_eq(fs_lock_take(&first, in_folder("lock"), NULL), MUSTER_OK);
    ck_assert_int_eq(fs_lock_take(&second, in_folder("lock"), &err), MUSTER_ERR_PEER);
    ck_assert_int_eq(second.fd, -1);
    snprintf(holder, sizeof holder, " %ld", (long)getpid());
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("lock")));
    ck_assert_ptr_nonnull(strstr(err.text, holder));
    ck_assert_ptr_null(strchr(err.text, '\n'));
    fs_lock_release(&second);
    fs_lock_release(&first);
    fs_lock_release(&first);
    ck_assert_int_eq(fs_lock_take(&second, in_folder("lock"), NULL), MUSTER_OK);
    fs_lock_release(&second);
}
END_TEST

/* In a child: 0 when the lock could be taken, 1 when it was refused as held, 2 otherwise. */
static int lock_from_child(const char *path)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct fs_lock lock;
        enum muster_status status = fs_lock_take(&lock, path, NULL);
        _exit(status == MUSTER_OK ? 0 : status == MUSTER_ERR_PEER ? 1 : 2);
    }
    int result = 0;
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert(WIFEXITED(result));
    return WEXITSTATUS(result);
}

START_TEST(another_process_is_refused_and_the_lock_dies_with_its_holder)
{
    struct fs_lock lock;
    const char *path = in_folder("lock");
    ck_assert_int_eq(lock_from_child(path), 0); /* the child held it and ended without releasing */
    ck_assert_int_eq(fs_lock_take(&lock, path, NULL), MUSTER_OK);
    ck_assert_int_eq(lock_from_child(path), 1);
    fs_lock_release(&lock);
    ck_assert_int_eq(lock_from_child(path), 0);
}
END_TEST

START_TEST(a_lock_that_cannot_be_opened_is_an_error_of_its_own)
{
    struct fs_lock lock;
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_lock_take(&lock, in_folder("none/lock"), &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, in_folder("none/lock")));
    ck_assert_int_eq(lock.fd, -1);
    fs_lock_release(&lock);
}
END_TEST

START_TEST(what_a_stranger_wrote_into_the_lock_file_is_shown_harmlessly)
{
    struct fs_lock lock;
    struct muster_error err = {.status = MUSTER_OK};
    ck_assert_int_eq(fs_lock_take(&lock, in_folder("lock"), NULL), MUSTER_OK);
    ck_assert_int_eq(pwrite(lock.fd, "host\x1b[31m 7\n", 12, 0), 12);
    ck_assert_int_eq(lock_from_child(in_folder("lock")), 1);
    struct fs_lock second;
    ck_assert_int_eq(fs_lock_take(&second, in_folder("lock"), &err), MUSTER_ERR_PEER);
    ck_assert_ptr_null(strchr(err.text, '\x1b'));
    ck_assert_ptr_nonnull(strstr(err.text, "held by host"));
    ck_assert_int_eq(ftruncate(lock.fd, 0), 0);
    ck_assert_int_eq(fs_lock_take(&second, in_folder("lock"), &err), MUSTER_ERR_PEER);
    ck_assert_ptr_nonnull(strstr(err.text, "another process"));
    fs_lock_release(&lock);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs");
    TCase *cases = tcase_create("fs");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, paths_are_joined_with_one_slash);
    tcase_add_test(cases, a_joined_path_that_does_not_fit_is_refused);
    tcase_add_test(cases, folders_are_created_with_their_parents_and_private);
    tcase_add_test(cases, a_folder_is_not_created_over_or_under_a_file);
    tcase_add_test(cases, existence_kind_and_size_are_told);
    tcase_add_test(cases, a_file_written_is_read_back_private_and_without_leftovers);
    tcase_add_test(cases, a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read);
    tcase_add_test(cases, a_file_whose_size_is_not_known_beforehand_is_read_whole);
    tcase_add_test(cases, what_cannot_be_read_is_named_with_its_cause);
    tcase_add_test(cases, a_write_that_fails_names_the_path_and_keeps_the_old_content);
    tcase_add_test(cases, a_device_is_never_replaced_by_a_file);
    tcase_add_test(cases, a_temporary_left_by_a_crash_is_replaced_not_followed);
    tcase_add_test(cases, a_writer_shows_nothing_until_it_finishes);
    tcase_add_test(cases, an_aborted_writer_leaves_the_old_file_only);
    tcase_add_test(cases, a_writer_that_cannot_rename_cleans_up_and_says_so);
    tcase_add_test(cases, a_full_disk_is_no_space_and_names_the_file);
    tcase_add_test(cases, a_reservation_that_does_not_fit_leaves_no_temporary);
    tcase_add_test(cases, a_rename_moves_and_a_failed_one_names_both_ends);
    tcase_add_test(cases, a_relative_path_works_like_an_absolute_one);
    tcase_add_test(cases, syncing_a_folder_that_is_none_is_an_error);
    tcase_add_test(cases, removing_a_tree_spares_what_its_links_point_to);
    tcase_add_test(cases, removing_takes_a_file_and_many_files_and_nothing);
    tcase_add_test(cases, the_root_and_the_folders_of_dots_are_never_removed);
    tcase_add_test(cases, a_tree_too_deep_is_refused_and_named);
    tcase_add_test(cases, a_folder_is_listed_sorted_without_dots);
    tcase_add_test(cases, a_list_without_memory_or_folder_is_empty_and_leaks_nothing);
    tcase_add_test(cases, a_read_without_memory_says_so);
    tcase_add_test(cases, a_file_is_mapped_whole_and_an_empty_one_maps_to_nothing);
    tcase_add_test(cases, what_cannot_be_mapped_is_named);
    tcase_add_test(cases, a_second_taker_of_a_lock_is_refused_and_told_who_holds_it);
    tcase_add_test(cases, another_process_is_refused_and_the_lock_dies_with_its_holder);
    tcase_add_test(cases, a_lock_that_cannot_be_opened_is_an_error_of_its_own);
    tcase_add_test(cases, what_a_stranger_wrote_into_the_lock_file_is_shown_harmlessly);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
