/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target over files without a fuzzer: each file given, and each file of every folder given. This
 * is how a corpus, and every input that once crashed, stays a test on machines without clang.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_BYTES_MAX = 1 << 26 };

static enum muster_status file_replay(const char *path, struct muster_error *err)
{
    char *data = NULL;
    size_t bytes = 0;
    enum muster_status status = fs_file_read(path, INPUT_BYTES_MAX, &data, &bytes, err);
    if (status == MUSTER_OK)
        LLVMFuzzerTestOneInput((const uint8_t *)data, bytes);
    alloc_free(data);
    return status;
}

static enum muster_status folder_replay(const char *folder, size_t *count, struct muster_error *err)
{
    struct fs_list list = {0};
    enum muster_status status = fs_list_read(folder, &list, err);
    if (status != MUSTER_OK)
        return status;
    for (size_t i = 0; i < list.count && status == MUSTER_OK; i++) {
        char path[FS_PATH_MAX];
        status = fs_path_join(path, folder, list.names[i], err);
        if (status == MUSTER_OK)
            status = file_replay(path, err);
        if (status == MUSTER_OK)
            ++*count;
    }
    fs_list_release(&list);
    return status;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        struct muster_error err = {0};
        enum muster_status status;
        if (fs_is_folder(argv[i])) {
            status = folder_replay(argv[i], &count, &err);
        } else {
            status = file_replay(argv[i], &err);
            count += status == MUSTER_OK;
        }
        if (status != MUSTER_OK) {
            fprintf(stderr, "replay: %s\n", err.text);
            return 1;
        }
    }
    printf("%zu inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
