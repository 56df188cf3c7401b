/* SPDX-License-Identifier: MIT
 *
 * Which files `muster data prepare` reads, and in which order: inputs as given, folders walked depth first in
 * the order of the names' bytes. A file met twice (named twice, or a hard link) counts once, so that the same
 * text cannot come to stand in both training and validation data.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FOLDER_DEPTH_MAX = 128 };

struct walk {
    struct dataset_collection *collection;
    const char *suffixes;
    int input;
};

void dataset_collection_release(struct dataset_collection *collection)
{
    for (int64_t i = 0; i < collection->count; i++)
        alloc_free(collection->items[i].path);
    alloc_free(collection->items);
    *collection = (struct dataset_collection){.items = NULL};
}

static bool suffix_matches(const char *name, const char *suffixes)
{
    size_t length = strlen(name);
    for (const char *suffix = suffixes; *suffix != '\0';) {
        size_t suffix_length = strcspn(suffix, ",");
        if (suffix_length > 0 && length >= suffix_length &&
            memcmp(name + length - suffix_length, suffix, suffix_length) == 0)
            return true;
        suffix += suffix_length;
        suffix += *suffix == ',';
    }
    return false;
}

static enum muster_status document_append(const struct walk *walk, const char *path, const struct stat *info,
                                          struct muster_error *err)
{
    struct dataset_collection *collection = walk->collection;
    if (collection->count == collection->capacity) {
        int64_t capacity = collection->capacity > 0 ? 2 * collection->capacity : 64;
        struct dataset_document *items = alloc_resize(collection->items, (size_t)capacity, sizeof *items);
        if (items == NULL)
            return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %lld file names",
                                    (long long)capacity);
        collection->items = items;
        collection->capacity = capacity;
    }
    char *copy = alloc_text(path);
    if (copy == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a file name");
    collection->items[collection->count++] = (struct dataset_document){.path = copy,
                                                                       .bytes = info->st_size,
                                                                       .input = walk->input,
                                                                       .device = info->st_dev,
                                                                       .inode = info->st_ino};
    return MUSTER_OK;
}

static enum muster_status folder_walk(const struct walk *walk, const char *folder, int depth,
                                      struct muster_error *err);

/* One name met in a folder. Links to files count as files; links to folders, and whatever is neither, do not.
 */
static enum muster_status entry_visit(const struct walk *walk, const char *path, const char *name, int depth,
                                      struct muster_error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? MUSTER_OK : muster_error_set_errno(err, errno, "stat %s", path);
    if (S_ISDIR(info.st_mode))
        return folder_walk(walk, path, depth + 1, err);
    if (!suffix_matches(name, walk->suffixes))
        return MUSTER_OK;
    if (S_ISLNK(info.st_mode) && stat(path, &info) != 0)
        return MUSTER_OK;
    return S_ISREG(info.st_mode) ? document_append(walk, path, &info, err) : MUSTER_OK;
}

static enum muster_status folder_walk(const struct walk *walk, const char *folder, int depth,
                                      struct muster_error *err)
{
    if (depth > FOLDER_DEPTH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: folders deeper than %d", folder,
                                FOLDER_DEPTH_MAX);
    struct fs_list list;
    enum muster_status status = fs_list_read(folder, &list, err);
    if (status != MUSTER_OK)
        return status;
    char *path = alloc_zeroed(FS_PATH_MAX, 1);
    if (path == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a file name");
    for (size_t i = 0; status == MUSTER_OK && i < list.count; i++) {
        status = fs_path_join(path, folder, list.names[i], err);
        if (status == MUSTER_OK)
            status = entry_visit(walk, path, list.names[i], depth, err);
    }
    alloc_free(path);
    fs_list_release(&list);
    return status;
}

static enum muster_status input_visit(const struct walk *walk, const char *input, struct muster_error *err)
{
    struct stat info;
    if (stat(input, &info) != 0)
        return errno == ENOENT
                   ? muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: no such file or folder", input)
                   : muster_error_set_errno(err, errno, "stat %s", input);
    if (S_ISDIR(info.st_mode))
        return folder_walk(walk, input, 0, err);
    if (S_ISREG(info.st_mode))
        return document_append(walk, input, &info, err);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: neither a file nor a folder", input);
}

/* By file, then by the order in which it was met (the items lie in that order in memory). */
static int same_file_compare(const void *a, const void *b)
{
    const struct dataset_document *x = *(struct dataset_document *const *)a;
    const struct dataset_document *y = *(struct dataset_document *const *)b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return x < y ? -1 : x > y;
}

static enum muster_status repeated_remove(struct dataset_collection *collection, struct muster_error *err)
{
    struct dataset_document **order =
        alloc_zeroed((size_t)collection->count, sizeof(struct dataset_document *));
    if (order == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %lld file names",
                                (long long)collection->count);
    for (int64_t i = 0; i < collection->count; i++)
        order[i] = &collection->items[i];
    qsort(order, (size_t)collection->count, sizeof *order, same_file_compare);
    for (int64_t i = 1, first = 0; i < collection->count; i++) {
        if (order[i]->device == order[first]->device && order[i]->inode == order[first]->inode) {
            alloc_free(order[i]->path);
            order[i]->path = NULL;
        } else {
            first = i;
        }
    }
    alloc_free(order);
    int64_t kept = 0;
    for (int64_t i = 0; i < collection->count; i++) {
        if (collection->items[i].path != NULL)
            collection->items[kept++] = collection->items[i];
    }
    collection->repeated_count = collection->count - kept;
    collection->count = kept;
    return MUSTER_OK;
}

enum muster_status dataset_collect(struct dataset_collection *collection, const char *const *inputs,
                                   int input_count, const char *suffixes, struct muster_error *err)
{
    *collection = (struct dataset_collection){.items = NULL};
    enum muster_status status = MUSTER_OK;
    for (int i = 0; status == MUSTER_OK && i < input_count; i++) {
        struct walk walk = {.collection = collection, .suffixes = suffixes, .input = i};
        status = input_visit(&walk, inputs[i], err);
    }
    if (status == MUSTER_OK)
        status = repeated_remove(collection, err);
    if (status != MUSTER_OK)
        dataset_collection_release(collection);
    return status;
}
