/* SPDX-License-Identifier: MIT
 *
 * A file counts as written only after write, fsync, close, rename and fsync of its folder have all said so;
 * each is checked, and a failed fsync is never tried again (the kernel may have dropped the pages it could
 * not write). One process writes a given path at a time: the temporary name is fixed, so that a crash leaves
 * at most one behind and the next writer replaces it.
 */
#include "base/fs.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { READ_BYTES_FIRST = 4096, TREE_DEPTH_MAX = 128, HOLDER_BYTES_MAX = 128 };

static const char temporary_suffix[] = ".tmp";

/* Paths. */

enum muster_status fs_path_join(char *out, const char *folder, const char *name, struct muster_error *err)
{
    size_t folder_length = strlen(folder);
    while (folder_length > 0 && folder[folder_length - 1] == '/')
        folder_length--;
    bool needs_slash = folder[0] != '\0';
    while (needs_slash && *name == '/')
        name++;
    size_t name_length = strlen(name);
    if (folder_length + needs_slash + name_length >= FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "path too long (%zu bytes, at most %d): %.200s/%.200s",
                                folder_length + needs_slash + name_length, FS_PATH_MAX - 1, folder, name);
    memmove(out, folder, folder_length);
    if (needs_slash)
        out[folder_length++] = '/';
    memcpy(out + folder_length, name, name_length + 1);
    return MUSTER_OK;
}

enum muster_status fs_program_path(char *out, struct muster_error *err)
{
    ssize_t length = readlink("/proc/self/exe", out, FS_PATH_MAX - 1);
    if (length < 0)
        return muster_error_set_errno(err, errno, "find this program: /proc/self/exe");
    out[length] = '\0';
    return MUSTER_OK;
}

enum muster_status fs_program_folder(char *out, struct muster_error *err)
{
    enum muster_status status = fs_program_path(out, err);
    char *slash = status == MUSTER_OK ? strrchr(out, '/') : NULL;
    if (slash != NULL)
        slash[slash == out] = '\0';
    return status;
}

/* Copies `path` without trailing slashes ("/" stays); BAD_INPUT when empty or longer than FS_PATH_MAX. */
static enum muster_status path_copy(char *out, const char *path, struct muster_error *err)
{
    size_t length = strlen(path);
    if (length == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "empty path");
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length >= FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "path too long (%zu bytes, at most %d): %.200s...",
                                length, FS_PATH_MAX - 1, path);
    memcpy(out, path, length);
    out[length] = '\0';
    return MUSTER_OK;
}

/* fsync of the folder that holds the entry `path`. */
static enum muster_status parent_sync(const char *path, struct muster_error *err)
{
    char parent[FS_PATH_MAX];
    enum muster_status status = path_copy(parent, path, err);
    if (status != MUSTER_OK)
        return status;
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return fs_folder_sync(".", err);
    slash[slash == parent ? 1 : 0] = '\0';
    return fs_folder_sync(parent, err);
}

bool fs_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool fs_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int64_t fs_file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

int64_t fs_free_bytes(const char *path)
{
    struct statvfs info;
    return statvfs(path, &info) == 0 ? (int64_t)info.f_bavail * (int64_t)info.f_frsize : -1;
}

/* Folders. */

static enum muster_status folder_create_one(const char *path, struct muster_error *err)
{
    if (fs_is_folder(path))
        return MUSTER_OK;
    if (mkdir(path, 0700) == 0)
        return parent_sync(path, err);
    int cause = errno;
    if (fs_is_folder(path)) /* somebody else was faster */
        return MUSTER_OK;
    enum muster_status status =
        cause == EEXIST
            ? muster_error_set(err, MUSTER_ERR_IO, "mkdir %s: a file of that name is in the way", path)
            : muster_error_set_errno(err, cause, "mkdir %s", path);
    errno = cause;
    return status;
}

enum muster_status fs_folder_create(const char *path, struct muster_error *err)
{
    char partial[FS_PATH_MAX];
    enum muster_status status = path_copy(partial, path, err);
    for (char *slash = partial; status == MUSTER_OK && (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        status = folder_create_one(partial, err);
        *slash = '/';
    }
    return status == MUSTER_OK ? folder_create_one(partial, err) : status;
}

enum muster_status fs_folder_sync(const char *path, struct muster_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open folder %s", path);
    enum muster_status status = MUSTER_OK;
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system that cannot, and need not, sync folders */
        status = muster_error_set_errno(err, errno, "fsync folder %s", path);
    close(fd);
    return status;
}

enum muster_status fs_rename(const char *from, const char *to, struct muster_error *err)
{
    if (rename(from, to) != 0)
        return muster_error_set_errno(err, errno, "rename %s to %s", from, to);
    return parent_sync(to, err);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool list_append(struct fs_list *list, size_t *capacity, const char *name)
{
    if (list->count == *capacity) {
        size_t wanted = *capacity * 2 + 16;
        char **names = alloc_resize(list->names, wanted, sizeof *names);
        if (names == NULL)
            return false;
        list->names = names;
        *capacity = wanted;
    }
    list->names[list->count] = alloc_text(name);
    return list->names[list->count] != NULL && ++list->count > 0;
}

enum muster_status fs_list_read(const char *folder, struct fs_list *list, struct muster_error *err)
{
    *list = (struct fs_list){NULL, 0};
    DIR *stream = opendir(folder);
    if (stream == NULL)
        return muster_error_set_errno(err, errno, "open folder %s", folder);
    enum muster_status status = MUSTER_OK;
    size_t capacity = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            if (errno != 0)
                status = muster_error_set_errno(err, errno, "read folder %s", folder);
            break;
        }
        if (!is_dots(entry->d_name) && !list_append(list, &capacity, entry->d_name)) {
            status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to list folder %s", folder);
            break;
        }
    }
    closedir(stream);
    if (status != MUSTER_OK)
        fs_list_release(list);
    else if (list->count > 1)
        qsort(list->names, list->count, sizeof *list->names, name_compare);
    return status;
}

void fs_list_release(struct fs_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        alloc_free(list->names[i]);
    alloc_free(list->names);
    *list = (struct fs_list){NULL, 0};
}

/* Removing a tree: by descriptors, so that a folder swapped for a link on the way is not followed. */

struct remover {
    char path[FS_PATH_MAX]; /* of the entry at hand, for messages only */
    size_t length;
    int depth;
    struct muster_error *err;
};

static enum muster_status remover_remove(struct remover *remover, int parent_fd, const char *name);

static enum muster_status remover_fail(struct remover *remover, const char *call)
{
    return muster_error_set_errno(remover->err, errno, "%s %s", call, remover->path);
}

/* Removes what `stream` lists. Entries may be skipped by readdir while others go: it reads until a pass is
 * empty. */
static enum muster_status remover_empty(struct remover *remover, DIR *stream)
{
    size_t length = remover->length, removed_count;
    do {
        removed_count = 0;
        rewinddir(stream);
        for (;;) {
            errno = 0;
            struct dirent *entry = readdir(stream);
            if (entry == NULL && errno != 0)
                return remover_fail(remover, "read folder");
            if (entry == NULL)
                break;
            if (is_dots(entry->d_name))
                continue;
            int added = snprintf(remover->path + length, sizeof remover->path - length, "/%s", entry->d_name);
            remover->length += (size_t)added < sizeof remover->path - length ? (size_t)added : 0;
            enum muster_status status = remover_remove(remover, dirfd(stream), entry->d_name);
            if (status != MUSTER_OK)
                return status;
            remover->length = length;
            remover->path[length] = '\0';
            removed_count++;
        }
    } while (removed_count > 0);
    return MUSTER_OK;
}

static enum muster_status remover_remove(struct remover *remover, int parent_fd, const char *name)
{
    if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
        return MUSTER_OK;
    int cause = errno;
    if (cause != EISDIR && cause != EPERM)
        return remover_fail(remover, "unlink");
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        errno = errno == ENOTDIR ? cause : errno;
        return remover_fail(remover, "unlink");
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        enum muster_status status = remover_fail(remover, "open folder");
        close(fd);
        return status;
    }
    enum muster_status status = MUSTER_OK;
    if (remover->depth >= TREE_DEPTH_MAX)
        status = muster_error_set(remover->err, MUSTER_ERR_UNSUPPORTED, "remove %s: deeper than %d folders",
                                  remover->path, TREE_DEPTH_MAX);
    remover->depth++;
    if (status == MUSTER_OK)
        status = remover_empty(remover, stream);
    remover->depth--;
    closedir(stream);
    if (status == MUSTER_OK && unlinkat(parent_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        status = remover_fail(remover, "rmdir");
    return status;
}

enum muster_status fs_remove_tree(const char *path, struct muster_error *err)
{
    struct remover remover = {.err = err};
    enum muster_status status =
        path_copy(remover.path, path, err); /* "link/" must not mean what it points to */
    if (status != MUSTER_OK)
        return status;
    const char *slash = strrchr(remover.path, '/');
    const char *name = slash != NULL ? slash + 1 : remover.path;
    if (*name == '\0' || is_dots(name))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "refusing to remove the tree %s", path);
    remover.length = strlen(remover.path);
    char start[FS_PATH_MAX];
    memcpy(start, remover.path, remover.length + 1);
    return remover_remove(&remover, AT_FDCWD, start);
}

/* Reading. */

static ssize_t read_retry(int fd, void *data, size_t bytes)
{
    ssize_t got;
    do {
        got = read(fd, data, bytes);
    } while (got < 0 && errno == EINTR);
    return got;
}

/*
 * Reads to the end into a block that grows; the size in the inode is only the first guess, because pipes and
 * /proc say 0.
 */
static enum muster_status descriptor_read(int fd, const char *path, size_t bytes_max, char **data,
                                          size_t *bytes, struct muster_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return muster_error_set_errno(err, errno, "stat %s", path);
    size_t limit = bytes_max < SIZE_MAX / 4 ? bytes_max : SIZE_MAX / 4;
    size_t guess = info.st_size > 0 ? (size_t)info.st_size : READ_BYTES_FIRST;
    size_t capacity = (guess < limit ? guess : limit) + 2,
           length = 0; /* one to notice more, one to terminate */
    char *block = NULL;
    for (;;) {
        if (block == NULL || length + 1 == capacity) {
            if (block != NULL)
                capacity = capacity < limit / 2 ? capacity * 2 : limit + 2;
            char *grown = alloc_resize(block, capacity, 1);
            if (grown == NULL) {
                alloc_free(block);
                return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to read %s (%zu bytes)", path,
                                        capacity);
            }
            block = grown;
        }
        ssize_t got = read_retry(fd, block + length, capacity - 1 - length);
        if (got < 0) {
            alloc_free(block);
            return muster_error_set_errno(err, errno, "read %s", path);
        }
        length += (size_t)got;
        if (length > limit) {
            alloc_free(block);
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is larger than %zu bytes", path,
                                    bytes_max);
        }
        if (got == 0)
            break;
    }
    block[length] = '\0';
    *data = block;
    *bytes = length;
    return MUSTER_OK;
}

enum muster_status fs_file_read(const char *path, size_t bytes_max, char **data, size_t *bytes,
                                struct muster_error *err)
{
    *data = NULL;
    *bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    enum muster_status status = descriptor_read(fd, path, bytes_max, data, bytes, err);
    close(fd);
    return status;
}

enum muster_status fs_map_open(struct fs_map *map, const char *path, struct muster_error *err)
{
    *map = (struct fs_map){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    enum muster_status status = MUSTER_OK;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = muster_error_set_errno(err, errno, "stat %s", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s is not a regular file", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = muster_error_set_errno(err, errno, "mmap %s", path);
        else
            *map = (struct fs_map){data, (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void fs_map_release(struct fs_map *map)
{
    if (map->data != NULL)
        munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (struct fs_map){NULL, 0};
}

/* Writing. */

/* Reserves room so that a full disk shows before the first byte; file systems that cannot reserve are fine.
 */
static int room_reserve(int fd, int64_t bytes)
{
    int result;
    do {
        result = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    return result != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO) ? -1 : 0;
}

enum muster_status fs_writer_open(struct fs_writer *writer, const char *path, int64_t preallocate_bytes,
                                  struct muster_error *err)
{
    writer->fd = -1;
    writer->written_bytes = 0;
    writer->temporary[0] = '\0';
    size_t length = strlen(path);
    if (length == 0 || length + sizeof temporary_suffix > FS_PATH_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "cannot write a path of %zu bytes: %.200s", length,
                                path);
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "cannot write %s: not a regular file", path);
    memcpy(writer->path, path, length + 1);
    memcpy(writer->temporary, path, length);
    memcpy(writer->temporary + length, temporary_suffix, sizeof temporary_suffix);
    unlink(writer->temporary); /* left by a crash; where it cannot go, the exclusive open says why */
    writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (writer->fd < 0) {
        int cause = errno;
        writer->temporary[0] = '\0';
        return muster_error_set_errno(err, cause, "create %s%s", path, temporary_suffix);
    }
    if (preallocate_bytes > 0 && room_reserve(writer->fd, preallocate_bytes) != 0) {
        enum muster_status status = muster_error_set_errno(err, errno, "reserve %lld bytes for %s",
                                                           (long long)preallocate_bytes, path);
        fs_writer_abort(writer);
        return status;
    }
    return MUSTER_OK;
}

enum muster_status fs_writer_write(struct fs_writer *writer, const void *data, size_t bytes,
                                   struct muster_error *err)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t written = write(writer->fd, next, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return muster_error_set_errno(err, errno, "write %s", writer->temporary);
        next += written;
        bytes -= (size_t)written;
        writer->written_bytes += written;
    }
    return MUSTER_OK;
}

/* Sync and close; the descriptor is gone either way. */
static enum muster_status writer_close(struct fs_writer *writer, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    if (ftruncate(writer->fd, (off_t)writer->written_bytes) != 0) /* gives back what was reserved in excess */
        status = muster_error_set_errno(err, errno, "truncate %s", writer->temporary);
    else if (fsync(writer->fd) != 0)
        status = muster_error_set_errno(err, errno, "fsync %s", writer->temporary);
    if (close(writer->fd) != 0 && status == MUSTER_OK)
        status = muster_error_set_errno(err, errno, "close %s", writer->temporary);
    writer->fd = -1;
    return status;
}

enum muster_status fs_writer_finish(struct fs_writer *writer, struct muster_error *err)
{
    enum muster_status status = writer_close(writer, err);
    if (status == MUSTER_OK && rename(writer->temporary, writer->path) != 0)
        status = muster_error_set_errno(err, errno, "rename %s to %s", writer->temporary, writer->path);
    if (status == MUSTER_OK) {
        writer->temporary[0] = '\0';
        return parent_sync(writer->path, err);
    }
    fs_writer_abort(writer);
    return status;
}

void fs_writer_abort(struct fs_writer *writer)
{
    if (writer->temporary[0] == '\0')
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    writer->fd = -1;
    unlink(writer->temporary);
    writer->temporary[0] = '\0';
}

enum muster_status fs_file_write(const char *path, const void *data, size_t bytes, struct muster_error *err)
{
    struct fs_writer writer;
    enum muster_status status = fs_writer_open(&writer, path, (int64_t)bytes, err);
    if (status != MUSTER_OK)
        return status;
    status = fs_writer_write(&writer, data, bytes, err);
    if (status != MUSTER_OK) {
        fs_writer_abort(&writer);
        return status;
    }
    return fs_writer_finish(&writer, err);
}

/* Locking. */

static enum muster_status lock_refused(int fd, const char *path, struct muster_error *err)
{
    char holder[HOLDER_BYTES_MAX];
    ssize_t got = pread(fd, holder, sizeof holder - 1, 0);
    size_t length = got > 0 ? (size_t)got : 0;
    holder[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        if (holder[i] < ' ' || holder[i] > '~') {
            holder[i] = '\0';
            break;
        }
    }
    return muster_error_set(
        err, MUSTER_ERR_PEER,
        "lock %s is held by %s: another muster works in this folder; wait for it, or stop it", path,
        holder[0] != '\0' ? holder : "another process");
}

/* The name in the file only serves the message of whoever is refused: a disk too full for it does not matter.
 */
static void lock_sign(int fd)
{
    char host[64] = "", holder[HOLDER_BYTES_MAX];
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "unknown-host");
    int length = snprintf(holder, sizeof holder, "%s %ld\n", host, (long)getpid());
    ssize_t written = ftruncate(fd, 0) == 0 ? pwrite(fd, holder, (size_t)length, 0) : 0;
    (void)written;
}

enum muster_status fs_lock_take(struct fs_lock *lock, const char *path, struct muster_error *err)
{
    lock->fd = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open lock %s", path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result;
    do {
        result = fcntl(fd, F_OFD_SETLK, &whole);
    } while (result != 0 && errno == EINTR);
    if (result == 0) {
        lock_sign(fd);
        lock->fd = fd;
        return MUSTER_OK;
    }
    int cause = errno;
    enum muster_status status = cause == EAGAIN || cause == EACCES
                                    ? lock_refused(fd, path, err)
                                    : muster_error_set_errno(err, cause, "lock %s", path);
    close(fd);
    return status;
}

void fs_lock_release(struct fs_lock *lock)
{
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
}
