/* SPDX-License-Identifier: MIT
 *
 * Device memory over a host communicator: every call copies to a host buffer, lets `inner` talk, and copies
 * back, a piece at a time. All is done when a call returns, so nothing is to be ordered. Slow and plain on
 * purpose: it is the judge of the communicators that are fast.
 *
 * One rank copies nothing, so it needs no NCCL.
 *
 * The pieces of a call are one collective of `inner` for its number, however many they are, so that the
 * numbers stay the same on all ranks when the lengths differ.
 */
#include "comm/nccl.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/host.h"

struct comm_staged {
    struct comm base; /* first: the operations cast back */
    struct comm *inner;
    struct comm_device device;
    int64_t buffer_bytes;        /* of each direction, a multiple of 4 · size */
    int64_t block_bytes;         /* buffer_bytes / size: room for one rank's block of a piece */
    char *out, *in;              /* host memory */
    int64_t *counts, *in_counts; /* [size] */
    const void **send;           /* [size] */
    void **receive;              /* [size] */
    char transport[96];
};

static struct comm_staged *staged_of(struct comm *c)
{
    return (struct comm_staged *)c;
}

static int64_t clamp(int64_t left, int64_t max)
{
    return left < 0 ? 0 : left < max ? left : max;
}

static enum muster_status to_host(struct comm_staged *s, void *host, const void *device, int64_t bytes,
                                  struct muster_error *err)
{
    if (bytes == 0)
        return MUSTER_OK;
    return s->device.copy_to_host(s->device.context, host, device, bytes, err);
}

static enum muster_status to_device(struct comm_staged *s, void *device, const void *host, int64_t bytes,
                                    struct muster_error *err)
{
    if (bytes == 0)
        return MUSTER_OK;
    return s->device.copy_to_device(s->device.context, device, host, bytes, err);
}

static enum muster_status staged_barrier(struct comm *c, struct muster_error *err)
{
    return comm_barrier(staged_of(c)->inner, err);
}

static enum muster_status staged_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                           struct muster_error *err)
{
    struct comm_staged *s = staged_of(c);
    enum muster_status status = MUSTER_OK;
    s->inner->sequence++;
    if (c->size == 1)
        return MUSTER_OK;
    for (int64_t at = 0; at < bytes && status == MUSTER_OK; at += s->buffer_bytes) {
        int64_t now = clamp(bytes - at, s->buffer_bytes);
        if (c->rank == root)
            status = to_host(s, s->out, (char *)data + at, now, err);
        if (status == MUSTER_OK)
            status = s->inner->ops->broadcast(s->inner, s->out, now, root, err);
        if (status == MUSTER_OK && c->rank != root)
            status = to_device(s, (char *)data + at, s->out, now, err);
    }
    return status;
}

/* s->counts = what `counts` has left from `at` on, at most block_max of each; returns the longest of
 * `counts`. */
static int64_t counts_cut(struct comm_staged *s, const int64_t *counts, int64_t at, int64_t block_max)
{
    int64_t longest = 0;
    for (int r = 0; r < s->base.size; r++) {
        s->counts[r] = clamp(counts[r] - at, block_max);
        if (counts[r] > longest)
            longest = counts[r];
    }
    return longest;
}

/* Copies the blocks of one piece between the buffer, where they lie one after the other, and the device,
 * where rank r's block begins counts[0] + … + counts[r-1] elements of `width` bytes into `all`. */
static enum muster_status blocks_copy(struct comm_staged *s, bool out, char *all, const int64_t *counts,
                                      int64_t at, int64_t width, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    char *buffer = s->out;
    for (int r = 0; r < s->base.size && status == MUSTER_OK; r++) {
        int64_t bytes = s->counts[r] * width;
        char *place = all + at * width;
        if (out)
            status = to_host(s, buffer, place, bytes, err);
        else if (r != s->base.rank)
            status = to_device(s, place, buffer, bytes, err);
        buffer += bytes;
        all += counts[r] * width;
    }
    return status;
}

static enum muster_status staged_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                            struct muster_error *err)
{
    struct comm_staged *s = staged_of(c);
    enum muster_status status = MUSTER_OK;
    char *mine = all;
    for (int r = 0; r < c->rank; r++)
        mine += counts_bytes[r];
    s->inner->sequence++;
    if (c->size == 1)
        return MUSTER_OK;
    int64_t longest = counts_cut(s, counts_bytes, 0, s->block_bytes);
    for (int64_t at = 0; at < longest && status == MUSTER_OK; at += s->block_bytes) {
        counts_cut(s, counts_bytes, at, s->block_bytes);
        char *place = s->out;
        for (int r = 0; r < c->rank; r++)
            place += s->counts[r];
        status = to_host(s, place, mine + at, s->counts[c->rank], err);
        if (status == MUSTER_OK)
            status = s->inner->ops->all_gather(s->inner, s->out, s->counts, err);
        if (status == MUSTER_OK)
            status = blocks_copy(s, false, all, counts_bytes, at, 1, err);
    }
    return status;
}

/* One piece of every pair: what I send to the buffer, exchanged, what I received to the device. */
static enum muster_status piece_exchange(struct comm_staged *s, const void *const *send,
                                         const int64_t *send_bytes, void *const *receive,
                                         const int64_t *receive_bytes, int64_t at, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    int rank = s->base.rank, size = s->base.size;
    for (int r = 0; r < size && status == MUSTER_OK; r++) {
        s->send[r] = s->out + r * s->block_bytes;
        s->receive[r] = s->in + r * s->block_bytes;
        s->counts[r] = r == rank ? 0 : clamp(send_bytes[r] - at, s->block_bytes);
        s->in_counts[r] = r == rank ? 0 : clamp(receive_bytes[r] - at, s->block_bytes);
        if (s->counts[r] > 0)
            status = to_host(s, s->out + r * s->block_bytes, (const char *)send[r] + at, s->counts[r], err);
    }
    if (status == MUSTER_OK)
        status = s->inner->ops->exchange(s->inner, s->send, s->counts, s->receive, s->in_counts, err);
    for (int r = 0; r < size && status == MUSTER_OK; r++)
        if (s->in_counts[r] > 0)
            status = to_device(s, (char *)receive[r] + at, s->receive[r], s->in_counts[r], err);
    return status;
}

static enum muster_status staged_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                          void *const *receive, const int64_t *receive_bytes,
                                          struct muster_error *err)
{
    struct comm_staged *s = staged_of(c);
    enum muster_status status = MUSTER_OK;
    int64_t longest = 0;
    for (int r = 0; r < c->size; r++) {
        if (r != c->rank && send_bytes[r] > longest)
            longest = send_bytes[r];
        if (r != c->rank && receive_bytes[r] > longest)
            longest = receive_bytes[r];
    }
    s->inner->sequence++;
    for (int64_t at = 0; at < longest && status == MUSTER_OK; at += s->block_bytes)
        status = piece_exchange(s, send, send_bytes, receive, receive_bytes, at, err);
    return status;
}

static enum muster_status staged_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                                    float *mine, struct muster_error *err)
{
    struct comm_staged *s = staged_of(c);
    enum muster_status status = MUSTER_OK;
    int64_t block = s->block_bytes / (int64_t)sizeof(float);
    s->inner->sequence++;
    int64_t longest = counts_cut(s, counts, 0, block);
    for (int64_t at = 0; at < longest && status == MUSTER_OK; at += block) {
        counts_cut(s, counts, at, block);
        status = blocks_copy(s, true, (char *)data, counts, at, sizeof(float), err);
        if (status == MUSTER_OK)
            status =
                s->inner->ops->reduce_scatter_f32(s->inner, (float *)s->out, s->counts, (float *)s->in, err);
        if (status == MUSTER_OK)
            status = to_device(s, mine + at, s->in, s->counts[c->rank] * (int64_t)sizeof(float), err);
    }
    return status;
}

static enum muster_status staged_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                                struct muster_error *err)
{
    struct comm_staged *s = staged_of(c);
    enum muster_status status = MUSTER_OK;
    int64_t piece = s->buffer_bytes / (int64_t)sizeof(float);
    s->inner->sequence++;
    if (c->size == 1)
        return MUSTER_OK;
    for (int64_t at = 0; at < count && status == MUSTER_OK; at += piece) {
        int64_t now = clamp(count - at, piece), bytes = now * (int64_t)sizeof(float);
        status = to_host(s, s->out, data + at, bytes, err);
        if (status == MUSTER_OK)
            status = s->inner->ops->all_reduce_f32(s->inner, (float *)s->out, now, err);
        if (status == MUSTER_OK)
            status = to_device(s, data + at, s->out, bytes, err);
    }
    return status;
}

static enum muster_status staged_sum_f32(struct comm *c, float *out, const struct tree_terms *terms,
                                         int64_t count, struct muster_error *err)
{
    const struct comm_device *device = &staged_of(c)->device;
    return device->sum(device->stream, out, terms, count, err);
}

static const char *staged_transport(struct comm *c)
{
    return staged_of(c)->transport;
}

static void staged_abort(struct comm *c, int exit_code)
{
    comm_abort(staged_of(c)->inner, exit_code);
}

static void staged_destroy(struct comm *c)
{
    struct comm_staged *s = staged_of(c);
    alloc_free(s->out);
    alloc_free(s->in);
    alloc_free(s->counts);
    alloc_free(s->in_counts);
    alloc_free(s->send);
    alloc_free(s->receive);
    alloc_free(s);
}

static const struct comm_ops staged_ops = {
    .name = "staged",
    .destroy = staged_destroy,
    .barrier = staged_barrier,
    .broadcast = staged_broadcast,
    .all_gather = staged_all_gather,
    .exchange = staged_exchange,
    .reduce_scatter_f32 = staged_reduce_scatter_f32,
    .all_reduce_f32 = staged_all_reduce_f32,
    .begin_after = comm_host_order,
    .end_before = comm_host_order,
    .sum_f32 = staged_sum_f32,
    .transport = staged_transport,
    .abort = staged_abort,
};

static bool buffers_create(struct comm_staged *s)
{
    size_t size = (size_t)s->base.size;
    s->out = alloc_aligned((size_t)s->buffer_bytes, 64);
    s->in = alloc_aligned((size_t)s->buffer_bytes, 64);
    s->counts = alloc_zeroed(size, sizeof(*s->counts));
    s->in_counts = alloc_zeroed(size, sizeof(*s->in_counts));
    s->send = alloc_zeroed(size, sizeof(*s->send));
    s->receive = alloc_zeroed(size, sizeof(*s->receive));
    return s->out && s->in && s->counts && s->in_counts && s->send && s->receive;
}

enum muster_status comm_staged_create(struct comm *inner, const struct comm_device *device,
                                      int64_t buffer_bytes, struct comm **out, struct muster_error *err)
{
    *out = NULL;
    int64_t block_bytes = buffer_bytes / inner->size / (int64_t)sizeof(float) * (int64_t)sizeof(float);
    if (block_bytes <= 0)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "a host buffer of %lld bytes for %d ranks",
                                (long long)buffer_bytes, inner->size);
    struct comm_staged *s = alloc_zeroed(1, sizeof(*s));
    if (!s)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a communicator");
    s->base = *inner;
    s->base.ops = &staged_ops;
    s->base.any_thread = false; /* the device's copies belong to the thread that computes */
    s->base.local = NULL;       /* and device memory is not shared this way */
    s->base.sequence = s->base.bytes_sent = s->base.bytes_across = 0;
    s->inner = inner;
    s->device = *device;
    s->block_bytes = block_bytes;
    s->buffer_bytes = block_bytes * inner->size;
    snprintf(s->transport, sizeof(s->transport), "%s, through host memory", comm_transport(inner));
    if (!buffers_create(s)) {
        staged_destroy(&s->base);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                                "no memory for two host buffers of %lld bytes, which device memory is copied "
                                "through",
                                (long long)buffer_bytes);
    }
    *out = &s->base;
    return MUSTER_OK;
}
