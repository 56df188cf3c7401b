/* SPDX-License-Identifier: MIT
 *
 * The hash is of the bytes of the flat space in the compute dtype, piece by piece through a buffer that the
 * back end can copy to, so that a GPU's weights need no second copy on the host. Alignment gaps between
 * parameters are the same everywhere: they are never written.
 */
#include "worker/guard/param_check.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { PIECE_BYTES = 8 << 20, NAMED_MAX = 8 };

struct param_check {
    struct rank_state *state;
    struct comm *comm;
    void *buffer;           /* NULL where the weights are in host memory */
    struct hash128 *hashes; /* [ranks] */
    int64_t *bytes;         /* [ranks] */
    int64_t param_bytes;
};

enum muster_status param_check_create(struct rank_state *state, struct comm *comm, struct param_check **out,
                                      struct muster_error *err)
{
    const struct graph *graph = state->plan->graph;
    size_t ranks = (size_t)comm->size;
    enum muster_status status = MUSTER_OK;
    struct param_check *check = *out = alloc_zeroed(1, sizeof *check);
    if (check != NULL) {
        *check = (struct param_check){.state = state, .comm = comm};
        check->param_bytes = graph->param_elements * (int64_t)dtype_size(graph->compute_dtype);
        check->hashes = alloc_zeroed(ranks, sizeof *check->hashes);
        check->bytes = alloc_zeroed(ranks, sizeof *check->bytes);
    }
    if (check == NULL || check->hashes == NULL || check->bytes == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare the ranks' weights");
    if (status == MUSTER_OK && state->plan->on_device)
        status = kernels_memory_allocate_host(state->kernels, PIECE_BYTES, &check->buffer, err);
    if (status != MUSTER_OK) {
        param_check_destroy(check);
        *out = NULL;
        return status;
    }
    for (size_t rank = 0; rank < ranks; rank++)
        check->bytes[rank] = (int64_t)sizeof *check->hashes;
    return MUSTER_OK;
}

void param_check_destroy(struct param_check *check)
{
    if (check == NULL)
        return;
    if (check->buffer != NULL)
        kernels_memory_free_host(check->state->kernels, check->buffer, PIECE_BYTES);
    alloc_free(check->hashes);
    alloc_free(check->bytes);
    alloc_free(check);
}

bool param_check_due(const struct param_check *check, int64_t number)
{
    return (number + 1) % check->state->job->fault.check_interval == 0;
}

void *param_check_foreign(const struct param_check *check)
{
    const struct plan *plan = check->state->plan;
    int64_t size = (int64_t)dtype_size(plan->graph->compute_dtype);
    for (int bucket = 0; check->buffer == NULL && bucket < plan->bucket_count; bucket++) {
        struct plan_range owned = plan_owned_range(plan, bucket, (check->comm->rank + 1) % check->comm->size);
        if (check->comm->size > 1 && owned.end > owned.begin)
            return (char *)check->state->params + owned.begin * size;
    }
    return NULL;
}

/* The hash of the hashes of all pieces: a stream would have to be allocated. */
static enum muster_status params_hash(struct param_check *check, struct hash128 *out,
                                      struct muster_error *err)
{
    struct kernels *kernels = check->state->kernels;
    const char *params = check->state->params;
    struct hash128 pair[2] = {{0, 0}, {0, 0}};
    for (int64_t at = 0; at < check->param_bytes; at += PIECE_BYTES) {
        int64_t left = check->param_bytes - at, bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
        const void *piece = params + at;
        if (check->buffer != NULL) {
            enum muster_status status = kernels_copy_to_host_later(kernels, check->buffer, piece, bytes, err);
            if (status == MUSTER_OK)
                status = kernels_synchronise(kernels, err);
            if (status != MUSTER_OK)
                return status;
            piece = check->buffer;
        }
        pair[1] = hash_xxh3(piece, (size_t)bytes);
        pair[0] = hash_xxh3(pair, sizeof pair);
    }
    *out = pair[0];
    return MUSTER_OK;
}

/* The hash that more than half of the ranks have, or NULL. */
static const struct hash128 *majority(const struct hash128 *hashes, int count)
{
    int lead = 0, candidate = 0, votes = 0;
    for (int i = 0; i < count; i++) {
        if (lead == 0)
            candidate = i;
        lead += hash_equal(hashes[i], hashes[candidate]) ? 1 : -1;
    }
    for (int i = 0; i < count; i++)
        votes += hash_equal(hashes[i], hashes[candidate]);
    return 2 * votes > count ? &hashes[candidate] : NULL;
}

static enum muster_status difference_report(const struct param_check *check, const struct hash128 *common,
                                            int64_t number, int *odd_rank, struct muster_error *err)
{
    char names[NAMED_MAX * 12] = "";
    int count = 0;
    for (int i = 0; i < check->comm->size && common != NULL; i++) {
        if (hash_equal(check->hashes[i], *common))
            continue;
        *odd_rank = count == 0 ? i : *odd_rank;
        size_t length = strlen(names);
        if (count++ < NAMED_MAX)
            snprintf(names + length, sizeof names - length, "%s%d", length > 0 ? ", " : "", i);
    }
    if (common == NULL) {
        *odd_rank = PARAM_CHECK_NO_MAJORITY;
        return muster_error_set(
            err, MUSTER_ERR_PEER,
            "step %lld: the ranks do not hold the same weights, and no copy is that of most",
            (long long)number + 1);
    }
    return muster_error_set(err, MUSTER_ERR_PEER,
                            "step %lld: rank%s %s%s hold%s other weights than the other %d ranks",
                            (long long)number + 1, count == 1 ? "" : "s", names,
                            count > NAMED_MAX ? " …" : "", count == 1 ? "s" : "", check->comm->size - count);
}

enum muster_status param_check_run(struct param_check *check, int64_t number, int *odd_rank,
                                   struct muster_error *err)
{
    struct comm *comm = check->comm;
    *odd_rank = PARAM_CHECK_EQUAL;
    enum muster_status status = params_hash(check, &check->hashes[comm->rank], err);
    if (status == MUSTER_OK)
        status = comm_all_gather(comm, check->hashes, check->bytes, err);
    if (status != MUSTER_OK)
        return status;
    const struct hash128 *common = majority(check->hashes, comm->size);
    bool is_equal = common != NULL;
    for (int i = 0; i < comm->size && is_equal; i++)
        is_equal = hash_equal(check->hashes[i], *common);
    return is_equal ? MUSTER_OK : difference_report(check, common, number, odd_rank, err);
}
