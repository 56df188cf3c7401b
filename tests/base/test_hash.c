/* SPDX-License-Identifier: MIT
 *
 * Published vectors for both hashes. The source is included, not linked, so that the table path of CRC32C is
 * tried on machines whose processor would never take it.
 */
#include "base/hash.c"
#include "tests/suite.h"

static void fill(unsigned char *data, size_t bytes)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (unsigned char)(state >> 24);
    }
}

START_TEST(crc32c_gives_the_vectors_of_rfc_3720)
{
    unsigned char data[32];
    ck_assert_uint_eq(hash_crc32c(0, "123456789", 9), 0xe3069283u);
    ck_assert_uint_eq(hash_crc32c(0, "", 0), 0);
    memset(data, 0, sizeof data);
    ck_assert_uint_eq(hash_crc32c(0, data, sizeof data), 0x8a9136aau);
    memset(data, 0xff, sizeof data);
    ck_assert_uint_eq(hash_crc32c(0, data, sizeof data), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)i;
    ck_assert_uint_eq(hash_crc32c(0, data, sizeof data), 0x46dd794eu);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)(31 - i);
    ck_assert_uint_eq(hash_crc32c(0, data, sizeof data), 0x113fdb5cu);
}
END_TEST

START_TEST(the_table_gives_what_the_instruction_gives_for_every_length_and_alignment)
{
    unsigned char data[320];
    fill(data, sizeof data);
    ck_assert_uint_eq(~crc_update_table(~0u, (const unsigned char *)"123456789", 9), 0xe3069283u);
    for (size_t offset = 0; offset < 9; offset++) {
        for (size_t bytes = 0; bytes <= 300; bytes++)
            ck_assert_uint_eq(~crc_update_table(~7u, data + offset, bytes),
                              hash_crc32c(7, data + offset, bytes));
    }
}
END_TEST

START_TEST(the_lanes_of_a_long_buffer_give_what_the_table_gives)
{
    static unsigned char data[13 * CRC_LANE_BYTES + 5];
    fill(data, sizeof data);
    for (size_t bytes = 3 * CRC_LANE_BYTES - 1; bytes < sizeof data; bytes += CRC_LANE_BYTES / 2 + 1)
        ck_assert_uint_eq(~crc_update_table(~7u, data + 3, bytes - 3), hash_crc32c(7, data + 3, bytes - 3));
}
END_TEST

START_TEST(a_crc_can_be_continued_at_any_byte)
{
    unsigned char data[100];
    fill(data, sizeof data);
    uint32_t whole = hash_crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut++)
        ck_assert_uint_eq(hash_crc32c(hash_crc32c(0, data, cut), data + cut, sizeof data - cut), whole);
}
END_TEST

START_TEST(a_crc_notices_every_flipped_bit)
{
    unsigned char data[64];
    fill(data, sizeof data);
    uint32_t whole = hash_crc32c(0, data, sizeof data);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        ck_assert_uint_ne(hash_crc32c(0, data, sizeof data), whole);
        data[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
}
END_TEST

START_TEST(xxh3_gives_the_published_vectors)
{
    char text[HASH_TEXT_SIZE];
    hash_format(hash_xxh3("", 0), text);
    ck_assert_str_eq(text, "99aa06d3014798d86001c324468d497f");
    hash_format(hash_xxh3("abc", 3), text);
    ck_assert_str_eq(text, "06b05ab6733a618578af5f94892f3950");
    hash_format(hash_xxh3("123456789", 9), text);
    ck_assert_str_eq(text, "33119477ede5dcd5e9716427681d5860");
}
END_TEST

START_TEST(a_stream_fed_in_pieces_gives_the_value_of_the_whole)
{
    static unsigned char data[5000];
    fill(data, sizeof data);
    for (size_t piece = 1; piece <= 1500; piece = piece * 3 + 1) {
        struct hash_stream *stream = hash_stream_create();
        ck_assert_ptr_nonnull(stream);
        ck_assert(hash_equal(hash_stream_value(stream), hash_xxh3("", 0)));
        for (size_t done = 0; done < sizeof data; done += piece) {
            size_t left = sizeof data - done;
            hash_stream_update(stream, data + done, left < piece ? left : piece);
        }
        hash_stream_update(stream, NULL, 0);
        ck_assert(hash_equal(hash_stream_value(stream), hash_xxh3(data, sizeof data)));
        ck_assert(hash_equal(hash_stream_value(stream), hash_xxh3(data, sizeof data)));
        hash_stream_destroy(stream);
    }
}
END_TEST

START_TEST(a_stream_without_memory_is_null_and_leaves_nothing_behind)
{
    int64_t live = alloc_live_count();
    alloc_fail_nth(1);
    ck_assert_ptr_null(hash_stream_create());
    hash_stream_destroy(NULL);
    struct hash_stream *stream = hash_stream_create();
    ck_assert_int_eq(alloc_live_count(), live + 1);
    hash_stream_destroy(stream);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

START_TEST(a_hash_is_equal_only_where_both_halves_are)
{
    struct hash128 a = {1, 2}, low = {1, 3}, high = {2, 2};
    ck_assert(hash_equal(a, a));
    ck_assert(!hash_equal(a, low));
    ck_assert(!hash_equal(a, high));
}
END_TEST

START_TEST(a_hash_is_written_high_half_first_and_read_back)
{
    char text[HASH_TEXT_SIZE];
    struct hash128 hash = {.high = 0x0123456789abcdefu, .low = 0xfedcba9876543210u}, back = {0, 0};
    hash_format(hash, text);
    ck_assert_str_eq(text, "0123456789abcdeffedcba9876543210");
    ck_assert(hash_parse(text, &back) && hash_equal(hash, back));
    ck_assert(hash_parse("0123456789ABCDEFFEDCBA9876543210", &back) && hash_equal(hash, back));
}
END_TEST

START_TEST(a_text_that_is_not_32_digits_is_no_hash)
{
    struct hash128 hash = {7, 7};
    ck_assert(!hash_parse("", &hash));
    ck_assert(!hash_parse("0123456789abcdeffedcba987654321", &hash));
    ck_assert(!hash_parse("0123456789abcdeffedcba98765432100", &hash));
    ck_assert(!hash_parse("0123456789abcdeffedcba987654321g", &hash));
    ck_assert(!hash_parse(" 123456789abcdeffedcba9876543210", &hash));
    ck_assert(hash_equal(hash, (struct hash128){7, 7}));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash");
    TCase *cases = tcase_create("hash");
    tcase_add_test(cases, crc32c_gives_the_vectors_of_rfc_3720);
    tcase_add_test(cases, the_table_gives_what_the_instruction_gives_for_every_length_and_alignment);
    tcase_add_test(cases, the_lanes_of_a_long_buffer_give_what_the_table_gives);
    tcase_add_test(cases, a_crc_can_be_continued_at_any_byte);
    tcase_add_test(cases, a_crc_notices_every_flipped_bit);
    tcase_add_test(cases, xxh3_gives_the_published_vectors);
    tcase_add_test(cases, a_stream_fed_in_pieces_gives_the_value_of_the_whole);
    tcase_add_test(cases, a_stream_without_memory_is_null_and_leaves_nothing_behind);
    tcase_add_test(cases, a_hash_is_equal_only_where_both_halves_are);
    tcase_add_test(cases, a_hash_is_written_high_half_first_and_read_back);
    tcase_add_test(cases, a_text_that_is_not_32_digits_is_no_hash);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
