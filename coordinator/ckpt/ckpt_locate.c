/* SPDX-License-Identifier: MIT
 *
 * What a person means by the path they typed: a checkpoint, a folder of them, or a run.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include <string.h>

enum muster_status ckpt_path_trim(char out[FS_PATH_MAX], const char *path, struct muster_error *err)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length >= FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "path too long: %.200s…", path);
    memcpy(out, path, length);
    out[length] = '\0';
    return MUSTER_OK;
}

enum muster_status ckpt_locate_dir(const char *path, char dir[FS_PATH_MAX], struct muster_error *err)
{
    char child[FS_PATH_MAX];
    if (!fs_is_folder(path))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is not a folder", path);
    enum muster_status status = fs_path_join(child, path, "checkpoints", err);
    if (status == MUSTER_OK && fs_is_folder(child))
        path = child;
    return status == MUSTER_OK ? ckpt_path_trim(dir, path, err) : status;
}

enum muster_status ckpt_locate(const char *path, char folder[FS_PATH_MAX], struct muster_error *err)
{
    char manifest[FS_PATH_MAX], dir[FS_PATH_MAX];
    struct ckpt_catalogue catalogue;
    enum muster_status status = ckpt_locate_dir(path, dir, err);
    if (status == MUSTER_OK)
        status = fs_path_join(manifest, path, CKPT_MANIFEST_NAME, err);
    if (status != MUSTER_OK)
        return status;
    if (fs_exists(manifest))
        return ckpt_path_trim(folder, path, err);
    status = ckpt_catalogue_read(dir, &catalogue, err);
    if (status != MUSTER_OK)
        return status;
    int newest = 0;
    while (newest < catalogue.count && !catalogue.entries[newest].committed)
        newest++;
    if (newest == catalogue.count)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "there is no committed checkpoint in %s", path);
    else
        status = fs_path_join(folder, dir, catalogue.entries[newest].folder, err);
    ckpt_catalogue_release(&catalogue);
    return status;
}
