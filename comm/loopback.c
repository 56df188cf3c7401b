/* SPDX-License-Identifier: MIT
 *
 * The communicator of a job with one rank: every collective is already done when it is called. It exists so
 * that one rank takes the same path through the program as many, without MPI.
 */
#include "comm/comm.h"

#include <string.h>

#include "base/alloc.h"
#include "comm/host.h"

static void loopback_destroy(struct comm *c)
{
    alloc_free(c);
}

static enum muster_status loopback_barrier(struct comm *c, struct muster_error *err)
{
    (void)c, (void)err;
    return MUSTER_OK;
}

static enum muster_status loopback_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                             struct muster_error *err)
{
    (void)c, (void)data, (void)bytes, (void)root, (void)err;
    return MUSTER_OK;
}

static enum muster_status loopback_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                              struct muster_error *err)
{
    (void)c, (void)all, (void)counts_bytes, (void)err;
    return MUSTER_OK;
}

static enum muster_status loopback_exchange(struct comm *c, const void *const *send,
                                            const int64_t *send_bytes, void *const *receive,
                                            const int64_t *receive_bytes, struct muster_error *err)
{
    (void)c, (void)send, (void)send_bytes, (void)receive, (void)receive_bytes, (void)err;
    return MUSTER_OK;
}

static enum muster_status loopback_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                                      float *mine, struct muster_error *err)
{
    (void)c, (void)err;
    if (mine != data && counts[0] > 0)
        memmove(mine, data, (size_t)counts[0] * sizeof(float));
    return MUSTER_OK;
}

static enum muster_status loopback_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                                  struct muster_error *err)
{
    (void)c, (void)data, (void)count, (void)err;
    return MUSTER_OK;
}

static const char *loopback_transport(struct comm *c)
{
    (void)c;
    return "none";
}

/* There is nobody else to end; the caller goes on to its own exit. */
static void loopback_abort(struct comm *c, int exit_code)
{
    (void)c, (void)exit_code;
}

static const struct comm_ops loopback_ops = {
    .name = "loopback",
    .destroy = loopback_destroy,
    .barrier = loopback_barrier,
    .broadcast = loopback_broadcast,
    .all_gather = loopback_all_gather,
    .exchange = loopback_exchange,
    .reduce_scatter_f32 = loopback_reduce_scatter_f32,
    .all_reduce_f32 = loopback_all_reduce_f32,
    .begin_after = comm_host_order,
    .end_before = comm_host_order,
    .transport = loopback_transport,
    .abort = loopback_abort,
};

enum muster_status comm_loopback_create(struct comm **out, struct muster_error *err)
{
    *out = NULL;
    struct comm *c = alloc_zeroed(1, sizeof(*c));
    if (!c)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator");
    *c = (struct comm){.ops = &loopback_ops, .size = 1, .node_count = 1, .local_size = 1};
    *out = c;
    return MUSTER_OK;
}
