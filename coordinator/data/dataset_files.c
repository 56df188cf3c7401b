/* SPDX-License-Identifier: MIT
 *
 * From what a person wrote under data.train to files and their format. Names are ordered by their bytes, not
 * by the locale, so that every host sees the same data set. A format is recognised only where the file itself
 * says so: raw tokens carry no mark, and guessing their width would train on noise without an error.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATHS_MAX = 1000000, PROBE_BYTES = 4096 };

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void dataset_paths_release(struct dataset_paths *paths)
{
    for (int i = 0; i < paths->count; i++)
        alloc_free(paths->items[i]);
    alloc_free(paths->items);
    *paths = (struct dataset_paths){NULL, 0};
}

static enum muster_status paths_copy(struct dataset_paths *paths, char *const *names, size_t count,
                                     struct muster_error *err)
{
    paths->items = alloc_zeroed(count, sizeof *paths->items);
    if (paths->items == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %zu file names", count);
    for (size_t i = 0; i < count; i++) {
        char *name = alloc_text(names[i]);
        if (name == NULL) {
            dataset_paths_release(paths);
            return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %zu file names", count);
        }
        paths->items[paths->count++] = name;
    }
    qsort(paths->items, (size_t)paths->count, sizeof *paths->items, name_compare);
    return MUSTER_OK;
}

/* A folder that is not there matches nothing; one that cannot be read would hide data. */
static int glob_folder_error(const char *path, int errno_value)
{
    (void)path;
    return errno_value != ENOENT && errno_value != ENOTDIR;
}

enum muster_status dataset_paths_expand(struct dataset_paths *paths, const char *pattern,
                                        struct muster_error *err)
{
    *paths = (struct dataset_paths){NULL, 0};
    if (fs_is_folder(pattern))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s is a folder: name a file, or a glob such as %s/*.bin", pattern, pattern);
    if (fs_exists(pattern) || strpbrk(pattern, "*?[") == NULL) {
        char *name = (char *)(uintptr_t)pattern;
        return paths_copy(paths, &name, 1, err);
    }
    glob_t found = {.gl_pathc = 0};
    enum muster_status status;
    int result = glob(pattern, GLOB_NOSORT, glob_folder_error, &found);
    if (result == GLOB_NOMATCH)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "no file matches %s", pattern);
    else if (result == GLOB_NOSPACE)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to expand %s", pattern);
    else if (result != 0)
        status = muster_error_set(err, MUSTER_ERR_IO, "cannot read a folder that %s goes through", pattern);
    else if (found.gl_pathc > PATHS_MAX)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s matches %zu files, at most %d are taken",
                                  pattern, found.gl_pathc, PATHS_MAX);
    else
        status = paths_copy(paths, found.gl_pathv, found.gl_pathc, err);
    globfree(&found);
    return status;
}

static bool has_suffix(const char *path, const char *suffix)
{
    size_t length = strlen(path), suffix_length = strlen(suffix);
    return length >= suffix_length && strcmp(path + length - suffix_length, suffix) == 0;
}

/* The first bytes of a file, decompressed when it is gzip. */
static enum muster_status head_read(const char *path, unsigned char *head, size_t head_bytes, size_t *got,
                                    struct muster_error *err)
{
    unsigned char raw[PROBE_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    ssize_t raw_bytes = read(fd, raw, sizeof raw);
    int cause = errno;
    close(fd);
    if (raw_bytes < 0)
        return muster_error_set_errno(err, cause, "read %s", path);
    if (!dataset_is_gzip(raw, (size_t)raw_bytes)) {
        *got = (size_t)raw_bytes < head_bytes ? (size_t)raw_bytes : head_bytes;
        memcpy(head, raw, *got);
        return MUSTER_OK;
    }
    struct gzip_reader *reader = NULL;
    enum muster_status status = gzip_reader_create(&reader, path, raw, (size_t)raw_bytes, err);
    if (status == MUSTER_OK)
        status = gzip_reader_read(reader, head, head_bytes, got, err);
    gzip_reader_destroy(reader);
    return status;
}

enum muster_status dataset_format_detect(const char *path, enum job_data_format *format,
                                         struct muster_error *err)
{
    if (has_suffix(path, ".txt") || has_suffix(path, ".md")) {
        *format = JOB_DATA_BYTES;
        return MUSTER_OK;
    }
    unsigned char head[4];
    size_t got = 0;
    enum muster_status status = head_read(path, head, sizeof head, &got, err);
    if (status != MUSTER_OK)
        return status;
    if (got == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: the file is empty", path);
    uint32_t big = got == 4 ? dataset_u32_big(head) : 0, little = got == 4 ? dataset_u32_little(head) : 0;
    if (big == IDX_MAGIC_IMAGES || big == IDX_MAGIC_IMAGES_4D || big == IDX_MAGIC_LABELS) {
        *format = JOB_DATA_IDX;
        return MUSTER_OK;
    }
    if (little == LLMC_MAGIC_U16 || little == LLMC_MAGIC_U32) {
        *format = JOB_DATA_LLMC;
        return MUSTER_OK;
    }
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "%s: the format cannot be told from the file (not .txt or .md, no IDX or llm.c "
                            "header): state data.format as bytes, u16 or u32",
                            path);
}
