/* SPDX-License-Identifier: MIT
 *
 * From /proc. A child belongs to the thread that started it, so all threads of its parent are asked.
 */
#include "base/process.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"

enum { STAT_BYTES_MAX = 1 << 16, ENVIRONMENT_BYTES_MAX = 4 << 20, PATH_SIZE = 320 };

/* /proc/PID/FILE; false where it cannot be read. */
static bool file_read(pid_t pid, const char *file, size_t bytes_max, char **text, size_t *bytes)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, file);
    return fs_file_read(path, bytes_max, text, bytes, NULL) == MUSTER_OK;
}

bool process_has_ended(pid_t pid)
{
    char *text = NULL, state = ' ';
    size_t bytes;
    if (kill(pid, 0) != 0 && errno == ESRCH)
        return true;
    if (!file_read(pid, "stat", STAT_BYTES_MAX, &text, &bytes))
        return false;
    const char *name_end = strrchr(text, ')'); /* the name before it may hold anything */
    if (name_end != NULL && name_end[1] == ' ')
        state = name_end[2];
    alloc_free(text);
    return state == 'Z';
}

/* Whether the environment, texts one after another with their terminators, has this one. */
static bool environment_has(const char *environment, size_t bytes, const char *setting)
{
    for (size_t at = 0; at < bytes; at += strlen(environment + at) + 1) {
        if (strcmp(environment + at, setting) == 0)
            return true;
    }
    return false;
}

bool process_has_setting(pid_t pid, const char *setting)
{
    char path[PATH_SIZE], *environment = NULL;
    size_t bytes;
    struct stat info;
    snprintf(path, sizeof path, "/proc/%lld/environ", (long long)pid);
    if (stat(path, &info) != 0 || info.st_uid != geteuid() ||
        !file_read(pid, "environ", ENVIRONMENT_BYTES_MAX, &environment, &bytes))
        return false;
    bool has = environment_has(environment, bytes, setting);
    alloc_free(environment);
    return has;
}

void process_name(pid_t pid, char name[16])
{
    char *text = NULL;
    size_t bytes;
    name[0] = '\0';
    if (file_read(pid, "comm", STAT_BYTES_MAX, &text, &bytes))
        snprintf(name, 16, "%.*s", (int)strcspn(text, "\n"), text);
    alloc_free(text);
}

static int thread_children_count(pid_t pid, const char *thread, const char *setting)
{
    char path[PATH_SIZE];
    long child;
    int count = 0;
    snprintf(path, sizeof path, "/proc/%lld/task/%.200s/children", (long long)pid, thread);
    FILE *children = fopen(path, "re");
    while (children != NULL && fscanf(children, "%ld", &child) == 1)
        count +=
            setting != NULL ? process_has_setting((pid_t)child, setting) : !process_has_ended((pid_t)child);
    if (children != NULL)
        fclose(children);
    return count;
}

int process_children_count(pid_t pid, const char *setting)
{
    char path[PATH_SIZE];
    int count = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%lld/task", (long long)pid);
    DIR *threads = opendir(path);
    while (threads != NULL && (entry = readdir(threads)) != NULL) {
        if (entry->d_name[0] != '.')
            count += thread_children_count(pid, entry->d_name, setting);
    }
    if (threads != NULL)
        closedir(threads);
    return count;
}
