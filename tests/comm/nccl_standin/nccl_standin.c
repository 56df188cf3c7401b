/* SPDX-License-Identifier: MIT
 *
 * See nccl_standin.h. Everything is messages between pairs on MPI_COMM_WORLD, which nobody else here sends
 * on: unlike MPI's own collectives they can be left behind when a communicator is aborted. Tags keep
 * communicators and collectives apart.
 */
#include "tests/comm/nccl_standin/nccl_standin.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/comm/nccl_standin/nccl_fault.h"
#include "tests/cuda/emulation/cudart_standin.h"

enum { TAGS_EACH = 1 << 14, TAG_FAULT = 0, TAG_PAIR = 1, TAG_FIRST = 2, IDS_MAX = 1 << 16 };

/* nccl.h declares these two without a prototype. */
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

/* One message: MPI sees host memory, so device memory is copied from and to it, by the CUDA runtime. */
struct message {
    char *host;
    void *to;         /* what a received message is copied to at the end, or NULL */
    const void *from; /* what a sent message is a copy of, or NULL */
    size_t bytes;
};

/* Messages under way, and what to do when all have come. */
struct work {
    struct work *next;
    cudaStream_t stream;
    MPI_Request *requests; /* receives, then sends */
    struct message *messages;
    int request_count, receive_count;
    float *parts; /* [size][count] to be summed into `sum`, or NULL */
    float *sum;
    size_t count;
};

struct ncclComm {
    int rank, size, id;
    int collective_count;
    bool hangs, peer_failed, ready;
    void *pairs;        /* the buffers of pairs that talked */
    ncclResult_t state; /* what ncclCommGetAsyncError reports when it is an error */
    int *pids;          /* [size] the ranks' processes, 0 until they have met */
    struct work *works;
};

static int live_count;
static int64_t jump_ns;
static int group_depth;
static ncclComm_t group_comm;

int64_t nccl_standin_jump_ns(void)
{
    return jump_ns;
}

int nccl_standin_live_count(void)
{
    return live_count;
}

static void *memory(size_t bytes)
{
    void *block = calloc(1, bytes + 1);
    if (!block)
        abort();
    return block;
}

static int tag_of(int id, int what)
{
    return id * TAGS_EACH + what;
}

static void fault_announce(int id, int rank, int size)
{
    for (int r = 0; r < size; r++)
        if (r != rank)
            MPI_Send(NULL, 0, MPI_BYTE, r, tag_of(id, TAG_FAULT), MPI_COMM_WORLD);
}

/* True when the call is to return `*result` at once, without doing anything. */
static bool fault_strikes(ncclComm_t comm, const char *call, ncclResult_t *result)
{
    struct fault fault = fault_take(call);
    if (fault.kind == FAULT_NONE)
        return false;
    fault_announce(comm->id, comm->rank, comm->size);
    comm->hangs = fault.kind == FAULT_HANG;
    comm->peer_failed |= comm->hangs;
    if (fault.kind == FAULT_ASYNC || fault.kind == FAULT_LATE)
        comm->state = fault.result;
    *result = fault.kind == FAULT_RETURN ? fault.result
              : fault.kind == FAULT_LATE ? ncclSuccess
                                         : ncclInProgress;
    return true;
}

static void copy(void *to, const void *from, size_t bytes, cudaStream_t stream)
{
    cudaError_t result = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
    if (result == cudaSuccess)
        return;
    fprintf(stderr, "stand-in for NCCL: a copy of %zu bytes: %s\n", bytes, cudaGetErrorString(result));
    abort();
}

static struct work *work_begin(ncclComm_t comm, int requests_max, cudaStream_t stream)
{
    struct work *work = memory(sizeof(*work)), **end = &comm->works;
    work->stream = stream;
    work->requests = memory((size_t)requests_max * sizeof(*work->requests));
    work->messages = memory((size_t)requests_max * sizeof(*work->messages));
    while (*end)
        end = &(*end)->next;
    return *end = work;
}

/* Sends come after all receives. With `host` given it is received there and left there. */
static void work_receive(struct work *work, void *data, char *host, size_t bytes, int from, int tag)
{
    int at = work->request_count++;
    work->messages[at] = (struct message){host ? NULL : memory(bytes), data, NULL, bytes};
    MPI_Irecv(host ? host : work->messages[at].host, (int)bytes, MPI_BYTE, from, tag, MPI_COMM_WORLD,
              &work->requests[at]);
    work->receive_count++;
}

static void work_send(struct work *work, const void *data, size_t bytes, int to, int tag)
{
    int at = work->request_count++;
    work->messages[at] = (struct message){memory(bytes), NULL, data, bytes};
    copy(work->messages[at].host, data, bytes, work->stream);
    MPI_Isend(work->messages[at].host, (int)bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, &work->requests[at]);
}

static void work_free(struct work *work)
{
    for (int i = 0; i < work->request_count; i++)
        free(work->messages[i].host);
    free(work->messages);
    free(work->requests);
    free(work->parts);
    free(work);
}

/* The end of a sent message on its stream: until then NCCL may read the memory. */
static void sent_check(void *data)
{
    struct message *message = data;
    if (memcmp(message->host, message->from, message->bytes) != 0) {
        fprintf(stderr, "stand-in for NCCL: %zu bytes were overwritten while they were being sent\n",
                message->bytes);
        abort();
    }
    free(message->host);
}

/* Where streams put their work off, memory may be overwritten meanwhile by one that did not wait. */
static void work_check_sent(struct work *work)
{
    for (int i = work->receive_count; i < work->request_count && getenv("MUSTER_STANDIN_DEFER"); i++) {
        struct message *message = &work->messages[i];
        if (message->bytes > 0 &&
            cuda_standin_enqueue(work->stream, sent_check, message, sizeof(*message)) == cudaSuccess)
            message->host = NULL;
    }
}

static void work_finish(const struct ncclComm *comm, struct work *work)
{
    work_check_sent(work);
    for (int i = 0; i < work->receive_count; i++)
        if (work->messages[i].to)
            copy(work->messages[i].to, work->messages[i].host, work->messages[i].bytes, work->stream);
    for (size_t i = 0; work->parts && i < work->count; i++)
        for (int r = 1; r < comm->size; r++)
            work->parts[i] += work->parts[(size_t)r * work->count + i];
    if (work->parts)
        copy(work->sum, work->parts, work->count * sizeof(float), work->stream);
    work_free(work);
}

/* Moves messages on; true when none is left. */
static bool progress(ncclComm_t comm)
{
    int done = 1;
    while (comm->works && done) {
        struct work *work = comm->works;
        if (work->request_count > 0)
            MPI_Testall(work->request_count, work->requests, &done, MPI_STATUSES_IGNORE);
        if (done) {
            comm->works = work->next;
            work_finish(comm, work);
        }
    }
    return !comm->works;
}

static void works_drop(ncclComm_t comm)
{
    while (comm->works) {
        struct work *work = comm->works;
        comm->works = work->next;
        for (int i = 0; i < work->request_count; i++) {
            if (work->requests[i] == MPI_REQUEST_NULL)
                continue;
            if (i < work->receive_count) {
                MPI_Cancel(&work->requests[i]);
                MPI_Wait(&work->requests[i], MPI_STATUS_IGNORE);
            } else {
                MPI_Request_free(&work->requests[i]);
            }
        }
        work_free(work);
    }
}

/* What every collective asks first; true when it must return *result. */
static bool call_refuse(ncclComm_t comm, const char *call, ncclResult_t *result)
{
    *result = ncclSuccess;
    if (!comm)
        *result = ncclInvalidArgument;
    else if (group_depth == 0 && comm->state != ncclSuccess)
        *result = comm->state; /* a communicator in error takes no more calls */
    else if (!comm->ready || (group_depth == 0 && comm->works))
        *result = ncclInvalidUsage;
    if (*result != ncclSuccess)
        return true;
    group_comm = comm;
    return fault_strikes(comm, call, result);
}

static ncclResult_t call_end(ncclComm_t comm)
{
    return group_depth > 0 || progress(comm) ? ncclSuccess : ncclInProgress;
}

static int collective_tag(ncclComm_t comm)
{
    return tag_of(comm->id, TAG_FIRST + comm->collective_count++ % (TAGS_EACH - TAG_FIRST));
}

static size_t type_bytes(ncclDataType_t type)
{
    return type == ncclFloat ? sizeof(float) : type == ncclUint8 ? 1 : 0;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int next;
    struct fault fault = fault_take("ncclGetUniqueId");
    if (fault.kind == FAULT_RETURN)
        return fault.result;
    memset(id, 0, sizeof(*id));
    next = (next + 1) % IDS_MAX;
    memcpy(id->internal, &next, sizeof(next));
    return ncclSuccess;
}

/* Over when all ranks have called; they tell each other their processes. */
static void meeting_post(ncclComm_t comm)
{
    int tag = collective_tag(comm), *mine = &comm->pids[comm->rank];
    struct work *work = work_begin(comm, 2 * comm->size, NULL);
    *mine = getpid();
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank)
            work_receive(work, NULL, (char *)&comm->pids[r], sizeof(*mine), r, tag);
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank)
            work_send(work, mine, sizeof(*mine), r, tag);
}

static bool process_is_over(int pid)
{
    char path[32], stat[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    size_t got = fread(stat, 1, sizeof(stat) - 1, file);
    fclose(file);
    const char *name_end = strrchr(stat, ')');
    return got > 0 && name_end && strncmp(name_end, ") Z", 3) == 0;
}

/* NCCL sees that a connection has ended, long before a launcher does anything. */
static bool peer_is_gone(const struct ncclComm *comm)
{
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank && comm->pids[r] > 0 && process_is_over(comm->pids[r]))
            return true;
    return false;
}

static void log_write_standin(void)
{
    const char *path = getenv("NCCL_DEBUG_FILE"), *text = getenv("MUSTER_NCCL_STANDIN_LOG");
    FILE *file = path && text ? fopen(path, "w") : NULL;
    if (!file)
        return;
    fputs(text, file);
    fclose(file);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    ncclResult_t result = ncclSuccess;
    jump_ns = 0;
    *out = NULL;
    if (!config || config->blocking != 0)
        return ncclInvalidArgument;
    if (group_depth > 0)
        return ncclInvalidUsage;
    ncclComm_t comm = memory(sizeof(*comm));
    *comm = (struct ncclComm){.rank = rank, .size = size};
    memcpy(&comm->id, id.internal, sizeof(comm->id));
    comm->pids = memory((size_t)size * sizeof(*comm->pids));
    if (fault_strikes(comm, "ncclCommInitRankConfig", &result) && result != ncclInProgress &&
        result != ncclSuccess) {
        free(comm->pids);
        free(comm);
        return result;
    }
    live_count++;
    *out = comm;
    comm->ready = true;
    log_write_standin();
    if (comm->hangs || comm->state != ncclSuccess || size == 1)
        return result;
    meeting_post(comm);
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    int arrived = 0;
    *state = ncclSuccess;
    if (!comm)
        return ncclInvalidArgument;
    struct fault fault = fault_take("ncclCommGetAsyncError");
    if (fault.kind == FAULT_RETURN) {
        fault_announce(comm->id, comm->rank, comm->size);
        return fault.result;
    }
    if (comm->size > 1)
        MPI_Iprobe(MPI_ANY_SOURCE, tag_of(comm->id, TAG_FAULT), MPI_COMM_WORLD, &arrived, MPI_STATUS_IGNORE);
    if (arrived) {
        MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, tag_of(comm->id, TAG_FAULT), MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        comm->peer_failed = true;
    }
    if (comm->state != ncclSuccess)
        *state = comm->state;
    else if (comm->hangs || !progress(comm))
        *state = peer_is_gone(comm) ? comm->state = ncclRemoteError : ncclInProgress;
    if (*state == ncclInProgress && comm->peer_failed)
        jump_ns += INT64_C(3600) * 1000000000;
    return ncclSuccess;
}

static void comm_free(ncclComm_t comm)
{
    works_drop(comm);
    if (group_comm == comm)
        group_comm = NULL;
    cudaFree(comm->pairs);
    free(comm->pids);
    free(comm);
    live_count--;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclCommFinalize", &result))
        return result;
    comm->ready = false;
    meeting_post(comm);
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    struct fault fault = fault_take("ncclCommDestroy");
    if (!comm || comm->ready)
        return ncclInvalidArgument; /* not finalized */
    comm_free(comm);
    return fault.result;
}

/* As where the kernel does not see that it is to end: nothing that waits for the device returns any more. */
static void abort_hang(void)
{
    cuda_standin_stick();
    for (;;)
        pause();
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    struct fault fault = fault_take("ncclCommAbort");
    if (!comm)
        return ncclSuccess;
    fault_announce(comm->id, comm->rank, comm->size);
    if (fault.kind == FAULT_HANG)
        abort_hang();
    comm_free(comm);
    return fault.result;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return result >= 0 && result < ncclNumResults ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "said by the stand-in";
}

ncclResult_t ncclGroupStart(void)
{
    struct fault fault = fault_take("ncclGroupStart");
    if (fault.kind == FAULT_RETURN)
        return fault.result;
    group_depth++;
    group_comm = NULL;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    ncclResult_t result;
    ncclComm_t comm = group_comm;
    if (group_depth == 0)
        return ncclInvalidUsage;
    group_depth--;
    if (!comm)
        return ncclSuccess;
    if (fault_strikes(comm, "ncclGroupEnd", &result))
        return result;
    return comm->hangs || comm->state != ncclSuccess || !progress(comm) ? ncclInProgress : ncclSuccess;
}

/* Device memory for pairs, when the first one talks. */
static bool pairs_connect(ncclComm_t comm)
{
    const char *bytes = getenv("MUSTER_NCCL_STANDIN_PAIRS");
    if (!bytes || comm->pairs || cudaMalloc(&comm->pairs, strtoul(bytes, NULL, 10)) == cudaSuccess)
        return true;
    (void)cudaGetLastError();
    comm->pairs = NULL;
    fault_announce(comm->id, comm->rank, comm->size);
    return false;
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclSend", &result))
        return result;
    if (!pairs_connect(comm))
        return ncclUnhandledCudaError;
    work_send(work_begin(comm, 1, stream), data, count * type_bytes(type), peer, tag_of(comm->id, TAG_PAIR));
    return call_end(comm);
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclRecv", &result))
        return result;
    work_receive(work_begin(comm, 1, stream), data, NULL, count * type_bytes(type), peer,
                 tag_of(comm->id, TAG_PAIR));
    return call_end(comm);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result;
    size_t bytes = count * type_bytes(type);
    if (call_refuse(comm, "ncclBroadcast", &result))
        return result;
    int tag = collective_tag(comm);
    struct work *work = work_begin(comm, comm->size, stream);
    if (comm->rank != root)
        work_receive(work, to, NULL, bytes, root, tag);
    for (int r = 0; r < comm->size && comm->rank == root; r++)
        if (r != root)
            work_send(work, from, bytes, r, tag);
    if (comm->rank == root && from != to)
        copy(to, from, bytes, stream);
    return call_end(comm);
}

ncclResult_t ncclAllGather(const void *mine, void *all, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream)
{
    ncclResult_t result;
    size_t bytes = count * type_bytes(type);
    if (call_refuse(comm, "ncclAllGather", &result))
        return result;
    int tag = collective_tag(comm);
    char *block = (char *)all + (size_t)comm->rank * bytes;
    struct work *work = work_begin(comm, 2 * comm->size, stream);
    if (mine != block)
        copy(block, mine, bytes, stream);
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank)
            work_receive(work, (char *)all + (size_t)r * bytes, NULL, bytes, r, tag);
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank)
            work_send(work, block, bytes, r, tag);
    return call_end(comm);
}

/* One sum of `count` floats at `to` on every rank r from first to last; rank r's is of data + r · stride. */
static ncclResult_t sums_post(ncclComm_t comm, const float *data, float *to, size_t count, size_t stride,
                              int first, int last, cudaStream_t stream)
{
    int tag = collective_tag(comm);
    struct work *work = work_begin(comm, 2 * comm->size, stream);
    if (comm->rank >= first && comm->rank <= last) {
        work->parts = memory((size_t)comm->size * count * sizeof(float));
        work->sum = to;
        work->count = count;
        for (int r = 0; r < comm->size; r++)
            if (r != comm->rank)
                work_receive(work, NULL, (char *)(work->parts + (size_t)r * count), count * sizeof(float), r,
                             tag);
        copy(work->parts + (size_t)comm->rank * count, data + (size_t)comm->rank * stride,
             count * sizeof(float), stream);
    }
    for (int r = first; r <= last; r++)
        if (r != comm->rank)
            work_send(work, data + (size_t)r * stride, count * sizeof(float), r, tag);
    return call_end(comm);
}

static bool sum_is_known(ncclDataType_t type, ncclRedOp_t op)
{
    return type == ncclFloat && op == ncclSum;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclAllReduce", &result))
        return result;
    if (!sum_is_known(type, op))
        return ncclInvalidArgument;
    return sums_post(comm, from, to, count, 0, 0, comm->size - 1, stream);
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclReduceScatter", &result))
        return result;
    if (!sum_is_known(type, op))
        return ncclInvalidArgument;
    return sums_post(comm, from, to, count, count, 0, comm->size - 1, stream);
}

ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream)
{
    ncclResult_t result;
    if (call_refuse(comm, "ncclReduce", &result))
        return result;
    if (!sum_is_known(type, op))
        return ncclInvalidArgument;
    return sums_post(comm, from, to, count, 0, root, root, stream);
}
