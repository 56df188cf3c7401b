/* SPDX-License-Identifier: MIT
 *
 * The file is replaced as a whole (base/fs.h), so a reader sees the old or the new number and nothing
 * between.
 */
#include "base/epoch.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { EPOCH_BYTES_MAX = 64 };

int64_t epoch_of_process(void)
{
    int64_t epoch = -1;
    const char *text = getenv(EPOCH_ENVIRONMENT);
    return text != NULL && text_parse_int64(text, &epoch) && epoch >= 0 ? epoch : -1;
}

enum muster_status epoch_read(const char *folder, int64_t *epoch, struct muster_error *err)
{
    char path[FS_PATH_MAX], *data = NULL;
    size_t bytes = 0;
    *epoch = 0;
    enum muster_status status = fs_path_join(path, folder, EPOCH_FILE_NAME, err);
    if (status != MUSTER_OK || !fs_exists(path))
        return status;
    status = fs_file_read(path, EPOCH_BYTES_MAX, &data, &bytes, err);
    if (status != MUSTER_OK)
        return status;
    data[strcspn(data, "\n")] = '\0';
    if (!text_parse_int64(data, epoch) || *epoch < 0)
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%s holds no launch number: '%.40s'", path, data);
    alloc_free(data);
    return status;
}

enum muster_status epoch_check(const char *folder, int64_t mine, struct muster_error *err)
{
    int64_t newest;
    if (mine < 0)
        return MUSTER_OK;
    enum muster_status status = epoch_read(folder, &newest, err);
    if (status == MUSTER_OK && newest > mine)
        status =
            muster_error_set(err, MUSTER_ERR_FENCED,
                             "launch %lld of this run has taken over; launch %lld ends and changes nothing",
                             (long long)newest, (long long)mine);
    return status;
}
