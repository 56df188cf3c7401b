/* SPDX-License-Identifier: MIT
 *
 * IDX files of unsigned bytes, the format of MNIST and its successors (Y. LeCun, "The MNIST database", file
 * formats): two zero bytes, element type, number of dimensions, then each dimension as a big-endian uint32.
 * Plain files are mapped. Gzip files are decompressed at open into exactly the bytes that their own header
 * states, after that size was held against what so short a file could possibly contain.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"

#include <string.h>

enum { IDX_TYPE_BYTE = 8, IDX_DIMENSIONS_MAX = 4, IDX_HEADER_MAX = 4 + 4 * IDX_DIMENSIONS_MAX };

#define IDX_DECOMPRESSED_BYTES_MAX ((int64_t)8 << 30)

void idx_array_release(struct idx_array *array)
{
    fs_map_release(&array->map);
    alloc_free(array->owned);
    *array = (struct idx_array){.owned = NULL};
}

/* How many header bytes the first four announce; refuses what is not wanted. */
static enum muster_status magic_check(const char *path, uint32_t magic, bool wants_labels, int *dimensions,
                                      struct muster_error *err)
{
    *dimensions = (int)(magic & 0xff);
    bool is_labels = magic == IDX_MAGIC_LABELS;
    bool is_images = magic == IDX_MAGIC_IMAGES || magic == IDX_MAGIC_IMAGES_4D;
    if (wants_labels ? is_labels : is_images)
        return MUSTER_OK;
    if (is_labels || is_images)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: holds %s, not %s (magic 0x%08x)", path,
                                is_labels ? "labels" : "images", wants_labels ? "labels" : "images", magic);
    if (magic >> 16 == 0 && (magic >> 8 & 0xff) != IDX_TYPE_BYTE)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: byte offset 2: element type 0x%02x; only unsigned bytes (0x08) are read",
                                path, magic >> 8 & 0xff);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "%s: byte offset 0: magic 0x%08x is not an IDX file's (%s)", path, magic,
                            wants_labels ? "labels 0x00000801" : "images 0x00000803 or 0x00000804");
}

/* Takes the sizes out of a header that is wholly there. */
static enum muster_status dimensions_read(struct idx_array *array, const char *path,
                                          const unsigned char *header, int dimensions,
                                          struct muster_error *err)
{
    array->data_offset = 4 + 4 * dimensions;
    array->count = dataset_u32_big(header + 4);
    array->item_bytes = 1;
    int64_t total = array->count;
    for (int i = 0; i < dimensions; i++) {
        int64_t size = dataset_u32_big(header + 4 + 4 * i);
        bool overflow = false;
        if (i > 0)
            overflow = __builtin_mul_overflow(array->item_bytes, size, &array->item_bytes) ||
                       __builtin_mul_overflow(total, size, &total);
        if (overflow || total > INT64_MAX - IDX_HEADER_MAX)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%s: byte offset 4: the product of the %d dimensions overflows", path,
                                    dimensions);
        if (size == 0)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: byte offset %d: dimension %d is 0", path,
                                    4 + 4 * i, i);
    }
    return MUSTER_OK;
}

static enum muster_status header_truncated(const char *path, size_t bytes, size_t wanted,
                                           struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "%s: truncated: an IDX header of %zu bytes is expected, there are %zu", path,
                            wanted, bytes);
}

static enum muster_status plain_load(struct idx_array *array, const char *path, bool wants_labels,
                                     struct muster_error *err)
{
    const unsigned char *data = array->map.data;
    size_t bytes = array->map.bytes;
    int dimensions;
    if (bytes < 4)
        return header_truncated(path, bytes, 4, err);
    enum muster_status status = magic_check(path, dataset_u32_big(data), wants_labels, &dimensions, err);
    if (status != MUSTER_OK)
        return status;
    if (bytes < 4 + 4 * (size_t)dimensions)
        return header_truncated(path, bytes, 4 + 4 * (size_t)dimensions, err);
    status = dimensions_read(array, path, data, dimensions, err);
    if (status != MUSTER_OK)
        return status;
    uint64_t expected = (uint64_t)(array->data_offset + array->count * array->item_bytes);
    if (bytes != expected)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: %s: the header at byte offset 4 counts %lld items of %lld bytes, which "
                                "makes %llu bytes; the file has %zu",
                                path, bytes < expected ? "truncated" : "too long", (long long)array->count,
                                (long long)array->item_bytes, (unsigned long long)expected, bytes);
    array->data = data + array->data_offset;
    return MUSTER_OK;
}

static enum muster_status gzip_size_check(const struct idx_array *array, const char *path,
                                          struct muster_error *err)
{
    int64_t bytes = array->count * array->item_bytes;
    if (bytes > IDX_DECOMPRESSED_BYTES_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: byte offset 4: %lld bytes after decompression, at most %lld are held in "
                                "memory: decompress the file",
                                path, (long long)bytes, (long long)IDX_DECOMPRESSED_BYTES_MAX);
    if (bytes > gzip_expanded_max(array->map.bytes))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: truncated: the header counts %lld bytes, more than %zu compressed bytes "
                                "can hold",
                                path, (long long)bytes, array->map.bytes);
    return MUSTER_OK;
}

/* Reads header and payload; the read past the end makes zlib check the last CRC. */
static enum muster_status gzip_stream_load(struct idx_array *array, struct gzip_reader *reader,
                                           const char *path, bool wants_labels, struct muster_error *err)
{
    unsigned char header[IDX_HEADER_MAX], extra;
    size_t got = 0, wanted;
    int dimensions;
    enum muster_status status = gzip_reader_read(reader, header, 4, &got, err);
    if (status != MUSTER_OK)
        return status;
    if (got < 4)
        return header_truncated(path, got, 4, err);
    status = magic_check(path, dataset_u32_big(header), wants_labels, &dimensions, err);
    if (status != MUSTER_OK)
        return status;
    wanted = 4 * (size_t)dimensions;
    status = gzip_reader_read(reader, header + 4, wanted, &got, err);
    if (status != MUSTER_OK)
        return status;
    if (got < wanted)
        return header_truncated(path, 4 + got, 4 + wanted, err);
    status = dimensions_read(array, path, header, dimensions, err);
    if (status == MUSTER_OK)
        status = gzip_size_check(array, path, err);
    if (status != MUSTER_OK)
        return status;
    wanted = (size_t)(array->count * array->item_bytes);
    array->owned = alloc_resize(NULL, wanted, 1);
    if (array->owned == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for %zu bytes", path, wanted);
    array->data = array->owned;
    status = gzip_reader_read(reader, array->owned, wanted, &got, err);
    if (status != MUSTER_OK)
        return status;
    if (got < wanted)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: truncated: the header counts %zu bytes, decompressed are %zu", path,
                                wanted, got);
    status = gzip_reader_read(reader, &extra, 1, &got, err);
    if (status == MUSTER_OK && got != 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: too long: the header counts %zu bytes and more follow", path, wanted);
    return status;
}

static enum muster_status idx_array_open(struct idx_array *array, const char *path, bool wants_labels,
                                         struct muster_error *err)
{
    enum muster_status status = fs_map_open(&array->map, path, err);
    if (status != MUSTER_OK)
        return status;
    if (array->map.bytes == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: the file is empty", path);
    if (!dataset_is_gzip(array->map.data, array->map.bytes))
        return plain_load(array, path, wants_labels, err);
    struct gzip_reader *reader = NULL;
    status = gzip_reader_create(&reader, path, array->map.data, array->map.bytes, err);
    if (status == MUSTER_OK)
        status = gzip_stream_load(array, reader, path, wants_labels, err);
    gzip_reader_destroy(reader);
    fs_map_release(&array->map);
    return status;
}

/* "…images-idx3…" becomes "…labels-idx1…" in the file's own name; whether .gz follows stays as it is. */
static enum muster_status labels_derive(struct dataset_file *file, struct muster_error *err)
{
    static const char images_part[] = "images-idx3", labels_part[] = "labels-idx1";
    _Static_assert(sizeof images_part == sizeof labels_part, "the name keeps its length");
    const char *slash = strrchr(file->path, '/');
    const char *part = strstr(slash != NULL ? slash : file->path, images_part);
    if (part == NULL)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: the label file cannot be derived from a name without \"%s\": state it "
                                "as labels",
                                file->path, images_part);
    file->labels_path = alloc_text(file->path);
    if (file->labels_path == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a file name");
    memcpy(file->labels_path + (part - file->path), labels_part, sizeof labels_part - 1);
    return MUSTER_OK;
}

enum muster_status dataset_images_open(struct dataset_file *file, struct muster_error *err)
{
    enum muster_status status = idx_array_open(&file->images, file->path, false, err);
    if (status == MUSTER_OK && file->labels_path == NULL)
        status = labels_derive(file, err);
    if (status == MUSTER_OK)
        status = idx_array_open(&file->labels, file->labels_path, true, err);
    if (status != MUSTER_OK)
        return status;
    if (file->images.count != file->labels.count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: %lld images, but %s has %lld labels",
                                file->path, (long long)file->images.count, file->labels_path,
                                (long long)file->labels.count);
    file->sample_count = file->images.count;
    return MUSTER_OK;
}

enum muster_status dataset_read_image(const struct dataset *dataset, int source, int64_t index,
                                      int64_t class_count, float *pixels, int32_t *label,
                                      struct muster_error *err)
{
    int64_t within;
    const struct dataset_file *file = dataset_file_find(dataset, source, index, &within);
    if (file == NULL || file->token_bytes != 0)
        return dataset_index_error(dataset, source, index, err);
    int value = file->labels.data[within];
    if (value >= class_count)
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: byte offset %lld%s: label %d is not below the number of classes %lld",
                                file->labels_path, (long long)(file->labels.data_offset + within),
                                file->labels.owned != NULL ? " (decompressed)" : "", value,
                                (long long)class_count);
    int64_t size = file->images.item_bytes;
    const unsigned char *data = file->images.data + within * size;
    for (int64_t i = 0; i < size; i++)
        pixels[i] = (float)data[i] / 255.0f;
    *label = value;
    return MUSTER_OK;
}
