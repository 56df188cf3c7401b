/* SPDX-License-Identifier: MIT
 *
 * The safetensors header's parser. An input is a file; so that the fuzzer need not invent lengths, it is
 * tried once with its own length field and once as bare JSON with the field and the data length that would
 * fit. Only the header is read: there need not be as many bytes of data as the length says.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "coordinator/ckpt/safetensors.h"
#include "tests/fuzz/fuzz.h"

static const char offsets_key[] = "\"data_offsets";

static void parse(const void *bytes, int64_t size, int64_t file_bytes)
{
    struct muster_error err;
    struct safetensors_header header;
    int64_t covered = 0;
    enum muster_status status = safetensors_header_parse(&header, bytes, size, file_bytes, "file", &err);
    fuzz_promise(status == MUSTER_OK || status == MUSTER_ERR_CORRUPT);
    for (int i = 0; i < header.count; i++) {
        fuzz_promise(header.entries[i].begin == covered && header.entries[i].end >= covered);
        fuzz_promise(header.entries[i].name != NULL && header.entries[i].dtype != NULL);
        covered = header.entries[i].end;
    }
    fuzz_promise(status != MUSTER_OK || covered == file_bytes - size);
    if (status == MUSTER_OK)
        safetensors_metadata(&header, "format");
    safetensors_header_release(&header);
}

/* The largest end that a data_offsets in the text names, or 0: a file of that many data bytes may be whole.
 */
static int64_t data_bytes_claimed(const char *text)
{
    int64_t claimed = 0;
    while ((text = strstr(text, offsets_key)) != NULL) {
        long long begin, end;
        text += strlen(offsets_key);
        if (sscanf(text, "\" : [ %18lld , %18lld", &begin, &end) == 2 && end > claimed)
            claimed = end;
    }
    return claimed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int64_t size, live = alloc_live_count();
    if (bytes >= SAFETENSORS_LENGTH_BYTES &&
        safetensors_header_size(data, (int64_t)bytes, "file", &size, NULL) == MUSTER_OK)
        parse(data, size, (int64_t)bytes);
    struct text file;
    uint64_t length = bytes;
    text_init(&file);
    text_append(&file, (const char *)&length, sizeof length);
    text_append(&file, (const char *)data, bytes);
    size = (int64_t)file.length;
    parse(file.data, size, size + data_bytes_claimed(file.data + SAFETENSORS_LENGTH_BYTES));
    text_release(&file);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
