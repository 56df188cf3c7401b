/* SPDX-License-Identifier: MIT
 *
 * Checksums: CRC32C for blocks (hardware instruction where there is one), XXH3-128 (libxxhash) for shards,
 * states and plans. Not cryptographic: they find accidents, not adversaries.
 */
#ifndef MUSTER_BASE_HASH_H
#define MUSTER_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HASH_TEXT_SIZE = 33 };

struct hash128 {
    uint64_t high, low;
};

/** Opaque streaming state; create allocates, destroy takes NULL. */
struct hash_stream;

/** Continues a CRC32C (Castagnoli) from `crc` (0 to begin). crc("123456789") is 0xe3069283. */
uint32_t hash_crc32c(uint32_t crc, const void *data, size_t bytes);

/** XXH3-128 of one buffer. */
struct hash128 hash_xxh3(const void *data, size_t bytes);

/** NULL when memory is short. */
struct hash_stream *hash_stream_create(void);
void hash_stream_destroy(struct hash_stream *stream);
void hash_stream_update(struct hash_stream *stream, const void *data, size_t bytes);
struct hash128 hash_stream_value(const struct hash_stream *stream);

bool hash_equal(struct hash128 a, struct hash128 b);

/** 32 lower-case hexadecimal digits, high half first. */
void hash_format(struct hash128 hash, char text[HASH_TEXT_SIZE]);

/** False unless `text` is exactly 32 hexadecimal digits. */
bool hash_parse(const char *text, struct hash128 *hash);

#endif
