/* SPDX-License-Identifier: MIT
 *
 * Shards round the ring. Everybody reads its own file back block by block and sends it to its partner, who
 * hashes and writes it; at the end both must have the hash that was taken when the shard was written. A rank
 * whose disk fails goes on taking part, so that nobody waits for it, and says so in the vote.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs_bulk.h"
#include "worker/checkpoint/checkpoint_agree.h"
#include "worker/checkpoint/checkpoint_tier_internal.h"

/* A copy on its way in. */
struct incoming {
    struct fs_bulk file;
    struct hash_stream *hash;
    char *block;
};

struct exchange {
    const struct checkpoint_tier *tier;
    struct comm *comm;
    int64_t *lengths; /* [size] of the shard files */
    FILE *own;
    char *block;
    struct hash_stream *hash;
    struct incoming *incoming; /* [size]; used where partner[r] is this rank */
    const void **send;         /* [size] for comm_exchange, as the next three */
    void **receive;
    int64_t *send_bytes, *receive_bytes;
    enum muster_status status; /* of this rank's disk */
    struct muster_error *err;
};

static bool comes_from(const struct exchange *x, int rank)
{
    return x->tier->partner[rank] == x->tier->rank;
}

static enum muster_status exchange_allocate(struct exchange *x)
{
    size_t size = (size_t)x->tier->size;
    bool enough = true;
    x->lengths = alloc_zeroed(size, sizeof *x->lengths);
    x->incoming = alloc_zeroed(size, sizeof *x->incoming);
    x->send = alloc_zeroed(size, sizeof *x->send);
    x->receive = alloc_zeroed(size, sizeof *x->receive);
    x->send_bytes = alloc_zeroed(size, sizeof *x->send_bytes);
    x->receive_bytes = alloc_zeroed(size, sizeof *x->receive_bytes);
    x->block = alloc_zeroed(CHECKPOINT_TIER_BLOCK, 1);
    x->hash = hash_stream_create();
    enough = x->lengths && x->incoming && x->send && x->receive && x->send_bytes && x->receive_bytes &&
             x->block && x->hash;
    for (int r = 0; enough && r < x->tier->size; r++) {
        if (!comes_from(x, r))
            continue;
        x->incoming[r].block = alloc_zeroed(CHECKPOINT_TIER_BLOCK, 1);
        x->incoming[r].hash = hash_stream_create();
        enough = x->incoming[r].block && x->incoming[r].hash;
    }
    return enough ? MUSTER_OK
                  : muster_error_set(x->err, MUSTER_ERR_NO_MEMORY, "no memory to copy a shard to a partner");
}

static enum muster_status shard_path(const char *folder, int rank, int size, char path[FS_PATH_MAX],
                                     struct muster_error *err)
{
    char file[64];
    ckpt_format_shard(file, rank, size);
    return fs_path_join(path, folder, file, err);
}

static enum muster_status own_open(struct exchange *x, const char *folder)
{
    char path[FS_PATH_MAX];
    enum muster_status status = shard_path(folder, x->tier->rank, x->tier->size, path, x->err);
    if (!status) {
        x->lengths[x->tier->rank] = fs_file_size(path);
        x->own = fopen(path, "re");
    }
    if (!status && (!x->own || x->lengths[x->tier->rank] < 0))
        status = muster_error_set(x->err, MUSTER_ERR_IO, "open %s to copy it to a partner", path);
    return status;
}

static enum muster_status incoming_open(struct exchange *x, const char *folder, bool direct)
{
    for (int r = 0; r < x->tier->size; r++) {
        char path[FS_PATH_MAX];
        if (!comes_from(x, r))
            continue;
        enum muster_status status = shard_path(folder, r, x->tier->size, path, x->err);
        if (!status)
            status = fs_bulk_open(&x->incoming[r].file, path, x->lengths[r], direct, x->err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

static int64_t block_length(const struct exchange *x, int rank, int64_t at)
{
    int64_t left = x->lengths[rank] - at;
    return left < 0 ? 0 : left < CHECKPOINT_TIER_BLOCK ? left : CHECKPOINT_TIER_BLOCK;
}

/* The next block of the own file, and what came of everybody's. */
static enum muster_status block_pass(struct exchange *x, int64_t at)
{
    int me = x->tier->rank, to = x->tier->partner[me];
    int64_t own = block_length(x, me, at);
    if (!x->status && fread(x->block, 1, (size_t)own, x->own) != (size_t)own)
        x->status = muster_error_set(x->err, MUSTER_ERR_IO, "read back the shard of rank %d at byte %lld", me,
                                     (long long)at);
    hash_stream_update(x->hash, x->block, (size_t)own);
    for (int r = 0; r < x->tier->size; r++) {
        x->send[r] = x->block;
        x->send_bytes[r] = r == to ? own : 0;
        x->receive[r] = x->incoming[r].block;
        x->receive_bytes[r] = comes_from(x, r) ? block_length(x, r, at) : 0;
    }
    struct muster_error transport;
    enum muster_status status =
        comm_exchange(x->comm, x->send, x->send_bytes, x->receive, x->receive_bytes, &transport);
    if (status) {
        *x->err = transport;
        return status;
    }
    for (int r = 0; r < x->tier->size; r++) {
        if (x->receive_bytes[r] == 0)
            continue;
        hash_stream_update(x->incoming[r].hash, x->incoming[r].block, (size_t)x->receive_bytes[r]);
        if (!x->status)
            x->status = fs_bulk_write(&x->incoming[r].file, x->incoming[r].block, (size_t)x->receive_bytes[r],
                                      x->err);
    }
    return MUSTER_OK;
}

/* Sender and receiver must have seen the same bytes, and those must be what was written. */
static enum muster_status hashes_compare(struct exchange *x, const char *record, struct hash128 *all)
{
    int me = x->tier->rank;
    char digits[HASH_TEXT_SIZE];
    enum muster_status status = MUSTER_OK;
    all[me] = hash_stream_value(x->hash);
    hash_format(all[me], digits);
    if (!x->status && strstr(record, digits) == NULL)
        x->status = muster_error_set(x->err, MUSTER_ERR_IO,
                                     "the shard of rank %d reads back otherwise than it was written", me);
    for (int r = 0; r < x->tier->size; r++)
        x->receive_bytes[r] = sizeof *all;
    struct muster_error transport;
    status = comm_all_gather(x->comm, all, x->receive_bytes, &transport);
    if (status)
        *x->err = transport;
    for (int r = 0; !status && !x->status && r < x->tier->size; r++)
        if (comes_from(x, r) && !hash_equal(hash_stream_value(x->incoming[r].hash), all[r]))
            x->status = muster_error_set(x->err, MUSTER_ERR_IO,
                                         "the copy of rank %d's shard is not what was sent", r);
    return status;
}

static void exchange_release(struct exchange *x)
{
    for (int r = 0; x->incoming && r < x->tier->size; r++) {
        fs_bulk_release(&x->incoming[r].file);
        hash_stream_destroy(x->incoming[r].hash);
        alloc_free(x->incoming[r].block);
    }
    if (x->own)
        fclose(x->own);
    hash_stream_destroy(x->hash);
    alloc_free(x->block);
    alloc_free(x->receive_bytes);
    alloc_free(x->send_bytes);
    alloc_free(x->receive);
    alloc_free(x->send);
    alloc_free(x->incoming);
    alloc_free(x->lengths);
}

static enum muster_status blocks_pass(struct exchange *x, const char *folder, bool direct)
{
    int64_t longest = 0;
    for (int r = 0; r < x->tier->size; r++)
        longest = x->lengths[r] > longest ? x->lengths[r] : longest;
    enum muster_status status = checkpoint_agree(x->comm, incoming_open(x, folder, direct), x->err);
    for (int64_t at = 0; !status && at < longest; at += CHECKPOINT_TIER_BLOCK)
        status = block_pass(x, at);
    return status;
}

enum muster_status checkpoint_tier_exchange(const struct checkpoint_tier *tier, struct comm *comm,
                                            const char *folder, const char *record,
                                            const struct ckpt_write_options *options,
                                            struct muster_error *err)
{
    if (!checkpoint_tier_has_partner(tier)) /* then nobody has one */
        return MUSTER_OK;
    struct exchange x = {.tier = tier, .comm = comm, .err = err};
    struct hash128 *hashes = alloc_zeroed((size_t)tier->size, sizeof *hashes);
    enum muster_status status = exchange_allocate(&x);
    if (!status && !hashes)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d hashes", tier->size);
    if (!status)
        status = own_open(&x, folder);
    status = checkpoint_agree(comm, status, err);
    if (status)
        goto out;
    for (int r = 0; r < tier->size; r++)
        x.receive_bytes[r] = sizeof *x.lengths;
    status = comm_all_gather(comm, x.lengths, x.receive_bytes, err);
    if (!status)
        status = blocks_pass(&x, folder, options->direct_io);
    if (!status)
        status = hashes_compare(&x, record, hashes);
    for (int r = 0; !status && !x.status && r < tier->size; r++)
        if (comes_from(&x, r))
            x.status = fs_bulk_finish(&x.incoming[r].file, err);
    if (!status)
        status = checkpoint_agree(comm, x.status, err);
out:
    alloc_free(hashes);
    exchange_release(&x);
    return status;
}
