/* SPDX-License-Identifier: MIT
 *
 * See nccl_case.h.
 */
#include "tests/comm/nccl_case.h"

#include <cuda_runtime.h>
#include <stdio.h>

#include "tests/comm/exact_case.h"
#include "tests/comm/mpi_check.h"
#include "tests/comm/nccl_standin/nccl_standin.h"
#include "tests/cuda/emulation/cudart_standin.h"

static int sum_count;
static enum gpu_mood mood;
static int64_t gpu_jump_ns;
static bool patience_is_over;

int64_t __real_clock_monotonic_ns(void);
int64_t __wrap_clock_monotonic_ns(void);
int64_t __real_clock_unix_ms(void);
int64_t __wrap_clock_unix_ms(void);
cudaError_t __real_cudaEventQuery(cudaEvent_t event);
cudaError_t __wrap_cudaEventQuery(cudaEvent_t event);

int64_t __wrap_clock_monotonic_ns(void)
{
    return __real_clock_monotonic_ns() + nccl_standin_jump_ns() + gpu_jump_ns;
}

/* Only waits that begin now and end then ask this clock. */
int64_t __wrap_clock_unix_ms(void)
{
    return __real_clock_unix_ms() - (patience_is_over ? 3600000 : 0);
}

cudaError_t __wrap_cudaEventQuery(cudaEvent_t event)
{
    if (mood == GPU_BROKEN)
        return cudaErrorIllegalAddress;
    if (mood == GPU_WELL)
        return __real_cudaEventQuery(event);
    gpu_jump_ns += INT64_C(3600) * 1000000000;
    return cudaErrorNotReady;
}

struct sum_work {
    float *out;
    struct tree_terms terms;
    int64_t count;
};

static void sum_run(void *data)
{
    const struct sum_work *work = data;
    for (int64_t i = 0; i < work->count; i++)
        work->out[i] = terms_value(&work->terms, i, 0);
}

/* As a kernel does it: only work on a stream may touch device memory. */
static enum muster_status sum(void *stream, float *out, const struct tree_terms *terms, int64_t count,
                              struct muster_error *err)
{
    struct sum_work work = {out, *terms, count};
    sum_count++;
    if (cuda_standin_enqueue(stream, sum_run, &work, sizeof(work)) != cudaSuccess)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "the sum failed");
    return MUSTER_OK;
}

void nccl_case_init(struct nccl_case *test)
{
    struct muster_error err = {0};
    *test = (struct nccl_case){.options = {.timeout_ms = 60000, .sum = sum}};
    mpi_check_ok(comm_mpi_create(&test->mpi, &err), err);
    snprintf(test->uuid, sizeof(test->uuid), "GPU-%08x", test->mpi->rank);
    test->options.device_uuid = test->uuid;
}

void nccl_case_release(struct nccl_case *test)
{
    comm_destroy(test->nccl);
    comm_destroy(test->mpi);
    mpi_check(nccl_standin_live_count() == 0);
}

void nccl_case_open(struct nccl_case *test)
{
    struct muster_error err = {0};
    mpi_check_ok(muster_nccl_create(test->mpi, &test->options, &test->nccl, &err), err);
}

int nccl_case_sum_count(void)
{
    return sum_count;
}

void gpu_mood_set(enum gpu_mood wanted)
{
    mood = wanted;
}

void nccl_case_patience_end(void)
{
    patience_is_over = true;
}
