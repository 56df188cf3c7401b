/* SPDX-License-Identifier: MIT
 *
 * The libraries behind the CUDA plug-in are asked by the names of their own functions, which are found
 * through it: what is loaded counts, not what muster was built with, and the program links none of them.
 */
#include "worker/doctor/doctor_versions.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "comm/comm.h"
#include "kernels/cuda/cuda_plugin.h"

enum { DRIVER_BYTES_MAX = 1 << 16 };

static const char driver_path[] = "/proc/driver/nvidia/version";

const char *doctor_part_name(enum doctor_part part)
{
    static const char *const names[DOCTOR_PART_COUNT] = {
        [DOCTOR_MPI] = "",          [DOCTOR_DRIVER] = "NVIDIA driver", [DOCTOR_CUDA] = "CUDA",
        [DOCTOR_CUBLAS] = "cuBLAS", [DOCTOR_CUDNN] = "cuDNN",          [DOCTOR_NCCL] = "NCCL",
    };
    return names[part];
}

/* The first word of digits and points: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  …". */
static void driver_find(char out[DOCTOR_VERSION_SIZE])
{
    char *data = NULL;
    size_t bytes;
    if (!fs_exists(driver_path) ||
        fs_file_read(driver_path, DRIVER_BYTES_MAX, &data, &bytes, NULL) != MUSTER_OK)
        return;
    for (const char *word = data; *word != '\0'; word += strcspn(word, " \n")) {
        word += strspn(word, " \n");
        size_t length = strspn(word, "0123456789.");
        if (length < DOCTOR_VERSION_SIZE && length > 0 && memchr(word, '.', length) != NULL &&
            (word[length] == '\0' || isspace((unsigned char)word[length]))) {
            snprintf(out, DOCTOR_VERSION_SIZE, "%.*s", (int)length, word);
            break;
        }
    }
    alloc_free(data);
}

/* A library that writes its version and returns 0. */
static int version_written(const char *function)
{
    int (*ask)(int *version) = NULL;
    int version = 0;
    *(void **)&ask = cuda_plugin_symbol(function);
    return ask != NULL && ask(&version) == 0 ? version : 0;
}

static int version_returned(const char *function)
{
    size_t (*ask)(void) = NULL;
    *(void **)&ask = cuda_plugin_symbol(function);
    return ask != NULL ? (int)ask() : 0;
}

/* Two decimal digits each for the last two parts. */
static void version_print(int version, char out[DOCTOR_VERSION_SIZE])
{
    if (version > 0)
        snprintf(out, DOCTOR_VERSION_SIZE, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

void doctor_versions_find(bool gpu, struct doctor_versions *versions)
{
    memset(versions, 0, sizeof *versions);
    comm_mpi_library(versions->text[DOCTOR_MPI], DOCTOR_VERSION_SIZE);
    driver_find(versions->text[DOCTOR_DRIVER]);
    if (!gpu)
        return;
    int runtime = version_written("cudaRuntimeGetVersion");
    if (runtime > 0)
        snprintf(versions->text[DOCTOR_CUDA], DOCTOR_VERSION_SIZE, "%d.%d", runtime / 1000,
                 runtime % 1000 / 10);
    version_print(version_returned("cublasLtGetVersion"), versions->text[DOCTOR_CUBLAS]);
    version_print(version_returned("cudnnGetVersion"), versions->text[DOCTOR_CUDNN]);
    version_print(version_written("ncclGetVersion"), versions->text[DOCTOR_NCCL]);
}
