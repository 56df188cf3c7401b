/* SPDX-License-Identifier: MIT
 *
 * Every call of NCCL made to fail in every way: it returns each error, reports each later, or never ends, on
 * one rank of several. The whole job must end with MUSTER_ERR_PEER on every rank (in set-up, INTERNAL on the
 * one at fault), nobody may wait for ever, the rank at fault names the call, and nothing stays behind. No
 * test waits for a time limit: the clock jumps when the stand-in knows that what is waited for will not come.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "tests/comm/comm_case.h"
#include "tests/comm/mpi_check.h"
#include "tests/comm/nccl_case.h"
#include "tests/comm/nccl_standin/nccl_standin.h"
#include "tests/cuda/emulation/cudart_standin.h"

enum { RANKS_MAX = COMM_CASE_RANKS_MAX };

static struct nccl_case test;

/* Each kind of collective, with even and with uneven blocks; a barrier comes last, so that no rank can be
 * done while another is in trouble. */
static enum muster_status job_run(struct comm *c, struct muster_error *err)
{
    static float data[RANKS_MAX * 8], mine[8];
    static char in[RANKS_MAX][8];
    int64_t even[RANKS_MAX], uneven[RANKS_MAX];
    const void *send[RANKS_MAX];
    void *receive[RANKS_MAX];
    for (int r = 0; r < c->size; r++) {
        even[r] = 4;
        uneven[r] = 1 + r % 4;
        send[r] = data;
        receive[r] = in[r];
    }
    enum muster_status status = comm_begin_after(c, NULL, err);
    status = status ? status : comm_broadcast(c, data, 16, c->size - 1, err);
    status = status ? status : comm_all_gather(c, data, even, err);
    status = status ? status : comm_all_gather(c, data, uneven, err);
    status = status ? status : comm_exchange(c, send, even, receive, even, err);
    status = status ? status : comm_reduce_scatter_f32(c, data, even, mine, err);
    status = status ? status : comm_reduce_scatter_f32(c, data, uneven, mine, err);
    status = status ? status : comm_all_reduce_f32(c, data, 8, err);
    status = status ? status : comm_end_before(c, NULL, err);
    return status ? status : comm_barrier(c, err);
}

/* Set-up and job; the communicator is left in `test`, NULL when set-up failed. */
static enum muster_status all_run(struct muster_error *err)
{
    enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, err);
    mpi_check((status == MUSTER_OK) == (test.nccl != NULL));
    return status == MUSTER_OK ? job_run(test.nccl, err) : status;
}

/* What is left when a job has failed: a communicator that says so, and after its end nothing. */
static void failed_close(int64_t live)
{
    struct muster_error err = {0};
    if (test.nccl) {
        mpi_check(comm_barrier(test.nccl, &err) == MUSTER_ERR_PEER && strstr(err.text, "earlier failure"));
        mpi_check(comm_end_before(test.nccl, NULL, &err) == MUSTER_ERR_PEER);
    }
    comm_destroy(test.nccl);
    test.nccl = NULL;
    mpi_check(nccl_standin_live_count() == 0 && alloc_live_count() == live);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* The call that fails, at which time it is made, and what ends when it never does (NULL: it cannot hang). */
static const struct {
    const char *call;
    int nth, ranks_min;
    const char *waits_in;
} calls[] = {
    {"ncclGetUniqueId", 1, 1, NULL},          {"ncclCommInitRankConfig", 1, 1, "ncclCommInitRankConfig"},
    {"ncclAllReduce", 1, 1, "ncclAllReduce"}, /* the barrier of set-up */
    {"ncclAllReduce", 2, 1, "ncclAllReduce"}, {"ncclAllReduce", 3, 1, "ncclAllReduce"}, /* the last barrier */
    {"ncclBroadcast", 1, 1, "ncclBroadcast"}, {"ncclBroadcast", 3, 2, "ncclGroupEnd"}, /* within all_gather */
    {"ncclAllGather", 1, 1, "ncclAllGather"}, {"ncclSend", 1, 2, "ncclGroupEnd"},
    {"ncclRecv", 1, 2, "ncclGroupEnd"},       {"ncclSend", 2, 3, "ncclGroupEnd"},
    {"ncclRecv", 2, 3, "ncclGroupEnd"},       {"ncclReduceScatter", 1, 1, "ncclReduceScatter"},
    {"ncclReduce", 2, 2, "ncclGroupEnd"},     {"ncclGroupStart", 1, 2, NULL},
    {"ncclGroupStart", 2, 2, NULL},           {"ncclGroupEnd", 1, 2, "ncclGroupEnd"},
    {"ncclGroupEnd", 2, 2, "ncclGroupEnd"},   {"ncclGroupEnd", 3, 2, "ncclGroupEnd"},
    {"ncclCommGetAsyncError", 1, 1, NULL},    {"ncclCommGetAsyncError", 3, 1, NULL},
};
enum { CALL_COUNT = sizeof(calls) / sizeof(calls[0]) };

static const char *const result_texts[] = {NULL,
                                           "unhandled cuda error",
                                           "unhandled system error",
                                           "internal error",
                                           "invalid argument",
                                           "invalid usage",
                                           "remote process exited"};
enum { RESULT_COUNT = 7 };

static int fault_rank(int call)
{
    return strcmp(calls[call].call, "ncclGetUniqueId") == 0 ? 0 : call % test.mpi->size;
}

/* One fault on one rank, from set-up to the end; the rank at fault must say `said` and `reason`. */
static void fault_check(int call, const char *variable, const char *said, const char *reason)
{
    struct muster_error err = {0};
    char rank_text[32];
    int64_t live = alloc_live_count();
    bool mine = test.mpi->rank == fault_rank(call);
    setenv("MUSTER_NCCL_STANDIN_FAIL", mine ? variable : "", 1);
    enum muster_status status = all_run(&err);
    snprintf(rank_text, sizeof(rank_text), "on rank %d: ", test.mpi->rank);
    bool own = mine && status == MUSTER_ERR_INTERNAL && !test.nccl; /* set-up knows whose fault it is */
    if ((status != MUSTER_ERR_PEER && !own) ||
        (mine && !(strstr(err.text, said) && strstr(err.text, reason) && strstr(err.text, rank_text)))) {
        fprintf(stderr, "%s on rank %d: status %d, \"%s\"\n", variable, fault_rank(call), status, err.text);
        mpi_check(false);
    }
    setenv("MUSTER_NCCL_STANDIN_FAIL", "", 1);
    failed_close(live);
}

START_TEST(an_error_that_any_call_returns_ends_all_ranks_and_is_named)
{
    char variable[96];
    nccl_case_init(&test);
    for (int call = 0; call < CALL_COUNT; call++)
        for (int result = 1; result < RESULT_COUNT && test.mpi->size >= calls[call].ranks_min; result++) {
            snprintf(variable, sizeof(variable), "%s:%d:%d", calls[call].call, calls[call].nth, result);
            fault_check(call, variable, calls[call].call, result_texts[result]);
        }
    nccl_case_release(&test);
}
END_TEST

START_TEST(an_error_that_shows_later_ends_all_ranks_and_is_named)
{
    char variable[96];
    nccl_case_init(&test);
    for (int call = 0; call < CALL_COUNT; call++)
        for (int result = 1; result < RESULT_COUNT && test.mpi->size >= calls[call].ranks_min; result++) {
            if (!calls[call].waits_in)
                continue;
            snprintf(variable, sizeof(variable), "async:%s:%d:%d", calls[call].call, calls[call].nth, result);
            fault_check(call, variable, calls[call].waits_in, result_texts[result]);
        }
    nccl_case_release(&test);
}
END_TEST

/* The call said that all is well: what shows is found by the next, or while the GPU is waited for. */
START_TEST(an_error_after_a_call_has_ended_well_ends_all_ranks_too)
{
    char variable[96];
    nccl_case_init(&test);
    for (int call = 0; call < CALL_COUNT; call++) {
        if (!calls[call].waits_in || test.mpi->size < calls[call].ranks_min)
            continue;
        int result = 1 + call % (RESULT_COUNT - 1);
        bool last = strcmp(calls[call].call, "ncclAllReduce") == 0 && calls[call].nth != 2;
        snprintf(variable, sizeof(variable), "late:%s:%d:%d", calls[call].call, calls[call].nth, result);
        fault_check(call, variable, last ? "found while waiting for the GPU" : "", result_texts[result]);
    }
    nccl_case_release(&test);
}
END_TEST

START_TEST(a_call_that_never_ends_is_ended_by_the_time_limit)
{
    char variable[96];
    nccl_case_init(&test);
    for (int call = 0; call < CALL_COUNT; call++) {
        if (!calls[call].waits_in || test.mpi->size < calls[call].ranks_min)
            continue;
        snprintf(variable, sizeof(variable), "hang:%s:%d", calls[call].call, calls[call].nth);
        fault_check(call, variable, calls[call].waits_in, "did not end within 60000 ms");
    }
    nccl_case_release(&test);
}
END_TEST

/* Of two that fail, the one whose connection to the other has ended is not to blame. */
START_TEST(set_up_names_the_rank_that_failed_not_one_that_lost_it)
{
    struct muster_error err = {0};
    nccl_case_init(&test);
    int last = test.mpi->size - 1;
    char who[32];
    snprintf(who, sizeof(who), "rank %d (", last);
    setenv("MUSTER_NCCL_STANDIN_FAIL",
           test.mpi->rank == last ? "ncclCommInitRankConfig:1:2" : "ncclCommInitRankConfig:1:6", 1);
    enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
    bool mine = test.mpi->rank == last;
    mpi_check(status == (mine ? MUSTER_ERR_INTERNAL : MUSTER_ERR_PEER) && !test.nccl);
    mpi_check(strstr(err.text, "unhandled system error") && (mine || strstr(err.text, who)));
    setenv("MUSTER_NCCL_STANDIN_FAIL", "", 1);
    nccl_case_release(&test);
}
END_TEST

/* Another rank's job may take hours; to be reached takes seconds. */
START_TEST(set_up_waits_for_minutes_at_most)
{
    nccl_case_init(&test);
    test.options.timeout_ms = 86400000;
    fault_check(1, "hang:ncclCommInitRankConfig:1", "ncclCommInitRankConfig", "did not end within 300000 ms");
    fault_check(3, "hang:ncclAllReduce:2", "ncclAllReduce", "did not end within 86400000 ms");
    nccl_case_release(&test);
}
END_TEST

START_TEST(an_abort_that_fails_too_changes_nothing)
{
    nccl_case_init(&test);
    fault_check(1, "ncclCommInitRankConfig:1:2;ncclCommAbort:1:3", "ncclCommInitRankConfig", "system error");
    fault_check(3, "ncclAllReduce:2:2;ncclCommAbort:1:3", "ncclAllReduce", "system error");
    fault_check(3, "async:ncclAllReduce:2:2;ncclCommAbort:1:3", "ncclAllReduce", "system error");
    nccl_case_release(&test);
}
END_TEST

static const char *const endings[] = {"ncclCommFinalize:1:2", "async:ncclCommFinalize:1:6",
                                      "hang:ncclCommFinalize:1", "ncclCommDestroy:1:3",
                                      "ncclCommFinalize:1:1;ncclCommAbort:1:3"};

START_TEST(an_end_that_fails_still_ends)
{
    struct muster_error err = {0};
    nccl_case_init(&test);
    int64_t live = alloc_live_count();
    setenv("MUSTER_NCCL_STANDIN_FAIL", test.mpi->rank == test.mpi->size - 1 ? endings[_i] : "", 1);
    mpi_check_ok(all_run(&err), err);
    comm_destroy(test.nccl);
    test.nccl = NULL;
    mpi_check(nccl_standin_live_count() == 0 && alloc_live_count() == live);
    setenv("MUSTER_NCCL_STANDIN_FAIL", "", 1);
    nccl_case_release(&test);
}
END_TEST

/* The work was handed to the GPU, and the GPU never does it: nothing but the event shows. */
START_TEST(work_that_the_gpu_never_does_is_ended_by_the_time_limit)
{
    static const struct {
        enum gpu_mood mood;
        const char *said;
    } moods[] = {{GPU_NEVER_DONE, "the work on the GPU did not end within 60000 ms"},
                 {GPU_BROKEN, "cudaEventQuery: "}};
    struct muster_error err = {0};
    nccl_case_init(&test);
    nccl_case_open(&test);
    int64_t live = alloc_live_count();
    bool mine = test.mpi->rank == test.mpi->size - 1;
    gpu_mood_set(mine ? moods[_i].mood : GPU_WELL);
    mpi_check(job_run(test.nccl, &err) == MUSTER_ERR_PEER);
    mpi_check(!mine || (strstr(err.text, moods[_i].said) && strstr(err.text, "wait for the end of")));
    gpu_mood_set(GPU_WELL);
    comm_destroy(test.nccl);
    test.nccl = NULL;
    mpi_check(nccl_standin_live_count() == 0 && alloc_live_count() < live);
    nccl_case_release(&test);
}
END_TEST

START_TEST(a_full_heap_on_one_rank_ends_set_up_on_all)
{
    nccl_case_init(&test);
    int64_t live = alloc_live_count();
    for (int n = 1; n <= 3; n++) {
        struct muster_error err = {0};
        bool mine = test.mpi->rank == test.mpi->size / 2;
        alloc_fail_nth(mine ? n : 0);
        enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
        alloc_fail_nth(0);
        mpi_check(status == (mine ? MUSTER_ERR_NO_MEMORY : MUSTER_ERR_PEER) && !test.nccl);
        mpi_check(alloc_live_count() == live);
    }
    nccl_case_release(&test);
}
END_TEST

static enum muster_status bootstrap_fail(struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_PEER, "the bootstrap failed");
}

static enum muster_status fail_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                         struct muster_error *err)
{
    (void)c, (void)data, (void)bytes, (void)root;
    return bootstrap_fail(err);
}

static enum muster_status fail_all_gather(struct comm *c, void *all, const int64_t *counts,
                                          struct muster_error *err)
{
    (void)c, (void)all, (void)counts;
    return bootstrap_fail(err);
}

static enum muster_status fail_all_reduce(struct comm *c, float *data, int64_t count,
                                          struct muster_error *err)
{
    (void)c, (void)data, (void)count;
    return bootstrap_fail(err);
}

START_TEST(a_bootstrap_that_fails_ends_set_up)
{
    nccl_case_init(&test);
    int64_t live = alloc_live_count();
    const struct comm_ops *whole = test.mpi->ops;
    for (int which = 0; which < 3; which++) {
        struct muster_error err = {0};
        struct comm_ops ops = *whole;
        ops.broadcast = which == 0 ? fail_broadcast : whole->broadcast;
        ops.all_gather = which == 1 ? fail_all_gather : whole->all_gather;
        ops.all_reduce_f32 = which == 2 ? fail_all_reduce : whole->all_reduce_f32;
        test.mpi->ops = &ops;
        mpi_check(muster_nccl_create(test.mpi, &test.options, &test.nccl, &err) == MUSTER_ERR_PEER);
        mpi_check(strcmp(err.text, "the bootstrap failed") == 0 && !test.nccl);
        test.mpi->ops = whole;
        mpi_check(alloc_live_count() == live && nccl_standin_live_count() == 0);
    }
    nccl_case_release(&test);
}
END_TEST

static int abort_code;

static void abort_note(struct comm *c, int exit_code)
{
    (void)c;
    abort_code = exit_code;
}

static void *watchdog(void *argument)
{
    (void)argument;
    comm_abort(test.nccl, 7);
    return NULL;
}

/* As the watchdog does it: from another thread, while this one waits for ranks that never come. */
START_TEST(an_abort_from_another_thread_ends_the_wait_and_the_job)
{
    struct muster_error err = {0};
    pthread_t thread;
    nccl_case_init(&test);
    nccl_case_open(&test);
    const struct comm_ops *whole = test.mpi->ops;
    struct comm_ops ops = *whole;
    ops.abort = abort_note;
    test.mpi->ops = &ops;
    if (test.mpi->rank == 0) {
        abort_code = 0;
        mpi_check(pthread_create(&thread, NULL, watchdog, NULL) == 0);
        enum muster_status status = MUSTER_OK; /* alone, so a rank of one goes on until it is stopped */
        while (status == MUSTER_OK)
            status = comm_barrier(test.nccl, &err);
        mpi_check(pthread_join(thread, NULL) == 0);
        mpi_check(status == MUSTER_ERR_PEER && abort_code == 7 && nccl_standin_live_count() == 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    test.mpi->ops = whole;
    nccl_case_release(&test);
}
END_TEST

/* One rank fails for a reason of its own, while the others wait for it, as long as they may. */
START_TEST(who_gives_up_waits_for_nobody)
{
    struct muster_error err = {0};
    nccl_case_init(&test);
    nccl_case_open(&test);
    if (test.mpi->rank == test.mpi->size - 1) {
        int64_t begin_ns = clock_monotonic_ns();
        comm_give_up(test.nccl);
        mpi_check(nccl_standin_live_count() == 0);
        mpi_check(comm_barrier(test.nccl, &err) == MUSTER_ERR_PEER);
        comm_destroy(test.nccl);
        mpi_check(clock_monotonic_ns() - begin_ns < (int64_t)test.options.timeout_ms * 1000000);
        test.nccl = NULL;
    } else {
        mpi_check(comm_barrier(test.nccl, &err) == MUSTER_ERR_PEER);
    }
    comm_give_up(NULL);
    comm_give_up(test.mpi);
    nccl_case_release(&test);
}
END_TEST

/* Behind such a kernel no call returns that waits for the GPU, so none may be made. The last test: here, too,
 * only the end of the process helps. */
START_TEST(an_abort_that_never_ends_holds_nobody_up)
{
    struct muster_error err = {0};
    nccl_case_init(&test);
    nccl_case_open(&test);
    bool mine = test.mpi->rank == test.mpi->size - 1;
    setenv("MUSTER_NCCL_STANDIN_FAIL", mine ? "hang:ncclBroadcast:1;hang:ncclCommAbort:1" : "", 1);
    mpi_check(job_run(test.nccl, &err) == MUSTER_ERR_PEER);
    mpi_check(!mine || strstr(err.text, "ncclBroadcast did not end"));
    if (mine)
        nccl_case_patience_end();
    comm_give_up(test.nccl);
    if (mine)
        cuda_standin_stick(); /* as the abort does, but it is a thread of its own */
    mpi_check(comm_barrier(test.nccl, &err) == MUSTER_ERR_PEER);
    comm_destroy(test.nccl);
    mpi_check(nccl_standin_live_count() == (mine ? 1 : 0));
    comm_destroy(test.mpi);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("nccl_faults");
    TCase *tc = tcase_create("faults");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, an_error_that_any_call_returns_ends_all_ranks_and_is_named);
    tcase_add_test(tc, an_error_that_shows_later_ends_all_ranks_and_is_named);
    tcase_add_test(tc, an_error_after_a_call_has_ended_well_ends_all_ranks_too);
    tcase_add_test(tc, a_call_that_never_ends_is_ended_by_the_time_limit);
    tcase_add_test(tc, set_up_names_the_rank_that_failed_not_one_that_lost_it);
    tcase_add_test(tc, set_up_waits_for_minutes_at_most);
    tcase_add_test(tc, an_abort_that_fails_too_changes_nothing);
    tcase_add_loop_test(tc, an_end_that_fails_still_ends, 0, (int)(sizeof(endings) / sizeof(endings[0])));
    tcase_add_loop_test(tc, work_that_the_gpu_never_does_is_ended_by_the_time_limit, 0, 2);
    tcase_add_test(tc, a_full_heap_on_one_rank_ends_set_up_on_all);
    tcase_add_test(tc, a_bootstrap_that_fails_ends_set_up);
    tcase_add_test(tc, an_abort_from_another_thread_ends_the_wait_and_the_job);
    tcase_add_test(tc, who_gives_up_waits_for_nobody);
    tcase_add_test(tc, an_abort_that_never_ends_holds_nobody_up);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
