/* SPDX-License-Identifier: MIT
 *
 * What the C files of the CUDA back end owe each other, and the kernels (*.cu) do not need: the life of its
 * parts, and its entries of the operations table that move memory, order work and record it.
 */
#ifndef MUSTER_KERNELS_CUDA_PARTS_H
#define MUSTER_KERNELS_CUDA_PARTS_H

#include "kernels/cuda/cuda_internal.h"
#include "kernels/cuda/cuda_plugin.h"

/* cuda_device.c */
enum muster_status cuda_device_count(int *count, struct muster_error *err);
enum muster_status cuda_device_info(int device, struct cuda_device_info *info, struct muster_error *err);

/* cuda_memory.c */
enum muster_status cuda_memory_allocate(struct kernels *k, int64_t bytes, void **block,
                                        struct muster_error *err);
void cuda_memory_free(struct kernels *k, void *block, int64_t bytes);
enum muster_status cuda_memory_allocate_host(struct kernels *k, int64_t bytes, void **block,
                                             struct muster_error *err);
void cuda_memory_free_host(struct kernels *k, void *block, int64_t bytes);
enum muster_status cuda_fill_zero(struct kernels *k, void *y, int64_t bytes, struct muster_error *err);
enum muster_status cuda_copy_to_host(struct kernels *k, void *host, const void *device, int64_t bytes,
                                     struct muster_error *err);
enum muster_status cuda_copy_to_host_later(struct kernels *k, void *host, const void *device, int64_t bytes,
                                           struct muster_error *err);
enum muster_status cuda_copy_on_device(struct kernels *k, void *to, const void *from, int64_t bytes,
                                       struct muster_error *err);

/* cuda_stream.c */
void *cuda_stream_of(struct kernels *k);
enum muster_status cuda_synchronise(struct kernels *k, struct muster_error *err);
enum muster_status cuda_capture_begin(struct kernels *k, struct muster_error *err);
enum muster_status cuda_capture_end(struct kernels *k, void **recorded, struct muster_error *err);
enum muster_status cuda_capture_run(struct kernels *k, void *recorded, struct muster_error *err);
void cuda_capture_free(struct kernels *k, void *recorded);
/** UNSUPPORTED, naming the operation, while the stream is being recorded. */
enum muster_status cuda_capture_refuse(struct kernels *k, const char *operation, struct muster_error *err);

enum muster_status cuda_timer_begin(struct kernels *k, struct muster_error *err);
enum muster_status cuda_timer_end(struct kernels *k, struct muster_error *err);
enum muster_status cuda_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err);

/* cuda_staging.c */
enum muster_status cuda_staging_create(struct cuda_staging **out, struct muster_error *err);
/** Takes NULL. */
void cuda_staging_destroy(struct cuda_staging *staging);
enum muster_status cuda_copy_to_device(struct kernels *k, void *device, const void *host, int64_t bytes,
                                       struct muster_error *err);

/* cuda_peak.c */
double cuda_peak_flops(struct kernels *k, enum dtype dtype);

#endif
