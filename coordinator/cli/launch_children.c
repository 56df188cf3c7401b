/* SPDX-License-Identifier: MIT
 *
 * From /proc. A child belongs to the thread that started it, so all threads of its parent are asked.
 */
#include "coordinator/cli/launch_children.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"

bool launch_process_has_ended(pid_t pid)
{
    char path[64], *text = NULL, state = ' ';
    size_t bytes;
    if (kill(pid, 0) != 0 && errno == ESRCH)
        return true;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (fs_file_read(path, 1 << 16, &text, &bytes, NULL) != MUSTER_OK)
        return false;
    const char *name_end = strrchr(text, ')'); /* the name before it may hold anything */
    if (name_end != NULL && name_end[1] == ' ')
        state = name_end[2];
    alloc_free(text);
    return state == 'Z';
}

static bool thread_has_children(pid_t pid, const char *thread)
{
    char path[320];
    long child;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%lld/task/%.200s/children", (long long)pid, thread);
    FILE *children = fopen(path, "re");
    while (children != NULL && !found && fscanf(children, "%ld", &child) == 1)
        found = !launch_process_has_ended((pid_t)child);
    if (children != NULL)
        fclose(children);
    return found;
}

bool launch_has_children(pid_t pid)
{
    char path[64];
    bool found = false;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%lld/task", (long long)pid);
    DIR *threads = opendir(path);
    while (threads != NULL && !found && (entry = readdir(threads)) != NULL)
        found = entry->d_name[0] != '.' && thread_has_children(pid, entry->d_name);
    if (threads != NULL)
        closedir(threads);
    return found;
}
