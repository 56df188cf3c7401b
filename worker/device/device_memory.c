/* SPDX-License-Identifier: MIT
 *
 * NCCL allocates the buffers of a pair of ranks when they first talk, hundreds of MB for each peer, and CUDA
 * loads kernels when they are first called. Both would come out of what the plan left over at the first step,
 * after a checkpoint was loaded, as an error of NCCL's that looks like a lost peer. So the pairs talk once
 * now, of nothing, and what is left is looked at. The plan's reserve (plan.c) is only a prediction: a job
 * that has more room than that, or less, is judged here by what there is.
 */
#include "worker/device/device_memory.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* For kernels that are loaded later. */
#define DEVICE_MEMORY_KERNELS ((int64_t)256 << 20)

enum { DEVICE_MEMORY_WORD = 256 }; /* bytes from one rank's word to the next */

/* A word to and from each rank, then one of each to all, in the scratch block. */
static enum muster_status device_memory_talk(const struct rank_state *state, struct comm *comm,
                                             struct muster_error *err)
{
    char *words = state->kernels->scratch;
    const void **send = alloc_zeroed((size_t)comm->size, sizeof *send);
    void **receive = alloc_zeroed((size_t)comm->size, sizeof *receive);
    int64_t *bytes = alloc_zeroed((size_t)comm->size, sizeof *bytes);
    enum muster_status status = MUSTER_OK;
    if (!send || !receive || !bytes) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to connect %d ranks", comm->size);
        goto out;
    }
    for (int rank = 0; rank < comm->size; rank++) {
        send[rank] = words;
        receive[rank] = words + (int64_t)(rank + 1) * DEVICE_MEMORY_WORD;
        bytes[rank] = rank == comm->rank ? 0 : 4;
    }
    status = comm_begin_after(comm, kernels_stream(state->kernels), err);
    if (!status && state->plan->reduce == JOB_REDUCE_EXACT)
        status = comm_exchange(comm, send, bytes, receive, bytes, err);
    for (int rank = 0; rank < comm->size; rank++)
        bytes[rank] = 4;
    if (!status)
        status = comm_all_gather(comm, words, bytes, err);
    if (!status)
        status = comm_end_before(comm, kernels_stream(state->kernels), err);
out:
    alloc_free(send);
    alloc_free(receive);
    alloc_free(bytes);
    return status;
}

enum muster_status device_memory_explain(const struct device *device, const struct rank_state *state,
                                         enum muster_status status, struct muster_error *err)
{
    struct cuda_device_info info;
    struct muster_error unknown;
    char left[32], all[32], planned[32], cause[sizeof err->text] = "";
    if (status && err)
        snprintf(cause, sizeof cause, "%s", err->text);
    /* a communicator that failed has given back what it had by now */
    const int64_t least = status ? state->plan->spare_bytes : DEVICE_MEMORY_KERNELS;
    const bool other = status && !strstr(cause, "cuda error") && !strstr(cause, "memory");
    if (!device->plugin || other ||
        device->plugin->device_info(device->index, &info, &unknown) != MUSTER_OK || info.free_bytes >= least)
        return status;
    text_format_bytes(left, sizeof left, info.free_bytes);
    text_format_bytes(all, sizeof all, info.memory_bytes);
    text_format_bytes(planned, sizeof planned, state->memory.total_bytes);
    return muster_error_set(
        err, MUSTER_ERR_NO_MEMORY,
        "of the %s of its GPU %s are left beside the planned %s and what CUDA and NCCL hold, "
        "which is too little (%.500s). What helps: %s",
        all, left, planned, status ? cause : "kernels that are loaded later need 256 MiB",
        plan_memory_advice(state->plan));
}

enum muster_status device_memory_settle(const struct device *device, const struct rank_state *state,
                                        struct comm *comm, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    if (!device->plugin)
        return MUSTER_OK;
    if (comm->size > 1)
        status = device_memory_talk(state, comm, err);
    return device_memory_explain(device, state, status, err);
}
