/* SPDX-License-Identifier: MIT
 *
 * Decisions about bad numbers, from made-up losses.
 */
#include "worker/guard/health.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

static struct job job;
static struct health health;
static struct health_finding finding;

static void setup(void)
{
    job = (struct job){0};
    job.fault.on_nan = JOB_ON_NAN_STOP;
    job.fault.on_spike = JOB_ON_SPIKE_IGNORE;
    job.fault.spike_sigma = 6.0;
    job.fault.spike_window = 20;
    job.fault.rollback_steps = 3;
    job.fault.limit = 4;
    job.checkpoint.save_interval = 10;
    health_init(&health, &job);
}

static void look_for_spikes(void)
{
    setup();
    job.fault.on_spike = JOB_ON_SPIKE_SKIP;
    health_init(&health, &job);
}

static enum health_action judge(int64_t number, double loss, double norm)
{
    health_judge(&health, number, loss, norm, &finding);
    return finding.action;
}

/* Losses that fall slowly and shake by a tenth. */
static double plain(int64_t number)
{
    return 5.0 - 0.001 * (double)number + 0.1 * sin(1.7 * (double)number);
}

static void train(int64_t from, int64_t to)
{
    for (int64_t number = from; number < to; number++)
        ck_assert_int_eq(judge(number, plain(number), 1.0), HEALTH_GO);
}

START_TEST(a_number_that_is_none_stops_unless_the_job_says_otherwise)
{
    static const double bad[][2] = {{NAN, 1}, {INFINITY, 1}, {5, NAN}, {5, INFINITY}, {-INFINITY, 1}};
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(judge(7, bad[i][0], bad[i][1]), HEALTH_STOP);
        ck_assert_int_eq(finding.trouble, HEALTH_NAN);
        ck_assert_ptr_nonnull(strstr(finding.text, "must be finite"));
    }
    setup();
    job.fault.on_nan = JOB_ON_NAN_SKIP;
    ck_assert_int_eq(judge(7, NAN, 1), HEALTH_SKIP);
    ck_assert_int_eq(health.state.skipped, 1);
}
END_TEST

START_TEST(steps_are_not_skipped_for_ever)
{
    job.fault.on_nan = JOB_ON_NAN_SKIP;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < job.fault.limit; i++)
            ck_assert_int_eq(judge(i, NAN, 1), HEALTH_SKIP);
        if (round < 2)
            ck_assert_int_eq(judge(9, 5.0, 1), HEALTH_GO);
    }
    ck_assert_int_eq(judge(9, NAN, 1), HEALTH_STOP);
}
END_TEST

START_TEST(a_spike_is_seen_only_where_it_is_looked_for_and_after_a_window)
{
    train(0, 100);
    ck_assert_int_eq(judge(100, 50.0, 1), HEALTH_GO);
    look_for_spikes();
    train(0, 10);
    ck_assert_int_eq(judge(10, 50.0, 1), HEALTH_GO); /* nobody knows yet what is usual */
    look_for_spikes();
    train(0, 1000);
    ck_assert_int_eq(judge(1000, plain(1000) + 0.3, 1), HEALTH_GO);
    double mean = health.state.mean, variance = health.state.variance;
    ck_assert_int_eq(judge(1001, plain(1001) + 2.0, 1), HEALTH_SKIP);
    ck_assert_int_eq(finding.trouble, HEALTH_SPIKE);
    ck_assert_double_eq(health.state.mean, mean); /* what was skipped does not become usual */
    ck_assert_double_eq(health.state.variance, variance);
    ck_assert_int_eq(judge(1002, plain(1002) - 3.0, 1), HEALTH_GO); /* to fall is no trouble */
}
END_TEST

START_TEST(mean_and_deviation_are_those_of_the_last_steps)
{
    double mean = 0.0, square = 0.0, total = 0.0;
    const double weight = 2.0 / (20 + 1.0);
    train(0, 400);
    for (int64_t i = 399; i >= 0; i--) { /* summed directly, newest first */
        double share = weight * pow(1.0 - weight, (double)(399 - i));
        mean += share * plain(i);
        square += share * plain(i) * plain(i);
        total += share;
    }
    mean /= total;
    ck_assert_double_le(fabs(health.state.mean - mean), 1e-9);
    ck_assert_double_le(fabs(health.state.variance - (square / total - mean * mean)), 1e-9);
}
END_TEST

START_TEST(a_rollback_goes_to_a_checkpoint_and_leaves_the_data_out)
{
    static const int64_t cases[][3] = {
        /* bad step (from 0), target, data left out: the steps in between and the bad one */
        {25, 20, 6}, {23, 20, 4}, {22, 10, 13}, {13, 10, 4}, {12, 0, 13}, {0, 0, 1}, {2, 0, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setup();
        ck_assert_int_eq(health_rollback(&health, cases[i][0]), cases[i][1]);
        ck_assert_int_eq(health.state.data_offset, cases[i][2]);
        int64_t target = health_rollback(&health, cases[i][0]);
        /* the first step after it gets the data behind those of the bad step */
        ck_assert_int_eq(target + health.state.data_offset, 2 * cases[i][2] + cases[i][1]);
    }
}
END_TEST

START_TEST(a_step_that_is_never_passed_ends_the_run)
{
    job.fault.on_nan = JOB_ON_NAN_ROLLBACK;
    for (int i = 0; i < job.fault.limit; i++) {
        train(20, 25);
        ck_assert_int_eq(judge(25, NAN, 1), HEALTH_ROLLBACK);
    }
    train(20, 25);
    ck_assert_int_eq(judge(25, NAN, 1), HEALTH_STOP);
    setup();
    job.fault.on_nan = JOB_ON_NAN_ROLLBACK;
    for (int64_t number = 25; number < 60; number++) { /* one that gets further each time goes on */
        ck_assert_int_eq(judge(number, NAN, 1), HEALTH_ROLLBACK);
        train(20, number + 1);
    }
    ck_assert_int_eq(health.state.rollbacks, 35);
}
END_TEST

START_TEST(a_replay_tells_a_soft_from_a_hard_error)
{
    job.fault.on_nan = JOB_ON_NAN_SKIP;
    job.fault.replay = true;
    ck_assert_int_eq(judge(5, NAN, 1), HEALTH_REPLAY);
    ck_assert_int_eq(judge(5, 4.0, 1), HEALTH_GO);
    ck_assert(finding.replayed && finding.differs);
    ck_assert_ptr_nonnull(strstr(finding.text, "soft error"));
    ck_assert_int_eq(health.state.skipped, 0);
    ck_assert_int_eq(judge(6, NAN, 1), HEALTH_REPLAY);
    ck_assert_int_eq(judge(6, NAN, 1), HEALTH_SKIP);
    ck_assert(finding.replayed && !finding.differs);
    ck_assert_ptr_nonnull(strstr(finding.text, "hard error"));
    ck_assert_int_eq(judge(7, 4.0, 1), HEALTH_GO);
    ck_assert_str_eq(finding.text, "");
}
END_TEST

START_TEST(the_state_is_all_that_a_restart_needs)
{
    look_for_spikes();
    train(0, 150);
    struct ckpt_health kept = health.state;
    health_init(&health, &job);
    health.state = kept;
    ck_assert_int_eq(judge(150, plain(150) + 2.0, 1), HEALTH_SKIP);
    ck_assert(kept.known);
    setup();
    train(0, 5);
    ck_assert(!health.state.known); /* nothing is looked for: nothing needs to be kept */
    job.fault.on_nan = JOB_ON_NAN_SKIP;
    judge(5, NAN, 1);
    ck_assert(health.state.known);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("health");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_number_that_is_none_stops_unless_the_job_says_otherwise);
    tcase_add_test(tcase, steps_are_not_skipped_for_ever);
    tcase_add_test(tcase, a_spike_is_seen_only_where_it_is_looked_for_and_after_a_window);
    tcase_add_test(tcase, mean_and_deviation_are_those_of_the_last_steps);
    tcase_add_test(tcase, a_rollback_goes_to_a_checkpoint_and_leaves_the_data_out);
    tcase_add_test(tcase, a_step_that_is_never_passed_ends_the_run);
    tcase_add_test(tcase, a_replay_tells_a_soft_from_a_hard_error);
    tcase_add_test(tcase, the_state_is_all_that_a_restart_needs);
    Suite *suite = suite_create("health");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
