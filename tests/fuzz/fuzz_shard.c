/* SPDX-License-Identifier: MIT
 *
 * The shard reader behind its hashes. A stranger's shard ends at the first CRC, so the input gets the opened
 * MANIFEST that an attacker or a bug would have written for it, hashes right, and whatever slices fill it:
 * what the reader then believes must be the bytes of the file. The MANIFEST is not written and read each
 * time: what fuzz_manifest.c promises of one is all that is set here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_folder.h"

enum { ELEMENTS_MAX = 4096, CHUNK = 8, SLICES_MAX = 4 };

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

/* One tensor of `elements` in `count` slices, all in this one shard. */
struct fuzz_checkpoint {
    struct ckpt ckpt;
    struct ckpt_tensor tensor;
    struct ckpt_shard shard;
    struct ckpt_slice slices[SLICES_MAX];
    int order[SLICES_MAX];
    char crcs[9];
};

static void checkpoint_fill(struct fuzz_checkpoint *c, const uint8_t *data, size_t bytes,
                            int64_t header_bytes, int64_t elements)
{
    int64_t flat = (elements + CHUNK - 1) / CHUNK * CHUNK, count = slice_count(data, header_bytes, elements);
    c->tensor = (struct ckpt_tensor){"w", 1, {elements}, 0, elements};
    c->shard = (struct ckpt_shard){.bytes = (int64_t)bytes,
                                   .header_bytes = header_bytes,
                                   .xxh3 = hash_xxh3(data, bytes),
                                   .crcs = c->crcs,
                                   .slice_count = (int)count};
    ckpt_format_shard(c->shard.file, 0, 1);
    snprintf(c->crcs, sizeof c->crcs, "%08" PRIx32, hash_crc32c(0, data, bytes));
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = i * (elements / count), end = i + 1 < count ? begin + elements / count : elements;
        c->slices[i] = (struct ckpt_slice){
            .begin = begin, .end = end, .file_offset = header_bytes + begin * (int64_t)sizeof(float)};
        c->order[i] = (int)i;
    }
    c->ckpt.layout = (struct ckpt_layout){{"param"}, 1, &c->tensor, 1, flat, CHUNK};
    c->ckpt.tensors = &c->tensor;
    c->ckpt.shards = &c->shard;
    c->ckpt.shard_count = 1;
    c->ckpt.slices = c->slices;
    c->ckpt.order = c->order;
    c->ckpt.slice_count = (int)count;
    strcpy(c->ckpt.folder, fuzz_folder());
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
    static struct fuzz_checkpoint checkpoint;
    uint64_t json = 0;
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
    checkpoint_fill(&checkpoint, data, bytes, header_bytes, elements);
    fuzz_folder_write(checkpoint.shard.file, data, bytes);
    shard_try(&checkpoint.ckpt, data, header_bytes, elements);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
