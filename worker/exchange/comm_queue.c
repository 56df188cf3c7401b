/* SPDX-License-Identifier: MIT
 *
 * A ring of tasks between two counters, started and finished; tickets are numbers of starts. After a failure
 * no further task runs: the ranks' collectives would not meet any more.
 */
#include "worker/exchange/comm_queue.h"

#include <pthread.h>

#include "base/alloc.h"

enum { COMM_QUEUE_TASKS = 64 };

struct comm_queue_entry {
    comm_queue_task task;
    void *context;
    int number;
};

struct comm_queue {
    struct comm *comm;
    struct kernels *kernels;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool overlaps, running, leave;
    struct comm_queue_entry ring[COMM_QUEUE_TASKS]; /* from here on under the lock */
    int64_t started, finished; /* without a thread: finished is what the stream was ordered after */
    int64_t over;              /* without a thread: what the host has waited for */
    enum muster_status status;
    struct muster_error err;
};

static void *comm_queue_run(void *argument)
{
    struct comm_queue *queue = argument;
    pthread_mutex_lock(&queue->lock);
    while (!queue->leave) {
        if (queue->finished == queue->started) {
            pthread_cond_wait(&queue->changed, &queue->lock);
            continue;
        }
        struct comm_queue_entry entry = queue->ring[queue->finished % COMM_QUEUE_TASKS];
        enum muster_status status = queue->status;
        struct muster_error err = {0};
        pthread_mutex_unlock(&queue->lock);
        if (!status)
            status = entry.task(entry.context, entry.number, &err);
        pthread_mutex_lock(&queue->lock);
        if (status && !queue->status) {
            queue->status = status;
            queue->err = err;
        }
        queue->finished++;
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static enum muster_status comm_queue_start_thread(struct comm_queue *queue, struct muster_error *err)
{
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    int code = pthread_create(&queue->thread, NULL, comm_queue_run, queue);
    queue->running = code == 0;
    if (queue->running)
        return MUSTER_OK;
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->changed);
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no thread for communication: error %d", code);
}

enum muster_status comm_queue_create(struct comm *comm, struct kernels *kernels, bool overlap,
                                     struct comm_queue **out, struct muster_error *err)
{
    *out = NULL;
    struct comm_queue *queue = alloc_zeroed(1, sizeof *queue);
    if (!queue)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the queue of communication");
    queue->comm = comm;
    queue->kernels = kernels;
    queue->overlaps = overlap && comm->size > 1 && (comm->any_thread || comm->returns_early);
    enum muster_status status = MUSTER_OK;
    if (queue->overlaps && comm->any_thread)
        status = comm_queue_start_thread(queue, err);
    if (status) {
        comm_queue_destroy(queue);
        return status;
    }
    *out = queue;
    return MUSTER_OK;
}

void comm_queue_destroy(struct comm_queue *queue)
{
    if (!queue)
        return;
    if (queue->running) {
        pthread_mutex_lock(&queue->lock);
        queue->leave = true;
        pthread_cond_broadcast(&queue->changed);
        pthread_mutex_unlock(&queue->lock);
        pthread_join(queue->thread, NULL);
        pthread_mutex_destroy(&queue->lock);
        pthread_cond_destroy(&queue->changed);
    }
    alloc_free(queue);
}

bool comm_queue_overlaps(const struct comm_queue *queue)
{
    return queue->overlaps;
}

enum muster_status comm_queue_start(struct comm_queue *queue, comm_queue_task task, void *context, int number,
                                    int64_t *ticket, struct muster_error *err)
{
    if (!queue->running) {
        *ticket = ++queue->started;
        enum muster_status status = comm_begin_after(queue->comm, kernels_stream(queue->kernels), err);
        if (!status)
            status = task(context, number, err);
        if (!status && queue->comm->returns_early)
            status = queue->comm->ops->mark(queue->comm, (int)(*ticket % COMM_MARKS), err);
        return status;
    }
    pthread_mutex_lock(&queue->lock);
    while (queue->started - queue->finished == COMM_QUEUE_TASKS)
        pthread_cond_wait(&queue->changed, &queue->lock);
    queue->ring[queue->started % COMM_QUEUE_TASKS] = (struct comm_queue_entry){task, context, number};
    *ticket = ++queue->started;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    return MUSTER_OK;
}

enum muster_status comm_queue_wait(struct comm_queue *queue, int64_t ticket, struct muster_error *err)
{
    if (!queue->running) {
        if (ticket <= queue->finished || !queue->comm->returns_early)
            return MUSTER_OK;
        queue->finished = ticket; /* a mark that was used again is of a later start */
        return queue->comm->ops->wait_mark(queue->comm, kernels_stream(queue->kernels),
                                           (int)(ticket % COMM_MARKS), err);
    }
    pthread_mutex_lock(&queue->lock);
    while (queue->finished < ticket)
        pthread_cond_wait(&queue->changed, &queue->lock);
    enum muster_status status = queue->status;
    if (status && err)
        *err = queue->err;
    pthread_mutex_unlock(&queue->lock);
    return status;
}

enum muster_status comm_queue_finish(struct comm_queue *queue, struct muster_error *err)
{
    if (queue->running)
        return comm_queue_wait(queue, queue->started, err); /* only its own thread starts tasks */
    if (queue->over == queue->started)
        return MUSTER_OK;
    queue->finished = queue->over = queue->started;
    return comm_end_before(queue->comm, kernels_stream(queue->kernels), err);
}
