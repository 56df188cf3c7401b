/* SPDX-License-Identifier: MIT
 *
 * Buckets come one after the other through one queue, so one number says what is there: the lowest bucket
 * that has been waited for.
 */
#include "worker/exchange/param_gathers.h"

#include "base/alloc.h"
#include "coordinator/plan/bucket_order.h"

struct param_gathers {
    struct rank_state *state;
    struct comm *comm;
    struct comm_queue *queue;
    int64_t *ticket; /* [bucket_count] */
    int *first_read; /* [op_count] the lowest bucket that an operation reads; bucket_count: none */
    int there;       /* this bucket and those above have been waited for; 0: all */
};

enum muster_status param_gathers_create(struct rank_state *state, struct comm *comm, struct comm_queue *queue,
                                        struct param_gathers **out, struct muster_error *err)
{
    *out = NULL;
    const struct plan *plan = state->plan;
    struct param_gathers *gathers = alloc_zeroed(1, sizeof *gathers);
    if (gathers) {
        *gathers = (struct param_gathers){.state = state, .comm = comm, .queue = queue};
        gathers->ticket = alloc_zeroed((size_t)plan->bucket_count, sizeof *gathers->ticket);
        gathers->first_read = alloc_zeroed((size_t)plan->graph->op_count, sizeof *gathers->first_read);
    }
    if (!gathers || !gathers->ticket || !gathers->first_read) {
        param_gathers_destroy(gathers);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the gathering of weights");
    }
    bucket_order_fill_reads(plan, gathers->first_read);
    *out = gathers;
    return MUSTER_OK;
}

void param_gathers_destroy(struct param_gathers *gathers)
{
    if (!gathers)
        return;
    alloc_free(gathers->ticket);
    alloc_free(gathers->first_read);
    alloc_free(gathers);
}

static enum muster_status gathers_task(void *context, int bucket, struct muster_error *err)
{
    struct param_gathers *gathers = context;
    return rank_state_gather_bucket(gathers->state, gathers->comm, bucket, err);
}

enum muster_status param_gathers_start(struct param_gathers *gathers, int bucket, struct muster_error *err)
{
    gathers->there = gathers->state->plan->bucket_count;
    return comm_queue_start(gathers->queue, gathers_task, gathers, bucket, &gathers->ticket[bucket], err);
}

void param_gathers_mark(const struct param_gathers *gathers, unsigned char bit, unsigned char *stops)
{
    const struct plan *plan = gathers->state->plan;
    int there = plan->bucket_count;
    for (int op = 0; op < plan->graph->op_count; op++)
        if (gathers->first_read[op] < there) {
            there = gathers->first_read[op];
            stops[op] |= bit;
        }
}

enum muster_status param_gathers_ensure(struct param_gathers *gathers, int op, struct muster_error *err)
{
    int bucket = gathers->first_read[op];
    if (bucket >= gathers->there)
        return MUSTER_OK;
    gathers->there = bucket;
    return comm_queue_wait(gathers->queue, gathers->ticket[bucket], err);
}

enum muster_status param_gathers_finish(struct param_gathers *gathers, struct muster_error *err)
{
    if (!gathers || gathers->there == 0)
        return MUSTER_OK;
    gathers->there = 0;
    return comm_queue_finish(gathers->queue, err);
}
