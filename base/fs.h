/* SPDX-License-Identifier: MIT
 *
 * Files that survive: every durable write of muster goes through here (temporary name, write, fsync, close
 * checked, rename, fsync of the folder). Files are 0600 and folders 0700. Every error names the path and the
 * system call.
 */
#ifndef MUSTER_BASE_FS_H
#define MUSTER_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { FS_PATH_MAX = 4096 };

/** Joins with one '/'; BAD_INPUT when the result would not fit in FS_PATH_MAX bytes. `out` has FS_PATH_MAX
 * bytes. */
enum muster_status fs_path_join(char *out, const char *folder, const char *name, struct muster_error *err);

/** The running program's file, and the folder it is in, without a last '/'. `out` has FS_PATH_MAX bytes. */
enum muster_status fs_program_path(char *out, struct muster_error *err);
enum muster_status fs_program_folder(char *out, struct muster_error *err);

/** mkdir -p; an existing folder is no error. Where mkdir fails, errno says why. */
enum muster_status fs_folder_create(const char *path, struct muster_error *err);

bool fs_exists(const char *path);
bool fs_is_folder(const char *path);

/** Size in bytes or -1. */
int64_t fs_file_size(const char *path);

/** Whole file into a fresh terminated block (owned by the caller, alloc_free); BAD_INPUT above `bytes_max`.
 */
enum muster_status fs_file_read(const char *path, size_t bytes_max, char **data, size_t *bytes,
                                struct muster_error *err);

/** Durable replace: either the old or the whole new content is there after a crash at any point. */
enum muster_status fs_file_write(const char *path, const void *data, size_t bytes, struct muster_error *err);

/** fsync of a folder, so that renames and creations in it last. */
enum muster_status fs_folder_sync(const char *path, struct muster_error *err);

/** Rename and sync of the destination's folder. */
enum muster_status fs_rename(const char *from, const char *to, struct muster_error *err);

/** Removes a file or a whole tree (symbolic links are removed, not followed). A missing path is no error. */
enum muster_status fs_remove_tree(const char *path, struct muster_error *err);

/** Bytes an ordinary user may still write there, or -1. */
int64_t fs_free_bytes(const char *path);

/** Names in a folder, sorted, "." and ".." left out; release with fs_list_release. */
struct fs_list {
    char **names;
    size_t count;
};
enum muster_status fs_list_read(const char *folder, struct fs_list *list, struct muster_error *err);
void fs_list_release(struct fs_list *list);

/** A read-only mapping of a whole file; caller owns the struct. An empty file maps to size 0, data NULL. */
struct fs_map {
    const unsigned char *data;
    size_t bytes;
};
enum muster_status fs_map_open(struct fs_map *map, const char *path, struct muster_error *err);
void fs_map_release(struct fs_map *map);

/**
 * A durable file written in sequence: opens PATH.tmp, `finish` syncs, closes, renames and syncs the folder;
 * `abort` (also safe after finish) closes and removes the temporary. Writes handle short writes and EINTR.
 */
struct fs_writer {
    int fd;
    char path[FS_PATH_MAX];
    char temporary[FS_PATH_MAX];
    int64_t written_bytes;
};
enum muster_status fs_writer_open(struct fs_writer *writer, const char *path, int64_t preallocate_bytes,
                                  struct muster_error *err);
enum muster_status fs_writer_write(struct fs_writer *writer, const void *data, size_t bytes,
                                   struct muster_error *err);
enum muster_status fs_writer_finish(struct fs_writer *writer, struct muster_error *err);
void fs_writer_abort(struct fs_writer *writer);

/**
 * An advisory lock on a file (created if needed) held until release or death. PEER when somebody else holds
 * it: the text names the holder (host and pid as they wrote it).
 */
struct fs_lock {
    int fd;
};
enum muster_status fs_lock_take(struct fs_lock *lock, const char *path, struct muster_error *err);
void fs_lock_release(struct fs_lock *lock);

#endif
