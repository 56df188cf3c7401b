/* SPDX-License-Identifier: MIT
 *
 * IDX files, plain and gzip. Damage is made systematically: a file is cut at every length and each of its
 * bytes is changed, and none of that may be taken for data. The real MNIST is read where MUSTER_TEST_DATA
 * names a folder that has it.
 */
#include "tests/coordinator/data_files.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct muster_error err;

static enum muster_status open_images(char *path, struct dataset **dataset)
{
    struct job_sources sources = data_source(path);
    int64_t live = alloc_live_count();
    *dataset = NULL;
    enum muster_status status = dataset_open(&sources, JOB_DATA_IDX, 0, dataset, &err);
    ck_assert((status == MUSTER_OK) == (*dataset != NULL));
    ck_assert(status == MUSTER_OK || alloc_live_count() == live);
    return status;
}

static void check_refused(char *path, const char *words)
{
    struct dataset *dataset;
    ck_assert_int_eq(open_images(path, &dataset), MUSTER_ERR_BAD_INPUT);
    ck_assert_msg(strstr(err.text, words) != NULL, "\"%s\" is not in: %s", words, err.text);
}

START_TEST(plain_and_gzip_images_read_the_same)
{
    for (int gzip = 0; gzip < 2; gzip++) {
        char *path = data_path(gzip ? "t-images-idx3-ubyte.gz" : "t-images-idx3-ubyte");
        data_write_images(gzip ? "t-images-idx3-ubyte.gz" : "t-images-idx3-ubyte",
                          gzip ? "t-labels-idx1-ubyte.gz" : "t-labels-idx1-ubyte", 50, gzip);
        struct job_sources sources = data_source(path);
        struct dataset *dataset = NULL;
        ck_assert_int_eq(dataset_open(&sources, JOB_DATA_AUTO, 0, &dataset, &err), MUSTER_OK);
        const struct dataset_info *info = dataset_info(dataset);
        ck_assert_int_eq(info->format, JOB_DATA_IDX);
        ck_assert_int_eq(info->sample_count, 50);
        ck_assert_int_eq(info->input_size, 6);
        ck_assert_int_eq(info->token_count, 0);
        ck_assert_int_eq(info->seq_len, 0);
        int64_t calls = alloc_call_count();
        for (int64_t i = 0; i < 50; i++) {
            float pixels[6];
            int32_t label = -1, inputs[1];
            ck_assert_int_eq(dataset_read_image(dataset, 0, i, 10, pixels, &label, &err), MUSTER_OK);
            ck_assert_int_eq(label, i % 10);
            for (int j = 0; j < 6; j++)
                ck_assert(pixels[j] == (float)((6 * i + j) % 256) / 255.0f);
            ck_assert_int_eq(dataset_read_tokens(dataset, 0, i, 10, inputs, inputs, &err),
                             MUSTER_ERR_INTERNAL);
        }
        ck_assert_int_eq(alloc_call_count(), calls);
        dataset_close(dataset);
    }
}
END_TEST

START_TEST(colour_images_have_four_dimensions)
{
    unsigned char file[64], payload[24] = {255};
    const uint32_t sizes[] = {2, 2, 2, 3};
    data_write("c-images-idx3", file, data_idx(file, 0x804, 4, sizes, payload, 24));
    data_write("c-labels-idx1", file, data_idx(file, 0x801, 1, sizes, payload, 2));
    struct dataset *dataset;
    float pixels[12];
    int32_t label;
    ck_assert_int_eq(open_images(data_path("c-images-idx3"), &dataset), MUSTER_OK);
    ck_assert_int_eq(dataset_info(dataset)->input_size, 12);
    ck_assert_int_eq(dataset_read_image(dataset, 0, 0, 256, pixels, &label, &err), MUSTER_OK);
    ck_assert(pixels[0] == 1.0f && pixels[11] == 0.0f && label == 255);
    ck_assert_int_eq(dataset_read_image(dataset, 0, 0, 10, pixels, &label, &err), MUSTER_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "c-labels-idx1: byte offset 8: label 255 is not below"));
    dataset_close(dataset);
}
END_TEST

START_TEST(wrong_headers_are_refused_with_their_offset)
{
    static const struct {
        uint32_t magic;
        int dimensions;
        uint32_t sizes[4];
        const char *words;
    } cases[] = {
        {0x801, 1, {6}, "holds labels, not images"},
        {0xd03, 3, {1, 2, 3}, "byte offset 2: element type 0x0d"},
        {0x802, 2, {2, 3}, "byte offset 0: magic 0x00000802"},
        {0x12345678, 3, {1, 2, 3}, "byte offset 0: magic 0x12345678"},
        {0x803, 3, {0, 2, 3}, "byte offset 4: dimension 0 is 0"},
        {0x803, 3, {1, 0, 3}, "byte offset 8: dimension 1 is 0"},
        {0x803,
         3,
         {2, 2, 3},
         "truncated: the header at byte offset 4 counts 2 items of 6 bytes, which makes 28 bytes; the file "
         "has 22"},
        {0x803,
         3,
         {1, 1, 3},
         "too long: the header at byte offset 4 counts 1 items of 3 bytes, which makes 19 bytes; the file "
         "has 22"},
        {0x803, 3, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, "overflows"},
        {0x804, 4, {UINT32_MAX, UINT32_MAX, 2, 1}, "overflows"},
        {0x803, 3, {UINT32_MAX, 1, 1u << 31}, "truncated"},
    };
    unsigned char file[64], payload[6] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t bytes = data_idx(file, cases[i].magic, cases[i].dimensions, cases[i].sizes, payload, 6);
        data_write("x-images-idx3", file, bytes);
        check_refused(data_path("x-images-idx3"), cases[i].words);
    }
}
END_TEST

START_TEST(images_and_labels_must_fit_together)
{
    unsigned char file[64], payload[24] = {0};
    const uint32_t sizes[] = {2, 2, 2}, other[] = {2, 2, 3}, count[] = {3};
    data_write("a-images-idx3", file, data_idx(file, 0x803, 3, sizes, payload, 8));
    check_refused(data_path("nothing-here*"), "no file matches");
    struct dataset *dataset;
    ck_assert_int_eq(open_images(data_path("a-images-idx3"), &dataset), MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "a-labels-idx1"));
    data_write("a-labels-idx1", file, data_idx(file, 0x801, 1, count, payload, 3));
    check_refused(data_path("a-images-idx3"), "2 images, but ");
    data_write("a-labels-idx1", file, data_idx(file, 0x803, 3, sizes, payload, 8));
    check_refused(data_path("a-images-idx3"), "a-labels-idx1: holds images, not labels");
    data_write("a-labels-idx1", file, data_idx(file, 0x801, 1, sizes, payload, 2));
    data_write("b-images-idx3", file, data_idx(file, 0x803, 3, other, payload, 12));
    data_write("b-labels-idx1", file, data_idx(file, 0x801, 1, other, payload, 2));
    check_refused(data_path("*-images-idx3"), "images of 6 bytes, but those of");
    data_write("pictures", file, data_idx(file, 0x803, 3, sizes, payload, 8));
    check_refused(data_path("pictures"), "the label file cannot be derived");
}
END_TEST

START_TEST(labels_may_be_named)
{
    unsigned char file[64], payload[24] = {0};
    const uint32_t sizes[] = {2, 2, 2};
    data_write("pictures", file, data_idx(file, 0x803, 3, sizes, payload, 8));
    data_write("classes", file, data_idx(file, 0x801, 1, sizes, payload, 2));
    struct job_sources sources = data_source(data_path("pictures"));
    struct dataset *dataset;
    sources.items[0].labels = data_path("classes");
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_AUTO, 0, &dataset, &err), MUSTER_OK);
    dataset_close(dataset);
    data_write("pictures2", file, 1);
    sources.items[0].path = data_path("pictures*");
    ck_assert_int_eq(dataset_open(&sources, JOB_DATA_AUTO, 0, &dataset, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "matches 2 files, but labels names one"));
}
END_TEST

/* Whether all pixels are still those that data_write_images wrote. */
static bool is_unharmed(const struct dataset *dataset)
{
    float pixels[6];
    int32_t label;
    if (dataset_info(dataset)->sample_count != 20 || dataset_info(dataset)->input_size != 6)
        return false;
    for (int i = 0; i < 120; i++) {
        if (i % 6 == 0)
            ck_assert_int_eq(dataset_read_image(dataset, 0, i / 6, 10, pixels, &label, &err), MUSTER_OK);
        if (pixels[i % 6] != (float)i / 255.0f)
            return false;
    }
    return true;
}

/* Opens the file cut at every length, then with every byte changed in turn. Plain files have nothing that
 * would show a changed pixel; gzip files have a checksum, and only their padding and time stamp are free. */
static void check_damage(const char *name, bool is_gzip)
{
    char *bytes;
    size_t count;
    struct dataset *dataset;
    ck_assert_int_eq(fs_file_read(data_path(name), 1 << 20, &bytes, &count, &err), MUSTER_OK);
    for (size_t cut = 0; cut < count; cut++) {
        data_write(name, bytes, cut);
        ck_assert_msg(open_images(data_path(name), &dataset) == MUSTER_ERR_BAD_INPUT, "cut to %zu bytes",
                      cut);
    }
    for (size_t i = 0; i < count; i++) {
        bytes[i] ^= 0x10;
        data_write(name, bytes, count);
        bytes[i] ^= 0x10;
        enum muster_status status = open_images(data_path(name), &dataset);
        bool is_pixel = !is_gzip && i >= 16;
        if (status == MUSTER_OK)
            ck_assert_msg(is_unharmed(dataset) != is_pixel, "byte %zu changed", i);
        else
            ck_assert_msg(status == MUSTER_ERR_BAD_INPUT && !is_pixel, "byte %zu changed: %s", i, err.text);
        dataset_close(dataset);
    }
    data_write(name, bytes, count + 1); /* the terminator: a zero byte */
    check_refused(data_path(name), is_gzip ? "not gzip follow" : "too long");
    alloc_free(bytes);
}

START_TEST(no_cut_and_no_changed_byte_is_taken_for_data)
{
    data_write_images("d-images-idx3", "d-labels-idx1", 20, false);
    check_damage("d-images-idx3", false);
    data_write_images("d-images-idx3.gz", "d-labels-idx1.gz", 20, true);
    check_damage("d-images-idx3.gz", true);
}
END_TEST

START_TEST(a_small_gzip_file_cannot_claim_gigabytes)
{
    unsigned char file[64], payload[6] = {0};
    const uint32_t large[] = {1u << 20, 1024, 1}, huge[] = {1u << 20, 8192, 2};
    data_write_gzip("z-images-idx3.gz", file, data_idx(file, 0x803, 3, large, payload, 6));
    int64_t live = alloc_live_count();
    check_refused(data_path("z-images-idx3.gz"), "compressed bytes can hold");
    data_write_gzip("z-images-idx3.gz", file, data_idx(file, 0x803, 3, huge, payload, 6));
    check_refused(data_path("z-images-idx3.gz"), "17179869184 bytes after decompression, at most 8589934592");
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(gzip_files_of_several_members_are_one_stream)
{
    unsigned char file[64], payload[24] = {0};
    const uint32_t sizes[] = {2, 2, 2};
    size_t bytes = data_idx(file, 0x803, 3, sizes, payload, 8);
    char *first, *second, joined[512];
    size_t first_bytes, second_bytes;
    data_write_gzip("first", file, 10);
    data_write_gzip("second", file + 10, bytes - 10);
    ck_assert_int_eq(fs_file_read(data_path("first"), 256, &first, &first_bytes, &err), MUSTER_OK);
    ck_assert_int_eq(fs_file_read(data_path("second"), 256, &second, &second_bytes, &err), MUSTER_OK);
    memcpy(joined, first, first_bytes);
    memcpy(joined + first_bytes, second, second_bytes);
    data_write("m-images-idx3.gz", joined, first_bytes + second_bytes);
    data_write_gzip("m-labels-idx1.gz", file, data_idx(file, 0x801, 1, sizes, payload, 2));
    struct dataset *dataset;
    ck_assert_msg(open_images(data_path("m-images-idx3.gz"), &dataset) == MUSTER_OK, "%s", err.text);
    dataset_close(dataset);
    alloc_free(first);
    alloc_free(second);
}
END_TEST

START_TEST(the_real_mnist_is_read)
{
    const char *folder = getenv("MUSTER_TEST_DATA");
    char path[FS_PATH_MAX];
    struct dataset *dataset;
    if (folder == NULL ||
        fs_path_join(path, folder, "images/mnist-t10k-images-idx3-ubyte.gz", NULL) != MUSTER_OK ||
        !fs_exists(path)) {
        printf("skipped: MUSTER_TEST_DATA names no folder with images/mnist-t10k-images-idx3-ubyte.gz\n");
        return;
    }
    ck_assert_msg(open_images(path, &dataset) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(dataset_info(dataset)->sample_count, 10000);
    ck_assert_int_eq(dataset_info(dataset)->input_size, 784);
    static const int32_t first_labels[] = {7, 2, 1, 0, 4, 1, 4, 9, 5, 9};
    float pixels[784];
    int32_t label;
    for (int64_t i = 0; i < 10000; i++) {
        ck_assert_int_eq(dataset_read_image(dataset, 0, i, 10, pixels, &label, &err), MUSTER_OK);
        ck_assert(i >= 10 || label == first_labels[i]);
    }
    dataset_close(dataset);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset_images");
    TCase *tcase = tcase_create("images");
    tcase_add_checked_fixture(tcase, data_folder_create, data_folder_remove);
    tcase_add_test(tcase, plain_and_gzip_images_read_the_same);
    tcase_add_test(tcase, colour_images_have_four_dimensions);
    tcase_add_test(tcase, wrong_headers_are_refused_with_their_offset);
    tcase_add_test(tcase, images_and_labels_must_fit_together);
    tcase_add_test(tcase, labels_may_be_named);
    tcase_add_test(tcase, no_cut_and_no_changed_byte_is_taken_for_data);
    tcase_add_test(tcase, a_small_gzip_file_cannot_claim_gigabytes);
    tcase_add_test(tcase, gzip_files_of_several_members_are_one_stream);
    tcase_add_test(tcase, the_real_mnist_is_read);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
