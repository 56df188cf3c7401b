/* SPDX-License-Identifier: MIT
 *
 * See fuzz_folder.h.
 */
#include "tests/fuzz/fuzz_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/fuzz/fuzz.h"

enum { FILES_MAX = 8 };

static struct fuzz_file {
    const char *name; /* NULL: unused */
    int fd;           /* -1: not there */
    size_t bytes;
} files[FILES_MAX];
static char folder[64];

static void folder_remove(void)
{
    fs_remove_tree(folder, NULL);
}

const char *fuzz_folder(void)
{
    if (folder[0] == '\0') {
        strcpy(folder, "/dev/shm/muster-fuzz-XXXXXX");
        if (mkdtemp(folder) == NULL)
            strcpy(folder, "/tmp/muster-fuzz-XXXXXX");
        fuzz_promise(fs_is_folder(folder) || mkdtemp(folder) != NULL);
        atexit(folder_remove);
    }
    return folder;
}

static struct fuzz_file *file_find(const char *name)
{
    for (int i = 0; i < FILES_MAX; i++) {
        if (files[i].name == NULL)
            files[i] = (struct fuzz_file){name, -1, 0};
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    }
    abort();
}

void fuzz_folder_write(const char *name, const void *data, size_t bytes)
{
    struct fuzz_file *file = file_find(name);
    char path[FS_PATH_MAX];
    if ((data == NULL) != (file->fd < 0)) {
        fuzz_promise(fs_path_join(path, fuzz_folder(), name, NULL) == MUSTER_OK);
        if (data == NULL) {
            fuzz_promise(close(file->fd) == 0 && unlink(path) == 0);
            file->fd = -1;
        } else {
            *file = (struct fuzz_file){name, open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 0};
            fuzz_promise(file->fd >= 0);
        }
    }
    if (data == NULL)
        return;
    fuzz_promise(file->bytes <= bytes || ftruncate(file->fd, (off_t)bytes) == 0);
    fuzz_promise(pwrite(file->fd, data, bytes, 0) == (ssize_t)bytes);
    file->bytes = bytes;
}
