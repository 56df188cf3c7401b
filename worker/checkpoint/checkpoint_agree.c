/* SPDX-License-Identifier: MIT
 *
 * Everything here is one pattern: do the local part, agree, and only then enter the collective that needs all
 * ranks to have succeeded. A rank that fails alone therefore never leaves the others waiting.
 */
#include "worker/checkpoint/checkpoint_agree.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <string.h>

enum muster_status checkpoint_agree(struct comm *comm, enum muster_status mine, struct muster_error *err)
{
    float failed_count = mine != MUSTER_OK ? 1.0f : 0.0f; /* a sum of ones: exact in any order */
    struct muster_error own = {.status = mine};
    if (mine != MUSTER_OK)
        memcpy(own.text, err->text, sizeof own.text);
    enum muster_status status = comm_all_reduce_f32(comm, &failed_count, 1, err);
    if (status != MUSTER_OK || failed_count < 0.5f)
        return status;
    for (int rank = 0; rank < comm->size; rank++) {
        struct muster_error verdict = own;
        status = comm_broadcast(comm, &verdict, (int64_t)sizeof verdict, rank, err);
        if (status != MUSTER_OK)
            return status;
        if (verdict.status == MUSTER_OK)
            continue;
        if (failed_count > (float)comm->size - 0.5f)
            muster_error_set(err, verdict.status, "%s", verdict.text);
        else
            muster_error_set(err, verdict.status, "rank %d: %.1000s", rank, verdict.text);
        err->agreed = true;
        return verdict.status;
    }
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "a rank failed to save or load, and none says so");
}

enum muster_status checkpoint_gather(struct comm *comm, const void *mine, int64_t bytes, char **all,
                                     int64_t **counts, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    int64_t total = 0, before = 0;
    *all = NULL;
    *counts = alloc_zeroed((size_t)comm->size, sizeof **counts);
    int64_t *counts_bytes = alloc_zeroed((size_t)comm->size, sizeof *counts_bytes);
    if (*counts == NULL || counts_bytes == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to gather from %d ranks", comm->size);
    status = checkpoint_agree(comm, status, err);
    if (status != MUSTER_OK)
        goto out;
    for (int rank = 0; rank < comm->size; rank++)
        counts_bytes[rank] = sizeof **counts;
    (*counts)[comm->rank] = bytes;
    status = comm_all_gather(comm, *counts, counts_bytes, err);
    if (status != MUSTER_OK)
        goto out;
    for (int rank = 0; rank < comm->size; rank++) {
        before += rank < comm->rank ? (*counts)[rank] : 0;
        total += (*counts)[rank];
    }
    *all = alloc_zeroed((size_t)total, 1);
    if (*all == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to gather %" PRId64 " bytes", total);
    else if (bytes > 0)
        memcpy(*all + before, mine, (size_t)bytes);
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        status = comm_all_gather(comm, *all, *counts, err);
out:
    alloc_free(counts_bytes);
    return status;
}

static enum muster_status chunks_place(const struct ckpt_layout *layout, int64_t step,
                                       const struct checkpoint_chunk *chunks, int64_t count,
                                       struct hash128 *out, struct muster_error *err)
{
    int64_t chunks_a_kind = layout->flat_count / layout->chunk_elements,
            missing = chunks_a_kind * layout->kind_count;
    int64_t expected = missing;
    struct hash128 *all = alloc_zeroed((size_t)expected, sizeof *all);
    bool *seen = alloc_zeroed((size_t)expected, sizeof *seen);
    enum muster_status status = MUSTER_OK;
    if (all == NULL || seen == NULL)
        status =
            muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %" PRId64 " chunk hashes", expected);
    for (int64_t i = 0; i < count && status == MUSTER_OK; i++) {
        int64_t index = chunks[i].index;
        if (index < 0 || index >= expected || seen[index]) {
            status =
                muster_error_set(err, MUSTER_ERR_INTERNAL,
                                 "chunk %" PRId64 " of the state is held by two ranks, or is none", index);
            break;
        }
        all[index] = chunks[i].hash;
        seen[index] = true;
        missing--;
    }
    if (status == MUSTER_OK && missing != 0)
        status = muster_error_set(err, MUSTER_ERR_INTERNAL,
                                  "%" PRId64 " of %" PRId64 " chunks of the state are held by no rank",
                                  missing, expected);
    if (status == MUSTER_OK) {
        *out = ckpt_state_hash(layout, step, all);
        if (hash_equal(*out, (struct hash128){0, 0}))
            status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the state hash");
    }
    alloc_free(seen);
    alloc_free(all);
    return status;
}

enum muster_status checkpoint_combine(struct comm *comm, const struct ckpt_layout *layout, int64_t step,
                                      const struct checkpoint_chunk *mine, int64_t count, struct hash128 *out,
                                      struct muster_error *err)
{
    char *all = NULL;
    int64_t *counts = NULL, total = 0;
    enum muster_status status =
        checkpoint_gather(comm, mine, count * (int64_t)sizeof *mine, &all, &counts, err);
    if (status == MUSTER_OK) {
        for (int rank = 0; rank < comm->size; rank++)
            total += counts[rank];
        status = chunks_place(layout, step, (const struct checkpoint_chunk *)(const void *)all,
                              total / (int64_t)sizeof *mine, out, err);
        status = checkpoint_agree(comm, status, err);
    }
    alloc_free(counts);
    alloc_free(all);
    return status;
}

/* Verifying together: rank r takes the r-th part of the shards and of the chunks. */

static int64_t share_begin(int64_t count, int rank, int size)
{
    return count / size * rank + (count % size * rank) / size;
}

enum muster_status checkpoint_shards_verify(const struct comm *comm, const struct ckpt *ckpt,
                                            bool headers_only, struct muster_error *err)
{
    int64_t end = share_begin(ckpt_shard_count(ckpt), comm->rank + 1, comm->size);
    for (int64_t i = share_begin(ckpt_shard_count(ckpt), comm->rank, comm->size); i < end; i++) {
        enum muster_status status =
            headers_only ? ckpt_header_verify(ckpt, (int)i, err) : ckpt_shard_verify(ckpt, (int)i, err);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}

/* This rank's share of the chunk hashes, from the files. */
static enum muster_status chunks_hash(const struct comm *comm, const struct ckpt *ckpt,
                                      struct checkpoint_chunk **out, int64_t *count, struct muster_error *err)
{
    const struct ckpt_layout *layout = ckpt_layout(ckpt);
    int64_t chunk = layout->chunk_elements, chunks_a_kind = layout->flat_count / chunk;
    int64_t first = share_begin(chunks_a_kind * layout->kind_count, comm->rank, comm->size);
    int64_t end = share_begin(chunks_a_kind * layout->kind_count, comm->rank + 1, comm->size);
    enum muster_status status = MUSTER_OK;
    float *data = alloc_zeroed((size_t)chunk, sizeof *data);
    *out = alloc_zeroed((size_t)(end - first), sizeof **out);
    *count = end - first;
    if (data == NULL || *out == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY,
                                  "no memory to hash chunks of %" PRId64 " elements", chunk);
    for (int64_t i = first; i < end && status == MUSTER_OK; i++) {
        int64_t at = i % chunks_a_kind * chunk;
        status = ckpt_read(ckpt, (int)(i / chunks_a_kind), at, at + chunk, data, err);
        (*out)[i - first] = (struct checkpoint_chunk){i, hash_xxh3(data, (size_t)chunk * sizeof *data)};
    }
    alloc_free(data);
    return status;
}

static enum muster_status state_compare(const struct ckpt *ckpt, const char *folder, struct hash128 state,
                                        struct muster_error *err)
{
    if (hash_equal(state, ckpt_recorded_state_hash(ckpt)))
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_CORRUPT,
                            "%s: the data do not have the state hash that its MANIFEST records", folder);
}

static enum muster_status data_verify(struct comm *comm, const struct ckpt *ckpt, const char *folder,
                                      struct muster_error *err)
{
    struct checkpoint_chunk *chunks = NULL;
    int64_t count = 0;
    struct hash128 state;
    enum muster_status status = checkpoint_shards_verify(comm, ckpt, false, err);
    if (status == MUSTER_OK)
        status = chunks_hash(comm, ckpt, &chunks, &count, err);
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        status = checkpoint_combine(comm, ckpt_layout(ckpt), ckpt_step(ckpt), chunks, count, &state, err);
    if (status == MUSTER_OK)
        status = state_compare(ckpt, folder, state, err);
    alloc_free(chunks);
    return status;
}

enum muster_status checkpoint_state_check(struct comm *comm, const struct ckpt *ckpt, const char *folder,
                                          const struct ckpt_piece *pieces, int piece_count,
                                          struct muster_error *err)
{
    struct hash128 state;
    enum muster_status status =
        checkpoint_state_hash(comm, ckpt_layout(ckpt), ckpt_step(ckpt), pieces, piece_count, &state, err);
    return status == MUSTER_OK ? state_compare(ckpt, folder, state, err) : status;
}

void checkpoint_pieces_copy(const struct ckpt_piece *from, const struct ckpt_piece *to, int piece_count,
                            int kind_count)
{
    for (int i = 0; i < piece_count && from != to; i++) {
        size_t bytes = (size_t)(from[i].end - from[i].begin) * sizeof(float);
        for (int kind = 0; kind < kind_count && bytes > 0; kind++)
            memcpy(to[i].data[kind], from[i].data[kind], bytes);
    }
}

const struct ckpt_piece *checkpoint_wanted_target(const struct checkpoint_wanted *wanted)
{
    return wanted->staging != NULL ? wanted->staging : wanted->pieces;
}

void checkpoint_wanted_accept(const struct checkpoint_wanted *wanted)
{
    if (wanted->staging != NULL)
        checkpoint_pieces_copy(wanted->staging, wanted->pieces, wanted->piece_count,
                               wanted->layout->kind_count);
}

enum muster_status checkpoint_open_shared(struct comm *comm, const char *folder,
                                          const struct ckpt_layout *layout, const struct checkpoint_job *job,
                                          struct ckpt **out, struct muster_error *err)
{
    struct ckpt *ckpt = NULL;
    *out = NULL;
    enum muster_status status = ckpt_open(folder, &ckpt, err);
    if (status == MUSTER_OK && layout != NULL)
        status = checkpoint_match(ckpt, folder, layout, job, err);
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        *out = ckpt;
    else
        ckpt_close(ckpt);
    return status;
}

enum muster_status checkpoint_verify_shared(struct comm *comm, const char *folder,
                                            const struct ckpt_layout *layout,
                                            const struct checkpoint_job *job, struct ckpt **out,
                                            struct muster_error *err)
{
    enum muster_status status = checkpoint_open_shared(comm, folder, layout, job, out, err);
    if (status == MUSTER_OK)
        status = data_verify(comm, *out, folder, err);
    if (status != MUSTER_OK) {
        ckpt_close(*out);
        *out = NULL;
    }
    return status;
}
