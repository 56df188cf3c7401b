/* SPDX-License-Identifier: MIT
 *
 * The ranks show each other what they found before anybody decides, so that they decide alike and a rank
 * without a GPU is named instead of waited for.
 */
#include "worker/device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "comm/nccl.h"
#include "worker/device/placement.h"

enum { DEVICE_STAGING_BYTES = 4 << 20, DEVICE_REASON_MAX = 256 };

/* What a rank tells the others. */
struct device_card {
    int found, may_share;
    char host[64], uuid[48], bus[32];
    char reason[DEVICE_REASON_MAX]; /* why none was found */
    char cores[PLACEMENT_TEXT];     /* near the GPU; "" where the machine does not say */
};

static bool device_may_share(void)
{
    const char *text = getenv("MUSTER_SHARE_GPU");
    return text && strcmp(text, "1") == 0;
}

/* Entry `local_rank` of a list that job_rules.c has checked; -1 when it is shorter. */
static int device_listed(const char *gpus, int local_rank)
{
    for (int i = 0; i < local_rank && gpus; i++) {
        gpus = strchr(gpus, ',');
        gpus = gpus ? gpus + 1 : NULL;
    }
    return gpus ? atoi(gpus) : -1;
}

/* The GPU of this rank among `count` visible ones. */
static enum muster_status device_pick(struct device *device, const struct job *job, const struct comm *comm,
                                      int count, struct muster_error *err)
{
    const char *gpus = job->parallel.gpus;
    bool listed = strcmp(gpus, "local") != 0;
    device->index = listed ? device_listed(gpus, comm->local_rank) : count == 1 ? 0 : comm->local_rank;
    if (listed && (device->index < 0 || device->index >= count))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "parallel.gpus: %s names no GPU of this host's %d for its rank %d", gpus,
                                count, comm->local_rank);
    if (device->shared)
        device->index = comm->local_rank % count;
    if (device->index >= count)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%d ranks on this host, but it has %d GPUs",
                                comm->local_size, count);
    return device->plugin->device_info(device->index, &device->info, err);
}

static void device_look(struct device *device, const struct job *job, const struct comm *comm,
                        struct device_card *card)
{
    struct muster_error err = {0};
    int count = 0;
    enum muster_status status = cuda_plugin_open(&device->plugin, &err);
    if (!status)
        status = device->plugin->device_count(&count, &err);
    if (!status && count == 0)
        status = muster_error_set(&err, MUSTER_ERR_UNSUPPORTED, "the driver shows no GPU");
    if (!status)
        status = device_pick(device, job, comm, count, &err);
    card->found = status == MUSTER_OK;
    snprintf(card->reason, sizeof card->reason, "%.*s", DEVICE_REASON_MAX - 1, status ? err.text : "");
    snprintf(card->uuid, sizeof card->uuid, "%s", device->info.uuid);
    snprintf(card->bus, sizeof card->bus, "%s", device->info.pci_bus_id);
    card->may_share = device->shared;
}

/* Where the cores near the GPU are not known, the run goes on as the launcher placed it. */
static void device_place(const struct device *device, struct placement **placement, char *cores)
{
    struct muster_error err = {0};
    enum muster_status status = placement_create(NULL, placement, &err);
    if (!status)
        status = placement_near(*placement, device->info.pci_bus_id, cores, &err);
    if (status) {
        log_info("no cores are kept for the GPU: %s", err.text);
        placement_destroy(*placement);
        *placement = NULL;
    }
}

/* This rank's share of the cores that it and others of the host are near to. */
static void device_bind(const struct placement *placement, const struct device_card *cards,
                        const struct comm *comm)
{
    const struct device_card *mine = &cards[comm->rank];
    int part = 0, parts = 0;
    for (int rank = 0; rank < comm->size; rank++) {
        if (strcmp(cards[rank].host, mine->host) != 0 || strcmp(cards[rank].cores, mine->cores) != 0)
            continue;
        part += rank < comm->rank;
        parts++;
    }
    struct muster_error err = {0};
    char cores[PLACEMENT_TEXT];
    bool bound = false;
    enum muster_status status = placement_share(placement, mine->cores, part, parts, cores, &err);
    if (!status)
        status = placement_bind(placement, cores, &bound, &err);
    if (status)
        log_warn("%s", err.text);
    else
        log_info("cores near GPU %s: %s%s", mine->uuid, cores,
                 bound ? "" : ", not taken: the launcher bound this rank");
}

/* Sets `shared` and `split`, alike on all ranks. */
static enum muster_status device_compare(const struct device_card *cards, int count, struct device *device,
                                         struct muster_error *err)
{
    device->shared = device->split = false;
    for (int b = 1; b < count; b++)
        for (int a = 0; a < b; a++) {
            bool same = strcmp(cards[a].uuid, cards[b].uuid) == 0;
            if (strcmp(cards[a].host, cards[b].host) != 0)
                continue;
            if (same && !(cards[a].may_share && cards[b].may_share))
                return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                        "ranks %d and %d on %s have the same GPU, %s: start one rank per GPU",
                                        a, b, cards[a].host, cards[a].uuid);
            device->shared |= same;
            device->split |= !same && strcmp(cards[a].bus, cards[b].bus) == 0;
        }
    if (device->shared)
        log_warn("ranks share a GPU, as MUSTER_SHARE_GPU=1 has it, and pose as hosts of their own: for "
                 "tests only");
    return MUSTER_OK;
}

/* The same verdict on every rank. */
static enum muster_status device_judge(const struct job *job, const struct device_card *cards, int count,
                                       bool *on_gpu, struct muster_error *err)
{
    int found = 0, without = -1;
    for (int rank = count - 1; rank >= 0; rank--) {
        found += cards[rank].found;
        without = cards[rank].found ? without : rank;
    }
    *on_gpu = found == count;
    if (*on_gpu || (found == 0 && job->device == JOB_DEVICE_AUTO))
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "device: %s: rank %d on %s has no GPU (%s)%s",
                            job->device == JOB_DEVICE_AUTO ? "auto" : "cuda", without, cards[without].host,
                            cards[without].reason,
                            found > 0 ? "; others have: give each rank one, or say device: cpu" : "");
}

/* A job that may take CPUs, but computes in what only a GPU has. */
static enum muster_status device_judge_precision(const struct job *job, const struct device_card *first,
                                                 struct muster_error *err)
{
    struct text where;
    if (job->train.precision != JOB_PRECISION_FP16)
        return MUSTER_OK;
    text_init(&where);
    job_spot_print(job, job->spots.precision, &where);
    enum muster_status status = muster_error_set(
        err, MUSTER_ERR_BAD_INPUT,
        "%.500strain.precision: fp16 needs a GPU, and none was found (rank 0 on %s: %s): say bf16, "
        "which CPUs compute in too, or start it where the GPUs are",
        where.data, first->host, first->reason);
    text_release(&where);
    return status;
}

enum muster_status device_choose(const struct job *job, struct comm *comm, struct device *device,
                                 struct muster_error *err)
{
    *device = (struct device){.shared = device_may_share()};
    if (job->device == JOB_DEVICE_CPU)
        return MUSTER_OK;
    struct device_card *cards = alloc_zeroed((size_t)comm->size, sizeof *cards);
    int64_t *bytes = alloc_zeroed((size_t)comm->size, sizeof *bytes);
    enum muster_status status = MUSTER_OK;
    struct placement *placement = NULL;
    bool on_gpu = false;
    if (!cards || !bytes) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare devices");
        goto out;
    }
    for (int rank = 0; rank < comm->size; rank++)
        bytes[rank] = (int64_t)sizeof *cards;
    gethostname(cards[comm->rank].host, sizeof cards->host - 1);
    device_look(device, job, comm, &cards[comm->rank]);
    if (cards[comm->rank].found && job->parallel.bind_near_gpu)
        device_place(device, &placement, cards[comm->rank].cores);
    status = comm_all_gather(comm, cards, bytes, err);
    if (!status)
        status = device_judge(job, cards, comm->size, &on_gpu, err);
    if (!status && on_gpu)
        status = device_compare(cards, comm->size, device, err);
    if (!status && !on_gpu)
        status = device_judge_precision(job, &cards[0], err);
    err->agreed = status == MUSTER_ERR_BAD_INPUT; /* all have judged the same cards */
    if (!status && on_gpu && placement)
        device_bind(placement, cards, comm);
    if (!on_gpu)
        device->plugin = NULL;
out:
    placement_destroy(placement);
    alloc_free(cards);
    alloc_free(bytes);
    return status;
}

static void device_warn(const char *text)
{
    log_warn("%s", text);
}

enum muster_status device_kernels_create(const struct device *device, const struct job *job, int threads,
                                         const char *instruction_set, struct kernels **out,
                                         struct muster_error *err)
{
    if (!device->plugin)
        return kernels_cpu_create(threads, instruction_set, NULL, 0, out, err);
    struct cuda_kernels_options options = {
        .device = device->index, .allow_tf32 = job->train.allow_tf32, .warn = device_warn};
    return device->plugin->kernels_create(&options, out, err);
}

static enum muster_status device_to_host(void *context, void *host, const void *device, int64_t bytes,
                                         struct muster_error *err)
{
    return kernels_copy_to_host(context, host, device, bytes, err);
}

static enum muster_status device_from_host(void *context, void *device, const void *host, int64_t bytes,
                                           struct muster_error *err)
{
    return kernels_copy_to_device(context, device, host, bytes, err);
}

/* Each rank pretends to be a host of its own: NCCL then talks over the network, on one host the loopback. */
static void device_share_prepare(const struct comm *comm)
{
    char id[32];
    snprintf(id, sizeof id, "muster-rank-%d", comm->rank);
    setenv("NCCL_HOSTID", id, 1);
    setenv("NCCL_NET", "Socket", 0);
    if (comm->node_count == 1)
        setenv("NCCL_SOCKET_IFNAME", "lo", 0);
    setenv("NCCL_IB_DISABLE", "1", 0);
    setenv("NCCL_MNNVL_ENABLE", "0", 0);
    setenv("NCCL_RAS_ENABLE", "0", 0);
}

static enum muster_status device_comm_nccl(const struct device *device, const struct job *job,
                                           struct comm *host, struct comm **out, struct muster_error *err)
{
    nccl_create_function create = NULL;
    *(void **)&create = cuda_plugin_symbol("muster_nccl_create");
    if (!create)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "comm.backend: nccl: the CUDA plug-in was built without NCCL");
    if (device->split)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "comm.backend: nccl: ranks have parts of one GPU (MIG), which NCCL does not "
                                "join: let comm.backend be mpi, or start one rank per GPU");
    if (device->shared)
        device_share_prepare(host);
    struct nccl_options options = {
        .device_uuid = device->info.uuid,
        .allow_shared_device = device->shared,
        .require_infiniband = job->comm.require == JOB_REQUIRE_IB,
        .timeout_ms = (int)job->comm.timeout_s * 1000,
        .sum = device->plugin->sum_on_stream,
    };
    return create(host, &options, out, err);
}

enum muster_status device_comm_create(const struct device *device, const struct job *job, struct comm *host,
                                      struct kernels *kernels, struct comm **out, struct muster_error *err)
{
    *out = NULL;
    if (!device->plugin)
        return MUSTER_OK;
    bool suits = host->size > 1 && !device->split && cuda_plugin_symbol("muster_nccl_create") != NULL;
    if (job->comm.backend == JOB_COMM_NCCL || (job->comm.backend == JOB_COMM_AUTO && suits))
        return device_comm_nccl(device, job, host, out, err);
    struct comm_device memory = {
        .context = kernels,
        .copy_to_host = device_to_host,
        .copy_to_device = device_from_host,
        .stream = kernels_stream(kernels),
        .sum = device->plugin->sum_on_stream,
    };
    return comm_staged_create(host, &memory, DEVICE_STAGING_BYTES, out, err);
}
