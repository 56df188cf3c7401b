/* SPDX-License-Identifier: MIT
 *
 * The queue of what ranks say while they compute: one order, waiting for no more than was asked for, and
 * silence after a failure. The communicator says that any thread may call it, and nobody does.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "worker/exchange/comm_queue.h"
#include "tests/suite.h"

enum { TASKS = 300, NUMBER_THAT_FAILS = 5, NUMBER_THAT_WAITS = 7 };

static enum muster_status no_order(struct comm *c, void *stream, struct muster_error *err)
{
    (void)c, (void)stream, (void)err;
    return MUSTER_OK;
}

static const struct comm_ops ops = {.name = "silent", .begin_after = no_order, .end_before = no_order};
static struct comm comm;
static struct kernels *kernels;
static struct comm_queue *queue;
static struct muster_error err;
static int order[TASKS], order_count;
static pthread_t ran_on;
static sem_t gate;

static enum muster_status task(void *context, int number, struct muster_error *error)
{
    const bool *fails = context;
    order[order_count++] = number;
    ran_on = pthread_self();
    if (number == NUMBER_THAT_WAITS)
        sem_wait(&gate);
    if (*fails && number == NUMBER_THAT_FAILS)
        return muster_error_set(error, MUSTER_ERR_PEER, "rank 1 is gone");
    return MUSTER_OK;
}

static void setup(void)
{
    comm = (struct comm){.ops = &ops, .size = 2, .any_thread = true};
    order_count = 0;
    err = (struct muster_error){0};
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    ck_assert_int_eq(kernels_cpu_create(1, NULL, NULL, 0, &kernels, &err), MUSTER_OK);
}

static void teardown(void)
{
    comm_queue_destroy(queue);
    queue = NULL;
    kernels_destroy(kernels);
    sem_destroy(&gate);
}

static void create(bool overlap)
{
    ck_assert_int_eq(comm_queue_create(&comm, kernels, overlap, &queue, &err), MUSTER_OK);
}

static int64_t start(const bool *fails, int number)
{
    int64_t ticket = 0;
    ck_assert_int_eq(comm_queue_start(queue, task, (void *)(uintptr_t)fails, number, &ticket, &err),
                     MUSTER_OK);
    return ticket;
}

static const bool yes = true, no = false;

/* A communicator whose calls return early: what was asked of it, a letter each and the mark. */
static char asked[64];

static void ask(char what, int mark)
{
    size_t length = strlen(asked);
    snprintf(asked + length, sizeof asked - length, "%c%d ", what, mark);
}

static enum muster_status early_begin(struct comm *c, void *stream, struct muster_error *error)
{
    (void)c, (void)stream, (void)error;
    ask('b', 0);
    return MUSTER_OK;
}

static enum muster_status early_end(struct comm *c, void *stream, struct muster_error *error)
{
    (void)c, (void)stream, (void)error;
    ask('e', 0);
    return MUSTER_OK;
}

static enum muster_status early_mark(struct comm *c, int mark, struct muster_error *error)
{
    (void)c, (void)error;
    ask('m', mark);
    return MUSTER_OK;
}

static enum muster_status early_wait(struct comm *c, void *stream, int mark, struct muster_error *error)
{
    (void)c, (void)stream, (void)error;
    ask('w', mark);
    return MUSTER_OK;
}

static const struct comm_ops early_ops = {.name = "early",
                                          .begin_after = early_begin,
                                          .end_before = early_end,
                                          .mark = early_mark,
                                          .wait_mark = early_wait};

START_TEST(where_calls_return_early_a_wait_orders_the_stream_and_only_the_finish_waits)
{
    comm = (struct comm){.ops = &early_ops, .size = 2, .returns_early = true};
    asked[0] = '\0';
    create(true);
    ck_assert(comm_queue_overlaps(queue));
    int64_t first = start(&no, 1), second = start(&no, 2);
    ck_assert_str_eq(asked, "b0 m1 b0 m2 ");
    asked[0] = '\0';
    ck_assert_int_eq(comm_queue_wait(queue, first, &err), MUSTER_OK);
    ck_assert_int_eq(comm_queue_wait(queue, first, &err), MUSTER_OK);
    ck_assert_int_eq(comm_queue_wait(queue, second, &err), MUSTER_OK);
    ck_assert_str_eq(asked, "w1 w2 ");
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(comm_queue_finish(queue, &err), MUSTER_OK);
    ck_assert_int_eq(comm_queue_wait(queue, second, &err), MUSTER_OK);
    ck_assert_str_eq(asked, "w1 w2 e0 ");
    ck_assert(pthread_equal(ran_on, pthread_self()));
}
END_TEST

START_TEST(tasks_run_one_after_the_other_in_the_order_they_were_started)
{
    create(_i);
    ck_assert_int_eq(comm_queue_overlaps(queue), _i);
    int64_t last = 0;
    for (int i = 0; i < TASKS; i++) {
        int64_t ticket = start(&no, i == NUMBER_THAT_WAITS ? TASKS : i);
        ck_assert_int_gt(ticket, last);
        last = ticket;
    }
    ck_assert_int_eq(comm_queue_finish(queue, &err), MUSTER_OK);
    ck_assert_int_eq(order_count, TASKS);
    for (int i = 0; i < TASKS; i++)
        ck_assert_int_eq(order[i], i == NUMBER_THAT_WAITS ? TASKS : i);
    ck_assert_int_eq(pthread_equal(ran_on, pthread_self()) != 0, !_i);
}
END_TEST

START_TEST(a_wait_does_not_wait_for_what_was_started_later)
{
    create(true);
    int64_t before = start(&no, 1);
    int64_t after = start(&no, NUMBER_THAT_WAITS);
    ck_assert_int_eq(comm_queue_wait(queue, 0, &err), MUSTER_OK);
    ck_assert_int_eq(comm_queue_wait(queue, before, &err), MUSTER_OK);
    ck_assert_int_eq(order[0], 1);
    ck_assert_int_eq(sem_post(&gate), 0);
    ck_assert_int_eq(comm_queue_wait(queue, after, &err), MUSTER_OK);
    ck_assert_int_eq(order_count, 2);
}
END_TEST

START_TEST(after_a_failure_nothing_runs_and_every_wait_says_why)
{
    create(true);
    for (int i = 0; i < NUMBER_THAT_WAITS; i++)
        start(&yes, i);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(comm_queue_finish(queue, &err), MUSTER_ERR_PEER);
        ck_assert_str_eq(err.text, "rank 1 is gone");
        err = (struct muster_error){0};
    }
    ck_assert_int_eq(order_count, NUMBER_THAT_FAILS + 1);
}
END_TEST

START_TEST(without_a_thread_a_failure_comes_from_the_start)
{
    int64_t ticket;
    create(false);
    ck_assert_int_eq(comm_queue_start(queue, task, (void *)(uintptr_t)&yes, NUMBER_THAT_FAILS, &ticket, &err),
                     MUSTER_ERR_PEER);
    ck_assert_str_eq(err.text, "rank 1 is gone");
}
END_TEST

START_TEST(a_queue_without_memory_says_so)
{
    int64_t live = alloc_live_count();
    alloc_fail_nth(1);
    ck_assert_int_eq(comm_queue_create(&comm, kernels, true, &queue, &err), MUSTER_ERR_NO_MEMORY);
    alloc_fail_nth(0);
    ck_assert_ptr_null(queue);
    ck_assert_int_eq(alloc_live_count(), live);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("queue");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, tasks_run_one_after_the_other_in_the_order_they_were_started, 0, 2);
    tcase_add_test(tcase, a_wait_does_not_wait_for_what_was_started_later);
    tcase_add_test(tcase, where_calls_return_early_a_wait_orders_the_stream_and_only_the_finish_waits);
    tcase_add_test(tcase, after_a_failure_nothing_runs_and_every_wait_says_why);
    tcase_add_test(tcase, without_a_thread_a_failure_comes_from_the_start);
    tcase_add_test(tcase, a_queue_without_memory_says_so);
    Suite *suite = suite_create("comm queue");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
