/* SPDX-License-Identifier: MIT
 *
 * Finds and opens the CUDA plug-in. This file belongs to the plain kernels library: it links nothing of CUDA,
 * and asks for the driver's library first because that answer costs 0.1 ms where opening the plug-in costs
 * 80. The open plug-in is the one piece of state here: it is kept for the life of the process, since CUDA's
 * libraries do not survive being unloaded. A failed attempt is not kept; the next call tries again.
 */
#include "kernels/cuda/cuda_plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

#define CUDA_PLUGIN_FILE     "libmuster_cuda.so"
#define CUDA_PLUGIN_VARIABLE "MUSTER_CUDA_PLUGIN"

static struct {
    pthread_mutex_t lock;
    void *handle;
    const struct cuda_plugin *plugin;
} cuda_open = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum muster_status cuda_driver_probe(struct muster_error *err)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    if (driver == NULL)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "cuda: no NVIDIA driver on this machine (libcuda.so.1 not found)");
    dlclose(driver); /* the runtime opens it again by the same name; it stays loaded until then */
    return MUSTER_OK;
}

/* The plug-in's path into `path`; false where none of the places has it. */
static bool cuda_plugin_find(char path[FS_PATH_MAX])
{
    static const char *const places[] = {CUDA_PLUGIN_FILE, "../lib/" CUDA_PLUGIN_FILE};
    char folder[FS_PATH_MAX];
    if (fs_program_folder(folder, NULL) != MUSTER_OK)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (fs_path_join(path, folder, places[i], NULL) == MUSTER_OK && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

static enum muster_status cuda_plugin_path(char path[FS_PATH_MAX], struct muster_error *err)
{
    const char *named = getenv(CUDA_PLUGIN_VARIABLE);
    if (named != NULL && named[0] != '\0') {
        if (snprintf(path, FS_PATH_MAX, "%s", named) < FS_PATH_MAX)
            return MUSTER_OK;
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "cuda: " CUDA_PLUGIN_VARIABLE " is too long");
    }
    enum muster_status status = cuda_driver_probe(err);
    if (status != MUSTER_OK || cuda_plugin_find(path))
        return status;
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                            "cuda: a driver is here but the plug-in is not: no " CUDA_PLUGIN_FILE
                            " beside the program or in ../lib of it (was muster built with CUDA?)");
}

/* Takes over `library` on success only. */
static enum muster_status cuda_plugin_accept(void *library, const char *path, struct muster_error *err)
{
    const struct cuda_plugin *plugin = dlsym(library, "muster_cuda_plugin");
    if (plugin == NULL)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: %s is not a plug-in of muster", path);
    if (plugin->version != CUDA_PLUGIN_VERSION)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "cuda: %s is of plug-in version %d, this program needs %d: install both from "
                                "one build",
                                path, plugin->version, (int)CUDA_PLUGIN_VERSION);
    cuda_open.handle = library;
    cuda_open.plugin = plugin;
    return MUSTER_OK;
}

static enum muster_status cuda_plugin_open_locked(struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = cuda_plugin_path(path, err);
    if (status != MUSTER_OK)
        return status;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: cannot open the plug-in: %s", dlerror());
    status = cuda_plugin_accept(library, path, err);
    if (status != MUSTER_OK)
        dlclose(library);
    return status;
}

enum muster_status cuda_plugin_open(const struct cuda_plugin **out, struct muster_error *err)
{
    *out = NULL;
    enum muster_status status = MUSTER_OK;
    pthread_mutex_lock(&cuda_open.lock);
    if (cuda_open.plugin == NULL)
        status = cuda_plugin_open_locked(err);
    *out = cuda_open.plugin;
    pthread_mutex_unlock(&cuda_open.lock);
    return status;
}

void *cuda_plugin_symbol(const char *name)
{
    pthread_mutex_lock(&cuda_open.lock);
    void *library = cuda_open.handle;
    pthread_mutex_unlock(&cuda_open.lock);
    return library != NULL ? dlsym(library, name) : NULL;
}
