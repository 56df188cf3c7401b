/* SPDX-License-Identifier: MIT
 *
 * The MANIFEST's parser, twice an input: as it is, which nearly always ends at the self hash, and with the
 * right last line put behind it, so that the fuzzer gets to everything else. What parses must keep the
 * promises that readers rely on.
 */
#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_internal.h"
#include "tests/fuzz/fuzz.h"

/* Slices lie inside their files and tile every tensor of every kind, in order. */
static void tiling_check(const struct ckpt *ckpt)
{
    int next = 0;
    for (int kind = 0; kind < ckpt->layout.kind_count; kind++) {
        for (int i = 0; i < ckpt->layout.tensor_count; i++) {
            const struct ckpt_tensor *tensor = &ckpt->tensors[i];
            int64_t covered = tensor->offset;
            fuzz_promise(tensor->offset >= 0 && tensor->count > 0);
            fuzz_promise(tensor->offset + tensor->count <= ckpt->layout.flat_count);
            while (covered < tensor->offset + tensor->count) {
                fuzz_promise(next < ckpt->slice_count);
                const struct ckpt_slice *slice = &ckpt->slices[ckpt->order[next++]];
                const struct ckpt_shard *shard = &ckpt->shards[slice->shard];
                fuzz_promise(slice->kind == kind && slice->tensor == i && slice->begin == covered);
                fuzz_promise(slice->end > slice->begin && slice->end <= tensor->offset + tensor->count);
                fuzz_promise(slice->file_offset >= shard->header_bytes);
                fuzz_promise(slice->file_offset + (slice->end - slice->begin) * 4 <= shard->bytes);
                covered = slice->end;
            }
        }
    }
    fuzz_promise(next == ckpt->slice_count);
}

static void parse(const char *text, size_t bytes)
{
    struct muster_error err;
    struct ckpt *ckpt = NULL;
    enum muster_status status = ckpt_manifest_parse(text, bytes, "MANIFEST.json", &ckpt, &err);
    fuzz_promise(status == MUSTER_OK || status == MUSTER_ERR_CORRUPT);
    if (status != MUSTER_OK)
        return;
    tiling_check(ckpt);
    fuzz_promise(ckpt_total_bytes(ckpt) >= 0);
    fuzz_promise(ckpt_job_yaml(ckpt) != NULL && ckpt_numerics(ckpt) != NULL);
    ckpt_close(ckpt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct text text;
    char digits[HASH_TEXT_SIZE];
    int64_t live = alloc_live_count();
    text_init(&text);
    text_append(&text, (const char *)data, bytes);
    parse(text.data, text.length);
    hash_format(hash_xxh3(text.data, text.length), digits);
    text_print(&text, "\"manifest_xxh3\": \"%s\"\n}\n", digits);
    parse(text.data, text.length);
    text_release(&text);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
