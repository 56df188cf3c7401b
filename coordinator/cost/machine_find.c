/* SPDX-License-Identifier: MIT
 *
 * Where profiles lie: beside the program, because a login node has the program and nothing else, and in the
 * cache folder of the person who measured one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cost/machine.h"

enum { NAMES_MAX = 64, NAME_SIZE = 64 };
static const char ending[] = ".yaml";

static bool name_is_path(const char *name)
{
    size_t length = strlen(name), tail = sizeof ending - 1;
    return strchr(name, '/') != NULL || (length > tail && strcmp(name + length - tail, ending) == 0);
}

static enum muster_status shipped_folder(char folder[FS_PATH_MAX], struct muster_error *err)
{
    char program[FS_PATH_MAX];
    enum muster_status status = fs_program_folder(program, err);
    return status ? status : fs_path_join(folder, program, "../share/muster/profiles", err);
}

/* The names in the folder without their ending. */
static size_t names_list(const struct fs_list *files, char names[NAMES_MAX][NAME_SIZE])
{
    size_t count = 0;
    for (size_t i = 0; i < files->count && count < NAMES_MAX; i++) {
        if (!name_is_path(files->names[i]) || strlen(files->names[i]) >= NAME_SIZE)
            continue;
        snprintf(names[count], NAME_SIZE, "%.*s", (int)(strlen(files->names[i]) + 1 - sizeof ending),
                 files->names[i]);
        count++;
    }
    return count;
}

static enum muster_status name_unknown(const char *name, const char *folder, struct muster_error *err)
{
    struct fs_list files = {NULL, 0};
    char names[NAMES_MAX][NAME_SIZE];
    const char *candidates[NAMES_MAX];
    struct text known;
    text_init(&known);
    size_t count = fs_list_read(folder, &files, NULL) == MUSTER_OK ? names_list(&files, names) : 0;
    for (size_t i = 0; i < count; i++) {
        candidates[i] = names[i];
        text_print(&known, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    const char *near = text_nearest(name, candidates, count);
    enum muster_status status = muster_error_set(
        err, MUSTER_ERR_BAD_INPUT, "no machine profile \"%.64s\"%s%s%s; known: %s; or give a file's path",
        name, near != NULL ? "; did you mean " : "", near != NULL ? near : "", near != NULL ? "?" : "",
        count > 0 ? known.data : "none");
    fs_list_release(&files);
    text_release(&known);
    return status;
}

enum muster_status machine_profile_find(const char *name, char path[FS_PATH_MAX], struct muster_error *err)
{
    char folder[FS_PATH_MAX], file[FS_PATH_MAX];
    if (name_is_path(name))
        return fs_path_join(path, "", name, err);
    enum muster_status status = shipped_folder(folder, err);
    if (status == MUSTER_OK && snprintf(file, sizeof file, "%s%s", name, ending) >= (int)sizeof file)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "the name of the machine profile is too long");
    if (status == MUSTER_OK)
        status = fs_path_join(path, folder, file, err);
    if (status == MUSTER_OK && !fs_exists(path))
        status = name_unknown(name, folder, err);
    return status;
}

enum muster_status machine_profile_cache_path(char path[FS_PATH_MAX], struct muster_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/')
        return fs_path_join(path, cache, "muster/machine.yaml", err);
    if (home != NULL && home[0] == '/')
        return fs_path_join(path, home, ".cache/muster/machine.yaml", err);
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                            "neither XDG_CACHE_HOME nor HOME says where a machine's profile is kept");
}

enum muster_status machine_profile_open(const char *wanted, struct job_report *report,
                                        struct machine_profile **out, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = MUSTER_OK;
    *out = NULL;
    if (strcmp(wanted, "none") == 0)
        return MUSTER_OK;
    if (strcmp(wanted, "auto") != 0)
        status = machine_profile_find(wanted, path, err);
    else if (machine_profile_cache_path(path, err) != MUSTER_OK || !fs_exists(path))
        return MUSTER_OK;
    return status ? status : machine_profile_load(path, report, out, err);
}
