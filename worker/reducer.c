/* SPDX-License-Identifier: MIT
 *
 * The sum of the owned range is left in the first node's buffer, in place, so that a step needs no memory
 * beyond the fold's buffers and what arrives from other ranks. The communication thread only ever sees two
 * counters, buckets started and buckets finished; buckets go in order, so the ranks' collectives do too.
 */
#include "worker/reducer.h"

#include <pthread.h>

#include "base/alloc.h"
#include "comm/exact_reduce.h"

/* Shared with the communication thread, under the lock. */
struct reducer_thread {
    pthread_t id;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, leave;
    int started, finished; /* buckets of this step */
    enum muster_status status;
    struct muster_error err;
};

struct reducer {
    struct rank_state *state;
    struct comm *comm;
    struct tree_fold fold;
    struct exact_reduce *exact; /* NULL when the job says fast */
    int64_t *owned_begin;       /* [ranks + 1], of the bucket in hand */
    int64_t *owned_count;       /* [ranks] */
    struct reducer_thread thread;
};

static float *reducer_buffer(const struct reducer *reducer, int buffer)
{
    return reducer->state->gradients + buffer * reducer->state->plan->flat_count;
}

static enum muster_status reducer_exact(struct reducer *reducer, int64_t begin, float *mine,
                                        struct muster_error *err)
{
    float *nodes[TREE_BLOCK_NODES_MAX];
    for (int i = 0; i < reducer->fold.node_count; i++)
        nodes[i] = reducer_buffer(reducer, reducer->fold.node_buffer[i]) + begin;
    return exact_reduce_run(reducer->exact, nodes, reducer->owned_begin, mine, reducer->state->receive, err);
}

static enum muster_status reducer_fast(struct reducer *reducer, int64_t begin, float *mine,
                                       struct muster_error *err)
{
    float *sum = reducer_buffer(reducer, reducer->fold.node_buffer[0]) + begin;
    if (reducer->comm->size == 1)
        return MUSTER_OK;
    return comm_reduce_scatter_f32(reducer->comm, sum, reducer->owned_count, mine, err);
}

/* On the thread that talks: nothing here computes but the exact reduction's own adds. */
static enum muster_status reducer_reduce(struct reducer *reducer, int bucket, struct muster_error *err)
{
    const struct plan *plan = reducer->state->plan;
    struct plan_range range = plan->buckets[bucket];
    for (int rank = 0; rank < plan->ranks; rank++) {
        struct plan_range owned = plan_owned_range(plan, bucket, rank);
        reducer->owned_begin[rank] = owned.begin - range.begin;
        reducer->owned_count[rank] = owned.end - owned.begin;
    }
    reducer->owned_begin[plan->ranks] = range.end - range.begin;
    float *mine = reducer_mine(reducer, bucket);
    return reducer->exact ? reducer_exact(reducer, range.begin, mine, err)
                          : reducer_fast(reducer, range.begin, mine, err);
}

static void *reducer_thread_run(void *argument)
{
    struct reducer *reducer = argument;
    struct reducer_thread *thread = &reducer->thread;
    pthread_mutex_lock(&thread->lock);
    while (!thread->leave) {
        if (thread->finished == thread->started) {
            pthread_cond_wait(&thread->changed, &thread->lock);
            continue;
        }
        int bucket = thread->finished;
        struct muster_error err = {0};
        pthread_mutex_unlock(&thread->lock);
        enum muster_status status = thread->status ? thread->status : reducer_reduce(reducer, bucket, &err);
        pthread_mutex_lock(&thread->lock);
        if (status && !thread->status) {
            thread->status = status;
            thread->err = err;
        }
        thread->finished++;
        pthread_cond_broadcast(&thread->changed);
    }
    pthread_mutex_unlock(&thread->lock);
    return NULL;
}

static enum muster_status reducer_thread_start(struct reducer *reducer, struct muster_error *err)
{
    struct reducer_thread *thread = &reducer->thread;
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->changed, NULL);
    int code = pthread_create(&thread->id, NULL, reducer_thread_run, reducer);
    thread->running = code == 0;
    if (code != 0) {
        pthread_mutex_destroy(&thread->lock);
        pthread_cond_destroy(&thread->changed);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no thread for communication: error %d", code);
    }
    return MUSTER_OK;
}

static void reducer_thread_stop(struct reducer_thread *thread)
{
    if (!thread->running)
        return;
    pthread_mutex_lock(&thread->lock);
    thread->leave = true;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
    pthread_join(thread->id, NULL);
    pthread_mutex_destroy(&thread->lock);
    pthread_cond_destroy(&thread->changed);
}

enum muster_status reducer_create(struct rank_state *state, struct comm *comm, bool overlap,
                                  struct reducer **out, struct muster_error *err)
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
    if (!status && overlap && comm->size > 1 && comm->any_thread)
        status = reducer_thread_start(reducer, err);
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
    reducer_thread_stop(&reducer->thread);
    exact_reduce_destroy(reducer->exact);
    tree_fold_release(&reducer->fold);
    alloc_free(reducer->owned_begin);
    alloc_free(reducer->owned_count);
    alloc_free(reducer);
}

bool reducer_overlaps(const struct reducer *reducer)
{
    return reducer->thread.running || (reducer->comm->size > 1 && kernels_stream(reducer->state->kernels));
}

enum muster_status reducer_leaf_begin(struct reducer *reducer, int leaf, float **gradients,
                                      struct muster_error *err)
{
    *gradients = reducer_buffer(reducer, reducer->fold.leaf_buffer[leaf]);
    return kernels_fill_zero(reducer->state->kernels, *gradients, reducer->state->plan->flat_count * 4, err);
}

/* What the tree merges once leaf `leaf` is complete, on one range of the flat space. */
static enum muster_status reducer_merge(struct reducer *reducer, int leaf, struct plan_range range,
                                        struct muster_error *err)
{
    const struct tree_fold *fold = &reducer->fold;
    for (int i = fold->merge_first[leaf]; i < fold->merge_first[leaf + 1]; i++) {
        float *into = reducer_buffer(reducer, fold->merge_into[i]) + range.begin;
        const float *from = reducer_buffer(reducer, fold->merge_from[i]) + range.begin;
        enum muster_status status =
            kernels_add(reducer->state->kernels, into, from, range.end - range.begin, err);
        if (status)
            return status;
    }
    return MUSTER_OK;
}

static int reducer_last_leaf(const struct reducer *reducer)
{
    const struct plan *plan = reducer->state->plan;
    int rank = reducer->state->rank;
    return plan->block_begin[rank + 1] - plan->block_begin[rank] - 1;
}

enum muster_status reducer_leaf_end(struct reducer *reducer, int leaf, struct muster_error *err)
{
    struct plan_range all = {0, reducer->state->plan->flat_count};
    return leaf == reducer_last_leaf(reducer) ? MUSTER_OK : reducer_merge(reducer, leaf, all, err);
}

/* Completes the rank's nodes on the bucket; for the fast sum they become one, left to right. */
static enum muster_status reducer_complete(struct reducer *reducer, struct plan_range range,
                                           struct muster_error *err)
{
    enum muster_status status = reducer_merge(reducer, reducer_last_leaf(reducer), range, err);
    float *sum = reducer_buffer(reducer, reducer->fold.node_buffer[0]) + range.begin;
    for (int i = 1; i < reducer->fold.node_count && !status && !reducer->exact; i++)
        status = kernels_add(reducer->state->kernels, sum,
                             reducer_buffer(reducer, reducer->fold.node_buffer[i]) + range.begin,
                             range.end - range.begin, err);
    return status;
}

enum muster_status reducer_start_bucket(struct reducer *reducer, int bucket, struct muster_error *err)
{
    struct reducer_thread *thread = &reducer->thread;
    enum muster_status status = reducer_complete(reducer, reducer->state->plan->buckets[bucket], err);
    if (status)
        return status;
    if (thread->running) {
        pthread_mutex_lock(&thread->lock);
        thread->started = bucket + 1;
        pthread_cond_broadcast(&thread->changed);
        pthread_mutex_unlock(&thread->lock);
        return MUSTER_OK;
    }
    status = comm_begin_after(reducer->comm, kernels_stream(reducer->state->kernels), err);
    return status ? status : reducer_reduce(reducer, bucket, err);
}

enum muster_status reducer_finish(struct reducer *reducer, struct muster_error *err)
{
    struct reducer_thread *thread = &reducer->thread;
    if (!thread->running)
        return comm_end_before(reducer->comm, kernels_stream(reducer->state->kernels), err);
    pthread_mutex_lock(&thread->lock);
    while (thread->finished < thread->started)
        pthread_cond_wait(&thread->changed, &thread->lock);
    thread->started = thread->finished = 0;
    enum muster_status status = thread->status;
    if (status && err)
        *err = thread->err;
    pthread_mutex_unlock(&thread->lock);
    return status;
}

float *reducer_mine(const struct reducer *reducer, int bucket)
{
    int64_t begin = plan_owned_range(reducer->state->plan, bucket, reducer->state->rank).begin;
    return reducer_buffer(reducer, reducer->fold.node_buffer[0]) + begin;
}
