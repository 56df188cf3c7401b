/* SPDX-License-Identifier: MIT
 *
 * Headers of any maker: a foreign one is understood, and each way of lying about names, lengths and offsets
 * is refused.
 */
#include "coordinator/ckpt/safetensors.h"

#include "base/alloc.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 4096 };

static struct safetensors_header header;
static struct muster_error err;

/* Parses `json` as the header of a file with `data_bytes` of data behind it. */
static enum muster_status parse(const char *json, int64_t data_bytes)
{
    static unsigned char bytes[TEXT_MAX];
    size_t length = strlen(json);
    ck_assert_uint_lt(length + 8, sizeof bytes);
    memset(bytes, 0, 8);
    bytes[0] = (unsigned char)(length & 0xff);
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, json, length);
    int64_t size = (int64_t)length + 8;
    return safetensors_header_parse(&header, bytes, size, size + data_bytes, "model.safetensors", &err);
}

START_TEST(a_foreign_header_is_read_in_the_order_of_its_data)
{
    ck_assert_msg(parse("{\"b\": {\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[24,36]},"
                        " \"__metadata__\": {\"format\": \"pt\"},"
                        " \"empty\": {\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[36,36]},"
                        " \"scalar\": {\"data_offsets\":[0,8],\"dtype\":\"F64\",\"shape\":[]},"
                        " \"a\": {\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[8,24]}}   ",
                        36) == MUSTER_OK,
                  "%s", err.text);
    ck_assert_int_eq(header.count, 4);
    ck_assert_str_eq(header.entries[0].name, "scalar");
    ck_assert_int_eq(header.entries[0].dim_count, 0);
    ck_assert_str_eq(header.entries[1].name, "a");
    ck_assert_str_eq(header.entries[2].name, "b");
    ck_assert_str_eq(header.entries[2].dtype, "BF16");
    ck_assert_int_eq(header.entries[2].shape[1], 3);
    ck_assert_int_eq(header.entries[2].begin, 24);
    ck_assert_str_eq(header.entries[3].name, "empty");
    ck_assert_int_eq(header.data_bytes, 36);
    ck_assert_str_eq(safetensors_metadata(&header, "format"), "pt");
    ck_assert_ptr_null(safetensors_metadata(&header, "writer"));
    safetensors_header_release(&header);
    ck_assert_int_eq(parse("{}", 0), MUSTER_OK);
    ck_assert_ptr_null(safetensors_metadata(&header, "format"));
    safetensors_header_release(&header);
}
END_TEST

#define TENSOR(name, dtype, shape, range)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"

static const struct {
    const char *json;
    int64_t data_bytes;
    const char *complaint;
} lies[] = {
    {"", 0, "byte 8"},
    {" {}", 0, "byte 8"},
    {"[]", 0, "byte 8"},
    {"{", 0, "1:"},
    {"{} x", 0, "end of file"},
    {"{}", 1, "0 of 1"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "}", 9, "8 of 9"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "}", 7, "8 of 7"},
    {"{" TENSOR("a", "F32", "[2]", "[4,12]") "}", 12, "begins at data byte 4"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[1]", "[4,8]") "}", 8, "not 8"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[2]", "[0,8]") "}", 8, "not 8"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[1]", "[12,16]") "}", 16, "not 8"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("a", "F32", "[1]", "[8,12]") "}", 12, "duplicate"},
    {"{" TENSOR("a", "F32", "[2]", "[8,0]") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[2]", "[0,8,8]") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[2]", "[0]") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[2]", "8") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[2]", "[0.0,8.0]") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[2]", "[-8,0]") "}", 8, "data_offsets"},
    {"{" TENSOR("a", "F32", "[3]", "[0,8]") "}", 8, "12 bytes apart"},
    {"{" TENSOR("a", "F32", "[-2]", "[0,8]") "}", 8, "bad size"},
    {"{" TENSOR("a", "F32", "[\"2\"]", "[0,8]") "}", 8, "bad size"},
    {"{" TENSOR("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, "bad size"},
    {"{" TENSOR("a", "F32", "2", "[0,8]") "}", 8, "shape"},
    {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", 8, "shape"},
    {"{" TENSOR("a", "F33", "[2]", "[0,8]") "}", 8, "unknown dtype F33"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"more\":1}}", 8, "more"},
    {"{\"a\":[]}", 0, "tensor a"},
    {"{\"__metadata__\":{\"format\":1}}", 0, "no string"},
    {"{\"__metadata__\":\"muster\"}", 0, "no object"},
    {"{\"a\":{\"dtype\":[[[[[[]]]]]]}}", 0, "deeper"},
    {"{\"a\\\\\":{\"dtype\":[[[[[[]]]]]]}}", 0, "deeper"},
    {"{\"a\\\"[[[[[[", 0, "1:"},
    {"{\"\xff\":{}}", 0, "1:"},
    {"{\"a\\u0000b\":{}}", 0, "1:"},
};

START_TEST(every_lie_in_a_header_is_refused)
{
    int64_t live = alloc_live_count();
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        enum muster_status status = parse(lies[i].json, lies[i].data_bytes);
        ck_assert_msg(status == MUSTER_ERR_CORRUPT, "%s gave %s", lies[i].json, muster_status_name(status));
        ck_assert_msg(strstr(err.text, lies[i].complaint) != NULL, "%s: %s", lies[i].json, err.text);
        ck_assert_ptr_eq(strstr(err.text, "model.safetensors"), err.text);
        safetensors_header_release(&header);
        ck_assert_int_eq(alloc_live_count(), live);
    }
}
END_TEST

START_TEST(brackets_in_strings_are_no_nesting)
{
    ck_assert_msg(parse("{\"__metadata__\": {\"a\": \"[[[[[[\\\"{{{{{{\\\\\\\"[[[[\\\\\", \"b\": \"[[[\"}}",
                        0) == MUSTER_OK,
                  "%s", err.text);
    ck_assert_str_eq(safetensors_metadata(&header, "a"), "[[[[[[\"{{{{{{\\\"[[[[\\");
    safetensors_header_release(&header);
}
END_TEST

START_TEST(a_length_field_is_not_believed)
{
    unsigned char length[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    int64_t size;
    ck_assert_int_eq(safetensors_header_size(length, INT64_MAX, "f", &size, &err), MUSTER_ERR_CORRUPT);
    memset(length, 0, sizeof length);
    length[3] = 4; /* 64 MiB, the limit */
    ck_assert_int_eq(safetensors_header_size(length, INT64_MAX, "f", &size, &err), MUSTER_OK);
    ck_assert_int_eq(size, (64 << 20) + 8);
    ck_assert_int_eq(safetensors_header_size(length, size - 1, "f", &size, &err), MUSTER_ERR_CORRUPT);
    length[0] = 1;
    ck_assert_int_eq(safetensors_header_size(length, INT64_MAX, "f", &size, &err), MUSTER_ERR_CORRUPT);
    memset(length, 0, sizeof length);
    ck_assert_int_eq(safetensors_header_parse(&header, length, 7, 7, "f", &err), MUSTER_ERR_CORRUPT);
    ck_assert_int_eq(safetensors_header_parse(&header, length, 8, 8, "f", &err), MUSTER_ERR_CORRUPT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("safetensors");
    tcase_add_test(tcase, a_foreign_header_is_read_in_the_order_of_its_data);
    tcase_add_test(tcase, every_lie_in_a_header_is_refused);
    tcase_add_test(tcase, brackets_in_strings_are_no_nesting);
    tcase_add_test(tcase, a_length_field_is_not_believed);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
