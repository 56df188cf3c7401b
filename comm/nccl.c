/* SPDX-License-Identifier: MIT
 *
 * The collectives on NCCL, on a stream of their own. The communicator is a non-blocking one: a call of NCCL
 * that has to wait says so at once, and the wait is ours, with a deadline, asking ncclCommGetAsyncError each
 * time. When a deadline passes or an error shows, the communicator is good for nothing more.
 *
 * What runs on the GPU cannot be cut short by waiting less: ncclCommAbort ends the kernels. It is left to
 * give_up and destroy, after the failure has been told, because it does not always end itself, and the others
 * take it for a failure of their own. What then waits for the GPU (cudaFree, too) waits for ever, so nothing
 * is released any more.
 *
 * The host waits for the GPU in two calls only, barrier and end_before. A stream of the caller may wait for a
 * mark, hence for a collective that might not end; so end_before comes before the host waits for that stream:
 * one lost rank would stop the others inside cudaStreamSynchronize, where no deadline reaches them. Where a
 * step's ids fill the staging ring, that wait is left to the watchdog.
 *
 * ncclCommAbort wants no thread inside NCCL. Calls come from one thread at a time, but comm_abort may come
 * from a watchdog: `inside` keeps the two apart.
 */
#include "comm/nccl_internal.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"

/* Polls that only yield, about half a millisecond, before the wait starts to sleep in between. */
enum { POLLS_AWAKE = 2000, POLL_SLEEP_NS = 20000 };

/* How long an abort waits for the thread inside NCCL, which comes out after each look; and how long it may
 * take itself (NCCL looks for it twice a second). */
enum { INSIDE_WAIT_MS = 1000, ABORT_WAIT_MS = 5000 };

static struct comm_nccl *nccl_of(struct comm *c)
{
    return (struct comm_nccl *)c;
}

/* One wait: how often it has looked, and until when it may. */
struct poll {
    int64_t deadline_ns;
    int count;
};

static struct poll poll_begin(const struct comm_nccl *n)
{
    return (struct poll){.deadline_ns = clock_monotonic_ns() + (int64_t)n->wait_ms * 1000000};
}

/* Lets others run, outside of NCCL. False when the time is over or NCCL was given up meanwhile. */
static bool poll_again(struct comm_nccl *n, struct poll *poll)
{
    pthread_mutex_unlock(&n->inside);
    if (poll->count++ < POLLS_AWAKE)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = POLL_SLEEP_NS}, NULL);
    pthread_mutex_lock(&n->inside);
    return !n->failed && clock_monotonic_ns() <= poll->deadline_ns;
}

/* Of the clock that pthread's waits go by. */
static struct timespec time_in(int ms)
{
    int64_t until_ms = clock_unix_ms() + ms;
    return (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
}

static void *abort_run(void *nccl)
{
    (void)ncclCommAbort(nccl);
    return NULL;
}

/* On a thread of its own, which is left behind when it does not end. */
static void abort_inside(struct comm_nccl *n)
{
    pthread_t thread;
    struct timespec until = time_in(ABORT_WAIT_MS);
    n->failed = true;
    if (!n->nccl)
        return;
    bool started = pthread_create(&thread, NULL, abort_run, n->nccl) == 0;
    n->nccl = NULL;
    n->hangs = !started || pthread_timedjoin_np(thread, NULL, &until) != 0;
    if (started && n->hangs)
        pthread_detach(thread);
}

/* Leaves the communicator to be given up, and releases it: "all_gather #12 on rank 3: …". */
static enum muster_status fail(struct comm_nccl *n, struct muster_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum muster_status fail(struct comm_nccl *n, struct muster_error *err, const char *format, ...)
{
    char what[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    n->failed = true;
    pthread_mutex_unlock(&n->inside);
    return muster_error_set(err, MUSTER_ERR_PEER, "%s #%lld on rank %d: %s", n->doing,
                            (long long)n->base.sequence, n->base.rank, what);
}

static enum muster_status fail_nccl(struct comm_nccl *n, const char *call, ncclResult_t result,
                                    struct muster_error *err)
{
    const char *last = ncclGetLastError(n->nccl);
    n->others_fault = result == ncclRemoteError;
    return fail(n, err, "%s: %s%s%s", call, ncclGetErrorString(result), last && *last ? "; " : "",
                last ? last : "");
}

static enum muster_status fail_wait(struct comm_nccl *n, const char *call, struct muster_error *err)
{
    if (n->failed)
        return fail(n, err, "%s was stopped, because the job is being ended", call);
    n->others_fault = true;
    return fail(n, err,
                "%s did not end within %d ms: another rank is gone or stands still, or the network is "
                "cut",
                call, n->wait_ms);
}

enum muster_status comm_nccl_enter(struct comm_nccl *n, const char *doing, struct muster_error *err)
{
    pthread_mutex_lock(&n->inside);
    n->doing = doing;
    if (n->failed)
        return fail(n, err, "nothing is sent over NCCL after an earlier failure");
    cudaError_t result = cudaSetDevice(n->device); /* of this thread, which may be a new one */
    if (result != cudaSuccess)
        return comm_nccl_leave_cuda(n, "cudaSetDevice", result, err);
    return MUSTER_OK;
}

/* Waits for a call to be done on the host; `inside` is released only when it failed. */
static enum muster_status call_wait(struct comm_nccl *n, const char *call, ncclResult_t result,
                                    struct muster_error *err)
{
    struct poll poll = poll_begin(n);
    while (result == ncclInProgress) {
        ncclResult_t asked = ncclCommGetAsyncError(n->nccl, &result);
        if (asked != ncclSuccess)
            return fail_nccl(n, "ncclCommGetAsyncError", asked, err);
        if (result == ncclInProgress && !poll_again(n, &poll))
            return fail_wait(n, call, err);
    }
    return result == ncclSuccess ? MUSTER_OK : fail_nccl(n, call, result, err);
}

/* Waits for the stream to be done; `inside` is released only when that failed. */
static enum muster_status stream_wait(struct comm_nccl *n, struct muster_error *err)
{
    struct poll poll = poll_begin(n);
    cudaError_t result = cudaEventRecord(n->event, n->stream);
    if (result != cudaSuccess)
        return comm_nccl_leave_cuda(n, "cudaEventRecord", result, err);
    for (;;) {
        ncclResult_t state;
        ncclResult_t asked = ncclCommGetAsyncError(n->nccl, &state);
        if (asked != ncclSuccess)
            return fail_nccl(n, "ncclCommGetAsyncError", asked, err);
        if (state != ncclSuccess && state != ncclInProgress)
            return fail_nccl(n, "found while waiting for the GPU", state, err);
        result = cudaEventQuery(n->event);
        if (result == cudaSuccess && state == ncclSuccess)
            return MUSTER_OK;
        if (result != cudaSuccess && result != cudaErrorNotReady)
            return comm_nccl_leave_cuda(n, "cudaEventQuery", result, err);
        (void)cudaGetLastError(); /* or the next launch is blamed for a look that came too early */
        if (!poll_again(n, &poll))
            return fail_wait(n, "the work on the GPU", err);
    }
}

enum muster_status comm_nccl_leave(struct comm_nccl *n, const char *call, ncclResult_t result,
                                   struct muster_error *err)
{
    enum muster_status status = call_wait(n, call, result, err);
    if (status == MUSTER_OK)
        pthread_mutex_unlock(&n->inside);
    return status;
}

enum muster_status comm_nccl_leave_idle(struct comm_nccl *n, const char *call, ncclResult_t result,
                                        struct muster_error *err)
{
    enum muster_status status = call_wait(n, call, result, err);
    if (status == MUSTER_OK)
        status = stream_wait(n, err);
    if (status == MUSTER_OK)
        pthread_mutex_unlock(&n->inside);
    return status;
}

enum muster_status comm_nccl_leave_cuda(struct comm_nccl *n, const char *call, cudaError_t result,
                                        struct muster_error *err)
{
    if (result != cudaSuccess)
        return fail(n, err, "%s: %s (%s)", call, cudaGetErrorString(result), cudaGetErrorName(result));
    pthread_mutex_unlock(&n->inside);
    return MUSTER_OK;
}

/* A group of NCCL calls, of which the first that fails is remembered. */
struct group {
    const char *call;
    ncclResult_t result;
    bool open;
};

static struct group group_begin(void)
{
    ncclResult_t result = ncclGroupStart();
    return (struct group){.call = "ncclGroupStart", .result = result, .open = result == ncclSuccess};
}

static bool group_is_well(const struct group *group)
{
    return group->result == ncclSuccess || group->result == ncclInProgress;
}

static void group_note(struct group *group, const char *call, ncclResult_t result)
{
    group->call = call;
    group->result = result;
}

/* Leaves the group also after a failure: NCCL would take every later call for a part of it. */
static enum muster_status group_end(struct comm_nccl *n, struct group *group, struct muster_error *err)
{
    bool was_well = group_is_well(group);
    ncclResult_t end = group->open ? ncclGroupEnd() : ncclSuccess;
    if (was_well)
        group_note(group, "ncclGroupEnd", end);
    return comm_nccl_leave(n, group->call, group->result, err);
}

static enum muster_status nccl_barrier(struct comm *c, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "barrier", err);
    if (status != MUSTER_OK)
        return status;
    ncclResult_t result = ncclAllReduce(n->word, n->word, 1, ncclFloat, ncclSum, n->nccl, n->stream);
    return comm_nccl_leave_idle(n, "ncclAllReduce", result, err);
}

static enum muster_status nccl_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                         struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "broadcast", err);
    if (status != MUSTER_OK)
        return status;
    ncclResult_t result = ncclSuccess;
    if (bytes > 0)
        result = ncclBroadcast(data, data, (size_t)bytes, ncclUint8, root, n->nccl, n->stream);
    return comm_nccl_leave(n, "ncclBroadcast", result, err);
}

static bool counts_are_equal(const struct comm *c, const int64_t *counts)
{
    for (int r = 1; r < c->size; r++)
        if (counts[r] != counts[0])
            return false;
    return true;
}

static int64_t counts_before(const int64_t *counts, int rank)
{
    int64_t total = 0;
    for (int r = 0; r < rank; r++)
        total += counts[r];
    return total;
}

/* Equal blocks in one call; others as a broadcast of each, which NCCL runs side by side. */
static enum muster_status nccl_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                          struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "all_gather", err);
    if (status != MUSTER_OK)
        return status;
    if (counts_are_equal(c, counts_bytes)) {
        ncclResult_t result = ncclSuccess;
        if (counts_bytes[0] > 0)
            result = ncclAllGather((char *)all + c->rank * counts_bytes[0], all, (size_t)counts_bytes[0],
                                   ncclUint8, n->nccl, n->stream);
        return comm_nccl_leave(n, "ncclAllGather", result, err);
    }
    struct group group = group_begin();
    char *block = all;
    for (int r = 0; r < c->size; block += counts_bytes[r++])
        if (counts_bytes[r] > 0 && group_is_well(&group))
            group_note(
                &group, "ncclBroadcast",
                ncclBroadcast(block, block, (size_t)counts_bytes[r], ncclUint8, r, n->nccl, n->stream));
    return group_end(n, &group, err);
}

/* Peers in an order shifted by the rank, so that no rank is everybody's first. */
static enum muster_status nccl_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                        void *const *receive, const int64_t *receive_bytes,
                                        struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "exchange", err);
    if (status != MUSTER_OK)
        return status;
    struct group group = group_begin();
    for (int shift = 1; shift < c->size; shift++) {
        int to = (c->rank + shift) % c->size, from = (c->rank + c->size - shift) % c->size;
        if (send_bytes[to] > 0 && group_is_well(&group))
            group_note(&group, "ncclSend",
                       ncclSend(send[to], (size_t)send_bytes[to], ncclUint8, to, n->nccl, n->stream));
        if (receive_bytes[from] > 0 && group_is_well(&group))
            group_note(
                &group, "ncclRecv",
                ncclRecv(receive[from], (size_t)receive_bytes[from], ncclUint8, from, n->nccl, n->stream));
    }
    return group_end(n, &group, err);
}

static enum muster_status copy_on_stream(struct comm_nccl *n, float *to, const float *from, int64_t count,
                                         struct muster_error *err)
{
    cudaError_t result =
        cudaMemcpyAsync(to, from, (size_t)count * sizeof(float), cudaMemcpyDefault, n->stream);
    return comm_nccl_leave_cuda(n, "cudaMemcpyAsync", result, err);
}

/* The sum is made in place, in data's block of each rank. */
static enum muster_status nccl_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                                  float *mine, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    float *block = data, *my_block = data + counts_before(counts, c->rank);
    enum muster_status status = comm_nccl_enter(n, "reduce_scatter", err);
    if (status != MUSTER_OK)
        return status;
    if (counts_are_equal(c, counts)) {
        ncclResult_t result = ncclSuccess;
        if (counts[0] > 0)
            result =
                ncclReduceScatter(data, my_block, (size_t)counts[0], ncclFloat, ncclSum, n->nccl, n->stream);
        status = comm_nccl_leave(n, "ncclReduceScatter", result, err);
    } else {
        struct group group = group_begin();
        for (int r = 0; r < c->size; block += counts[r++])
            if (counts[r] > 0 && group_is_well(&group))
                group_note(
                    &group, "ncclReduce",
                    ncclReduce(block, block, (size_t)counts[r], ncclFloat, ncclSum, r, n->nccl, n->stream));
        status = group_end(n, &group, err);
    }
    if (status != MUSTER_OK || mine == my_block || counts[c->rank] == 0)
        return status;
    status = comm_nccl_enter(n, "reduce_scatter", err);
    return status != MUSTER_OK ? status : copy_on_stream(n, mine, my_block, counts[c->rank], err);
}

static enum muster_status nccl_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                              struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "all_reduce", err);
    if (status != MUSTER_OK)
        return status;
    ncclResult_t result = ncclSuccess;
    if (count > 0)
        result = ncclAllReduce(data, data, (size_t)count, ncclFloat, ncclSum, n->nccl, n->stream);
    return comm_nccl_leave(n, "ncclAllReduce", result, err);
}

static enum muster_status nccl_begin_after(struct comm *c, void *stream, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "wait for the computation before collective", err);
    if (status != MUSTER_OK)
        return status;
    cudaError_t result = cudaEventRecord(n->event, stream);
    if (result != cudaSuccess)
        return comm_nccl_leave_cuda(n, "cudaEventRecord", result, err);
    return comm_nccl_leave_cuda(n, "cudaStreamWaitEvent", cudaStreamWaitEvent(n->stream, n->event, 0), err);
}

/* All is done when this returns, hence also for `stream`. */
static enum muster_status nccl_end_before(struct comm *c, void *stream, struct muster_error *err)
{
    (void)stream;
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "wait for the end of collective", err);
    return status != MUSTER_OK ? status : comm_nccl_leave_idle(n, "", ncclSuccess, err);
}

static enum muster_status nccl_mark(struct comm *c, int mark, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "mark after collective", err);
    if (status != MUSTER_OK)
        return status;
    return comm_nccl_leave_cuda(n, "cudaEventRecord", cudaEventRecord(n->marks[mark], n->stream), err);
}

static enum muster_status nccl_wait_mark(struct comm *c, void *stream, int mark, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "wait for a mark after collective", err);
    if (status != MUSTER_OK)
        return status;
    return comm_nccl_leave_cuda(n, "cudaStreamWaitEvent", cudaStreamWaitEvent(stream, n->marks[mark], 0),
                                err);
}

static enum muster_status nccl_sum_f32(struct comm *c, float *out, const struct tree_terms *terms,
                                       int64_t count, struct muster_error *err)
{
    struct comm_nccl *n = nccl_of(c);
    enum muster_status status = comm_nccl_enter(n, "sum after collective", err);
    if (status != MUSTER_OK)
        return status;
    pthread_mutex_unlock(&n->inside);
    return n->options.sum(n->stream, out, terms, count, err);
}

static const char *nccl_transport(struct comm *c)
{
    return nccl_of(c)->transport;
}

void comm_nccl_give_up(struct comm_nccl *n)
{
    struct timespec until = time_in(INSIDE_WAIT_MS);
    if (pthread_mutex_timedlock(&n->inside, &until) != 0)
        return;
    abort_inside(n);
    pthread_mutex_unlock(&n->inside);
}

static void nccl_give_up(struct comm *c)
{
    comm_nccl_give_up(nccl_of(c));
}

static void nccl_abort(struct comm *c, int exit_code)
{
    comm_nccl_give_up(nccl_of(c));
    comm_abort(nccl_of(c)->bootstrap, exit_code);
}

/* Ends NCCL in an orderly way, which takes all ranks of a host, unless that fails or takes too long. */
static void nccl_end(struct comm_nccl *n)
{
    if (comm_nccl_enter(n, "end of communication after collective", NULL) != MUSTER_OK)
        return;
    if (call_wait(n, "ncclCommFinalize", ncclCommFinalize(n->nccl), NULL) != MUSTER_OK)
        return;
    (void)ncclCommDestroy(n->nccl);
    n->nccl = NULL;
    pthread_mutex_unlock(&n->inside);
}

void comm_nccl_destroy(struct comm *c)
{
    struct comm_nccl *n = nccl_of(c);
    if (n->nccl)
        nccl_end(n);
    comm_nccl_give_up(n);
    if (n->nccl || n->hangs)
        return; /* to the end of the process */
    if (n->word)
        cudaFree(n->word);
    if (n->event)
        cudaEventDestroy(n->event);
    for (int i = 0; i < COMM_MARKS; i++)
        if (n->marks[i])
            cudaEventDestroy(n->marks[i]);
    if (n->stream)
        cudaStreamDestroy(n->stream);
    pthread_mutex_destroy(&n->inside);
    alloc_free(n);
}

const struct comm_ops comm_nccl_ops = {
    .name = "nccl",
    .destroy = comm_nccl_destroy,
    .barrier = nccl_barrier,
    .broadcast = nccl_broadcast,
    .all_gather = nccl_all_gather,
    .exchange = nccl_exchange,
    .reduce_scatter_f32 = nccl_reduce_scatter_f32,
    .all_reduce_f32 = nccl_all_reduce_f32,
    .begin_after = nccl_begin_after,
    .end_before = nccl_end_before,
    .mark = nccl_mark,
    .wait_mark = nccl_wait_mark,
    .sum_f32 = nccl_sum_f32,
    .transport = nccl_transport,
    .give_up = nccl_give_up,
    .abort = nccl_abort,
};
