/* SPDX-License-Identifier: MIT
 *
 * `muster data prepare`: what goes into the shards is compared byte by byte with the files it came from.
 */
#include "tests/coordinator/data_files.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/hash.h"
#include "tests/suite.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct muster_error err;
static struct text summary;

static void setup(void)
{
    data_folder_create();
    text_init(&summary);
}

static void teardown(void)
{
    alloc_fail_nth(0);
    text_release(&summary);
    data_folder_remove();
}

static void write_text(const char *name, const char *text)
{
    data_write(name, text, strlen(text));
}

static enum muster_status prepare(const char *input, double val_fraction, int64_t bytes_max)
{
    struct dataset_prepare_options options = {.inputs = &input,
                                              .input_count = 1,
                                              .output_dir = data_path("out"),
                                              .val_fraction = val_fraction,
                                              .bytes_max = bytes_max};
    text_clear(&summary);
    return dataset_prepare(&options, &summary, &err);
}

static void prepare_good(const char *input, double val_fraction, int64_t bytes_max)
{
    enum muster_status status = prepare(input, val_fraction, bytes_max);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
}

/* The text in a shard, which is also opened as a data set; released with alloc_free. */
static char *shard_text(const char *name, size_t *length)
{
    char *data;
    size_t bytes;
    struct dataset *dataset;
    struct job_sources sources = data_source(data_path(name));
    ck_assert_msg(dataset_open(&sources, JOB_DATA_AUTO, 1, &dataset, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(dataset_info(dataset)->format, JOB_DATA_LLMC);
    dataset_close(dataset);
    ck_assert_int_eq(fs_file_read(data_path(name), 1 << 26, &data, &bytes, &err), MUSTER_OK);
    *length = (bytes - 1024) / 2;
    for (size_t i = 0; i < *length; i++) {
        data[i] = data[1024 + 2 * i];
        ck_assert_int_eq(data[1024 + 2 * i + 1], 0);
    }
    data[*length] = '\0';
    return data;
}

static void check_shard(const char *name, const char *expected)
{
    size_t length;
    char *text = shard_text(name, &length);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(length, strlen(expected));
    alloc_free(text);
}

static void check_summary(const char *words)
{
    ck_assert_msg(strstr(summary.data, words) != NULL, "\"%s\" is not in:\n%s", words, summary.data);
}

START_TEST(files_are_joined_in_the_order_of_their_names)
{
    write_text("in/b.txt", "second\n");
    write_text("in/a/z.c", "first");
    write_text("in/c.md", "\xff third");
    write_text("in/c.py", "not wanted");
    prepare_good(data_path("in"), -1, 0);
    check_shard("out/train.bin", "first\nsecond\n\n\xff third");
    ck_assert(!fs_exists(data_path("out/val.bin")));
    check_summary("train.bin: 21 tokens from 3 files");
    check_summary("no val.bin");
}
END_TEST

START_TEST(binary_and_empty_files_are_skipped_and_counted)
{
    write_text("in/a.txt", "text");
    data_write("in/b.txt", "bin\0ary", 7);
    data_write("in/c.txt", "", 0);
    data_write("in/d.txt", "\0", 1);
    prepare_good(data_path("in"), -1, 0);
    check_shard("out/train.bin", "text");
    check_summary("skipped 2 binary files");
    check_summary("skipped 1 empty files");
}
END_TEST

START_TEST(whole_files_spread_evenly_become_validation_data)
{
    char name[32], text[101];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "in/%03d.txt", i);
        memset(text, 'a' + i % 26, 100);
        snprintf(text, sizeof text, "%03d", i);
        text[3] = 'x';
        data_write(name, text, 100);
    }
    prepare_good(data_path("in"), 0, 0);
    size_t train_length, val_length;
    char *train = shard_text("out/train.bin", &train_length), *val = shard_text("out/val.bin", &val_length);
    ck_assert_uint_eq(val_length, 10 * 101 - 1);
    ck_assert_uint_eq(train_length, 190 * 101 - 1);
    bool seen[200] = {false};
    for (size_t i = 0; i < train_length; i += 101)
        seen[atoi(train + i)] = true;
    for (size_t i = 0; i < val_length; i += 101) {
        ck_assert_int_eq(atoi(val + i), 20 * (int)(i / 101) + 1);
        ck_assert(!seen[atoi(val + i)]);
        seen[atoi(val + i)] = true;
    }
    for (int i = 0; i < 200; i++)
        ck_assert(seen[i]);
    alloc_free(train);
    alloc_free(val);
}
END_TEST

START_TEST(a_file_larger_than_the_share_is_passed_over)
{
    char large[101] = {0};
    memset(large, 'b', 100);
    write_text("in/a.txt", "aaaaaaaaaa");
    write_text("in/b.txt", large);
    write_text("in/c.txt", "cccccccccc");
    prepare_good(data_path("in"), 0.2, 0);
    check_shard("out/val.bin", "cccccccccc");
}
END_TEST

START_TEST(of_one_file_the_tail_becomes_validation_data)
{
    write_text("a.txt", "0123456789012345678901234567890123456789");
    prepare_good(data_path("a.txt"), 0.25, 0);
    check_shard("out/train.bin", "012345678901234567890123456789");
    check_shard("out/val.bin", "0123456789");
    check_summary("a.txt: its last 10 bytes are in val.bin");
}
END_TEST

START_TEST(the_limit_cuts_the_last_file)
{
    write_text("in/a.txt", "aaaaa");
    write_text("in/b.txt", "bbbbb");
    write_text("in/c.txt", "ccccc");
    prepare_good(data_path("in"), -1, 7);
    check_shard("out/train.bin", "aaaaa\nbb");
    check_summary("left out 1 files");
    prepare_good(data_path("in"), -1, 10);
    check_shard("out/train.bin", "aaaaa\nbbbbb");
    prepare_good(data_path("in"), -1, 100);
    check_shard("out/train.bin", "aaaaa\nbbbbb\nccccc");
}
END_TEST

START_TEST(files_longer_than_a_chunk_are_whole)
{
    static char text[200001];
    for (int i = 0; i < 200000; i++)
        text[i] = (char)('a' + i % 23);
    write_text("a.txt", text);
    prepare_good(data_path("a.txt"), -1, 0);
    check_shard("out/train.bin", text);
}
END_TEST

START_TEST(a_file_met_twice_counts_once)
{
    write_text("in/a.txt", "aaaa");
    write_text("in/sub/b.txt", "bbbb");
    ck_assert_int_eq(symlink("sub", data_path("in/z")), 0);
    ck_assert_int_eq(symlink("a.txt", data_path("in/link.txt")), 0);
    ck_assert_int_eq(symlink("nowhere", data_path("in/dangling.txt")), 0);
    ck_assert_int_eq(link(data_path("in/a.txt"), data_path("in/hard.txt")), 0);
    const char *inputs[] = {data_path("in/sub/b.txt"), data_path("in")};
    struct dataset_prepare_options options = {
        .inputs = inputs, .input_count = 2, .output_dir = data_path("out"), .val_fraction = -1};
    ck_assert_int_eq(dataset_prepare(&options, &summary, &err), MUSTER_OK);
    check_shard("out/train.bin", "bbbb\naaaa");
    check_summary("skipped 3 files met twice");
}
END_TEST

START_TEST(suffixes_choose_among_files_in_folders_only)
{
    write_text("in/a.txt", "aaaa");
    write_text("in/b.rst", "bbbb");
    write_text("in/c.py", "cccc");
    write_text("named.xyz", "dddd");
    const char *inputs[] = {data_path("in"), data_path("named.xyz")};
    struct dataset_prepare_options options = {.inputs = inputs,
                                              .input_count = 2,
                                              .suffixes = ".rst,,.py",
                                              .output_dir = data_path("out"),
                                              .val_fraction = -1};
    ck_assert_int_eq(dataset_prepare(&options, &summary, &err), MUSTER_OK);
    check_shard("out/train.bin", "bbbb\ncccc\ndddd");
}
END_TEST

static void check_part(const json_t *root, const char *key, const char *name, int tokens, int documents)
{
    const json_t *part = json_object_get(root, key);
    char *data, hash[HASH_TEXT_SIZE];
    size_t bytes;
    ck_assert_int_eq(json_integer_value(json_object_get(part, "tokens")), tokens);
    ck_assert_int_eq(json_integer_value(json_object_get(part, "documents")), documents);
    ck_assert_int_eq(fs_file_read(data_path(name), 1 << 20, &data, &bytes, &err), MUSTER_OK);
    hash_format(hash_xxh3(data, bytes), hash);
    ck_assert_str_eq(json_string_value(json_object_get(part, "xxh3_128")), hash);
    alloc_free(data);
}

START_TEST(data_json_has_counts_sources_and_hashes)
{
    write_text("in/a.txt", "aaaaaaaaaa");
    write_text("in/b.txt", "bbbbbbbbbb");
    write_text("in/c.txt", "cccccccccc");
    prepare_good(data_path("in"), 0.34, 0);
    json_t *root = json_load_file(data_path("out/data.json"), 0, NULL);
    ck_assert_ptr_nonnull(root);
    check_part(root, "train", "out/train.bin", 21, 2);
    check_part(root, "val", "out/val.bin", 10, 1);
    json_t *source = json_array_get(json_object_get(root, "sources"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(source, "path")), data_path("in"));
    ck_assert_int_eq(json_integer_value(json_object_get(source, "files")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(source, "bytes")), 30);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "vocab_size")), 256);
    json_decref(root);
}
END_TEST

START_TEST(a_path_that_is_not_utf8_does_not_stop_data_json)
{
    write_text("in\xff/a.txt", "aaaa");
    prepare_good(data_path("in\xff"), -1, 0);
    json_t *root = json_load_file(data_path("out/data.json"), 0, NULL);
    const char *path =
        json_string_value(json_object_get(json_array_get(json_object_get(root, "sources"), 0), "path"));
    ck_assert_ptr_nonnull(path);
    ck_assert_str_eq(path + strlen(path) - 4, "/in?");
    json_decref(root);
}
END_TEST

START_TEST(an_old_validation_file_does_not_outlive_a_new_preparation)
{
    write_text("in/a.txt", "aaaaaaaaaaaaaaaaaaaa");
    prepare_good(data_path("in"), 0.5, 0);
    check_shard("out/val.bin", "aaaaaaaaaa");
    prepare_good(data_path("in"), -1, 0);
    ck_assert(!fs_exists(data_path("out/val.bin")));
}
END_TEST

START_TEST(what_another_program_wrote_is_not_overwritten)
{
    write_text("in/a.txt", "abcd");
    ck_assert_int_eq(fs_folder_create(data_path("out"), &err), MUSTER_OK);
    write_text("out/val.bin", "mine");
    ck_assert_int_eq(prepare(data_path("in"), -1, 0), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "out/val.bin is there, without the data.json"));
    ck_assert(!fs_exists(data_path("out/train.bin")));
}
END_TEST

START_TEST(nothing_to_prepare_is_bad_input)
{
    write_text("in/a.py", "aaaa");
    data_write("in/b.txt", "a\0", 2);
    ck_assert_int_eq(prepare(data_path("in"), 0, 0), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "no text found"));
    ck_assert(!fs_exists(data_path("out")));
    ck_assert_int_eq(prepare(data_path("missing"), 0, 0), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "missing: no such file or folder"));
    ck_assert_int_eq(prepare("/dev/null", 0, 0), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(prepare(data_path("in"), 1, 0), MUSTER_ERR_BAD_INPUT);
    struct dataset_prepare_options none = {.output_dir = data_path("out")};
    ck_assert_int_eq(dataset_prepare(&none, &summary, &err), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(short_memory_is_reported_and_nothing_leaks)
{
    write_text("in/a.txt", "aaaaaaaaaa");
    write_text("in/s/b.txt", "bbbbbbbbbb");
    int64_t live = alloc_live_count();
    bool failed = true;
    for (int n = 1; failed; n++) {
        alloc_fail_nth(n);
        enum muster_status status = prepare(data_path("in"), 0.3, 0);
        alloc_fail_nth(0);
        text_release(&summary);
        failed = status != MUSTER_OK;
        ck_assert_msg(!failed || status == MUSTER_ERR_NO_MEMORY, "call %d: %s", n, err.text);
        ck_assert_int_eq(alloc_live_count(), live);
        ck_assert(n > 10 || failed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset_prepare");
    TCase *tcase = tcase_create("prepare");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, files_are_joined_in_the_order_of_their_names);
    tcase_add_test(tcase, binary_and_empty_files_are_skipped_and_counted);
    tcase_add_test(tcase, whole_files_spread_evenly_become_validation_data);
    tcase_add_test(tcase, a_file_larger_than_the_share_is_passed_over);
    tcase_add_test(tcase, of_one_file_the_tail_becomes_validation_data);
    tcase_add_test(tcase, the_limit_cuts_the_last_file);
    tcase_add_test(tcase, files_longer_than_a_chunk_are_whole);
    tcase_add_test(tcase, a_file_met_twice_counts_once);
    tcase_add_test(tcase, suffixes_choose_among_files_in_folders_only);
    tcase_add_test(tcase, data_json_has_counts_sources_and_hashes);
    tcase_add_test(tcase, a_path_that_is_not_utf8_does_not_stop_data_json);
    tcase_add_test(tcase, an_old_validation_file_does_not_outlive_a_new_preparation);
    tcase_add_test(tcase, what_another_program_wrote_is_not_overwritten);
    tcase_add_test(tcase, nothing_to_prepare_is_bad_input);
    tcase_add_test(tcase, short_memory_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
