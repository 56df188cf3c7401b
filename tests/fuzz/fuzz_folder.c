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

static char folder[64];

void fuzz_promise(int kept)
{
    if (!kept)
        abort();
}

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

void fuzz_folder_write(const char *name, const void *data, size_t bytes)
{
    char path[FS_PATH_MAX];
    fuzz_promise(fs_path_join(path, fuzz_folder(), name, NULL) == MUSTER_OK);
    if (data == NULL) {
        unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_promise(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    close(fd);
}
