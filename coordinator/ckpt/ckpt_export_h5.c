/* SPDX-License-Identifier: MIT
 *
 * HDF5 is the one format with a library behind it, and that library is optional: without it the command says
 * so. The file appears under its name by a rename after it was closed and synced, like every other.
 */
#include "coordinator/ckpt/ckpt_export_internal.h"

#ifdef MUSTER_HAVE_HDF5

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static enum muster_status fail(const char *path, const char *what, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_IO, "%s: HDF5 cannot %s", path, what);
}

static enum muster_status array_write(struct ckpt_export *export, hid_t file, const char *path,
                                      const struct ckpt_tensor *tensor, struct muster_error *err)
{
    hsize_t shape[CKPT_DIMS_MAX] = {0};
    for (int i = 0; i < tensor->dim_count; i++)
        shape[i] = (hsize_t)tensor->shape[i];
    enum muster_status status =
        ckpt_read(export->ckpt, 0, tensor->offset, tensor->offset + tensor->count, export->values, err);
    if (status != MUSTER_OK)
        return status;
    hid_t space =
        tensor->dim_count > 0 ? H5Screate_simple(tensor->dim_count, shape, NULL) : H5Screate(H5S_SCALAR);
    hid_t links = H5Pcreate(H5P_LINK_CREATE); /* a '/' in a name makes a group */
    H5Pset_create_intermediate_group(links, 1);
    hid_t array = H5Dcreate2(file, tensor->name, H5T_IEEE_F32LE, space, links, H5P_DEFAULT, H5P_DEFAULT);
    bool done =
        array >= 0 && H5Dwrite(array, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, export->values) >= 0;
    if (array >= 0)
        done = H5Dclose(array) >= 0 && done;
    if (space >= 0)
        H5Sclose(space);
    H5Pclose(links);
    return done ? MUSTER_OK
                : muster_error_set(err, MUSTER_ERR_IO, "%s: HDF5 cannot write %s", path, tensor->name);
}

static enum muster_status file_sync(const char *path, struct muster_error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    enum muster_status status = MUSTER_OK;
    if (fchmod(fd, 0600) != 0 || fsync(fd) != 0)
        status = muster_error_set_errno(err, errno, "fsync %s", path);
    close(fd);
    return status;
}

enum muster_status ckpt_export_h5(struct ckpt_export *export, struct muster_error *err)
{
    const struct ckpt_layout *layout = ckpt_layout(export->ckpt);
    char path[FS_PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s.tmp", export->options->output) >= sizeof path)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "path too long: %.200s…", export->options->output);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    enum muster_status status = file >= 0 ? MUSTER_OK : fail(path, "create it", err);
    for (int i = 0; i < layout->tensor_count && status == MUSTER_OK; i++)
        status = array_write(export, file, path, &layout->tensors[i], err);
    if (file >= 0 && H5Fclose(file) < 0 && status == MUSTER_OK)
        status = fail(path, "write it out", err);
    if (status == MUSTER_OK)
        status = file_sync(path, err);
    export->file_bytes = fs_file_size(path);
    export->array_count = layout->tensor_count;
    if (status == MUSTER_OK)
        status = fs_rename(path, export->options->output, err);
    if (status != MUSTER_OK)
        unlink(path);
    return status;
}

#else

enum muster_status ckpt_export_h5(struct ckpt_export *export, struct muster_error *err)
{
    (void)export;
    return muster_error_set(
        err, MUSTER_ERR_UNSUPPORTED,
        "this muster was built without HDF5 (cmake -DMUSTER_HDF5=ON); --format npz needs no library");
}

#endif
