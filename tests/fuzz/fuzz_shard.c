/* SPDX-License-Identifier: MIT
 *
 * The shard reader behind its hashes. A stranger's shard ends at the first CRC, so the input gets the
 * MANIFEST that an attacker or a bug would have written for it, hashes right, and whatever slices fill it:
 * what the reader then believes must be the bytes of the file.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_folder.h"

enum { ELEMENTS_MAX = 4096, CHUNK = 8, SLICES_MAX = 4 };

static const char file_name[] = "shard-00000-of-00001.safetensors";

/* As many as the header seems to have entries, so that their order and their borders matter. */
static int64_t slice_count(const uint8_t *header, int64_t header_bytes, int64_t elements)
{
    static const char entry[] = "\"param/";
    const uint8_t *end = header + header_bytes, *found = header;
    int64_t count = 0;
    while (count < SLICES_MAX && count < elements &&
           (found = memmem(found, (size_t)(end - found), entry, strlen(entry))) != NULL) {
        found++;
        count++;
    }
    return count > 0 ? count : 1;
}

static void slices_print(struct text *out, int64_t count, int64_t elements)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = i * (elements / count), end = i + 1 < count ? begin + elements / count : elements;
        text_print(out, "%s[0, 0, %" PRId64 ", %" PRId64 "]", i > 0 ? ", " : "", begin, end - begin);
    }
}

/* A MANIFEST of one tensor of `elements`, all in this one shard. */
static void manifest_print(struct text *out, const uint8_t *data, size_t bytes, int64_t header_bytes,
                           int64_t elements)
{
    char xxh3[HASH_TEXT_SIZE], self[HASH_TEXT_SIZE];
    int64_t flat = (elements + CHUNK - 1) / CHUNK * CHUNK;
    hash_format(hash_xxh3(data, bytes), xxh3);
    text_print(out,
               "{\"format\": \"muster-checkpoint\", \"version\": 1, \"step\": 1, \"tokens_seen\": 0, "
               "\"writer_count\": 1, \"state_hash\": \"%032d\", \"job_hash\": \"%032d\", \"job_yaml\": \"\", "
               "\"numerics\": \"\", \"kinds\": [\"param\"], \"flat_count\": %" PRId64
               ", \"chunk_elements\": %d, \"block_bytes\": %d, \"tensors\": [{\"name\": \"w\", \"shape\": "
               "[%" PRId64 "], \"offset\": 0}], \"shards\": [{\"file\": \"%s\", \"bytes\": %zu, "
               "\"header_bytes\": %" PRId64 ", \"xxh3\": \"%s\", \"crc32c\": \"%08" PRIx32
               "\", \"slices\": [",
               0, 0, flat, CHUNK, CKPT_BLOCK_BYTES, elements, file_name, bytes, header_bytes, xxh3,
               hash_crc32c(0, data, bytes));
    slices_print(out, slice_count(data, header_bytes, elements), elements);
    text_print(out, "]}],\n");
    hash_format(hash_xxh3(out->data, out->length), self);
    text_print(out, "\"manifest_xxh3\": \"%s\"\n}\n", self);
}

static void shard_try(const struct ckpt *ckpt, const uint8_t *data, int64_t header_bytes, int64_t elements)
{
    static float out[ELEMENTS_MAX], placed[ELEMENTS_MAX];
    struct muster_error err;
    enum muster_status status = ckpt_shard_verify(ckpt, 0, &err);
    fuzz_promise(status == MUSTER_OK || status == MUSTER_ERR_CORRUPT);
    fuzz_promise(ckpt_read(ckpt, 0, 0, elements, out, &err) == MUSTER_OK);
    fuzz_promise(memcmp(out, data + header_bytes, (size_t)elements * sizeof *out) == 0);
    struct ckpt_piece piece = {.end = elements, .data = {placed}};
    ckpt_shard_scatter(ckpt, 0, header_bytes, data + header_bytes, elements * (int64_t)sizeof *out, &piece,
                       1);
    fuzz_promise(memcmp(out, placed, (size_t)elements * sizeof *out) == 0);
    fuzz_promise(ckpt_header_verify(ckpt, 0, &err) == status);
    memset(placed, 0x5a, (size_t)elements * sizeof *placed);
    fuzz_promise(ckpt_pieces_read(ckpt, &piece, 1, false, &err) == MUSTER_OK);
    fuzz_promise(memcmp(out, placed, (size_t)elements * sizeof *out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t json = 0;
    struct ckpt *ckpt = NULL;
    struct muster_error err;
    struct text manifest;
    if (bytes < 2 * CKPT_DATA_ALIGNMENT || bytes > ELEMENTS_MAX * sizeof(float))
        return 0;
    memcpy(&json, data, sizeof json);
    int64_t header_bytes = json < bytes ? (int64_t)json + 8 : CKPT_DATA_ALIGNMENT;
    header_bytes = (header_bytes + CKPT_DATA_ALIGNMENT - 1) / CKPT_DATA_ALIGNMENT * CKPT_DATA_ALIGNMENT;
    bytes -= (bytes - (size_t)header_bytes) % sizeof(float);
    if (header_bytes + (int64_t)sizeof(float) > (int64_t)bytes)
        return 0;
    int64_t elements = ((int64_t)bytes - header_bytes) / (int64_t)sizeof(float);
    int64_t live = alloc_live_count();
    text_init(&manifest);
    manifest_print(&manifest, data, bytes, header_bytes, elements);
    fuzz_folder_write(file_name, data, bytes);
    fuzz_folder_write(CKPT_MANIFEST_NAME, manifest.data, manifest.length);
    fuzz_promise(ckpt_open(fuzz_folder(), &ckpt, &err) == MUSTER_OK);
    shard_try(ckpt, data, header_bytes, elements);
    ckpt_close(ckpt);
    text_release(&manifest);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
