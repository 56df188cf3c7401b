/* SPDX-License-Identifier: MIT
 *
 * See data_files.h. Written with the C library only.
 */
#include "tests/coordinator/data_files.h"

#include "base/fs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { IMAGE_BYTES = 6, IMAGES_MAX = 1000 };

static char folder[64];

void data_folder_create(void)
{
    strcpy(folder, "/tmp/muster-data-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

void data_folder_remove(void)
{
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

char *data_path(const char *name)
{
    static char paths[8][FS_PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 8];
    ck_assert_int_eq(fs_path_join(path, folder, name, NULL), MUSTER_OK);
    return path;
}

void data_write(const char *name, const void *bytes, size_t count)
{
    char parent[FS_PATH_MAX];
    strcpy(parent, data_path(name));
    *strrchr(parent, '/') = '\0';
    ck_assert_int_eq(fs_folder_create(parent, NULL), MUSTER_OK);
    FILE *file = fopen(data_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
}

void data_write_gzip(const char *name, const void *bytes, size_t count)
{
    gzFile file = gzopen(data_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(gzwrite(file, bytes, (unsigned)count), (int)count);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

static void put_little(unsigned char *to, int width, uint32_t value)
{
    for (int i = 0; i < width; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

void data_write_tokens(const char *name, int words, const int32_t *header, int width, int64_t count,
                       const uint32_t *tokens)
{
    size_t bytes = 4 * (size_t)words + (size_t)count * (size_t)width;
    unsigned char *data = calloc(bytes + 1, 1);
    ck_assert_ptr_nonnull(data);
    for (int i = 0; i < words && i < 3; i++)
        put_little(data + 4 * i, 4, (uint32_t)header[i]);
    for (int64_t i = 0; i < count; i++)
        put_little(data + 4 * words + i * width, width, tokens[i]);
    data_write(name, data, bytes);
    free(data);
}

void data_write_ramp(const char *name, int width, int64_t count, uint32_t first)
{
    uint32_t *tokens = calloc((size_t)count, sizeof *tokens);
    ck_assert_ptr_nonnull(tokens);
    for (int64_t i = 0; i < count; i++)
        tokens[i] = first + (uint32_t)i;
    data_write_tokens(name, 0, NULL, width, count, tokens);
    free(tokens);
}

static void put_big(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

size_t data_idx(unsigned char *out, uint32_t magic, int dimensions, const uint32_t *sizes,
                const unsigned char *payload, size_t payload_bytes)
{
    put_big(out, magic);
    for (int i = 0; i < dimensions; i++)
        put_big(out + 4 + 4 * i, sizes[i]);
    memcpy(out + 4 + 4 * dimensions, payload, payload_bytes);
    return 4 + 4 * (size_t)dimensions + payload_bytes;
}

void data_write_images(const char *images_name, const char *labels_name, int count, bool gzip)
{
    static unsigned char payload[IMAGE_BYTES * IMAGES_MAX], file[sizeof payload + 64];
    void (*put)(const char *, const void *, size_t) = gzip ? data_write_gzip : data_write;
    ck_assert_int_le(count, IMAGES_MAX);
    for (int i = 0; i < count * IMAGE_BYTES; i++)
        payload[i] = (unsigned char)i;
    uint32_t sizes[3] = {(uint32_t)count, 2, 3};
    put(images_name, file, data_idx(file, 0x803, 3, sizes, payload, (size_t)count * IMAGE_BYTES));
    for (int i = 0; i < count; i++)
        payload[i] = (unsigned char)(i % 10);
    put(labels_name, file, data_idx(file, 0x801, 1, sizes, payload, (size_t)count));
}

struct job_sources data_sources(int count, char *const *paths)
{
    static struct job_source items[8];
    ck_assert_int_le(count, 8);
    for (int i = 0; i < count; i++)
        items[i] = (struct job_source){.path = paths[i]};
    return (struct job_sources){items, count};
}

struct job_sources data_source(char *path)
{
    return data_sources(1, &path);
}
