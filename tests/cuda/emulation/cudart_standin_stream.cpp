/* SPDX-License-Identifier: MIT
 *
 * Streams, events and graphs of the stand-in. Work runs when it is submitted, or is put off until somebody
 * waits for it (cudart_standin_defer.cpp). Capture is imitated: which calls it records, which it forbids, and
 * how an event carries it to a second stream that has to come back before it ends.
 */
#include <vector>

#include "cudart_standin_internal.h"

struct standin_work {
    const char *what;
    std::function<void()> run;
};

struct CUgraph_st {
    std::vector<standin_work> work;
};

struct CUgraphExec_st {
    std::vector<standin_work> work;
};

struct standin_capture {
    struct CUstream_st *origin;
    enum cudaStreamCaptureMode mode;
    std::shared_ptr<CUgraph_st> graph;
    std::vector<struct CUstream_st *> members; /* streams that joined it */
    bool invalid;
};

struct CUstream_st {
    int number, device;
    std::shared_ptr<standin_capture> capture; /* NULL: work runs */
    bool joined;                              /* its work has been waited for by another member */
};

/* The device's clock: a microsecond for each piece of work that was run. */
static int64_t stream_time_us;

struct CUevent_st {
    int device;
    std::shared_ptr<standin_capture> capture; /* recorded inside one */
    struct CUstream_st *stream;
    standin_marker mark; /* NULL: never recorded */
};

/* The capture that the calling thread began and has not ended. */
static thread_local standin_capture *stream_thread_capture;

bool standin_capturing()
{
    if (stream_thread_capture == nullptr || stream_thread_capture->mode == cudaStreamCaptureModeRelaxed)
        return false;
    stream_thread_capture->invalid = true;
    return true;
}

int cuda_standin_capturing(void)
{
    return stream_thread_capture != nullptr;
}

static void stream_run(const std::function<void()> &work)
{
    standin_memory_open();
    work();
    standin_memory_close();
    stream_time_us++;
}

static cudaError_t stream_submit(cudaStream_t stream, standin_work work, bool in_graph)
{
    const bool named = stream != nullptr && stream != cudaStreamLegacy && stream != cudaStreamPerThread;
    if (!named && standin_capturing())
        return standin_error(cudaErrorStreamCaptureImplicit);
    if (named && stream->capture != nullptr) {
        stream->capture->graph->work.push_back(std::move(work));
        stream->joined = false;
        return cudaSuccess;
    }
    standin_count(work.what, in_graph);
    if (named && standin_defers())
        standin_put_off(stream->number, [=]() { stream_run(work.run); });
    else
        stream_run(work.run);
    return cuda_standin_fault()[0] != '\0' ? standin_error(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t standin_submit(cudaStream_t stream, const char *what, std::function<void()> work)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    return stream_submit(stream, {what, std::move(work)}, false);
}

cudaError_t cuda_standin_enqueue(cudaStream_t stream, void (*run)(void *data), const void *data, size_t bytes)
{
    const char *first = static_cast<const char *>(data);
    if (!standin_device_suits(stream))
        return standin_error(cudaErrorInvalidResourceHandle);
    std::shared_ptr<std::vector<char>> copy(new std::vector<char>(first, first + bytes));
    return standin_submit(stream, "library", [=]() { run(copy->data()); });
}

void standin_finish(cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    standin_wait_for_kernel();
    if (stream != nullptr && stream->capture == nullptr)
        standin_drain(stream->number);
}

bool standin_device_suits(cudaStream_t stream)
{
    return stream == nullptr || stream->device == standin_device();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    static int count;
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    *stream = new CUstream_st();
    (*stream)->number = count++;
    (*stream)->device = standin_device();
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (stream == nullptr)
        return standin_error(cudaErrorInvalidResourceHandle);
    standin_finish(stream);
    delete stream;
    return cudaSuccess;
}

/* Waiting for a stream that is being captured breaks the capture. */
static cudaError_t stream_wait(cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (stream != nullptr && stream->capture != nullptr) {
        stream->capture->invalid = true;
        return standin_error(cudaErrorStreamCaptureUnsupported);
    }
    standin_finish(stream);
    return cuda_standin_fault()[0] != '\0' ? standin_error(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    standin_count("wait", false);
    return stream_wait(stream);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return stream_wait(stream);
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (standin_capturing())
        return standin_error(cudaErrorStreamCaptureUnsupported);
    standin_count("wait", false);
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    standin_drain_all();
    return stream_wait(nullptr);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    const bool capturing = stream != nullptr && stream->capture != nullptr;
    *status = !capturing                 ? cudaStreamCaptureStatusNone
              : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    return standin_submit(stream, "host", [=]() { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new CUevent_st();
    (*event)->device = standin_device();
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (event == nullptr)
        return standin_error(cudaErrorInvalidResourceHandle);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (stream != nullptr && stream->device != event->device)
        return standin_error(cudaErrorInvalidResourceHandle);
    standin_count("event", false);
    const standin_marker mark(new standin_mark{stream != nullptr ? stream->number : -1, false, 0});
    const auto reach = [=]() {
        mark->reached = true;
        mark->time_us = stream_time_us;
    };
    event->mark = mark;
    event->stream = stream;
    event->capture = stream != nullptr ? stream->capture : nullptr;
    if (stream != nullptr && stream->capture == nullptr && standin_defers())
        standin_put_off(stream->number, reach);
    else
        reach();
    return cudaSuccess;
}

/* Who asks is not answered at once, and sees the work go on. A look too early is remembered for the next
 * cudaGetLastError: the CUDA C++ Programming Guide says that it is not, and frameworks clear it all the same.
 */
cudaError_t cudaEventQuery(cudaEvent_t event)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (event->capture != nullptr)
        return standin_error(cudaErrorCapturedEvent);
    if (event->mark == nullptr || event->mark->reached)
        return cudaSuccess;
    standin_step(event->mark);
    return standin_error(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    standin_count("wait", false);
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (event->capture != nullptr)
        return standin_error(cudaErrorCapturedEvent);
    standin_wait_for_kernel();
    while (event->mark != nullptr && !event->mark->reached)
        standin_step(event->mark);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    if (start->mark == nullptr || end->mark == nullptr || start->device != end->device)
        return standin_error(cudaErrorInvalidResourceHandle);
    if (!start->mark->reached || !end->mark->reached)
        return standin_error(cudaErrorNotReady);
    *ms = (float)(end->mark->time_us - start->mark->time_us) / 1e3f;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (event->capture == nullptr) {
        if (stream == nullptr || stream->capture == nullptr) {
            if (event->mark != nullptr && !event->mark->reached && stream != nullptr)
                standin_put_wait(stream->number, event->mark);
            return cudaSuccess;
        }
        stream->capture->invalid = stream->capture->invalid || event->mark != nullptr;
        return event->mark != nullptr ? standin_error(cudaErrorStreamCaptureIsolation) : cudaSuccess;
    }
    if (stream == nullptr || (stream->capture != nullptr && stream->capture != event->capture))
        return standin_error(cudaErrorStreamCaptureImplicit);
    if (stream->capture == nullptr) {
        stream->capture = event->capture;
        event->capture->members.push_back(stream);
    }
    stream->joined = false;
    event->stream->joined = true;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (stream == nullptr)
        return standin_error(cudaErrorStreamCaptureUnsupported);
    if (stream->capture != nullptr)
        return standin_error(cudaErrorIllegalState);
    stream->capture.reset(new standin_capture());
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->graph.reset(new CUgraph_st());
    stream_thread_capture = stream->capture.get();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    *graph = nullptr;
    if (stream == nullptr || stream->capture == nullptr)
        return standin_error(cudaErrorIllegalState);
    std::shared_ptr<standin_capture> capture = stream->capture;
    if (capture->origin != stream)
        return standin_error(cudaErrorStreamCaptureUnmatched);
    bool unjoined = false;
    for (struct CUstream_st *member : capture->members) {
        unjoined = unjoined || !member->joined;
        member->capture = nullptr;
    }
    stream->capture = nullptr;
    stream_thread_capture = nullptr;
    if (capture->invalid)
        return standin_error(cudaErrorStreamCaptureInvalidated);
    if (unjoined)
        return standin_error(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st(*capture->graph);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new CUgraphExec_st{graph->work};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    if (!standin_device_suits(stream))
        return standin_error(cudaErrorInvalidResourceHandle);
    standin_count("graph", false);
    for (const standin_work &work : exec->work) {
        cudaError_t result = stream_submit(stream, work, true);
        if (result != cudaSuccess)
            return result;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}
