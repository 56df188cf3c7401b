/* SPDX-License-Identifier: MIT
 *
 * Of zlib only the CRC is used: weights do not compress. Every array carries 1980-01-01 as its time, so that
 * equal weights give equal files.
 */
#include "coordinator/ckpt/npz_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum {
    NPY_ALIGNMENT = 64,
    NPY_HEADER_MAX = 1024,
    NPY_PREFIX_BYTES = 10,
    ZIP_VERSION = 20,
    ZIP_VERSION_64 = 45,
    ZIP_DATE_1980 = 0x21,
    ZIP64_EXTRA_ID = 1
};

static const uint32_t zip_full = UINT32_MAX; /* "look in the ZIP64 record" */

static void put(struct text *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        char byte = (char)(value >> (8 * i) & 0xff);
        text_append(out, &byte, 1);
    }
}

enum muster_status npz_writer_open(struct npz_writer *writer, const char *path, int64_t bytes,
                                   struct muster_error *err)
{
    *writer = (struct npz_writer){.file = {.fd = -1}, .zip64_from = zip_full};
    text_init(&writer->directory);
    return fs_writer_open(&writer->file, path, bytes, err);
}

/* Magic, version 1.0, length, and a Python dict padded with spaces so that the data are aligned. */
static void npy_header(struct text *out, const int64_t *shape, int dim_count)
{
    char dict[NPY_HEADER_MAX];
    int length = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < dim_count; i++)
        length += snprintf(dict + length, sizeof dict - (size_t)length, "%s%" PRId64 "%s", i > 0 ? " " : "",
                           shape[i], dim_count == 1 || i + 1 < dim_count ? "," : "");
    length += snprintf(dict + length, sizeof dict - (size_t)length, "), }");
    while ((NPY_PREFIX_BYTES + length + 1) % NPY_ALIGNMENT != 0)
        dict[length++] = ' ';
    dict[length++] = '\n';
    text_append(out, "\x93NUMPY\x01\x00", 8);
    put(out, (uint64_t)length, 2);
    text_append(out, dict, (size_t)length);
}

static uint32_t crc_update(uint32_t crc, const void *data, int64_t bytes)
{
    const unsigned char *next = data;
    while (bytes > 0) {
        int64_t part = bytes < (1 << 30) ? bytes : 1 << 30;
        crc = (uint32_t)crc32(crc, next, (uInt)part);
        next += part;
        bytes -= part;
    }
    return crc;
}

/* The fields that local header and directory share, from "version needed" to the length of the name. */
static void entry_put(struct text *out, const struct npz_writer *writer, uint32_t crc, int64_t bytes,
                      size_t name_length)
{
    bool big = bytes >= writer->zip64_from;
    put(out, big ? ZIP_VERSION_64 : ZIP_VERSION, 2);
    put(out, 0, 2); /* flags */
    put(out, 0, 2); /* stored */
    put(out, 0, 2); /* time */
    put(out, ZIP_DATE_1980, 2);
    put(out, crc, 4);
    put(out, big ? zip_full : (uint64_t)bytes, 4); /* compressed */
    put(out, big ? zip_full : (uint64_t)bytes, 4);
    put(out, name_length, 2);
}

static void local_put(struct text *out, const struct npz_writer *writer, const char *name, uint32_t crc,
                      int64_t bytes)
{
    bool big = bytes >= writer->zip64_from;
    text_append(out, "PK\x03\x04", 4);
    entry_put(out, writer, crc, bytes, strlen(name));
    put(out, big ? 20 : 0, 2);
    text_append(out, name, strlen(name));
    if (big) {
        put(out, ZIP64_EXTRA_ID, 2);
        put(out, 16, 2);
        put(out, (uint64_t)bytes, 8);
        put(out, (uint64_t)bytes, 8);
    }
}

static void directory_put(struct npz_writer *writer, const char *name, uint32_t crc, int64_t bytes,
                          int64_t offset)
{
    struct text *out = &writer->directory;
    bool big = bytes >= writer->zip64_from, far = offset >= writer->zip64_from;
    text_append(out, "PK\x01\x02", 4);
    put(out, ZIP_VERSION_64, 2);
    entry_put(out, writer, crc, bytes, strlen(name));
    put(out, big || far ? (uint64_t)(4 + (big ? 16 : 0) + (far ? 8 : 0)) : 0, 2);
    put(out, 0, 2); /* comment */
    put(out, 0, 2); /* disk */
    put(out, 0, 2); /* internal attributes */
    put(out, 0, 4); /* external attributes */
    put(out, far ? zip_full : (uint64_t)offset, 4);
    text_append(out, name, strlen(name));
    if (!big && !far)
        return;
    put(out, ZIP64_EXTRA_ID, 2);
    put(out, (big ? 16 : 0) + (far ? 8 : 0), 2);
    if (big) {
        put(out, (uint64_t)bytes, 8);
        put(out, (uint64_t)bytes, 8);
    }
    if (far)
        put(out, (uint64_t)offset, 8);
}

enum muster_status npz_writer_add(struct npz_writer *writer, const char *name, const int64_t *shape,
                                  int dim_count, const float *values, int64_t count, struct muster_error *err)
{
    char file[FS_PATH_MAX];
    struct text npy, local;
    int64_t data_bytes = count * (int64_t)sizeof *values, offset = writer->file.written_bytes;
    text_init(&npy);
    text_init(&local);
    snprintf(file, sizeof file, "%s.npy", name);
    npy_header(&npy, shape, dim_count);
    uint32_t crc = crc_update(0, npy.data, (int64_t)npy.length);
    crc = crc_update(crc, values, data_bytes);
    int64_t bytes = (int64_t)npy.length + data_bytes;
    local_put(&local, writer, file, crc, bytes);
    directory_put(writer, file, crc, bytes, offset);
    writer->array_count++;
    enum muster_status status = MUSTER_OK;
    if (npy.failed || local.failed || writer->directory.failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the directory of %s",
                                  writer->file.path);
    if (status == MUSTER_OK)
        status = fs_writer_write(&writer->file, local.data, local.length, err);
    if (status == MUSTER_OK)
        status = fs_writer_write(&writer->file, npy.data, npy.length, err);
    if (status == MUSTER_OK)
        status = fs_writer_write(&writer->file, values, (size_t)data_bytes, err);
    text_release(&npy);
    text_release(&local);
    return status;
}

enum muster_status npz_writer_finish(struct npz_writer *writer, struct muster_error *err)
{
    struct text *out = &writer->directory;
    int64_t bytes = (int64_t)out->length, offset = writer->file.written_bytes, count = writer->array_count;
    bool many = count >= UINT16_MAX, big = bytes >= writer->zip64_from || offset >= writer->zip64_from;
    if (many || big) {
        text_append(out, "PK\x06\x06", 4);
        put(out, 44, 8);
        put(out, ZIP_VERSION_64, 2);
        put(out, ZIP_VERSION_64, 2);
        put(out, 0, 8); /* disks */
        put(out, (uint64_t)count, 8);
        put(out, (uint64_t)count, 8);
        put(out, (uint64_t)bytes, 8);
        put(out, (uint64_t)offset, 8);
        text_append(out, "PK\x06\x07", 4);
        put(out, 0, 4);
        put(out, (uint64_t)(offset + bytes), 8);
        put(out, 1, 4);
    }
    text_append(out, "PK\x05\x06", 4);
    put(out, 0, 4); /* disks */
    put(out, many ? UINT16_MAX : (uint64_t)count, 2);
    put(out, many ? UINT16_MAX : (uint64_t)count, 2);
    put(out, big ? zip_full : (uint64_t)bytes, 4);
    put(out, big ? zip_full : (uint64_t)offset, 4);
    put(out, 0, 2); /* comment */
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the directory of %s",
                                writer->file.path);
    enum muster_status status = fs_writer_write(&writer->file, out->data, out->length, err);
    return status == MUSTER_OK ? fs_writer_finish(&writer->file, err) : status;
}

void npz_writer_abort(struct npz_writer *writer)
{
    fs_writer_abort(&writer->file);
    text_release(&writer->directory);
}
