/* SPDX-License-Identifier: MIT
 *
 * Copies to the device that do not hold up the caller: the bytes go into one of two pinned halves and are
 * copied from there when the stream gets to it. A half is filled by as many copies as fit, then marked with
 * an event and left; coming back to it waits for that event. So the token ids of a few hundred micro-batches
 * pass without a wait, and a large array moves with one half being filled while the other is sent.
 */
#include "kernels/cuda/cuda_parts.h"

#include <string.h>

#include "base/alloc.h"

enum { STAGING_HALVES = 2, STAGING_HALF_BYTES = 8 << 20, STAGING_ALIGNMENT = 64 };

struct cuda_staging {
    char *half[STAGING_HALVES];
    cudaEvent_t left[STAGING_HALVES]; /* the copies out of the half are before it on the stream */
    int current;
    int64_t used; /* bytes of the current half */
};

enum muster_status cuda_staging_create(struct cuda_staging **out, struct muster_error *err)
{
    struct cuda_staging *staging = alloc_zeroed(1, sizeof *staging);
    *out = NULL;
    if (staging == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for the staging ring");
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < STAGING_HALVES && status == MUSTER_OK; i++) {
        void *half = NULL;
        status = cuda_check(cudaHostAlloc(&half, STAGING_HALF_BYTES, cudaHostAllocDefault),
                            "allocate the staging ring", err);
        staging->half[i] = half;
        if (status == MUSTER_OK)
            status = cuda_check(cudaEventCreateWithFlags(&staging->left[i], cudaEventDisableTiming),
                                "create an event", err);
    }
    if (status == MUSTER_OK)
        *out = staging;
    else
        cuda_staging_destroy(staging);
    return status;
}

void cuda_staging_destroy(struct cuda_staging *staging)
{
    if (staging == NULL)
        return;
    for (int i = 0; i < STAGING_HALVES; i++) {
        if (staging->left[i] != NULL)
            (void)cudaEventDestroy(staging->left[i]);
        if (staging->half[i] != NULL)
            (void)cudaFreeHost(staging->half[i]);
    }
    alloc_free(staging);
}

/* Leaves the full half for the other one, which is free once its own copies are done. */
static enum muster_status cuda_staging_turn(struct cuda_staging *staging, cudaStream_t stream,
                                            struct muster_error *err)
{
    enum muster_status status =
        cuda_check(cudaEventRecord(staging->left[staging->current], stream), "copy_to_device", err);
    if (status != MUSTER_OK)
        return status;
    staging->current = (staging->current + 1) % STAGING_HALVES;
    staging->used = 0;
    return cuda_check(cudaEventSynchronize(staging->left[staging->current]), "copy_to_device", err);
}

enum muster_status cuda_copy_to_device(struct kernels *k, void *device, const void *host, int64_t bytes,
                                       struct muster_error *err)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    struct cuda_staging *staging = c->staging;
    enum muster_status status = cuda_capture_refuse(k, "copy_to_device", err);
    for (int64_t at = 0; at < bytes && status == MUSTER_OK;) {
        if (staging->used == STAGING_HALF_BYTES) {
            status = cuda_staging_turn(staging, c->stream, err);
            continue;
        }
        int64_t room = STAGING_HALF_BYTES - staging->used;
        int64_t piece = bytes - at < room ? bytes - at : room;
        char *pinned = staging->half[staging->current] + staging->used;
        memcpy(pinned, (const char *)host + at, (size_t)piece);
        status = cuda_check(
            cudaMemcpyAsync((char *)device + at, pinned, (size_t)piece, cudaMemcpyHostToDevice, c->stream),
            "copy_to_device", err);
        at += piece;
        staging->used += (piece + STAGING_ALIGNMENT - 1) / STAGING_ALIGNMENT * STAGING_ALIGNMENT;
    }
    return status;
}
