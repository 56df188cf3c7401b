/* SPDX-License-Identifier: MIT
 *
 * The safetensors header's parser. An input is a file; so that the fuzzer need not invent lengths, it is
 * tried once with its own length field and once as bare JSON with the field and the data length that would
 * fit.
 */
#include "tests/fuzz/fuzz.h"

#include "base/alloc.h"
#include "coordinator/ckpt/safetensors.h"

#include <stdlib.h>
#include <string.h>

static void promise(int kept)
{
    if (!kept)
        abort();
}

static void parse(const uint8_t *bytes, int64_t size, int64_t file_bytes)
{
    struct muster_error err;
    struct safetensors_header header;
    int64_t covered = 0;
    enum muster_status status = safetensors_header_parse(&header, bytes, size, file_bytes, "file", &err);
    promise(status == MUSTER_OK || status == MUSTER_ERR_CORRUPT);
    for (int i = 0; i < header.count; i++) {
        promise(header.entries[i].begin == covered && header.entries[i].end >= covered);
        promise(header.entries[i].name != NULL && header.entries[i].dtype != NULL);
        covered = header.entries[i].end;
    }
    promise(status != MUSTER_OK || covered == file_bytes - size);
    if (status == MUSTER_OK)
        safetensors_metadata(&header, "format");
    safetensors_header_release(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int64_t size;
    if (bytes >= 8 && safetensors_header_size(data, (int64_t)bytes, "file", &size, NULL) == MUSTER_OK)
        parse(data, size, (int64_t)bytes);
    uint8_t *file = alloc_zeroed(bytes + 8, 1);
    if (file == NULL)
        return 0;
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)bytes >> (8 * i));
    if (bytes > 0)
        memcpy(file + 8, data, bytes);
    size = (int64_t)bytes + 8;
    for (int64_t data_bytes = 0; data_bytes <= 64; data_bytes += 4)
        parse(file, size, size + data_bytes);
    alloc_free(file);
    return 0;
}
