/* SPDX-License-Identifier: MIT
 *
 * How a communicator on NCCL comes to be. Every stage ends with a word from every rank over the bootstrap
 * communicator, so that all ranks go on or none does, and the one that failed is named by all. Before NCCL is
 * asked at all, the ranks compare their GPUs: two ranks on one GPU is the commonest mistake of a launch, and
 * what NCCL says of it does not name them.
 */
#include "comm/nccl_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "comm/nccl_log.h"

/* The highest there is: lower numbers come first, and the runtime clamps them. */
enum { STREAM_PRIORITY = -100 };

/* Set-up waits for nobody's computation; who cannot be reached by then will not be, and who watches the ranks
 * from outside has not lost patience yet. */
enum { SETUP_WAIT_MS = 300000 };

/* What each rank tells all others. */
struct report {
    int32_t status;       /* enum muster_status */
    int32_t others_fault; /* the failure is another rank's doing */
    int32_t log_was_read;
    char uuid[64], host[64];
    char text[512]; /* of the error */
    struct nccl_transport transport;
};

struct setup {
    struct comm_nccl *n;
    struct report *reports; /* [size] */
    int64_t *counts;        /* [size], each the size of a report */
    struct nccl_log log;
};

/* Of rank 0 to all; a failure travels too, for the others wait. */
struct id_message {
    int32_t status;
    char text[512];
    ncclUniqueId id;
};

static void text_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%.*s", (int)size - 1, text);
}

static enum muster_status cuda_step(const struct comm_nccl *n, const char *call, cudaError_t result,
                                    struct muster_error *err)
{
    if (result == cudaSuccess)
        return MUSTER_OK;
    return muster_error_set(err, result == cudaErrorMemoryAllocation ? MUSTER_ERR_NO_MEMORY : MUSTER_ERR_PEER,
                            "set-up of NCCL on rank %d: %s: %s", n->base.rank, call,
                            cudaGetErrorString(result));
}

static enum muster_status device_prepare(struct comm_nccl *n, struct muster_error *err)
{
    enum muster_status status = cuda_step(n, "cudaGetDevice", cudaGetDevice(&n->device), err);
    if (status == MUSTER_OK) /* before the computation, whose kernels could fill the GPU: who sends late is
                                waited for */
        status =
            cuda_step(n, "cudaStreamCreateWithPriority",
                      cudaStreamCreateWithPriority(&n->stream, cudaStreamNonBlocking, STREAM_PRIORITY), err);
    if (status == MUSTER_OK)
        status = cuda_step(n, "cudaEventCreateWithFlags",
                           cudaEventCreateWithFlags(&n->event, cudaEventDisableTiming), err);
    for (int i = 0; i < COMM_MARKS && status == MUSTER_OK; i++)
        status = cuda_step(n, "cudaEventCreateWithFlags",
                           cudaEventCreateWithFlags(&n->marks[i], cudaEventDisableTiming), err);
    if (status == MUSTER_OK)
        status = cuda_step(n, "cudaMalloc", cudaMalloc((void **)&n->word, sizeof(*n->word)), err);
    if (status == MUSTER_OK)
        status =
            cuda_step(n, "cudaMemsetAsync", cudaMemsetAsync(n->word, 0, sizeof(*n->word), n->stream), err);
    return status;
}

static enum muster_status local_prepare(struct setup *setup, struct comm *bootstrap,
                                        const struct nccl_options *options, struct muster_error *err)
{
    size_t size = (size_t)bootstrap->size;
    struct comm_nccl *n = setup->n = alloc_zeroed(1, sizeof(*n));
    setup->reports = alloc_zeroed(size, sizeof(*setup->reports));
    setup->counts = alloc_zeroed(size, sizeof(*setup->counts));
    if (n) {
        n->base = *bootstrap;
        n->base.local = NULL; /* device memory is not shared this way */
        n->base.any_thread =
            false; /* the caller's thread orders the streams, by begin_after and end_before */
        n->base.returns_early = true;
        n->base.ops = &comm_nccl_ops;
        n->base.sequence = n->base.bytes_sent = n->base.bytes_across = 0;
        n->bootstrap = bootstrap;
        n->options = *options;
        n->wait_ms = options->timeout_ms < SETUP_WAIT_MS ? options->timeout_ms : SETUP_WAIT_MS;
        n->doing = "set-up";
        pthread_mutex_init(&n->inside, NULL);
    }
    if (!n || !setup->reports || !setup->counts)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator of %d ranks",
                                bootstrap->size);
    for (size_t r = 0; r < size; r++)
        setup->counts[r] = sizeof(*setup->reports);
    if (!options->sum || !options->device_uuid || !*options->device_uuid || options->timeout_ms <= 0)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "NCCL without a sum, a GPU or a time limit");
    return device_prepare(n, err);
}

/* The first word, while a rank may lack the memory for a report. */
static enum muster_status prepared_agree(struct comm *bootstrap, enum muster_status status,
                                         struct muster_error *err)
{
    float failed_count = status == MUSTER_OK ? 0 : 1;
    struct muster_error failure = {0};
    enum muster_status talked = comm_all_reduce_f32(bootstrap, &failed_count, 1, &failure);
    if (status != MUSTER_OK)
        return status;
    if (talked != MUSTER_OK)
        return muster_error_set(err, talked, "%s", failure.text);
    if (failed_count > 0)
        return muster_error_set(
            err, MUSTER_ERR_PEER,
            "set-up of NCCL on rank %d: %d other ranks could not prepare for it; they say "
            "why",
            bootstrap->rank, (int)failed_count);
    return MUSTER_OK;
}

/* The failure of the first rank that did not merely lose another; NULL: there is none. */
static const struct report *failure_find(const struct setup *setup)
{
    const struct report *first = NULL;
    for (int r = setup->n->base.size - 1; r >= 0; r--) {
        const struct report *one = &setup->reports[r];
        if (one->status != MUSTER_OK && (!first || !one->others_fault || first->others_fault))
            first = one;
    }
    return first;
}

/* Everybody's report to everybody; the outcome is a failure when any rank reported one. Only a rank that
 * failed by itself says so with another status than PEER. */
static enum muster_status reports_agree(struct setup *setup, enum muster_status status,
                                        struct muster_error *err)
{
    struct comm *bootstrap = setup->n->bootstrap;
    struct report *mine = &setup->reports[bootstrap->rank];
    struct muster_error failure = {0};
    mine->status = status;
    text_copy(mine->text, sizeof(mine->text), status == MUSTER_OK ? "" : err->text);
    enum muster_status talked = comm_all_gather(bootstrap, setup->reports, setup->counts, &failure);
    if (status == MUSTER_ERR_PEER && !mine->others_fault)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "%s", err->text);
    const struct report *first = talked == MUSTER_OK ? failure_find(setup) : NULL;
    if (status != MUSTER_OK && (!mine->others_fault || !first || first->others_fault))
        return status;
    if (talked != MUSTER_OK)
        return muster_error_set(err, talked, "%s", failure.text);
    if (!first)
        return MUSTER_OK;
    return muster_error_set(err, (enum muster_status)first->status, "rank %d (%s): %s",
                            (int)(first - setup->reports), first->host, first->text);
}

static enum muster_status devices_compare(struct setup *setup, struct muster_error *err)
{
    struct report *mine = &setup->reports[setup->n->base.rank];
    text_copy(mine->uuid, sizeof(mine->uuid), setup->n->options.device_uuid);
    if (gethostname(mine->host, sizeof(mine->host) - 1) != 0)
        text_copy(mine->host, sizeof(mine->host), "unknown host");
    enum muster_status status = reports_agree(setup, MUSTER_OK, err);
    if (status != MUSTER_OK || setup->n->options.allow_shared_device)
        return status;
    for (int r = 0; r < setup->n->base.size; r++)
        for (int s = r + 1; s < setup->n->base.size; s++)
            if (strcmp(setup->reports[r].uuid, setup->reports[s].uuid) == 0)
                return muster_error_set(
                    err, MUSTER_ERR_BAD_INPUT,
                    "rank %d (%s) and rank %d (%s) both run on the GPU %s: each rank needs "
                    "a GPU of its own. Start as many ranks on a host as it has GPUs, and "
                    "let all of them see all of these (CUDA_VISIBLE_DEVICES)",
                    r, setup->reports[r].host, s, setup->reports[s].host, setup->reports[r].uuid);
    return MUSTER_OK;
}

static enum muster_status id_share(struct setup *setup, ncclUniqueId *id, struct muster_error *err)
{
    struct comm *bootstrap = setup->n->bootstrap;
    struct id_message message = {.status = MUSTER_OK};
    if (bootstrap->rank == 0) {
        ncclResult_t result = ncclGetUniqueId(&message.id);
        if (result != ncclSuccess) {
            message.status = MUSTER_ERR_PEER;
            snprintf(message.text, sizeof(message.text), "set-up of NCCL on rank 0: ncclGetUniqueId: %s; %s",
                     ncclGetErrorString(result), ncclGetLastError(NULL));
        }
    }
    enum muster_status status = comm_broadcast(bootstrap, &message, sizeof(message), 0, err);
    if (status != MUSTER_OK)
        return status;
    *id = message.id;
    if (message.status != MUSTER_OK)
        return muster_error_set(err, (enum muster_status)message.status, "%s", message.text);
    return MUSTER_OK;
}

/* NCCL connects the ranks when they first talk: only after a barrier is it known which way. */
static enum muster_status nccl_start(struct setup *setup, ncclUniqueId id, struct muster_error *err)
{
    struct comm_nccl *n = setup->n;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    pthread_mutex_lock(&n->inside);
    ncclResult_t result = ncclCommInitRankConfig(&n->nccl, n->base.size, id, n->base.rank, &config);
    enum muster_status status = comm_nccl_leave(n, "ncclCommInitRankConfig", result, err);
    if (status == MUSTER_OK)
        status = comm_nccl_ops.barrier(&n->base, err);
    if (status != MUSTER_OK)
        comm_nccl_give_up(n); /* or the others wait for this rank as long as they may */
    n->wait_ms = n->options.timeout_ms;
    struct report *mine = &setup->reports[n->base.rank];
    mine->others_fault = n->others_fault;
    mine->log_was_read = nccl_log_read(&setup->log, &mine->transport);
    return status;
}

/* The ways of all ranks together: within a host only some talk to the network. */
static struct nccl_transport transports_join(const struct setup *setup, int *sockets_rank, int *unknown_rank)
{
    struct nccl_transport all = {0};
    *sockets_rank = *unknown_rank = -1;
    for (int r = setup->n->base.size - 1; r >= 0; r--) {
        const struct nccl_transport *one = &setup->reports[r].transport;
        all.peer_to_peer |= one->peer_to_peer;
        all.shared_memory |= one->shared_memory;
        all.sockets |= one->sockets;
        all.infiniband |= one->infiniband;
        all.roce |= one->roce;
        all.gpu_direct |= one->gpu_direct;
        if (one->plugin[0])
            text_copy(all.plugin, sizeof(all.plugin), one->plugin);
        *sockets_rank = one->sockets ? r : *sockets_rank;
        *unknown_rank = setup->reports[r].log_was_read ? *unknown_rank : r;
    }
    return all;
}

static enum muster_status transport_check(struct setup *setup, struct muster_error *err)
{
    struct comm_nccl *n = setup->n;
    int sockets_rank, unknown_rank;
    struct nccl_transport all = transports_join(setup, &sockets_rank, &unknown_rank);
    nccl_transport_describe(&all, n->transport, sizeof(n->transport));
    if (!n->transport[0])
        text_copy(n->transport, sizeof(n->transport), n->base.size == 1 ? "one GPU" : "NCCL");
    if (!n->options.require_infiniband || n->base.size == 1)
        return MUSTER_OK;
    if (sockets_rank >= 0)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "rank %d (%s): NCCL talks over sockets, and the job requires InfiniBand. See "
                                "whether the host's adapter is up (ibstat) and what NCCL_IB_DISABLE, "
                                "NCCL_IB_HCA and NCCL_NET say, or allow sockets in the job",
                                sockets_rank, setup->reports[sockets_rank].host);
    if (unknown_rank >= 0 && n->base.node_count > 1)
        return muster_error_set(
            err, MUSTER_ERR_UNSUPPORTED,
            "rank %d (%s): the job requires InfiniBand, and which way NCCL talks could not "
            "be read from its log. Unset NCCL_DEBUG, NCCL_DEBUG_SUBSYS and "
            "NCCL_DEBUG_FILE, and let TMPDIR name a folder that can be written",
            unknown_rank, setup->reports[unknown_rank].host);
    return MUSTER_OK;
}

static enum muster_status setup_run(struct setup *setup, struct muster_error *err)
{
    ncclUniqueId id;
    enum muster_status status = devices_compare(setup, err);
    if (status != MUSTER_OK)
        return status;
    nccl_log_begin(&setup->log);
    status = id_share(setup, &id, err);
    if (status != MUSTER_OK)
        return status;
    status = reports_agree(setup, nccl_start(setup, id, err), err);
    return status == MUSTER_OK ? transport_check(setup, err) : status;
}

/* What the plug-in shows to the program, by its name. */
enum muster_status muster_nccl_create(struct comm *bootstrap, const struct nccl_options *options,
                                      struct comm **out, struct muster_error *err)
    __attribute__((visibility("default")));

enum muster_status muster_nccl_create(struct comm *bootstrap, const struct nccl_options *options,
                                      struct comm **out, struct muster_error *err)
{
    struct muster_error unwanted;
    struct setup setup = {0};
    err = err ? err : &unwanted;
    *out = NULL;
    enum muster_status status = local_prepare(&setup, bootstrap, options, err);
    status = prepared_agree(bootstrap, status, err);
    if (status == MUSTER_OK)
        status = setup_run(&setup, err);
    nccl_log_end(&setup.log);
    if (status != MUSTER_OK && setup.n) {
        comm_nccl_give_up(setup.n);
        comm_nccl_destroy(&setup.n->base);
    } else if (status == MUSTER_OK) {
        *out = &setup.n->base;
    }
    alloc_free(setup.reports);
    alloc_free(setup.counts);
    return status;
}
