/* SPDX-License-Identifier: MIT
 *
 * The thin layer every collective passes: it numbers the call, refuses arguments no transport should have to
 * look at, and counts what is sent. Transports may rely on what is checked here.
 */
#include "comm/comm.h"

#include "comm/local.h"

static enum muster_status argument_error(const struct comm *c, const char *what, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "collective #%lld on rank %d: %s",
                            (long long)c->sequence, c->rank, what);
}

static bool counts_are_valid(const struct comm *c, const int64_t *counts)
{
    for (int r = 0; r < c->size; r++)
        if (counts[r] < 0)
            return false;
    return true;
}

void comm_destroy(struct comm *c)
{
    if (c)
        c->ops->destroy(c);
}

void comm_give_up(struct comm *c)
{
    if (c && c->ops->give_up)
        c->ops->give_up(c);
}

void comm_timeout_set(struct comm *c, int64_t timeout_ms)
{
    c->timeout_ms = timeout_ms;
}

enum muster_status comm_barrier(struct comm *c, struct muster_error *err)
{
    c->sequence++;
    return c->ops->barrier(c, err);
}

enum muster_status comm_local_barrier(struct comm *c, struct muster_error *err)
{
    c->sequence++;
    return c->local_size > 1 ? c->ops->local_barrier(c, err) : MUSTER_OK;
}

enum muster_status comm_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                  struct muster_error *err)
{
    c->sequence++;
    if (bytes < 0 || (bytes > 0 && !data) || root < 0 || root >= c->size)
        return argument_error(c, "broadcast of no data, a negative size or from no rank", err);
    return c->ops->broadcast(c, data, bytes, root, err);
}

enum muster_status comm_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                   struct muster_error *err)
{
    c->sequence++;
    if (!counts_are_valid(c, counts_bytes))
        return argument_error(c, "all_gather with a negative count", err);
    c->bytes_sent += counts_bytes[c->rank] * (c->size - 1);
    return c->ops->all_gather(c, all, counts_bytes, err);
}

enum muster_status comm_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                 void *const *receive, const int64_t *receive_bytes, struct muster_error *err)
{
    c->sequence++;
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank)
            continue;
        if (send_bytes[r] < 0 || receive_bytes[r] < 0 || (send_bytes[r] > 0 && !send[r]) ||
            (receive_bytes[r] > 0 && !receive[r]))
            return argument_error(c, "exchange with a negative size or a block that is nowhere", err);
        c->bytes_sent += send_bytes[r];
        if (c->node_of && c->node_of[r] != c->node)
            c->bytes_across += send_bytes[r];
    }
    return c->ops->exchange(c, send, send_bytes, receive, receive_bytes, err);
}

enum muster_status comm_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts, float *mine,
                                           struct muster_error *err)
{
    c->sequence++;
    if (!counts_are_valid(c, counts) || (counts[c->rank] > 0 && !mine))
        return argument_error(c, "reduce_scatter with a negative count or nowhere to put the sum", err);
    return c->ops->reduce_scatter_f32(c, data, counts, mine, err);
}

enum muster_status comm_all_reduce_f32(struct comm *c, float *data, int64_t count, struct muster_error *err)
{
    c->sequence++;
    if (count < 0 || (count > 0 && !data))
        return argument_error(c, "all_reduce of no data or a negative count", err);
    return c->ops->all_reduce_f32(c, data, count, err);
}

enum muster_status comm_begin_after(struct comm *c, void *stream, struct muster_error *err)
{
    return c->ops->begin_after(c, stream, err);
}

enum muster_status comm_end_before(struct comm *c, void *stream, struct muster_error *err)
{
    return c->ops->end_before(c, stream, err);
}

const char *comm_transport(struct comm *c)
{
    return c->ops->transport(c);
}

void comm_abort(struct comm *c, int exit_code)
{
    c->ops->abort(c, exit_code);
}
