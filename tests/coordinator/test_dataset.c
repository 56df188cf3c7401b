/* SPDX-License-Identifier: MIT
 *
 * Token data sets, and what all formats share. Every refusal is checked for its words: a person must learn
 * which file is wrong and where.
 */
#include "tests/coordinator/data_files.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct muster_error err;

static struct dataset *open_list(struct job_sources sources, enum job_data_format format, int64_t seq_len)
{
    struct dataset *dataset = NULL;
    enum muster_status status = dataset_open(&sources, format, seq_len, &dataset, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    return dataset;
}

static struct dataset *open_one(char *path, enum job_data_format format, int64_t seq_len)
{
    return open_list(data_source(path), format, seq_len);
}

static void check_refused(char *path, enum job_data_format format, int64_t seq_len, const char *words)
{
    struct dataset *dataset = NULL;
    struct job_sources sources = data_source(path);
    int64_t live = alloc_live_count();
    ck_assert_int_eq(dataset_open(&sources, format, seq_len, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(dataset);
    ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" is not in: %s", words, err.text);
    ck_assert_msg(strstr(err.text, path) != NULL, "%s is not named in: %s", path, err.text);
    ck_assert_int_eq(alloc_live_count(), live);
}

static void check_sample(const struct dataset *dataset, int source, int64_t index, int count, int32_t first)
{
    int32_t inputs[16], targets[16];
    enum muster_status status = dataset_read_tokens(dataset, source, index, 1 << 30, inputs, targets, &err);
    ck_assert_msg(status == MUSTER_OK, "%s", err.text);
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(inputs[i], first + i);
        ck_assert_int_eq(targets[i], first + i + 1);
    }
}

START_TEST(text_is_read_as_bytes)
{
    data_write("a.txt", "abcdefghij", 10);
    struct dataset *dataset = open_one(data_path("a.txt"), JOB_DATA_AUTO, 4);
    const struct dataset_info *info = dataset_info(dataset);
    ck_assert_int_eq(info->format, JOB_DATA_BYTES);
    ck_assert_int_eq(info->sample_count, 2);
    ck_assert_int_eq(info->token_count, 10);
    ck_assert_int_eq(info->vocab_size, 256);
    ck_assert_int_eq(info->seq_len, 4);
    ck_assert_int_eq(info->input_size, 0);
    check_sample(dataset, 0, 0, 4, 'a');
    check_sample(dataset, 0, 1, 4, 'e');
    dataset_close(dataset);
}
END_TEST

START_TEST(windows_do_not_cross_files)
{
    data_write_ramp("part-b.bin", 2, 7, 100);
    data_write_ramp("part-a.bin", 2, 10, 0);
    data_write_ramp("other.bin", 2, 5, 1000);
    char *paths[] = {data_path("part-*.bin"), data_path("other.bin")};
    struct dataset *dataset = open_list(data_sources(2, paths), JOB_DATA_U16, 3);
    const struct dataset_info *info = dataset_info(dataset);
    ck_assert_int_eq(info->source_count, 2);
    ck_assert_int_eq(info->file_count, 3);
    ck_assert_int_eq(info->token_count, 22);
    ck_assert_int_eq(info->sample_count, 3 + 2 + 1);
    int64_t samples;
    double weight;
    dataset_source_info(dataset, 0, &samples, &weight);
    ck_assert_int_eq(samples, 5);
    ck_assert(weight == 0);
    check_sample(dataset, 0, 2, 3, 6);
    check_sample(dataset, 0, 3, 3, 100);
    check_sample(dataset, 0, 4, 3, 103);
    check_sample(dataset, 1, 0, 3, 1000);
    dataset_close(dataset);
}
END_TEST

START_TEST(raw_tokens_are_little_endian)
{
    static const unsigned char bytes[] = {1, 2, 3, 4, 0xff, 0xff, 0, 0x80};
    int32_t inputs[3], targets[3];
    data_write("t.bin", bytes, sizeof bytes);
    struct dataset *dataset = open_one(data_path("t.bin"), JOB_DATA_U16, 3);
    ck_assert_int_eq(dataset_read_tokens(dataset, 0, 0, 65536, inputs, targets, &err), MUSTER_OK);
    ck_assert_int_eq(inputs[0], 0x0201);
    ck_assert_int_eq(inputs[1], 0x0403);
    ck_assert_int_eq(targets[1], 0xffff);
    ck_assert_int_eq(targets[2], 0x8000);
    dataset_close(dataset);
    dataset = open_one(data_path("t.bin"), JOB_DATA_U32, 1);
    ck_assert_int_eq(dataset_read_tokens(dataset, 0, 0, INT64_MAX, inputs, targets, &err),
                     MUSTER_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "t.bin: byte offset 4: token 2147549183 "));
    dataset_close(dataset);
}
END_TEST

START_TEST(llmc_shards_of_both_widths_are_recognised)
{
    const int32_t header16[] = {20240520, 1, 9}, header32[] = {20240801, 7, 9};
    uint32_t tokens[9];
    for (uint32_t i = 0; i < 9; i++)
        tokens[i] = 70 + i;
    data_write_tokens("16.bin", 256, header16, 2, 9, tokens);
    data_write_tokens("32.bin", 256, header32, 4, 9, tokens);
    for (int i = 0; i < 2; i++) {
        struct dataset *dataset = open_one(data_path(i == 0 ? "16.bin" : "32.bin"), JOB_DATA_AUTO, 4);
        ck_assert_int_eq(dataset_info(dataset)->format, JOB_DATA_LLMC);
        ck_assert_int_eq(dataset_info(dataset)->sample_count, 2);
        check_sample(dataset, 0, 1, 4, 74);
        dataset_close(dataset);
    }
}
END_TEST

START_TEST(a_header_that_disagrees_with_its_file_is_refused_with_both_sizes)
{
    static const struct {
        int32_t header[3];
        int64_t tokens;
        int width;
        const char *words;
    } cases[] = {
        {{20240520, 1, 10},
         9,
         2,
         "truncated: the header at byte offset 8 counts 10 tokens, which makes 1044 bytes; the file has "
         "1042"},
        {{20240520, 1, 8},
         9,
         2,
         "too long: the header at byte offset 8 counts 8 tokens, which makes 1040 bytes; the file has 1042"},
        {{20240520, 7, 9}, 9, 2, "byte offset 4: version 7; with magic 20240520 only version 1"},
        {{20240801, 1, 9}, 9, 4, "byte offset 4: version 1; with magic 20240801 only version 7"},
        {{20240521, 1, 9}, 9, 2, "byte offset 0: magic 20240521"},
        {{20240520, 1, -1}, 9, 2, "byte offset 8: the token count -1 is negative"},
        {{20240520, 1, 0}, 0, 2, "0 tokens are too few for one sample"},
        {{20240801, 7, 0x7fffffff}, 9, 4, "which makes 8589935612 bytes; the file has 1060"},
    };
    uint32_t tokens[9] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        data_write_tokens("x.bin", 256, cases[i].header, cases[i].width, cases[i].tokens, tokens);
        check_refused(data_path("x.bin"), JOB_DATA_LLMC, 4, cases[i].words);
    }
    data_write_tokens("x.bin", 255, cases[0].header, 2, 0, tokens);
    check_refused(data_path("x.bin"), JOB_DATA_LLMC, 4,
                  "truncated: an llm.c header has 1024 bytes, the file 1020");
}
END_TEST

START_TEST(files_that_cannot_be_a_data_set_are_refused)
{
    data_write("empty.txt", "", 0);
    check_refused(data_path("empty.txt"), JOB_DATA_AUTO, 4, "is empty");
    data_write("empty", "", 0);
    check_refused(data_path("empty"), JOB_DATA_AUTO, 4, "is empty");
    data_write("odd.bin", "abcdefg", 7);
    check_refused(data_path("odd.bin"), JOB_DATA_U16, 1, "1 bytes too many at byte offset 6");
    check_refused(data_path("odd.bin"), JOB_DATA_U32, 1, "3 bytes too many at byte offset 4");
    check_refused(data_path("odd.bin"), JOB_DATA_AUTO, 1, "state data.format as bytes, u16 or u32");
    check_refused(data_path("odd.bin"), JOB_DATA_BYTES, 7, "7 tokens are too few for one sample");
    check_refused(data_path("no-*.bin"), JOB_DATA_U16, 1, "no file matches");
    check_refused(data_path("none/no-*.bin"), JOB_DATA_U16, 1, "no file matches");
    check_refused(data_path("."), JOB_DATA_U16, 1, "is a folder");
    struct job_sources none = {NULL, 0}, missing = data_source(data_path("missing.bin"));
    struct dataset *dataset;
    ck_assert_int_eq(dataset_open(&none, JOB_DATA_U16, 1, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(dataset_open(&missing, JOB_DATA_U16, 1, &dataset, &err), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "missing.bin"));
    struct job_sources good = data_source(data_path("odd.bin"));
    ck_assert_int_eq(dataset_open(&good, JOB_DATA_BYTES, 0, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_str_eq(err.text, "seq_len 0 is not at least 1");
    ck_assert_int_eq(dataset_open(&good, JOB_DATA_BYTES, INT64_MAX, &dataset, &err), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(one_data_set_has_one_format_and_sane_weights)
{
    const int32_t header[] = {20240520, 1, 9};
    uint32_t tokens[9] = {0};
    data_write_tokens("a.bin", 256, header, 2, 9, tokens);
    data_write("b.txt", "abcdefghij", 10);
    char *paths[] = {data_path("a.bin"), data_path("b.txt")};
    struct job_sources sources = data_sources(2, paths);
    struct dataset *dataset;
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_AUTO, 4, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "b.txt: its format is bytes, but that of"));
    sources.items[1].weight = -1;
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_BYTES, 4, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "b.txt: weight -1"));
    sources.items[1].weight = 0;
    sources.items[1].labels = paths[0];
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_BYTES, 4, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "go with format idx only"));
}
END_TEST

START_TEST(a_name_with_brackets_is_a_file_before_it_is_a_glob)
{
    data_write("a[1].txt", "abc", 3);
    data_write("a1.txt", "xyz", 3);
    struct dataset *dataset = open_one(data_path("a[1].txt"), JOB_DATA_AUTO, 2);
    check_sample(dataset, 0, 0, 2, 'a');
    dataset_close(dataset);
}
END_TEST

START_TEST(a_token_outside_the_vocabulary_is_named_with_its_place)
{
    const int32_t header[] = {20240520, 1, 9};
    int32_t inputs[4], targets[4];
    for (int bad = 0; bad < 9; bad++) {
        uint32_t tokens[9] = {0};
        char words[64];
        tokens[bad] = 50257;
        data_write_tokens("x.bin", 256, header, 2, 9, tokens);
        struct dataset *dataset = open_one(data_path("x.bin"), JOB_DATA_LLMC, 4);
        snprintf(words, sizeof words, "x.bin: byte offset %d: token 50257 ", 1024 + 2 * bad);
        for (int sample = 0; sample < 2; sample++) {
            bool is_inside = bad >= 4 * sample && bad <= 4 * sample + 4;
            ck_assert_int_eq(dataset_read_tokens(dataset, 0, sample, 50257, inputs, targets, &err),
                             is_inside ? MUSTER_ERR_CORRUPT : MUSTER_OK);
            ck_assert(!is_inside || strstr(err.text, words) != NULL);
            ck_assert_int_eq(dataset_read_tokens(dataset, 0, sample, 50258, inputs, targets, &err),
                             MUSTER_OK);
        }
        dataset_close(dataset);
    }
}
END_TEST

START_TEST(samples_that_do_not_exist_are_refused)
{
    int32_t inputs[4], targets[4];
    float pixels[4];
    data_write("a.txt", "abcdefghi", 9);
    struct dataset *dataset = open_one(data_path("a.txt"), JOB_DATA_AUTO, 4);
    static const struct {
        int source;
        int64_t index;
    } cases[] = {{0, -1}, {0, 2}, {0, INT64_MAX}, {1, 0}, {-1, 0}};
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(
            dataset_read_tokens(dataset, cases[i].source, cases[i].index, 256, inputs, targets, &err),
            MUSTER_ERR_INTERNAL);
    ck_assert_int_eq(dataset_read_image(dataset, 0, 0, 256, pixels, targets, &err), MUSTER_ERR_INTERNAL);
    dataset_close(dataset);
    dataset_close(NULL);
}
END_TEST

START_TEST(a_scan_finds_the_largest_token_and_its_place)
{
    struct text where;
    int64_t token_max;
    text_init(&where);
    data_write_ramp("a.bin", 4, 100, 0);
    data_write_ramp("b.bin", 4, 50, 1000000);
    struct dataset *dataset = open_one(data_path("*.bin"), JOB_DATA_U32, 4);
    ck_assert_int_eq(dataset_scan(dataset, 0, &token_max, &where, &err), MUSTER_OK);
    ck_assert_int_eq(token_max, 1000049);
    ck_assert_ptr_nonnull(strstr(where.data, "b.bin, byte offset 196"));
    ck_assert_int_eq(dataset_scan(dataset, 10, &token_max, NULL, &err), MUSTER_OK);
    ck_assert_int_eq(token_max, 1000009);
    dataset_close(dataset);
    text_release(&where);
}
END_TEST

START_TEST(a_file_too_large_to_read_ahead_reads_the_same)
{
    char *path = data_path("big.bin");
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, (100l << 20) - 4, SEEK_SET), 0);
    ck_assert_int_eq(fwrite("\1\0\2", 1, 4, file), 4);
    ck_assert_int_eq(fclose(file), 0);
    struct dataset *dataset = open_one(path, JOB_DATA_U16, 65536);
    const struct dataset_info *info = dataset_info(dataset);
    ck_assert_int_eq(info->sample_count, (50 << 20) / 65536 - 1);
    int32_t *rows = calloc(2 * 65536, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    ck_assert_int_eq(dataset_read_tokens(dataset, 0, info->sample_count - 1, 9, rows, rows + 65536, &err),
                     MUSTER_OK);
    ck_assert_int_eq(rows[65535], 0);
    int64_t token_max;
    ck_assert_int_eq(dataset_scan(dataset, 0, &token_max, NULL, &err), MUSTER_OK);
    ck_assert_int_eq(token_max, 2);
    free(rows);
    dataset_close(dataset);
}
END_TEST

START_TEST(short_memory_is_reported_and_nothing_leaks)
{
    data_write_ramp("a1.bin", 2, 20, 0);
    data_write_ramp("a2.bin", 2, 20, 0);
    data_write_images("images-idx3.gz", "labels-idx1.gz", 4, true);
    char *paths[] = {data_path("a*.bin"), data_path("images-idx3.gz")};
    for (int kind = 0; kind < 2; kind++) {
        struct job_sources sources = data_source(paths[kind]);
        int64_t live = alloc_live_count();
        bool failed = true;
        for (int n = 1; failed; n++) {
            struct dataset *dataset = NULL;
            alloc_fail_nth(n);
            enum muster_status status =
                dataset_open(&sources, kind == 0 ? JOB_DATA_U16 : JOB_DATA_AUTO, 4, &dataset, &err);
            alloc_fail_nth(0);
            failed = status != MUSTER_OK;
            ck_assert(!failed || status == MUSTER_ERR_NO_MEMORY);
            dataset_close(dataset);
            ck_assert_int_eq(alloc_live_count(), live);
            ck_assert(n > 5 || failed);
        }
    }
}
END_TEST

struct reader {
    const struct dataset *dataset;
    int64_t first;
    bool good;
};

static void *reader_run(void *argument)
{
    struct reader *reader = argument;
    int32_t inputs[4], targets[4];
    reader->good = true;
    for (int64_t i = 0; i < 4000; i++) {
        int64_t index = (reader->first + i * 7) % 1000;
        enum muster_status status =
            dataset_read_tokens(reader->dataset, 0, index, 65536, inputs, targets, NULL);
        reader->good =
            reader->good && status == MUSTER_OK && inputs[0] == 4 * index && targets[3] == 4 * index + 4;
    }
    return NULL;
}

START_TEST(threads_read_at_once_without_allocating)
{
    pthread_t threads[3];
    struct reader readers[3];
    data_write_ramp("a.bin", 2, 4001, 0);
    struct dataset *dataset = open_one(data_path("a.bin"), JOB_DATA_U16, 4);
    int64_t calls = alloc_call_count();
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reader){dataset, 100 * i, false};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reader_run, &readers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert(readers[i].good);
    }
    ck_assert_int_eq(alloc_call_count(), calls);
    dataset_close(dataset);
}
END_TEST

START_TEST(a_description_names_format_counts_and_largest_token)
{
    struct text out;
    text_init(&out);
    data_write("a.txt", "hello world", 11);
    struct job_sources sources = data_source(data_path("a.txt"));
    sources.items[0].weight = 0.5;
    ck_assert_int_eq(dataset_describe(&sources, JOB_DATA_AUTO, 4, &out, &err), MUSTER_OK);
    static const char *const words[] = {"format:        bytes",
                                        "tokens:        11",
                                        "samples:       2 of 4 tokens",
                                        "largest token: 119 (",
                                        "a.txt, byte offset 6)",
                                        "weight 0.5",
                                        "a.txt: 11 B, 11 tokens of 1 byte, 2 samples"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        ck_assert_msg(strstr(out.data, words[i]) != NULL, "\"%s\" is not in:\n%s", words[i], out.data);
    text_release(&out);
    ck_assert_int_eq(dataset_describe(&sources, JOB_DATA_AUTO, 40, &out, &err), MUSTER_ERR_BAD_INPUT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tcase = tcase_create("tokens");
    tcase_add_checked_fixture(tcase, data_folder_create, data_folder_remove);
    tcase_add_test(tcase, text_is_read_as_bytes);
    tcase_add_test(tcase, windows_do_not_cross_files);
    tcase_add_test(tcase, raw_tokens_are_little_endian);
    tcase_add_test(tcase, llmc_shards_of_both_widths_are_recognised);
    tcase_add_test(tcase, a_header_that_disagrees_with_its_file_is_refused_with_both_sizes);
    tcase_add_test(tcase, files_that_cannot_be_a_data_set_are_refused);
    tcase_add_test(tcase, one_data_set_has_one_format_and_sane_weights);
    tcase_add_test(tcase, a_name_with_brackets_is_a_file_before_it_is_a_glob);
    tcase_add_test(tcase, a_token_outside_the_vocabulary_is_named_with_its_place);
    tcase_add_test(tcase, samples_that_do_not_exist_are_refused);
    tcase_add_test(tcase, a_scan_finds_the_largest_token_and_its_place);
    tcase_add_test(tcase, a_file_too_large_to_read_ahead_reads_the_same);
    tcase_add_test(tcase, short_memory_is_reported_and_nothing_leaks);
    tcase_add_test(tcase, threads_read_at_once_without_allocating);
    tcase_add_test(tcase, a_description_names_format_counts_and_largest_token);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
