/* SPDX-License-Identifier: MIT
 *
 * Order: the back end's one stream, recordings of what was put on it (CUDA graphs), and how long a stretch of
 * it took. A recording is the runtime's executable graph itself. Capture is per thread, so that another
 * thread of the process may allocate or synchronise meanwhile.
 */
#include "kernels/cuda/cuda_parts.h"

void *cuda_stream_of(struct kernels *k)
{
    return cuda_kernels_from(k)->stream;
}

enum muster_status cuda_synchronise(struct kernels *k, struct muster_error *err)
{
    enum muster_status status = cuda_capture_refuse(k, "synchronise", err);
    if (status != MUSTER_OK)
        return status;
    return cuda_check(cudaStreamSynchronize(cuda_kernels_from(k)->stream), "synchronise", err);
}

enum muster_status cuda_capture_refuse(struct kernels *k, const char *operation, struct muster_error *err)
{
    enum cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    enum muster_status status =
        cuda_check(cudaStreamIsCapturing(cuda_kernels_from(k)->stream, &capturing), operation, err);
    if (status != MUSTER_OK || capturing == cudaStreamCaptureStatusNone)
        return status;
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: %s cannot be recorded", operation);
}

enum muster_status cuda_capture_begin(struct kernels *k, struct muster_error *err)
{
    enum muster_status status = cuda_capture_refuse(k, "capture_begin", err);
    if (status != MUSTER_OK)
        return status;
    return cuda_check(cudaStreamBeginCapture(cuda_kernels_from(k)->stream, cudaStreamCaptureModeThreadLocal),
                      "capture_begin", err);
}

/* A recording that an operation broke ends here too: the stream is then free again, and the text is the
 * runtime's. */
enum muster_status cuda_capture_end(struct kernels *k, void **recorded, struct muster_error *err)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    *recorded = NULL;
    enum muster_status status =
        cuda_check(cudaStreamEndCapture(cuda_kernels_from(k)->stream, &graph), "capture_end", err);
    if (status != MUSTER_OK)
        goto out;
    status = cuda_check(cudaGraphInstantiate(&executable, graph, 0), "capture_end", err);
    if (status == MUSTER_OK)
        *recorded = executable;
out:
    if (graph != NULL)
        (void)cudaGraphDestroy(graph);
    return status;
}

enum muster_status cuda_capture_run(struct kernels *k, void *recorded, struct muster_error *err)
{
    return cuda_check(cudaGraphLaunch(recorded, cuda_kernels_from(k)->stream), "capture_run", err);
}

void cuda_capture_free(struct kernels *k, void *recorded)
{
    (void)k;
    (void)cudaGraphExecDestroy(recorded);
}

enum muster_status cuda_timer_begin(struct kernels *k, struct muster_error *err)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    return cuda_check(cudaEventRecord(c->timer[0], c->stream), "timer_begin", err);
}

enum muster_status cuda_timer_end(struct kernels *k, struct muster_error *err)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    return cuda_check(cudaEventRecord(c->timer[1], c->stream), "timer_end", err);
}

enum muster_status cuda_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err)
{
    struct cuda_kernels *c = cuda_kernels_from(k);
    float ms = 0.0f;
    enum muster_status status =
        cuda_check(cudaEventElapsedTime(&ms, c->timer[0], c->timer[1]), "timer_seconds", err);
    *seconds = (double)ms / 1e3;
    return status;
}
