/* SPDX-License-Identifier: MIT
 *
 * CRC32C has two paths that give the same value: the SSE4.2 instruction eight bytes at a time, in three lanes
 * of a long buffer at once because its latency would bound one, and a table of eight slices for every other
 * processor. XXH3
 * is libxxhash's; its streaming state is allocated by the library, which knows the alignment it needs.
 */
#include "base/hash.h"

#include "base/alloc.h"

#include <pthread.h>
#include <string.h>
#include <xxhash.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* The Castagnoli polynomial, bits reversed (RFC 3720, appendix B.4). */
static const uint32_t crc_polynomial = 0x82f63b78u;

enum { CRC_LANE_BYTES = 2048 };

static uint32_t crc_table[8][256];
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;
/* [byte of the register][its value]: what CRC_LANE_BYTES zero bytes make of it. */
static uint32_t crc_lane_table[4][256];
static pthread_once_t crc_lane_table_once = PTHREAD_ONCE_INIT;

static void crc_table_fill(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? crc_polynomial : 0);
        crc_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[slice - 1][byte];
            crc_table[slice][byte] = (before >> 8) ^ crc_table[0][before & 0xff];
        }
    }
}

static uint32_t crc_step(uint32_t crc, unsigned char byte)
{
    return (crc >> 8) ^ crc_table[0][(crc ^ byte) & 0xff];
}

/* Eight bytes at once: each goes through the table that shifts it over the bytes that follow it. */
static uint32_t crc_update_table(uint32_t crc, const unsigned char *data, size_t bytes)
{
    pthread_once(&crc_table_once, crc_table_fill);
    while (bytes >= 8) {
        uint32_t mixed[8];
        for (int i = 0; i < 8; i++)
            mixed[i] = i < 4 ? data[i] ^ ((crc >> (8 * i)) & 0xff) : data[i];
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= crc_table[7 - i][mixed[i]];
        data += 8;
        bytes -= 8;
    }
    while (bytes-- > 0)
        crc = crc_step(crc, *data++);
    return crc;
}

#if defined(__x86_64__)
/* The register is linear in its bits, so 32 of them give the whole table. */
static void crc_lane_table_fill(void)
{
    static const unsigned char zeros[CRC_LANE_BYTES];
    for (int byte = 0; byte < 4; byte++) {
        for (int bit = 0; bit < 8; bit++) {
            uint32_t moved = crc_update_table(1u << (8 * byte + bit), zeros, sizeof zeros);
            for (int value = 0; value < 256; value++)
                crc_lane_table[byte][value] ^= value >> bit & 1 ? moved : 0;
        }
    }
}

/* The register after another lane of zeros. */
static uint32_t crc_lane_skip(uint32_t crc)
{
    return crc_lane_table[0][crc & 255] ^ crc_lane_table[1][crc >> 8 & 255] ^
           crc_lane_table[2][crc >> 16 & 255] ^ crc_lane_table[3][crc >> 24];
}

static uint64_t crc_word(const unsigned char *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

__attribute__((target("sse4.2"))) static uint32_t crc_update_lanes(uint32_t crc, const unsigned char *data)
{
    uint64_t first = crc, second = 0, third = 0;
    for (size_t at = 0; at < CRC_LANE_BYTES; at += sizeof first) {
        first = _mm_crc32_u64(first, crc_word(data + at));
        second = _mm_crc32_u64(second, crc_word(data + CRC_LANE_BYTES + at));
        third = _mm_crc32_u64(third, crc_word(data + 2 * CRC_LANE_BYTES + at));
    }
    return crc_lane_skip(crc_lane_skip((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) static uint32_t crc_update_sse42(uint32_t crc, const unsigned char *data,
                                                                   size_t bytes)
{
    if (bytes >= 3 * CRC_LANE_BYTES)
        pthread_once(&crc_lane_table_once, crc_lane_table_fill);
    for (; bytes >= 3 * CRC_LANE_BYTES; data += 3 * CRC_LANE_BYTES, bytes -= 3 * CRC_LANE_BYTES)
        crc = crc_update_lanes(crc, data);
    uint64_t wide = crc;
    for (; bytes >= 8; data += 8, bytes -= 8)
        wide = _mm_crc32_u64(wide, crc_word(data));
    uint32_t narrow = (uint32_t)wide;
    while (bytes-- > 0)
        narrow = _mm_crc32_u8(narrow, *data++);
    return narrow;
}
#endif

uint32_t hash_crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_update_sse42(~crc, data, bytes);
#endif
    return ~crc_update_table(~crc, data, bytes);
}

static struct hash128 hash_from_library(XXH128_hash_t value)
{
    return (struct hash128){.high = value.high64, .low = value.low64};
}

struct hash128 hash_xxh3(const void *data, size_t bytes)
{
    return hash_from_library(XXH3_128bits(data, bytes));
}

struct hash_stream {
    XXH3_state_t *state;
};

struct hash_stream *hash_stream_create(void)
{
    struct hash_stream *stream = alloc_zeroed(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->state = XXH3_createState();
    if (stream->state == NULL || XXH3_128bits_reset(stream->state) != XXH_OK) {
        hash_stream_destroy(stream);
        return NULL;
    }
    return stream;
}

void hash_stream_destroy(struct hash_stream *stream)
{
    if (stream == NULL)
        return;
    XXH3_freeState(stream->state);
    alloc_free(stream);
}

void hash_stream_update(struct hash_stream *stream, const void *data, size_t bytes)
{
    if (bytes > 0)
        XXH3_128bits_update(stream->state, data, bytes);
}

struct hash128 hash_stream_value(const struct hash_stream *stream)
{
    return hash_from_library(XXH3_128bits_digest(stream->state));
}

bool hash_equal(struct hash128 a, struct hash128 b)
{
    return a.high == b.high && a.low == b.low;
}

void hash_format(struct hash128 hash, char text[HASH_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        text[i] = digits[(hash.high >> (60 - 4 * i)) & 15];
        text[16 + i] = digits[(hash.low >> (60 - 4 * i)) & 15];
    }
    text[32] = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hash_parse(const char *text, struct hash128 *hash)
{
    uint64_t half[2] = {0, 0};
    if (strlen(text) != HASH_TEXT_SIZE - 1)
        return false;
    for (int i = 0; i < HASH_TEXT_SIZE - 1; i++) {
        int value = digit_value(text[i]);
        if (value < 0)
            return false;
        half[i / 16] = half[i / 16] << 4 | (uint64_t)value;
    }
    *hash = (struct hash128){.high = half[0], .low = half[1]};
    return true;
}
