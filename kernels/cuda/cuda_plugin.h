/* SPDX-License-Identifier: MIT
 *
 * What libmuster_cuda.so offers for arithmetic, and how the rest of muster reaches it. The plug-in is the
 * only part that links CUDA libraries: loading them costs a process 80 ms and 100 MB, so it is opened with
 * dlopen only where a driver is present, and one binary runs with and without GPUs.
 */
#ifndef MUSTER_KERNELS_CUDA_PLUGIN_H
#define MUSTER_KERNELS_CUDA_PLUGIN_H

#include "base/tree.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Grows with every change of the structs of this header, of kernels.h or of comm.h. */
enum { CUDA_PLUGIN_VERSION = 5 };

struct cuda_device_info {
    char name[96];
    char uuid[48];       /* "GPU-…": two ranks must not share one */
    char pci_bus_id[16]; /* "0000:3b:00.0": what NVML and hwloc know it by */
    int compute_major, compute_minor;
    int multiprocessor_count;
    int64_t memory_bytes, free_bytes;
};

struct cuda_kernels_options {
    int device;
    bool allow_tf32; /* fp32 products on tensor cores with 10-bit mantissas */
    /* told what is slower than it should be, once each; NULL: stderr. The plug-in has a log sink of its own,
     * which knows neither the log file nor which rank speaks. */
    void (*warn)(const char *text);
};

/** The table behind the one symbol that kernels/ uses, `muster_cuda_plugin`. */
struct cuda_plugin {
    int version;
    /* UNSUPPORTED, saying so, where there is no driver or no device */
    enum muster_status (*device_count)(int *count, struct muster_error *err);
    /* selects the device for the calling thread, as does kernels_create, and uses no other */
    enum muster_status (*device_info)(int device, struct cuda_device_info *info, struct muster_error *err);
    /* base.scratch is NULL: the caller sets scratch and
     * scratch_bytes (device memory, ops_device_scratch_bytes) before the first operation. */
    enum muster_status (*kernels_create)(const struct cuda_kernels_options *options, struct kernels **out,
                                         struct muster_error *err);
    /* out = the sum of the terms on a stream (a cudaStream_t); out may be a term: the communicator's tree
     * adds
     */
    enum muster_status (*sum_on_stream)(void *stream, float *out, const struct tree_terms *terms,
                                        int64_t count, struct muster_error *err);
};

/**
 * Opens the plug-in once per process: the file named by the environment's MUSTER_CUDA_PLUGIN, or
 * libmuster_cuda.so beside the running program or in ../lib of it; never released. \return UNSUPPORTED when
 * no driver (libcuda.so.1) is on the machine or the plug-in was not built; the text says which. With
 * MUSTER_CUDA_PLUGIN set the driver is not asked for.
 */
enum muster_status cuda_plugin_open(const struct cuda_plugin **out, struct muster_error *err);

/** A further symbol of the open plug-in (comm/nccl.h uses it); NULL where it was built without. */
void *cuda_plugin_symbol(const char *name);

#ifdef __cplusplus
}
#endif
#endif
