/* SPDX-License-Identifier: MIT
 *
 * The sum of the owned range is left in the first node's buffer, in place, so that a step needs no memory
 * beyond the fold's buffers and what arrives from other ranks.
 */
#include "worker/reducer.h"

#include "base/alloc.h"
#include "comm/exact_reduce.h"

struct reducer {
    struct rank_state *state;
    struct comm *comm;
    struct tree_fold fold;
    struct exact_reduce *exact; /* NULL when the job says fast */
    int64_t *owned_begin;       /* [ranks + 1], of the bucket in hand */
    int64_t *owned_count;       /* [ranks] */
};

static float *reducer_buffer(const struct reducer *reducer, int buffer)
{
    return reducer->state->gradients + buffer * reducer->state->plan->flat_count;
}

enum muster_status reducer_create(struct rank_state *state, struct comm *comm, struct reducer **out,
                                  struct muster_error *err)
{
    *out = NULL;
    const struct plan *plan = state->plan;
    struct reducer *reducer = alloc_zeroed(1, sizeof *reducer);
    if (!reducer)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the reducer");
    reducer->state = state;
    reducer->comm = comm;
    reducer->owned_begin = alloc_zeroed((size_t)plan->ranks + 1, sizeof *reducer->owned_begin);
    reducer->owned_count = alloc_zeroed((size_t)plan->ranks, sizeof *reducer->owned_count);
    enum muster_status status = MUSTER_OK;
    if (!reducer->owned_begin || !reducer->owned_count)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the reducer");
    if (!status)
        status = tree_fold_init(&reducer->fold, plan->logical_workers, plan->block_begin[state->rank],
                                plan->block_begin[state->rank + 1], err);
    if (!status && state->job->parallel.reduce == JOB_REDUCE_EXACT)
        status = exact_reduce_create(comm, plan->logical_workers, plan->block_begin, &reducer->exact, err);
    if (status) {
        reducer_destroy(reducer);
        return status;
    }
    *out = reducer;
    return MUSTER_OK;
}

void reducer_destroy(struct reducer *reducer)
{
    if (!reducer)
        return;
    exact_reduce_destroy(reducer->exact);
    tree_fold_release(&reducer->fold);
    alloc_free(reducer->owned_begin);
    alloc_free(reducer->owned_count);
    alloc_free(reducer);
}

enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, float **gradients,
                                      struct muster_error *err)
{
    *gradients = reducer_buffer(reducer, reducer->fold.leaf_buffer[leaf]);
    return kernels_fill_zero(reducer->state->kernels, *gradients, reducer->state->plan->flat_count * 4, err);
}

enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err)
{
    const struct tree_fold *fold = &reducer->fold;
    for (int i = fold->merge_first[leaf]; i < fold->merge_first[leaf + 1]; i++) {
        float *into = reducer_buffer(reducer, fold->merge_into[i]);
        const float *from = reducer_buffer(reducer, fold->merge_from[i]);
        enum muster_status status =
            kernels_add(reducer->state->kernels, into, from, reducer->state->plan->flat_count, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

static enum muster_status reducer_exact(struct reducer *reducer, int64_t begin, float *mine,
                                        struct muster_error *err)
{
    float *nodes[TREE_BLOCK_NODES_MAX];
    for (int i = 0; i < reducer->fold.node_count; i++)
        nodes[i] = reducer_buffer(reducer, reducer->fold.node_buffer[i]) + begin;
    return exact_reduce_run(reducer->exact, nodes, reducer->owned_begin, mine, reducer->state->receive, err);
}

/* The rank's nodes are added left to right here, the ranks' sums in whatever order the library likes. */
static enum muster_status reducer_fast(struct reducer *reducer, int64_t begin, int64_t count, float *mine,
                                       struct muster_error *err)
{
    float *sum = reducer_buffer(reducer, reducer->fold.node_buffer[0]) + begin;
    enum muster_status status = MUSTER_OK;
    for (int i = 1; i < reducer->fold.node_count && !status; i++)
        status = kernels_add(reducer->state->kernels, sum,
                             reducer_buffer(reducer, reducer->fold.node_buffer[i]) + begin, count, err);
    if (status || reducer->comm->size == 1)
        return status;
    int64_t mine_count = reducer->owned_count[reducer->state->rank];
    status = comm_reduce_scatter_f32(reducer->comm, sum, reducer->owned_count, reducer->state->receive, err);
    if (status || mine_count == 0)
        return status;
    return kernels_copy_to_device(reducer->state->kernels, mine, reducer->state->receive, mine_count * 4,
                                  err);
}

enum muster_status reducer_reduce_bucket(struct reducer *reducer, int bucket, float **mine,
                                         struct muster_error *err)
{
    const struct plan *plan = reducer->state->plan;
    struct plan_range range = plan->buckets[bucket];
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        reducer->owned_begin[rank] = owned.begin - range.begin;
        reducer->owned_count[rank] = owned.end - owned.begin;
    }
    reducer->owned_begin[plan->ranks] = range.end - range.begin;
    float *bucket_start = reducer_buffer(reducer, reducer->fold.node_buffer[0]) + range.begin;
    *mine = bucket_start + reducer->owned_begin[reducer->state->rank];
    if (reducer->exact)
        return reducer_exact(reducer, range.begin, *mine, err);
    return reducer_fast(reducer, range.begin, range.end - range.begin, *mine, err);
}
