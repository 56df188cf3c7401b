/* SPDX-License-Identifier: MIT
 *
 * Duplicates of a communicator for other threads: two of them at once, each with its own order of calls, and
 * the limit on a wait. Threads are held back by locks, never by time, and a limit on every wait turns a
 * deadlock into a failure.
 */
#include "comm/comm.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/comm/mpi_check.h"

enum { RANKS_MAX = 16, ROUNDS = 300, LIMIT_MS = 30000, SHORT_MS = 30 };

/* A world and two duplicates; the world stays untouched meanwhile. */
struct trio {
    struct comm *world, *first, *second;
};

static struct trio trio_open(void)
{
    struct trio t;
    struct muster_error err = {0};
    mpi_check_ok(comm_mpi_create(&t.world, &err), err);
    mpi_check(t.world->size <= RANKS_MAX);
    comm_timeout_set(t.world, LIMIT_MS);
    mpi_check_ok(comm_mpi_duplicate(t.world, &t.first, &err), err);
    mpi_check_ok(comm_mpi_duplicate(t.world, &t.second, &err), err);
    return t;
}

static void trio_close(struct trio *t)
{
    comm_destroy(t->second);
    comm_destroy(t->first);
    comm_destroy(t->world);
}

static void exchange_round(struct comm *c, int64_t round)
{
    struct muster_error err = {0};
    int64_t out[RANKS_MAX], in[RANKS_MAX], bytes[RANKS_MAX];
    const void *send[RANKS_MAX];
    void *receive[RANKS_MAX];
    for (int r = 0; r < c->size; r++) {
        out[r] = round * 1000 + c->rank * 20 + r;
        send[r] = &out[r];
        receive[r] = &in[r];
        bytes[r] = sizeof(int64_t);
    }
    mpi_check_ok(comm_exchange(c, send, bytes, receive, bytes, &err), err);
    for (int r = 0; r < c->size; r++)
        mpi_check(r == c->rank || in[r] == round * 1000 + r * 20 + c->rank);
}

static void gather_round(struct comm *c, int64_t round)
{
    struct muster_error err = {0};
    int64_t all[RANKS_MAX], bytes[RANKS_MAX];
    float sum = (float)(c->rank + round);
    for (int r = 0; r < c->size; r++)
        bytes[r] = sizeof(int64_t);
    all[c->rank] = round * 100 + c->rank;
    mpi_check_ok(comm_all_gather(c, all, bytes, &err), err);
    for (int r = 0; r < c->size; r++)
        mpi_check(all[r] == round * 100 + r);
    mpi_check_ok(comm_all_reduce_f32(c, &sum, 1, &err), err);
    mpi_check(sum == (float)(c->size * (c->size - 1) / 2 + c->size * round));
    int64_t word = c->rank == round % c->size ? round : -1;
    mpi_check_ok(comm_broadcast(c, &word, sizeof(word), (int)(round % c->size), &err), err);
    mpi_check(word == round);
}

static void *exchanges_run(void *comm)
{
    for (int64_t round = 0; round < ROUNDS; round++)
        exchange_round(comm, round);
    return NULL;
}

START_TEST(two_threads_use_two_duplicates_at_once)
{
    struct trio t = trio_open();
    pthread_t thread;
    mpi_check(pthread_create(&thread, NULL, exchanges_run, t.first) == 0);
    for (int64_t round = 0; round < ROUNDS; round++) {
        gather_round(t.second, round);
        exchange_round(t.second, ROUNDS + round); /* other words than the thread's: they must not meet */
    }
    mpi_check(pthread_join(thread, NULL) == 0);
    mpi_check(t.first->sequence == ROUNDS && t.second->sequence == 4 * ROUNDS && t.world->sequence == 0);
    mpi_check(t.first->bytes_sent == ROUNDS * 8 * (t.world->size - 1));
    trio_close(&t);
}
END_TEST

/* Rank 0's thread sits in a barrier that the others enter only when a long talk on the other duplicate is
 * over: were one call to wait for the other, nobody would ever come. */
static void *barrier_run(void *comm)
{
    struct muster_error err = {0};
    mpi_check_ok(comm_barrier(comm, &err), err);
    return NULL;
}

START_TEST(a_call_on_one_duplicate_goes_on_while_another_thread_waits_in_the_other)
{
    struct trio t = trio_open();
    pthread_t thread;
    if (t.world->rank == 0)
        mpi_check(pthread_create(&thread, NULL, barrier_run, t.first) == 0);
    exchanges_run(t.second);
    if (t.world->rank == 0)
        mpi_check(pthread_join(thread, NULL) == 0);
    else
        barrier_run(t.first);
    trio_close(&t);
}
END_TEST

/* Rank 0 waits for eight bytes that the last rank sends only after rank 0 has given up. */
START_TEST(a_wait_past_its_limit_names_the_silent_rank)
{
    static char word[8];
    struct trio t = trio_open();
    struct muster_error err = {0};
    struct comm *c = t.first;
    int last = c->size - 1;
    const void *send[RANKS_MAX] = {NULL};
    void *receive[RANKS_MAX] = {NULL};
    int64_t send_bytes[RANKS_MAX] = {0}, receive_bytes[RANKS_MAX] = {0};
    if (c->rank == 0 && last > 0) {
        char expected[64];
        receive[last] = word;
        receive_bytes[last] = sizeof(word);
        comm_timeout_set(c, SHORT_MS);
        mpi_check(comm_exchange(c, send, send_bytes, receive, receive_bytes, &err) == MUSTER_ERR_PEER);
        snprintf(expected, sizeof(expected), "exchange #1 on rank 0 waited %d ms for rank %d", SHORT_MS,
                 last);
        mpi_check(strstr(err.text, expected) != NULL);
    }
    mpi_check_ok(comm_barrier(t.second, &err), err);
    if (c->rank == last && last > 0) {
        send[0] = "too late";
        send_bytes[0] = sizeof(word);
        mpi_check_ok(comm_exchange(c, send, send_bytes, receive, receive_bytes, &err), err);
    }
    mpi_check_ok(comm_barrier(t.second, &err), err);
    trio_close(&t);
}
END_TEST

START_TEST(a_duplicate_knows_its_place_and_a_full_heap_leaks_nothing)
{
    struct trio t = trio_open();
    struct comm *c;
    struct muster_error err = {0};
    mpi_check(t.first->rank == t.world->rank && t.first->size == t.world->size);
    mpi_check(t.first->timeout_ms == LIMIT_MS && t.first->local_size == t.world->local_size);
    mpi_check(strcmp(comm_transport(t.first), comm_transport(t.world)) == 0);
    int64_t live = alloc_live_count();
    int n = 0;
    do {
        alloc_fail_nth(++n);
        enum muster_status status = comm_mpi_duplicate(t.world, &c, &err);
        alloc_fail_nth(0);
        mpi_check(status == (c ? MUSTER_OK : MUSTER_ERR_NO_MEMORY));
        mpi_check(c || alloc_live_count() == live);
    } while (!c);
    mpi_check(n > 5);
    comm_destroy(c);
    trio_close(&t);
}
END_TEST

START_TEST(one_rank_without_mpi_has_duplicates_and_other_transports_refuse)
{
    struct comm *alone, *other;
    struct muster_error err = {0};
    mpi_check_ok(comm_loopback_create(&alone, &err), err);
    mpi_check_ok(comm_mpi_duplicate(alone, &other, &err), err);
    mpi_check(other != alone && other->size == 1);
    comm_destroy(other);
    alone->size = 2; /* as if it talked over something else */
    mpi_check(comm_mpi_duplicate(alone, &other, &err) == MUSTER_ERR_UNSUPPORTED && !other);
    comm_destroy(alone);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("comm threads");
    TCase *tc = tcase_create("duplicates");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, two_threads_use_two_duplicates_at_once);
    tcase_add_test(tc, a_call_on_one_duplicate_goes_on_while_another_thread_waits_in_the_other);
    tcase_add_test(tc, a_wait_past_its_limit_names_the_silent_rank);
    tcase_add_test(tc, a_duplicate_knows_its_place_and_a_full_heap_leaks_nothing);
    tcase_add_test(tc, one_rank_without_mpi_has_duplicates_and_other_transports_refuse);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
