/* SPDX-License-Identifier: MIT
 *
 * Who is lost, in made-up situations with made-up time: ranks report every quarter of a second unless a test
 * says otherwise.
 */
#include "worker/watch/watch_table.h"

#include <stdlib.h>

#include "worker/watch/rank_progress.h"
#include "tests/suite.h"

enum { RANKS = 4 };

#define SILENCE_S 7.0
#define TICK_S    0.25

static struct watch_table table;
static struct watch_report reports[RANKS];
static double now_s;
static struct muster_error err;

static void start(int own)
{
    now_s = 1000.0;
    ck_assert_int_eq(watch_table_init(&table, RANKS, own, 0, SILENCE_S, now_s, &err), MUSTER_OK);
    for (int rank = 0; rank < RANKS; rank++)
        reports[rank] = (struct watch_report){.step = 9,
                                              .collective = 500,
                                              .phase = RANK_PHASE_BACKWARD,
                                              .block = -1,
                                              .allowance_s = SILENCE_S};
}

static void setup(void)
{
    start(0);
}

static void teardown(void)
{
    watch_table_release(&table);
}

/* Time passes; bits of `speak` say who reports, of `move` who gets anywhere. The first finding, if any. */
static struct watch_verdict pass(double seconds, unsigned speak, unsigned move)
{
    struct watch_verdict verdict = {.finding = WATCH_WELL};
    for (double end_s = now_s + seconds; now_s < end_s && verdict.finding == WATCH_WELL;) {
        now_s += TICK_S;
        watch_table_look(&table, now_s);
        for (int rank = 0; rank < RANKS; rank++) {
            reports[rank].moves += (move >> rank) & 1;
            if ((speak >> rank) & 1)
                watch_table_report(&table, rank, &reports[rank], now_s);
        }
        verdict = watch_table_judge(&table, now_s);
    }
    return verdict;
}

/* The others wait in the next collective; `rank` has not begun it. */
static void all_wait_for(unsigned ranks)
{
    for (int rank = 0; rank < RANKS; rank++)
        reports[rank].collective = (ranks >> rank) & 1 ? 500 : 501;
}

START_TEST(ranks_that_work_are_left_alone)
{
    ck_assert_int_eq(pass(10000, 0xf, 0xf).finding, WATCH_WELL);
}
END_TEST

START_TEST(a_silent_rank_is_named_and_not_those_that_wait_for_it)
{
    int victim = _i;
    unsigned others = 0xfu & ~(1u << victim);
    all_wait_for(1u << victim);
    double before_s = now_s;
    ck_assert_int_eq(pass(3, 0xf, 0xf).finding, WATCH_WELL);
    struct watch_verdict verdict = pass(60, others, 0);
    ck_assert_int_eq(verdict.finding, WATCH_SILENT);
    ck_assert_int_eq(verdict.rank, victim);
    ck_assert_int_eq(verdict.count, 1);
    ck_assert(now_s - before_s < 3 + SILENCE_S + 1);
}
END_TEST

START_TEST(the_rank_in_the_middle_is_named_by_the_others)
{
    watch_table_release(&table);
    start(2);
    ck_assert_int_eq(pass(100, 1u << 0 | 1u << 2, 0).finding, WATCH_WELL); /* the others' silence is none */
    struct watch_verdict verdict = pass(60, 1u << 2, 0);
    ck_assert_int_eq(verdict.finding, WATCH_SILENT);
    ck_assert_int_eq(verdict.rank, 0);
}
END_TEST

START_TEST(a_rank_that_speaks_but_gets_nowhere_is_named)
{
    all_wait_for(1u << 1);
    double before_s = now_s;
    struct watch_verdict verdict = pass(60, 0xf, 0);
    ck_assert_int_eq(verdict.finding, WATCH_STANDS_STILL);
    ck_assert_int_eq(verdict.rank, 1);
    ck_assert(now_s - before_s < SILENCE_S + 1);
}
END_TEST

START_TEST(who_computes_is_behind_those_that_reduce)
{
    for (int rank = 0; rank < RANKS; rank++)
        reports[rank].phase = rank == 2 ? RANK_PHASE_FORWARD : RANK_PHASE_REDUCE;
    ck_assert_int_eq(pass(60, 0xf, 0).rank, 2);
    for (int rank = 0; rank < RANKS; rank++) {
        reports[rank].phase = rank == 3 ? RANK_PHASE_CHECKPOINT : RANK_PHASE_DATA;
        reports[rank].step = rank == 3 ? 9 : 10;
    }
    ck_assert_int_eq(pass(60, 0xf, 0).rank, 3);
}
END_TEST

START_TEST(a_rank_that_is_slow_is_waited_for)
{
    all_wait_for(1u << 3);
    ck_assert_int_eq(pass(10000, 0xf, 1u << 3).finding, WATCH_WELL);
}
END_TEST

START_TEST(two_that_are_behind_are_two_and_one_that_moves_excuses_both)
{
    all_wait_for(1u << 1 | 1u << 2);
    ck_assert_int_eq(pass(100, 0xf, 1u << 2).finding, WATCH_WELL);
    struct watch_verdict verdict = pass(60, 0xf, 0);
    ck_assert_int_eq(verdict.finding, WATCH_STANDS_STILL);
    ck_assert_int_eq(verdict.rank, 1);
    ck_assert_int_eq(verdict.count, 2);
}
END_TEST

START_TEST(when_nobody_is_behind_nobody_is_named)
{
    struct watch_verdict verdict = pass(60, 0xf, 0);
    ck_assert_int_eq(verdict.finding, WATCH_ALL_STAND_STILL);
    ck_assert_int_eq(verdict.rank, -1);
    ck_assert_int_eq(verdict.count, RANKS);
}
END_TEST

START_TEST(a_rank_may_stand_still_for_as_long_as_it_said)
{
    for (int rank = 0; rank < RANKS; rank++)
        reports[rank].step = rank == 1 ? 9 : 10;
    reports[1].phase = RANK_PHASE_CHECKPOINT;
    reports[1].allowance_s = watch_allowance(RANK_PHASE_CHECKPOINT, 0.01, SILENCE_S, 600.0);
    ck_assert_int_eq(pass(590, 0xf, 0).finding, WATCH_WELL);
    ck_assert_int_eq(pass(30, 0xf, 0).rank, 1);
}
END_TEST

START_TEST(an_allowance_follows_the_steps)
{
    ck_assert_double_eq(watch_allowance(RANK_PHASE_FORWARD, 0.01, 7.0, 600.0), 7.0);
    ck_assert_double_eq(watch_allowance(RANK_PHASE_FORWARD, 5.0, 7.0, 600.0), 20.0);
    ck_assert_double_eq(watch_allowance(RANK_PHASE_FORWARD, 0.0, 7.0, 600.0), 600.0); /* the first step */
    ck_assert_double_eq(watch_allowance(RANK_PHASE_START, 0.01, 7.0, 600.0), 600.0);
    ck_assert_double_eq(watch_allowance(RANK_PHASE_EVALUATION, 0.01, 7.0, 600.0), 600.0);
    ck_assert_double_eq(watch_allowance(RANK_PHASE_EVALUATION, 0.01, 900.0, 600.0), 900.0);
}
END_TEST

START_TEST(a_connection_that_ends_is_a_death_at_once_unless_there_was_a_goodbye)
{
    pass(1, 0xf, 0xf);
    watch_table_left(&table, 1);
    watch_table_died(&table, 1);
    ck_assert_int_eq(pass(100, 0xf & ~2u, 0xf).finding, WATCH_WELL);
    watch_table_died(&table, 2);
    struct watch_verdict verdict = watch_table_judge(&table, now_s + 0.125);
    ck_assert_int_eq(verdict.finding, WATCH_DIED);
    ck_assert_int_eq(verdict.rank, 2);
    ck_assert_double_eq(verdict.time_s, 0.125);
}
END_TEST

START_TEST(a_job_that_was_paused_as_a_whole_has_lost_nobody)
{
    all_wait_for(1u << 3);
    pass(5, 0xf, 0);
    for (int i = 0; i < 3; i++) {
        now_s += 3600; /* nobody ran, the watcher neither */
        ck_assert_int_eq(pass(1, 1u << 0, 0).finding, WATCH_WELL);
    }
    ck_assert_int_eq(pass(60, 0xf, 0).finding, WATCH_STANDS_STILL); /* but nobody is forgotten */
}
END_TEST

START_TEST(a_rank_that_was_stopped_alone_blames_nobody)
{
    watch_table_release(&table);
    start(2);
    pass(1, 1u << 0 | 1u << 2, 0xf);
    now_s += SILENCE_S + 10;
    watch_table_look(&table, now_s);
    watch_table_died(&table, 0);
    struct watch_verdict verdict = watch_table_judge(&table, now_s);
    ck_assert_int_eq(verdict.finding, WATCH_LEFT_BEHIND);
    ck_assert_int_eq(verdict.rank, 2);
}
END_TEST

START_TEST(a_watcher_that_always_comes_late_still_finds_out)
{
    for (int i = 0; i < 1000 && watch_table_judge(&table, now_s).finding == WATCH_WELL; i++) {
        now_s += 0.9; /* an overloaded machine */
        watch_table_look(&table, now_s);
        for (int rank = 0; rank < RANKS - 1; rank++) {
            reports[rank].moves++;
            watch_table_report(&table, rank, &reports[rank], now_s);
        }
    }
    ck_assert_int_eq(watch_table_judge(&table, now_s).rank, RANKS - 1);
    ck_assert(now_s < 1000 + SILENCE_S + 2);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("watch table");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, ranks_that_work_are_left_alone);
    tcase_add_loop_test(tcase, a_silent_rank_is_named_and_not_those_that_wait_for_it, 1, RANKS);
    tcase_add_test(tcase, the_rank_in_the_middle_is_named_by_the_others);
    tcase_add_test(tcase, a_rank_that_speaks_but_gets_nowhere_is_named);
    tcase_add_test(tcase, who_computes_is_behind_those_that_reduce);
    tcase_add_test(tcase, a_rank_that_is_slow_is_waited_for);
    tcase_add_test(tcase, two_that_are_behind_are_two_and_one_that_moves_excuses_both);
    tcase_add_test(tcase, when_nobody_is_behind_nobody_is_named);
    tcase_add_test(tcase, a_rank_may_stand_still_for_as_long_as_it_said);
    tcase_add_test(tcase, an_allowance_follows_the_steps);
    tcase_add_test(tcase, a_connection_that_ends_is_a_death_at_once_unless_there_was_a_goodbye);
    tcase_add_test(tcase, a_job_that_was_paused_as_a_whole_has_lost_nobody);
    tcase_add_test(tcase, a_rank_that_was_stopped_alone_blames_nobody);
    tcase_add_test(tcase, a_watcher_that_always_comes_late_still_finds_out);
    Suite *suite = suite_create("watch_table");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
