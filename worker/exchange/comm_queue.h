/* SPDX-License-Identifier: MIT
 *
 * What ranks say to each other while they compute, in one order that is the same on all of them. On the CPU a
 * thread of its own takes the tasks one after the other; on a GPU, and without overlap, a task runs when it
 * is started, and what it asks for goes on along the communicator's stream.
 *
 * Between the first start and comm_queue_finish nobody else may use the communicator.
 */
#ifndef MUSTER_WORKER_COMM_QUEUE_H
#define MUSTER_WORKER_COMM_QUEUE_H

#include "comm/comm.h"
#include "kernels/kernels.h"

struct comm_queue;

/** Collective calls and their own arithmetic; `number` is the starter's. */
typedef enum muster_status (*comm_queue_task)(void *context, int number, struct muster_error *err);

/** \param overlap  whether tasks are to proceed while the rank computes, where the communicator lets them: on
 * a thread of the queue, or because its calls return early. All but `out` is by reference
 */
enum muster_status comm_queue_create(struct comm *comm, struct kernels *kernels, bool overlap,
                                     struct comm_queue **out, struct muster_error *err);
/** Takes NULL. */
void comm_queue_destroy(struct comm_queue *queue);

/** True when a started task proceeds while its rank computes. */
bool comm_queue_overlaps(const struct comm_queue *queue);

/**
 * Starts a task after all started before; what the back end's stream holds so far is done when it begins.
 * \param ticket  out: for comm_queue_wait; grows from start to start
 */
enum muster_status comm_queue_start(struct comm_queue *queue, comm_queue_task task, void *context, int number,
                                    int64_t *ticket, struct muster_error *err);

/** Waits for a started task (0: none) and all before it; on a GPU, orders the stream after them and goes on.
 * \return the first failure of any task so far */
enum muster_status comm_queue_wait(struct comm_queue *queue, int64_t ticket, struct muster_error *err);

/** Waits for all started tasks, on a GPU too. */
enum muster_status comm_queue_finish(struct comm_queue *queue, struct muster_error *err);

#endif
